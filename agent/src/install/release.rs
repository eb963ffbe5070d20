//! A verified tree becomes a release, the release becomes the current one, old ones go.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, fchown, lchown, symlink};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::error::{ArchiveError, InstallError};
use crate::disk::{
    DiskError, at, ensure_directory, read_if_there, remove_tree, sync_directory, write_atomically,
};
use crate::layout::{Layout, SHARED};
use crate::service::Account;
use crate::wanted::{Artefact, Version};

/// In every release: what it is. Written before the rename, so it is there or the release is not.
const MARK: &str = ".release.json";
const PARTIAL: &str = ".partial-";
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
    account: Option<Account>,
) -> Result<Installed, InstallError> {
    for needed in NEEDED {
        if !partial.join(needed).exists() {
            return Err(ArchiveError::Missing(needed).into());
        }
    }
    check_version(artefact, partial, account).await?;
    ensure_shared(layout, account)?;
    link_shared(layout, partial, account)?;
    let installed = Installed {
        version: artefact.version.to_string(),
        sha256: artefact.sha256.to_string(),
    };
    let mark = serde_json::to_vec_pretty(&installed).expect("two strings are JSON");
    write_atomically(&partial.join(MARK), &mark, 0o644)?;
    let target = layout.release(artefact.version.as_str());
    let (from, releases) = (partial.to_owned(), layout.releases());
    // Syncing half a gigabyte takes a while: not on the thread that everything else runs on.
    tokio::task::spawn_blocking(move || publish(&from, &target, &releases))
        .await
        .map_err(|_| InstallError::Interrupted)??;
    log::info!("installed {} ({})", installed.version, installed.sha256);
    Ok(installed)
}

/// Everything on the platter, then visible in one step.
fn publish(partial: &Path, target: &Path, releases: &Path) -> Result<(), DiskError> {
    let handle = fs::File::open(partial).map_err(at("open", partial))?;
    rustix::fs::syncfs(&handle).map_err(|error| at("sync", partial)(error.into()))?;
    if target.exists() {
        // The same version from another tarball: `current` may point there, so exchange, then remove.
        renameat_with(CWD, partial, CWD, target, RenameFlags::EXCHANGE)
            .map_err(|error| at("exchange", target)(error.into()))?;
        sync_directory(releases)?;
        return remove_tree(partial);
    }
    fs::rename(partial, target).map_err(at("rename into", target))?;
    sync_directory(releases)
}

async fn check_version(
    artefact: &Artefact,
    partial: &Path,
    account: Option<Account>,
) -> Result<(), InstallError> {
    let mut command = Command::new(partial.join("bin/mattermost"));
    command
        .arg("version")
        .current_dir(partial)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    if let Some(account) = account {
        command.uid(account.uid).gid(account.gid);
    }
    let output = tokio::time::timeout(VERSION_TIMEOUT, command.output())
        .await
        .map_err(|_| InstallError::DoesNotRun(format!("no answer within {VERSION_TIMEOUT:?}")))?
        .map_err(|error| InstallError::DoesNotRun(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout);
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
        None => {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().last().unwrap_or_default();
            Err(InstallError::DoesNotRun(format!(
                "{}; it says no version: {}",
                output.status,
                last.chars().take(200).collect::<String>()
            )))
        }
    }
}

/// The directories that outlive versions exist and belong to the server.
pub(super) fn ensure_shared(layout: &Layout, account: Option<Account>) -> Result<(), DiskError> {
    for (_, name) in SHARED {
        let path = layout.shared(name);
        if path.is_dir() {
            continue;
        }
        ensure_directory(&path, 0o750)?;
        if let Some(account) = account {
            lchown(&path, Some(account.uid), Some(account.gid)).map_err(at("give away", &path))?;
        }
    }
    Ok(())
}

/// Links the release's own folders to the shared ones. Default configuration files that are not
/// there yet are taken over; nothing that is there is touched.
fn link_shared(layout: &Layout, partial: &Path, account: Option<Account>) -> Result<(), DiskError> {
    for (inside, name) in SHARED {
        let link = partial.join(inside);
        if inside == "config" && link.is_dir() {
            take_defaults(&link, &layout.shared(name), account)?;
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

/// The shared folder is the server's to write: a file is created only where nothing is (which also
/// does not follow a link that the server may have put there), and owned through its handle.
fn take_defaults(from: &Path, to: &Path, account: Option<Account>) -> Result<(), DiskError> {
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
        let mut source = fs::File::open(entry.path()).map_err(at("open", &target))?;
        io::copy(&mut source, &mut file).map_err(at("write", &target))?;
        if let Some(account) = account {
            fchown(&file, Some(account.uid), Some(account.gid))
                .map_err(at("give away", &target))?;
        }
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
    }
    point(layout, "current", &target)
}

/// Removes what is neither current nor previous nor `keep`.
pub fn prune(layout: &Layout, keep: &Version) -> Result<(), DiskError> {
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
            remove_tree(&releases.join(name))?;
        }
    }
    Ok(())
}

/// What an interrupted install left behind.
pub(super) fn remove_partial(layout: &Layout) -> Result<(), DiskError> {
    let releases = layout.releases();
    for entry in fs::read_dir(&releases).map_err(at("read", &releases))? {
        let name = entry.map_err(at("read", &releases))?.file_name();
        if name.to_string_lossy().starts_with(PARTIAL) {
            remove_tree(&releases.join(name))?;
        }
    }
    Ok(())
}
