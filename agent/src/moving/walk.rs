//! The files below a folder, in the byte order of their keys, with one folder's names in memory per level.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::{LONGEST_KEY, MoveError};
use crate::disk::at;

/// What tells that a file is as it was, without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Bytes.
    pub size: u64,
    /// Content changed, nanoseconds since 1970.
    pub modified_ns: i64,
    /// Content, name or rights changed: no program sets it at will.
    pub changed_ns: i64,
    /// Of the file system.
    pub inode: u64,
}

impl Stamp {
    /// Of an open file, or of a name.
    pub(super) fn of(metadata: &fs::Metadata) -> Self {
        let nanoseconds = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000) + rest;
        Self {
            size: metadata.len(),
            modified_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
        }
    }

    /// For the object's metadata.
    pub(super) fn modified_ms(&self) -> i64 {
        self.modified_ns / 1_000_000
    }
}

/// A regular file.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Below the folder, parts joined by slashes.
    pub(super) key: String,
    /// Where.
    pub(super) path: PathBuf,
}

struct Folder {
    path: PathBuf,
    /// With a slash at its end, or empty.
    key: String,
    /// What is left of it, last first: name, and whether it is a folder.
    names: Vec<(String, bool)>,
}

/// See the module.
pub(super) struct Walk {
    open: Vec<Folder>,
    /// The folder itself could not be read.
    failed: Option<MoveError>,
}

impl Walk {
    /// Of a folder. One that is not there holds no files.
    pub(super) fn new(root: &Path) -> Self {
        let mut walk = Self {
            open: Vec::new(),
            failed: None,
        };
        if let Err(error) = walk.enter(root.to_owned(), String::new()) {
            walk.failed = Some(error);
        }
        walk
    }

    fn enter(&mut self, path: PathBuf, key: String) -> Result<(), MoveError> {
        let entries = match fs::read_dir(&path) {
            // Removed since its name was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(at("list", &path))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(at("list", &path))?;
            let there = || path.join(entry.file_name());
            let kind = match entry.file_type() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                kind => kind.map_err(at("look at", &there()))?,
            };
            if kind.is_symlink() {
                return Err(MoveError::Link(there()));
            }
            if !kind.is_dir() && !kind.is_file() {
                return Err(MoveError::Special(there()));
            }
            let name = entry.file_name().into_string().ok();
            names.push((name.ok_or_else(|| MoveError::Name(there()))?, kind.is_dir()));
        }
        // A folder's keys begin with its name and a slash: that is how they sort among files.
        let order = |(name, is_folder): &(String, bool)| {
            let mut bytes = name.clone().into_bytes();
            bytes.extend(is_folder.then_some(b'/'));
            bytes
        };
        names.sort_by_cached_key(order);
        names.reverse();
        self.open.push(Folder { path, key, names });
        Ok(())
    }
}

impl Iterator for Walk {
    type Item = Result<Found, MoveError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failed.take() {
            return Some(Err(error));
        }
        loop {
            let folder = self.open.last_mut()?;
            let Some((name, is_folder)) = folder.names.pop() else {
                self.open.pop();
                continue;
            };
            let path = folder.path.join(&name);
            let key = format!("{}{name}", folder.key);
            if !is_folder {
                if key.len() > LONGEST_KEY {
                    let bytes = key.len();
                    return Some(Err(MoveError::LongKey { path, bytes }));
                }
                return Some(Ok(Found { key, path }));
            }
            if let Err(error) = self.enter(path, format!("{key}/")) {
                return Some(Err(error));
            }
        }
    }
}
