//! Files that are there whole or not at all, with the mode they need from their first byte.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A file or directory operation failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} `{path}`")]
pub struct DiskError {
    /// The operation, a verb.
    pub what: &'static str,
    /// On what.
    pub path: PathBuf,
    /// The system's word.
    #[source]
    pub source: io::Error,
}

impl DiskError {
    /// There is no room.
    pub fn is_full(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }

    /// For a report.
    pub fn code(&self) -> &'static str {
        if self.is_full() { "disk_full" } else { "disk" }
    }

    /// What to do; empty where only the system's word says it.
    pub fn hint(&self) -> String {
        let hint = if self.is_full() {
            "make room on the node's disk, or give the launch template a larger root volume"
        } else {
            ""
        };
        hint.to_owned()
    }
}

/// Adds operation and path to an [`io::Error`].
pub fn at<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> DiskError + 'a {
    move |source| DiskError {
        what,
        path: path.to_owned(),
        source,
    }
}

/// Writes beside, syncs, renames: a reader sees the old content or the new one, also after a crash.
pub fn write_atomically(path: &Path, content: &[u8], mode: u32) -> Result<(), DiskError> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let fresh = directory.join(name);
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(at("replace", &fresh)(error));
        }
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&fresh)
        .map_err(at("create", &fresh))?;
    // The process's umask may have taken bits away.
    file.set_permissions(fs::Permissions::from_mode(mode))
        .and_then(|()| file.write_all(content))
        .and_then(|()| file.sync_all())
        .map_err(at("write", &fresh))?;
    fs::rename(&fresh, path).map_err(at("rename into", path))?;
    sync_directory(directory)
}

/// Makes a rename in this directory survive a crash.
pub fn sync_directory(directory: &Path) -> Result<(), DiskError> {
    File::open(directory)
        .and_then(|handle| handle.sync_all())
        .map_err(at("sync", directory))
}

/// The directory exists afterwards, with its parents. Only a new one gets the mode.
pub fn ensure_directory(path: &Path, mode: u32) -> Result<(), DiskError> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        ensure_directory(parent, 0o755)?;
    }
    match fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .map_err(at("set the mode of", path)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(at("create directory", path)(error)),
    }
}

/// The content, or `None` when there is no such file.
pub fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, DiskError> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at("read", path)(error)),
    }
}

/// Removes a tree; fine when it is not there.
pub fn remove_tree(path: &Path) -> Result<(), DiskError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at("remove", path)(error)),
        _ => Ok(()),
    }
}

/// The file is gone afterwards; fine when it is not there.
pub fn remove_file(path: &Path) -> Result<(), DiskError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at("remove", path)(error)),
        _ => Ok(()),
    }
}
