//! What the image may hold beyond Debian, exactly; docs/image.md says it for people.
//!
//! Everything that differs from the base tree is either named here or comes with a package that is named
//! here. What an image must never hold is looked for in all of it, Debian's part included.

mod never;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::tree::{Entries, Entry};

/// `postgresql-client` and what it needs that Debian's image lacks, by Debian's release.
const PACKAGES: [(&str, [&str; 6]); 2] = [
    (
        "12",
        [
            "libpq5",
            "libreadline8",
            "postgresql-client",
            "postgresql-client-15",
            "postgresql-client-common",
            "readline-common",
        ],
    ),
    (
        "13",
        [
            "libpq5",
            "libreadline8t64",
            "postgresql-client",
            "postgresql-client-17",
            "postgresql-client-common",
            "readline-common",
        ],
    ),
];

/// `VERSION_ID` of an `os-release` (5): Debian's release.
pub(super) fn release(os_release: &str) -> Option<String> {
    os_release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_ID="))
        .map(|value| value.trim_matches('"').to_owned())
}

/// The packages of an image of this tree's release.
fn expected(base: &Entries) -> io::Result<BTreeSet<&'static str>> {
    let release = release(&text_of(base, "usr/lib/os-release")?).unwrap_or_default();
    let known = PACKAGES.iter().find(|(of, _)| *of == release);
    known
        .map(|(_, packages)| packages.iter().copied().collect())
        .ok_or_else(|| {
            io::Error::other(format!(
                "Debian `{release}` has no list of packages in `PACKAGES`"
            ))
        })
}

/// What is ours: path and mode. Root owns all but the server's own folders.
const OURS: [(&str, u32); 19] = [
    ("etc/mattermost", 0o755),
    ("opt/mattermost", 0o755),
    ("opt/mattermost/releases", 0o755),
    ("opt/mattermost/shared", 0o755),
    ("opt/mattermost/shared/client-plugins", 0o750),
    ("opt/mattermost/shared/config", 0o750),
    ("opt/mattermost/shared/config/config.json", 0o600),
    ("opt/mattermost/shared/data", 0o750),
    ("opt/mattermost/shared/logs", 0o750),
    ("opt/mattermost/shared/plugins", 0o750),
    ("usr/bin/mattermost-agent", 0o755),
    ("usr/lib/systemd/system/mattermost-agent.service", 0o644),
    ("usr/lib/systemd/system/mattermost-migrate@.service", 0o644),
    ("usr/lib/systemd/system/mattermost-version@.service", 0o644),
    ("usr/lib/systemd/system/mattermost.service", 0o644),
    ("usr/lib/sysusers.d/mattermost.conf", 0o644),
    ("usr/lib/tmpfiles.d/mattermost.conf", 0o644),
    ("var/cache/mattermost-agent", 0o755),
    (ENABLED, 0o777),
];
/// The link that starts the agent at boot.
const ENABLED: &str = "etc/systemd/system/multi-user.target.wants/mattermost-agent.service";

/// What a package's scripts make, beside what it holds, and `systemd-update-done` at a boot.
const MADE: [&str; 8] = [
    "etc/.updated",
    "etc/inputrc",
    "etc/postgresql-common/supported_versions",
    "etc/postgresql-common/user_clusters",
    "var/.updated",
    "var/cache/debconf/passwords.dat",
    "var/cache/ldconfig/aux-cache",
    "var/lib/dpkg/alternatives/psql.1.gz",
];

/// What installing a package, adding an account and booting once change.
const CHANGED: [&str; 12] = [
    "etc/group",
    "etc/gshadow",
    "etc/ld.so.cache",
    "etc/passwd",
    "etc/shadow",
    "home/admin",
    "var/cache/debconf/config.dat",
    "var/cache/debconf/templates.dat",
    "var/lib/apt/extended_states",
    "var/lib/dpkg/diversions",
    "var/lib/dpkg/status",
    "var/log/journal",
];

/// Empty files and folders that a running system leaves, and that say nothing.
const EMPTY: [&str; 10] = [
    "run",
    "var/cache/apt/archives/lock",
    "var/cache/apt/archives/partial",
    "var/cache/debconf/tmp.ci",
    "var/lib/dpkg/lock",
    "var/lib/dpkg/lock-frontend",
    "var/lib/dpkg/triggers/Lock",
    "var/lib/systemd/linger",
    "var/log/apt",
    "var/tmp",
];

/// What is gone: logs, copies of account files, the place of keys.
const REMOVED: [&str; 12] = [
    "etc/.pwd.lock",
    "etc/group-",
    "etc/gshadow-",
    "etc/passwd-",
    "etc/shadow-",
    "root/.ssh",
    "var/lib/apt/lists/lock",
    "var/lib/apt/lists/partial",
    "var/log/btmp",
    "var/log/faillog",
    "var/log/lastlog",
    "var/log/wtmp",
];

/// How an image differs from its base.
#[derive(Debug, Default)]
pub struct Found {
    /// What should not be as it is, a line each; empty is right.
    pub wrong: Vec<String>,
    /// Packages that the base lacks.
    pub packages: BTreeSet<String>,
    /// Files that the base lacks, and their bytes.
    pub added: (usize, u64),
    /// Files that differ from the base's.
    pub changed: usize,
}

/// Compares an image with its base, and with what it may hold.
pub fn check(base: &Entries, image: &Entries, agent: &Path) -> io::Result<Found> {
    let mut found = Found::default();
    packages(base, image, &mut found)?;
    let from_packages = files_of_packages(image, &found.packages)?;
    for (path, entry) in image {
        let name = path.display();
        match base.get(path) {
            Some(before) if entry.is_like(before)? => {}
            Some(_) => {
                found.changed += 1;
                if !is_one_of(path, &CHANGED) && !is_empty_one(path, entry) {
                    found
                        .wrong
                        .push(format!("`{name}` is not as Debian has it"));
                }
            }
            None => {
                if entry.metadata.is_file() {
                    found.added.0 += 1;
                    found.added.1 += entry.metadata.len();
                }
                if !from_packages.contains(path) && !is_allowed(path, entry, image, &found.packages)
                {
                    found.wrong.push(format!("`{name}` is not on the list"));
                }
            }
        }
    }
    let gone = base.keys().filter(|path| !image.contains_key(*path));
    for path in gone.filter(|path| !is_one_of(path, &REMOVED)) {
        found.wrong.push(format!("`{}` is gone", path.display()));
    }
    ours(image, agent, &mut found)?;
    accounts(base, image, &mut found)?;
    never::check(base, image, &mut found)?;
    Ok(found)
}

fn is_one_of(path: &Path, list: &[&str]) -> bool {
    list.iter().any(|known| path == Path::new(known))
}

fn is_empty_one(path: &Path, entry: &Entry) -> bool {
    is_one_of(path, &EMPTY) && (entry.metadata.is_dir() || entry.metadata.len() == 0)
}

/// What is added without being a package's own file.
fn is_allowed(path: &Path, entry: &Entry, image: &Entries, packages: &BTreeSet<String>) -> bool {
    let ours = OURS.iter().any(|(known, _)| path == Path::new(known));
    ours || is_one_of(path, &MADE)
        || is_empty_one(path, entry)
        || is_of_dpkg(path, packages)
        || is_alternative(path, entry, image)
}

/// dpkg's own record of one of these packages.
fn is_of_dpkg(path: &Path, packages: &BTreeSet<String>) -> bool {
    let file = path.file_name().map(|name| name.to_string_lossy());
    let package = file
        .as_deref()
        .and_then(|name| name.split(['.', ':']).next());
    path.parent() == Some(Path::new("var/lib/dpkg/info"))
        && package.is_some_and(|package| packages.contains(package))
}

/// The links of update-alternatives: from a name to `/etc/alternatives/…`, and from there to PostgreSQL's
/// manual pages.
fn is_alternative(path: &Path, entry: &Entry, image: &Entries) -> bool {
    let Some(target) = entry.target() else {
        return false;
    };
    if path.parent() == Some(Path::new("etc/alternatives")) {
        return target.starts_with("/usr/share/postgresql/");
    }
    target.starts_with("/etc/alternatives/")
        && path.starts_with("usr/share/man")
        && target
            .strip_prefix("/")
            .is_ok_and(|inside| image.contains_key(inside))
}

fn text_of(entries: &Entries, path: &str) -> io::Result<String> {
    match entries.get(Path::new(path)) {
        Some(entry) => Ok(String::from_utf8_lossy(&fs::read(&entry.file)?).into_owned()),
        None => Ok(String::new()),
    }
}

fn packages(base: &Entries, image: &Entries, found: &mut Found) -> io::Result<()> {
    let of = |entries| -> io::Result<BTreeMap<String, String>> {
        let status = text_of(entries, "var/lib/dpkg/status")?;
        let field = |paragraph: &str, name: &str| {
            paragraph
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::to_owned)
        };
        Ok(status
            .split("\n\n")
            .filter_map(|paragraph| {
                Some((
                    field(paragraph, "Package: ")?,
                    field(paragraph, "Version: ")?,
                ))
            })
            .collect())
    };
    let (before, after) = (of(base)?, of(image)?);
    for (package, version) in &before {
        if after.get(package) != Some(version) {
            found
                .wrong
                .push(format!("package `{package}` is not the base's {version}"));
        }
    }
    found.packages = after
        .into_keys()
        .filter(|package| !before.contains_key(package))
        .collect();
    let expected = expected(base)?;
    if !found.packages.iter().eq(&expected) {
        found.wrong.push(format!(
            "packages beyond the base: {:?}, and should be {expected:?}",
            found.packages
        ));
    }
    Ok(())
}

/// All paths of these packages, as dpkg lists them; `/lib` and `/bin` are links to `/usr`'s.
fn files_of_packages(
    image: &Entries,
    packages: &BTreeSet<String>,
) -> io::Result<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    for (path, entry) in image {
        if !is_of_dpkg(path, packages) || path.extension().is_none_or(|kind| kind != "list") {
            continue;
        }
        for line in String::from_utf8_lossy(&fs::read(&entry.file)?).lines() {
            let line = line.trim_start_matches('/');
            files.insert(PathBuf::from(line));
            files.insert(Path::new("usr").join(line));
        }
    }
    Ok(files)
}

/// Ours is there, whole, and belongs to whom it should.
fn ours(image: &Entries, agent: &Path, found: &mut Found) -> io::Result<()> {
    let passwd = text_of(image, "etc/passwd")?;
    let server = passwd
        .lines()
        .find_map(|line| line.strip_prefix("mattermost:x:"))
        .and_then(|rest| rest.split(':').next())
        .and_then(|number| number.parse::<u32>().ok());
    for (path, mode) in OURS {
        use std::os::unix::fs::MetadataExt as _;
        let Some(entry) = image.get(Path::new(path)) else {
            found.wrong.push(format!("`{path}` is missing"));
            continue;
        };
        if entry.mode() != mode {
            found.wrong.push(format!(
                "`{path}` has mode {:o}, and should have {mode:o}",
                entry.mode()
            ));
        }
        let shared = path.starts_with("opt/mattermost/shared/");
        let owner = if shared { server } else { Some(0) };
        if Some(entry.metadata.uid()) != owner {
            found.wrong.push(format!("`{path}` has another owner"));
        }
    }
    let enabled = image.get(Path::new(ENABLED)).and_then(Entry::target);
    let unit = "/systemd/system/mattermost-agent.service";
    if !enabled.is_some_and(|target| target.to_string_lossy().ends_with(unit)) {
        found.wrong.push("the agent is not enabled".to_owned());
    }
    if let Some(entry) = image.get(Path::new("usr/bin/mattermost-agent"))
        && fs::read(&entry.file)? != fs::read(agent)?
    {
        found
            .wrong
            .push("the agent is another one than was given".to_owned());
    }
    Ok(())
}

/// One account was added, which nobody can log in to; nothing else about accounts changed.
fn accounts(base: &Entries, image: &Entries, found: &mut Found) -> io::Result<()> {
    for file in ["etc/passwd", "etc/group", "etc/shadow", "etc/gshadow"] {
        let (before, after) = (text_of(base, file)?, text_of(image, file)?);
        let known: BTreeSet<&str> = before.lines().collect();
        let lines: BTreeSet<&str> = after.lines().collect();
        let added: Vec<&str> = lines.difference(&known).copied().collect();
        let right = match (file, added.as_slice()) {
            ("etc/passwd", [line]) => {
                line.starts_with("mattermost:x:") && line.ends_with("/nologin")
            }
            (_, [line]) => line.starts_with("mattermost:"),
            _ => false,
        };
        if !right || !known.is_subset(&lines) {
            found.wrong.push(format!(
                "`{file}` has more than the server's account: {added:?}"
            ));
        }
    }
    let shadow = text_of(image, "etc/shadow")?;
    for line in shadow.lines() {
        let password = line.split(':').nth(1).unwrap_or_default();
        if !password.starts_with(['!', '*']) {
            let name = line.split(':').next().unwrap_or_default();
            found.wrong.push(format!("`{name}` has a password"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
