//! One pass over the bytes.
//!
//! ```text
//!   source --Bytes--+--> SHA-256
//!    (async)        |     thread
//!                   +--> signature, if one is wanted
//!                   |     thread
//!                   +--> gunzip ----blocks----> untar, check, write
//!                         thread                 thread
//! ```
//!
//! All channels are bounded, so the slowest stage paces the others and memory stays flat. When a
//! stage fails, its channel closes and the stages before it stop.

use std::io::{self, BufRead, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bytes::{Buf, Bytes};
use flate2::bufread::GzDecoder;
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedMutexGuard, mpsc};
use tokio::task::{JoinHandle, spawn_blocking};

use super::error::{ArchiveError, InstallError};
use super::signature::{Checker, SignatureError};
use super::unpack::{Limits, Unpacked, unpack};
use crate::wanted::Digest;

/// Pieces of the tarball under way to each reader; a piece is at most what one read gives (16 KB to
/// 1 MB), so a few megabytes.
const PIECES: usize = 16;
/// Blocks under way between gunzip and untar.
const BLOCKS: usize = 8;
/// One block.
const BLOCK: usize = 256 * 1024;

/// What the pass found out.
#[derive(Debug)]
pub struct Passed {
    /// Of all bytes.
    pub digest: Digest,
    /// The signature's verdict.
    pub signature: Result<(), SignatureError>,
    /// The tree, or why there is none.
    pub tree: Result<Unpacked, InstallError>,
}

/// The running stages.
pub struct Pipeline {
    hash: mpsc::Sender<Bytes>,
    sign: Option<mpsc::Sender<Bytes>>,
    inflate: mpsc::Sender<Bytes>,
    hashing: JoinHandle<Digest>,
    checking: Option<JoinHandle<Result<(), SignatureError>>>,
    inflating: JoinHandle<()>,
    unpacking: JoinHandle<Result<Unpacked, InstallError>>,
}

impl Pipeline {
    /// Starts the stages. They hold `lock` until the last of them ended, also when this is dropped:
    /// whoever takes it next finds nobody writing.
    pub fn start(
        root: PathBuf,
        limits: Limits,
        checker: Option<Checker>,
        lock: Arc<OwnedMutexGuard<()>>,
    ) -> Self {
        let (hash, to_hash) = mpsc::channel(PIECES);
        let (inflate, to_inflate) = mpsc::channel(PIECES);
        let (blocks, to_unpack) = sync_channel(BLOCKS);
        // Headers and padding come on top of the contents.
        let stream_limit = limits
            .bytes
            .saturating_add(limits.files.saturating_mul(2048))
            .saturating_add(1 << 20);
        let (sign, checking) = match checker {
            None => (None, None),
            Some(checker) => {
                let (sign, to_check) = mpsc::channel(PIECES);
                let check = move || checker.run(to_check, crate::clock::timestamp());
                (Some(sign), Some(spawn_blocking(check)))
            }
        };
        let guard = Arc::clone(&lock);
        let refused = Arc::new(AtomicBool::new(false));
        let refusing = Arc::clone(&refused);
        Self {
            hash,
            sign,
            inflate,
            hashing: spawn_blocking(move || run_hash(to_hash)),
            checking,
            inflating: spawn_blocking(move || {
                run_inflate(to_inflate, &blocks, (limits.bytes, stream_limit), &refused);
                drop(guard);
            }),
            unpacking: spawn_blocking(move || {
                let stream = Blocks::new(to_unpack);
                let result = unpack(stream, &root, limits, |error| {
                    refusing.store(!error.is_damage(), Ordering::Release);
                });
                drop(lock);
                result
            }),
        }
    }

    /// The next bytes, in order. `false`: the archive is refused already, no need for more.
    pub async fn push(&self, bytes: Bytes) -> bool {
        let _ = self.hash.send(bytes.clone()).await;
        if let Some(sign) = &self.sign {
            let _ = sign.send(bytes.clone()).await;
        }
        self.inflate.send(bytes).await.is_ok()
    }

    /// No more bytes: waits for every stage.
    pub async fn finish(self) -> Result<Passed, InstallError> {
        drop((self.hash, self.sign, self.inflate));
        let digest = self.hashing.await.map_err(|_| InstallError::Interrupted)?;
        let signature = match self.checking {
            None => Ok(()),
            Some(checking) => checking.await.map_err(|_| InstallError::Interrupted)?,
        };
        self.inflating
            .await
            .map_err(|_| InstallError::Interrupted)?;
        let tree = self
            .unpacking
            .await
            .map_err(|_| InstallError::Interrupted)?;
        Ok(Passed {
            digest,
            signature,
            tree,
        })
    }
}

fn run_hash(mut pieces: mpsc::Receiver<Bytes>) -> Digest {
    let mut hash = Sha256::new();
    while let Some(bytes) = pieces.blocking_recv() {
        hash.update(&bytes);
    }
    Digest::new(hash.finalize().into())
}

/// A block of the archive, or why there is no next one.
pub type Block = Result<Vec<u8>, InstallError>;

/// Inflates one gzip member. The rest of a damaged stream is read all the same, so that its digest is
/// known; of a refused one it is not. Which of the two it is, whoever unpacks decides, and always later.
fn run_inflate(
    pieces: mpsc::Receiver<Bytes>,
    blocks: &SyncSender<Block>,
    (limit, stream_limit): (u64, u64),
    refused: &AtomicBool,
) {
    let mut decoder = GzDecoder::new(Pieces {
        receiver: pieces,
        current: Bytes::new(),
    });
    let mut total = 0_u64;
    loop {
        let mut block = vec![0; BLOCK];
        let mut filled = 0;
        let outcome = loop {
            match decoder.read(&mut block[filled..]) {
                Ok(0) => break Ok(()),
                Ok(length) => filled += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
            if filled == BLOCK {
                break Ok(());
            }
        };
        total += filled as u64;
        block.truncate(filled);
        let last = filled < BLOCK;
        if filled > 0 && total <= stream_limit && blocks.send(Ok(block)).is_err() {
            return decoder.get_mut().drain(refused);
        }
        if total > stream_limit {
            let _ = blocks.send(Err(ArchiveError::TooManyBytes(limit).into()));
            return decoder.get_mut().drain(refused);
        }
        let damage = match outcome {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => ArchiveError::Truncated,
            Err(error) => ArchiveError::Gzip(error.to_string()),
            Ok(()) if last => match decoder.get_mut().fill_buf() {
                Ok([]) => return,
                _ => ArchiveError::TrailingGarbage("bytes after the gzip stream"),
            },
            Ok(()) => continue,
        };
        let _ = blocks.send(Err(damage.into()));
        return decoder.get_mut().drain(refused);
    }
}

/// The tarball's pieces as a reader.
struct Pieces {
    receiver: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl Pieces {
    fn drain(&mut self, refused: &AtomicBool) {
        while !refused.load(Ordering::Acquire) && self.receiver.blocking_recv().is_some() {}
    }
}

impl BufRead for Pieces {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(bytes) => self.current = bytes,
                None => break,
            }
        }
        Ok(&self.current)
    }

    fn consume(&mut self, amount: usize) {
        self.current.advance(amount);
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(buffer.len());
        buffer[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}

/// The archive's blocks as a reader; an error of the inflating side travels inside [`io::Error`].
struct Blocks {
    receiver: Receiver<Block>,
    current: Vec<u8>,
    position: usize,
}

impl Blocks {
    fn new(receiver: Receiver<Block>) -> Self {
        Self {
            receiver,
            current: Vec::new(),
            position: 0,
        }
    }
}

impl Read for Blocks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.position == self.current.len() {
            match self.receiver.recv() {
                Ok(Ok(block)) => {
                    self.current = block;
                    self.position = 0;
                }
                Ok(Err(error)) => return Err(io::Error::other(error)),
                Err(_) => return Ok(0),
            }
        }
        let available = &self.current[self.position..];
        let length = available.len().min(buffer.len());
        buffer[..length].copy_from_slice(&available[..length]);
        self.position += length;
        Ok(length)
    }
}

/// The blocks of a gzip stream that is there whole.
#[cfg(test)]
pub fn inflated(bytes: Bytes, limit: u64) -> Vec<Block> {
    let (send, pieces) = mpsc::channel(1);
    let (blocks, receive) = sync_channel(BLOCKS);
    send.try_send(bytes).expect("one piece has room");
    drop(send);
    let inflate = move || run_inflate(pieces, &blocks, (limit, limit), &AtomicBool::new(false));
    let thread = std::thread::spawn(inflate);
    let all = receive.iter().collect();
    thread.join().expect("inflating does not panic");
    all
}
