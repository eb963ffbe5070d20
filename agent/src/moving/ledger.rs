//! What the last pass copied, in the order of keys, so that the next one reads both side by side.
//!
//! It saves work and proves nothing: a ledger that is damaged, or of another bucket, is one that knows
//! nothing. A new one takes the old one's place when its pass is over. Of a pass that failed, or died, the
//! next one takes up the lines: a file that was copied by it and is removed here must be removed there.

use std::cmp::Ordering;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::read::Local;
use super::walk::Stamp;
use crate::disk::{DiskError, at, sync_directory};

/// One file that is in the bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) key: String,
    pub(super) stamp: Stamp,
    /// Hex.
    pub(super) sha256: String,
}

impl Line {
    /// The digest; none in a line that nobody wrote.
    pub(super) fn sha256(&self) -> Option<[u8; 32]> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(&self.sha256, &mut bytes).ok()?;
        Some(bytes)
    }
}

/// Reads the ledger of the last pass.
pub(super) struct Reader {
    lines: Option<std::io::Lines<BufReader<File>>>,
    next: Option<Line>,
}

impl Reader {
    /// Nothing is known where there is no ledger, or one for another destination.
    pub(super) fn open(path: &Path, destination: &str) -> Result<Self, DiskError> {
        let lines = match File::open(path) {
            Ok(file) => Some(BufReader::new(file).lines()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(at("read", path)(error)),
        };
        let mut reader = Self { lines, next: None };
        let head = reader
            .lines
            .as_mut()
            .and_then(|lines| lines.next()?.ok())
            .and_then(|text| serde_json::from_str::<String>(&text).ok());
        if head.as_deref() == Some(destination) {
            reader.advance();
        } else {
            reader.lines = None;
        }
        Ok(reader)
    }

    fn advance(&mut self) {
        let last = self.next.take();
        self.next = self
            .lines
            .as_mut()
            .and_then(|lines| lines.next()?.ok())
            .and_then(|text| serde_json::from_str::<Line>(&text).ok())
            // Out of order is damage.
            .filter(|line| last.is_none_or(|last| last.key < line.key));
        if self.next.is_none() {
            self.lines = None;
        }
    }

    /// The next line before `key` (`None`: of the rest), which has no file any more.
    pub(super) fn before(&mut self, key: Option<&str>) -> Option<Line> {
        let line = self.next.as_ref()?;
        if key.is_some_and(|key| line.key.as_str().cmp(key) != Ordering::Less) {
            return None;
        }
        let line = self.next.clone();
        self.advance();
        line
    }

    /// The line of exactly this key.
    pub(super) fn at(&mut self, key: &str) -> Option<Line> {
        let line = self.next.clone().filter(|line| line.key == key)?;
        self.advance();
        Some(line)
    }
}

/// Puts what an unfinished pass wrote before the rest of the ledger that it was to replace: it came as far
/// as its last line.
pub(super) fn take_up(path: &Path, destination: &str) -> Result<(), DiskError> {
    let unfinished = path.with_extension(FRESH);
    let mut began = Reader::open(&unfinished, destination)?;
    let mut before = Reader::open(path, destination)?;
    if began.next.is_none() {
        return Ok(());
    }
    let mut joined = Ledger::create(path.with_extension("joined"), path, destination)?;
    let mut last = String::new();
    while let Some(line) = began.before(None) {
        joined.keep(&line)?;
        last = line.key;
    }
    while let Some(line) = before.before(None) {
        if line.key > last {
            joined.keep(&line)?;
        }
    }
    joined.finish()
}

/// Ending of the name of a ledger whose pass is under way.
const FRESH: &str = "new";

/// The ledger of the pass under way. Each line is written at once: it is little beside the requests that it
/// stands for.
pub(super) struct Ledger {
    file: File,
    fresh: PathBuf,
    path: PathBuf,
}

impl Ledger {
    /// Beside the last one. Names of users' files stand in it: root's alone.
    pub(super) fn begin(path: &Path, destination: &str) -> Result<Self, DiskError> {
        Self::create(path.with_extension(FRESH), path, destination)
    }

    fn create(fresh: PathBuf, path: &Path, destination: &str) -> Result<Self, DiskError> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)
            .map_err(at("create", &fresh))?;
        let mut ledger = Self {
            file,
            fresh,
            path: path.to_owned(),
        };
        ledger.append(&destination)?;
        Ok(ledger)
    }

    fn append(&mut self, line: &impl Serialize) -> Result<(), DiskError> {
        let mut text = serde_json::to_vec(line).expect("texts and numbers are JSON");
        text.push(b'\n');
        self.file.write_all(&text).map_err(at("write", &self.fresh))
    }

    /// This file is in the bucket.
    pub(super) fn write(&mut self, file: &Local) -> Result<(), DiskError> {
        self.append(&Line {
            key: file.key.clone(),
            stamp: file.stamp,
            sha256: hex::encode(file.sha256),
        })
    }

    /// As in the last one.
    pub(super) fn keep(&mut self, line: &Line) -> Result<(), DiskError> {
        self.append(line)
    }

    /// Takes the last one's place.
    pub(super) fn finish(self) -> Result<(), DiskError> {
        self.file.sync_all().map_err(at("write", &self.fresh))?;
        fs::rename(&self.fresh, &self.path).map_err(at("rename into", &self.path))?;
        sync_directory(self.path.parent().unwrap_or(Path::new("/")))
    }
}
