//! A verified tree becomes a release, the release becomes the current one, old ones go.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedMutexGuard;

use super::error::{ArchiveError, InstallError};
use crate::coded::chain;
use crate::disk::{
    DiskError, at, ensure_directory, read_if_there, remove_tree, sync_directory, write_atomically,
};
use crate::layout::{Layout, SHARED};
use crate::service::Service;
use crate::steps::{Step, reached};
use crate::wanted::{Artefact, Version};

/// In every release: what it is. Written before the rename, so it is there or the release is not.
const MARK: &str = ".release.json";
/// A release that is going away: no longer one, whatever is left of it.
const OLD: &str = ".old-";
/// `mattermost version` reads nothing and opens nothing.
const VERSION_TIMEOUT: Duration = Duration::from_secs(60);
/// Without them the server refuses to start (mattermost.md).
const NEEDED: [&str; 3] = ["bin/mattermost", "i18n", "templates"];

/// A release on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// As `mattermost version` says.
    pub version: String,
    /// Of the tarball it came from.
    pub sha256: String,
}

/// The release of that version, when there is one.
pub fn installed(layout: &Layout, version: &Version) -> Result<Option<Installed>, DiskError> {
    let mark = layout.release(version.as_str()).join(MARK);
    Ok(read_if_there(&mark)?.and_then(|text| serde_json::from_slice(&text).ok()))
}

/// The release that `current` points to.
pub fn active(layout: &Layout) -> Result<Option<Installed>, DiskError> {
    let mark = layout.current().join(MARK);
    Ok(read_if_there(&mark)?.and_then(|text| serde_json::from_slice(&text).ok()))
}

/// From a verified partial tree to `releases/<version>`.
pub(super) async fn complete(
    layout: &Layout,
    artefact: &Artefact,
    partial: &Path,
    service: &dyn Service,
    lock: &Arc<OwnedMutexGuard<()>>,
) -> Result<Installed, InstallError> {
    for needed in NEEDED {
        if !partial.join(needed).exists() {
            return Err(ArchiveError::Missing(needed).into());
        }
    }
    check_parents(partial)?;
    check_version(artefact, partial, service).await?;
    reached(Step::VersionAsked);
    ensure_shared(layout, service)?;
    reached(Step::SharedMade);
    link_shared(layout, partial, service)?;
    reached(Step::SharedLinked);
    let installed = Installed {
        version: artefact.version.to_string(),
        sha256: artefact.sha256.to_string(),
    };
    let mark = serde_json::to_vec_pretty(&installed).expect("two strings are JSON");
    write_atomically(&partial.join(MARK), &mark, 0o644)?;
    reached(Step::Marked);
    let target = layout.release(artefact.version.as_str());
    let (from, releases) = (partial.to_owned(), layout.releases());
    // Syncing half a gigabyte takes a while: not on the thread that everything else runs on.
    // It holds the lock: whoever asks went away in the middle, and the next one must wait.
    let lock = Arc::clone(lock);
    let publish = move || {
        let result = publish(&from, &target, &releases);
        drop(lock);
        result
    };
    tokio::task::spawn_blocking(publish)
        .await
        .map_err(|_| InstallError::Interrupted)??;
    log::info!("installed {} ({})", installed.version, installed.sha256);
    Ok(installed)
}

/// Everything on the platter, then visible in one step.
fn publish(partial: &Path, target: &Path, releases: &Path) -> Result<(), DiskError> {
    let handle = fs::File::open(partial).map_err(at("open", partial))?;
    rustix::fs::syncfs(&handle).map_err(|error| at("sync", partial)(error.into()))?;
    reached(Step::Synced);
    if target.exists() {
        // The same version from another tarball: `current` may point there, so exchange, then remove.
        renameat_with(CWD, partial, CWD, target, RenameFlags::EXCHANGE)
            .map_err(|error| at("exchange", target)(error.into()))?;
        sync_directory(releases)?;
        reached(Step::Exchanged);
        return remove_tree(partial);
    }
    fs::rename(partial, target).map_err(at("rename into", target))?;
    sync_directory(releases)?;
    reached(Step::Published);
    Ok(())
}

async fn check_version(
    artefact: &Artefact,
    partial: &Path,
    service: &dyn Service,
) -> Result<(), InstallError> {
    let text = tokio::time::timeout(VERSION_TIMEOUT, service.version(partial))
        .await
        .map_err(|_| InstallError::DoesNotRun(format!("no answer within {VERSION_TIMEOUT:?}")))?
        .map_err(|error| InstallError::DoesNotRun(chain(&error)))?;
    let found = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("Version:"))
        .map(str::trim);
    match found {
        Some(found) if found == artefact.version.as_str() => Ok(()),
        Some(found) => Err(InstallError::WrongVersion {
            found: found.chars().take(60).collect(),
            expected: artefact.version.clone(),
        }),
        None => Err(InstallError::DoesNotRun(
            "it prints no `Version:`".to_owned(),
        )),
    }
}

/// The directories that outlive versions are there. Those of a server with its own account were made
/// for it with the image (tmpfiles.d): the agent has no right to give anything away.
pub(super) fn ensure_shared(layout: &Layout, service: &dyn Service) -> Result<(), InstallError> {
    for (_, name) in SHARED {
        let path = layout.shared(name);
        if service.own_account() && !path.is_dir() {
            return Err(InstallError::NoShared(path));
        }
        ensure_directory(&path, 0o750)?;
    }
    Ok(())
}

/// What a shared folder's link lies in is a folder of the release: through a link of its own, another one's
/// files would be removed to make room, those that people made among them.
fn check_parents(partial: &Path) -> Result<(), InstallError> {
    for (inside, _) in SHARED {
        for parent in Path::new(inside).ancestors().skip(1) {
            if fs::symlink_metadata(partial.join(parent)).is_ok_and(|found| !found.is_dir()) {
                return Err(ArchiveError::ThroughLink(inside.to_owned()).into());
            }
        }
    }
    Ok(())
}

/// Links the release's own folders to the shared ones. Default configuration files that are not
/// there yet are taken over, where the server can read what the agent writes; else it makes its own.
fn link_shared(layout: &Layout, partial: &Path, service: &dyn Service) -> Result<(), DiskError> {
    for (inside, name) in SHARED {
        let link = partial.join(inside);
        if inside == "config" && link.is_dir() && !service.own_account() {
            take_defaults(&link, &layout.shared(name))?;
        }
        if let Ok(metadata) = fs::symlink_metadata(&link) {
            if metadata.is_dir() {
                remove_tree(&link)?;
            } else {
                fs::remove_file(&link).map_err(at("replace", &link))?;
            }
        }
        if let Some(parent) = link.parent() {
            ensure_directory(parent, 0o755)?;
        }
        let climb = "../".repeat(inside.split('/').count() + 1);
        symlink(format!("{climb}shared/{name}"), &link).map_err(at("create link", &link))?;
    }
    Ok(())
}

/// A file is created only where nothing is, which does not follow a link either.
fn take_defaults(from: &Path, to: &Path) -> Result<(), DiskError> {
    for entry in fs::read_dir(from).map_err(at("read", from))? {
        let entry = entry.map_err(at("read", from))?;
        if !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let target = to.join(entry.file_name());
        let created = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&target);
        let mut file = match created {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(at("create", &target)(error)),
        };
        let path = entry.path();
        let mut source = fs::File::open(&path).map_err(at("open", &path))?;
        io::copy(&mut source, &mut file).map_err(at("write", &target))?;
    }
    Ok(())
}

/// Points a link at a release in one step.
fn point(layout: &Layout, name: &str, target: &Path) -> Result<(), DiskError> {
    let directory = layout.mattermost();
    let link = directory.join(name);
    let fresh = directory.join(format!(".{name}.new"));
    crate::disk::remove_file(&fresh)?;
    symlink(target, &fresh).map_err(at("create link", &fresh))?;
    reached(Step::LinkMade);
    fs::rename(&fresh, &link).map_err(at("rename into", &link))?;
    sync_directory(&directory)
}

/// Makes an installed release the current one. The one before stays as `previous`.
pub fn activate(layout: &Layout, version: &Version) -> Result<(), DiskError> {
    let target = Path::new("releases").join(version.as_str());
    let before = fs::read_link(layout.current()).ok();
    if before.as_deref() == Some(&target) {
        return Ok(());
    }
    if let Some(before) = before {
        point(layout, "previous", &before)?;
        reached(Step::PreviousPointed);
    }
    point(layout, "current", &target)?;
    reached(Step::CurrentPointed);
    Ok(())
}

/// Removes what is neither current nor previous nor `keep`. First out of sight in one step: half a
/// release must not pass for one.
pub(super) fn prune(layout: &Layout, keep: &Version) -> Result<(), DiskError> {
    let links = ["current", "previous"].map(|name| {
        fs::read_link(layout.mattermost().join(name))
            .ok()
            .and_then(|target| target.file_name().map(std::borrow::ToOwned::to_owned))
    });
    let releases = layout.releases();
    for entry in fs::read_dir(&releases).map_err(at("read", &releases))? {
        let name = entry.map_err(at("read", &releases))?.file_name();
        let kept = links.iter().flatten().any(|link| *link == name)
            || name == keep.as_str()
            || name.to_string_lossy().starts_with('.');
        if !kept {
            log::info!("removing the old release `{}`", name.to_string_lossy());
            let mut old = std::ffi::OsString::from(OLD);
            old.push(&name);
            let old = releases.join(old);
            remove_tree(&old)?;
            fs::rename(releases.join(&name), &old).map_err(at("rename into", &old))?;
            reached(Step::Retired);
        }
    }
    remove_leftovers(layout)?;
    reached(Step::Pruned);
    Ok(())
}

/// What is no release: trees of an interrupted install, and of old releases that were going away.
pub(super) fn remove_leftovers(layout: &Layout) -> Result<(), DiskError> {
    let releases = layout.releases();
    for entry in fs::read_dir(&releases).map_err(at("read", &releases))? {
        let name = entry.map_err(at("read", &releases))?.file_name();
        if name.to_string_lossy().starts_with('.') {
            remove_tree(&releases.join(name))?;
        }
    }
    Ok(())
}
