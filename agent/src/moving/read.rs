//! The thread that reads: every file's SHA-256, from the ledger where the file is as it was.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio::sync::mpsc::Sender;

use super::error::MoveError;
use super::ledger::{Line, Reader};
use super::walk::{Found, Stamp, Walk};
use crate::disk::at;

/// One read.
const CHUNK: usize = 256 * 1024;

/// A file, hashed.
#[derive(Clone, Debug)]
pub struct Local {
    /// Below the server's folder of files.
    pub key: String,
    /// Where it is.
    pub path: PathBuf,
    /// As it was when it was hashed.
    pub stamp: Stamp,
    /// Of its content.
    pub sha256: [u8; 32],
    /// What an earlier pass left in the bucket: a copy of an earlier state of it, or of this one.
    pub(super) before: Option<Line>,
}

impl Local {
    /// For the object's metadata.
    pub fn modified_ms(&self) -> i64 {
        self.stamp.modified_ms()
    }

    /// Whether the file is not what was hashed any more.
    pub fn is_changed(&self) -> bool {
        let now = std::fs::metadata(&self.path);
        now.map_or(true, |metadata| Stamp::of(&metadata) != self.stamp)
    }
}

/// What the thread finds.
#[derive(Debug)]
pub(super) enum Item {
    File(Local),
    /// In the ledger, and not on the disk any more.
    Vanished(Line),
    /// It changed or vanished while it was read; what an earlier pass left of it.
    Moving(PathBuf, Option<Line>),
}

/// Until all is read, or nobody listens any more.
pub(super) fn read(root: &Path, mut known: Reader, to: &Sender<Result<Item, MoveError>>) {
    let mut buffer = vec![0; CHUNK];
    for found in Walk::new(root) {
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                let _ = to.blocking_send(Err(error));
                return;
            }
        };
        while let Some(line) = known.before(Some(&found.key)) {
            if to.blocking_send(Ok(Item::Vanished(line))).is_err() {
                return;
            }
        }
        let line = known.at(&found.key);
        let item = hashed(&found, line, &mut buffer);
        let failed = item.is_err();
        if to.blocking_send(item).is_err() || failed {
            return;
        }
    }
    while let Some(line) = known.before(None) {
        if to.blocking_send(Ok(Item::Vanished(line))).is_err() {
            return;
        }
    }
}

fn hashed(found: &Found, line: Option<Line>, buffer: &mut [u8]) -> Result<Item, MoveError> {
    let Found { key, path } = found;
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Item::Moving(path.clone(), line));
        }
        file => file.map_err(at("open", path))?,
    };
    let stamp = stamp(&file, path)?;
    let unchanged = line
        .as_ref()
        .filter(|line| line.stamp == stamp)
        .and_then(Line::sha256);
    let sha256 = match unchanged {
        Some(known) => known,
        None => {
            let mut hash = Sha256::new();
            loop {
                match file.read(buffer) {
                    Ok(0) => break,
                    Ok(count) => hash.update(&buffer[..count]),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(at("read", path)(error).into()),
                }
            }
            if self::stamp(&file, path)? != stamp {
                return Ok(Item::Moving(path.clone(), line));
            }
            hash.finalize().into()
        }
    };
    Ok(Item::File(Local {
        key: key.clone(),
        path: path.clone(),
        stamp,
        sha256,
        before: line,
    }))
}

fn stamp(file: &File, path: &Path) -> Result<Stamp, MoveError> {
    let metadata = file.metadata().map_err(at("look at", path))?;
    Ok(Stamp::of(&metadata))
}
