//! Copies what users uploaded from this node's disk into the bucket that is to hold it from now on.
//!
//! ```text
//!   walk `data` in the order of keys --> SHA-256 --+--> there already, the same? --> listed
//!        ^ a thread of its own           (ledger)  |          no: put, look again ----^
//!                                                  +--> vanished since the last pass: removed
//! ```
//!
//! A pass may be repeated: what the bucket has already, of the same size and SHA-256, is not sent again, and
//! what is as the last pass left it (the ledger knows size, times and inode) is not even read again. So the
//! first pass runs beside the server, and the last one, with the server stopped, is short.
//!
//! Invariants:
//! * Memory is bounded: one folder's names, and [`PARALLEL`] files' chunks.
//! * Nothing is counted that was not seen in the bucket, with its size and its SHA-256.
//! * An object that no agent put there is never written over.

mod configuration;
mod error;
mod ledger;
mod place;
mod read;
mod walk;

use std::path::Path;

use async_trait::async_trait;
use fleet_proto::v1;
use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

pub use configuration::{ConfigurationFile, migrate};
pub use error::MoveError;
pub use read::Local;
pub use walk::Stamp;

use crate::file_store::FileStoreError;
use crate::steps::{Step, reached};
use ledger::Ledger;
use place::{Placed, place};

/// Files looked at in the bucket at once: hides the round trips, and leaves the server its share of the line.
const PARALLEL: usize = 8;
/// Files read ahead of the bucket's answers.
const AHEAD: usize = 64;

/// An object as the bucket tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Bytes.
    pub size: u64,
    /// Of the whole object, where the store keeps it.
    pub sha256: Option<[u8; 32]>,
    /// When the file that it is a copy of was changed last, milliseconds since 1970. None: no agent put it.
    pub modified_ms: Option<i64>,
}

/// The bucket, by keys below its prefix.
#[async_trait]
pub trait Bucket: Send + Sync {
    /// What is there.
    async fn look(&self, key: &str) -> Result<Option<Object>, FileStoreError>;
    /// SHA-256 of what is there, read to its end.
    async fn digest(&self, key: &str) -> Result<[u8; 32], FileStoreError>;
    /// Writes the file; the bucket checks its SHA-256. `None`: the file is not any more what was hashed.
    async fn put(&self, file: &Local) -> Result<Option<()>, FileStoreError>;
    /// Removes the object; fine when it is not there.
    async fn delete(&self, key: &str) -> Result<(), FileStoreError>;
}

/// What one pass is about.
#[derive(Clone, Copy, Debug)]
pub struct Pass<'a> {
    /// The server's folder of files.
    pub root: &'a Path,
    /// Where what was copied is remembered.
    pub ledger: &'a Path,
    /// Names the bucket and prefix: what was copied elsewhere counts for nothing here.
    pub destination: &'a str,
    /// The server is stopped: nothing may change any more.
    pub still: bool,
    /// No other node copies into this bucket: what vanished here is removed there.
    pub alone: bool,
}

/// What one pass found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files that are in the bucket as they are here.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of these, sent in this pass.
    pub sent: u64,
    /// Removed from the bucket, because they vanished here.
    pub removed: u64,
    /// A newer one of the same key came from another node.
    pub superseded: u64,
    /// Changed or vanished while they were read: the next pass takes them.
    pub moving: u64,
    /// SHA-256 (hex) of the sorted listing (key, size, SHA-256) as this node has it.
    pub digest: String,
    /// The same as the bucket told it.
    pub bucket_digest: String,
}

impl Copied {
    /// For the report.
    pub fn to_wire(&self, still: bool) -> v1::Moved {
        v1::Moved {
            files: self.files,
            bytes: self.bytes,
            digest: self.digest.clone(),
            bucket_digest: self.bucket_digest.clone(),
            superseded: self.superseded,
            changing: self.moving,
            complete: still,
            configuration: false,
        }
    }
}

/// One pass. `told` hears how far it is.
pub async fn copy(
    pass: Pass<'_>,
    bucket: &dyn Bucket,
    mut told: impl FnMut(&Copied),
) -> Result<Copied, MoveError> {
    ledger::take_up(pass.ledger, pass.destination)?;
    let known = ledger::Reader::open(pass.ledger, pass.destination)?;
    let mut fresh = Ledger::begin(pass.ledger, pass.destination)?;
    let (sender, receiver) = mpsc::channel(AHEAD);
    let root = pass.root.to_owned();
    // Ends by itself when the receiver is dropped.
    let reader = tokio::task::spawn_blocking(move || read::read(&root, known, &sender));
    let placing = ReceiverStream::new(receiver)
        .map(|item| place(pass, bucket, item))
        .buffered(PARALLEL);
    let mut placing = std::pin::pin!(placing);
    let mut copied = Copied::default();
    let (mut here, mut there) = (Sha256::new(), Sha256::new());
    while let Some(placed) = placing.next().await {
        match placed? {
            Placed::There { file, seen, sent } => {
                copied.files += 1;
                copied.bytes += file.stamp.size;
                copied.sent += u64::from(sent);
                if sent {
                    reached(Step::FileCopied);
                }
                list(&mut here, &file.key, file.stamp.size, &file.sha256);
                list(&mut there, &file.key, seen.0, &seen.1);
                fresh.write(&file)?;
            }
            Placed::Superseded => copied.superseded += 1,
            Placed::Removed => copied.removed += 1,
            Placed::Kept(line) => fresh.keep(&line)?,
            Placed::Nothing => {}
            Placed::Moving(path, _) if pass.still => return Err(MoveError::Changing(path)),
            Placed::Moving(_, before) => {
                copied.moving += 1;
                if let Some(line) = before {
                    fresh.keep(&line)?;
                }
            }
        }
        told(&copied);
    }
    // The stream ended, so the thread did: a panic there is one here.
    reader.await.map_err(|_| MoveError::Interrupted)?;
    fresh.finish()?;
    reached(Step::FilesRecorded);
    copied.digest = hex::encode(here.finalize());
    copied.bucket_digest = hex::encode(there.finalize());
    if copied.digest != copied.bucket_digest {
        return Err(MoveError::Unequal {
            here: copied.digest,
            there: copied.bucket_digest,
        });
    }
    Ok(copied)
}

/// One line of the listing; lengths first, so that no two listings look alike.
fn list(hash: &mut Sha256, key: &str, size: u64, sha256: &[u8; 32]) {
    hash.update((key.len() as u64).to_be_bytes());
    hash.update(key);
    hash.update(size.to_be_bytes());
    hash.update(sha256);
}
