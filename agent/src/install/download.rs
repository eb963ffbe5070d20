//! The transfer: in order, several ranges at once where the server allows it, going on where it broke.
//!
//! ```text
//!   first range --> 206, strong ETag, length --> part | part | part | part   at once, If-Range
//!        |                                        `------ in order ------> pipeline
//!        +--> 200, or no ETag: one stream, resumed by range where that is possible
//!        `--> 206, no length: part after part, until there is nothing behind the last one
//! ```
//!
//! Every answer must repeat length and ETag of the first: a file that changes between ranges is named
//! as that, and what no ETag tells is caught by the digest. At most `streams` parts are in memory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Client, Url};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::client::{client, shown};
use super::error::InstallError;
use super::part::{Part, Seen};
use super::pipeline::Pipeline;
use crate::wanted::Artefact;

/// How the transfer goes, and how patient it is.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Silence that breaks a connection.
    pub stall: Duration,
    /// Failures in a row, without a byte in between, that end it.
    pub attempts: u32,
    /// The first wait between them; it doubles.
    pub pause: Duration,
    /// Over this long, it must be faster than the floor.
    pub window: Duration,
    /// Bytes per second. A release is about 400 MB; slower than this takes longer than eight hours.
    pub floor: u64,
    /// Bytes of one range: long enough that a round trip does not matter.
    pub part: u64,
    /// Ranges at once, each held in memory until its turn: four times four megabytes.
    pub streams: usize,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            stall: Duration::from_secs(30),
            attempts: 6,
            pause: Duration::from_millis(500),
            window: Duration::from_secs(60),
            floor: 16 * 1024,
            part: 4 << 20,
            streams: 4,
        }
    }
}

/// Whether there is room for so many bytes of tarball; `None`: the server does not say.
pub type Room<'a> = dyn Fn(Option<u64>) -> Result<(), InstallError> + Send + Sync + 'a;

/// The file on the server, for all parts.
pub(super) struct Remote {
    pub(super) client: Client,
    pub(super) url: Url,
    pub(super) shown: String,
    pub(super) patience: Patience,
    pub(super) limit: u64,
    /// By all parts together, for the floor.
    pub(super) received: AtomicU64,
}

/// All bytes into the pipeline, in order; fewer only when the pipeline refuses the rest. `room` is
/// asked once, when the server has said how much it is, before the first byte.
pub async fn download(
    artefact: &Artefact,
    patience: Patience,
    room: &Room<'_>,
    pipeline: &Pipeline,
) -> Result<(), InstallError> {
    let remote = Arc::new(Remote {
        client: client(artefact, patience)?,
        url: artefact.url.clone(),
        shown: shown(&artefact.url),
        patience,
        limit: artefact.max_bytes,
        received: AtomicU64::new(0),
    });
    let mut first = Part {
        next: 0,
        end: Some(patience.part),
        seen: None,
    };
    let push = Sink::Pipeline(pipeline);
    if !first.run(&remote, room, &push).await? {
        return Ok(());
    }
    let Some(seen) = first.seen.clone() else {
        return Ok(());
    };
    let from = first.next;
    match (seen.total, &seen.etag) {
        (Some(total), _) if from >= total => Ok(()),
        (Some(total), Some(_)) if patience.streams > 1 => {
            at_once(remote, seen, from..total, pipeline).await
        }
        (Some(_), _) => {
            let mut rest = Part {
                next: from,
                end: seen.total,
                seen: Some(seen),
            };
            rest.run(&remote, room, &push).await.map(|_| ())
        }
        // One stream of unknown length that ended, or one part after the other until one ends early.
        (None, _) => {
            while first.end == Some(first.next) {
                first.end = Some(first.next.saturating_add(remote.patience.part));
                if !first.run(&remote, room, &push).await? {
                    break;
                }
            }
            Ok(())
        }
    }
}

/// The parts of a range at once, their bytes in order.
async fn at_once(
    remote: Arc<Remote>,
    seen: Seen,
    range: std::ops::Range<u64>,
    pipeline: &Pipeline,
) -> Result<(), InstallError> {
    // Dropped with this future: then no part goes on.
    let mut tasks = JoinSet::new();
    let mut running = VecDeque::new();
    let mut next = range.start;
    loop {
        while running.len() < remote.patience.streams && next < range.end {
            let end = range.end.min(next.saturating_add(remote.patience.part));
            let (send, receive) = mpsc::unbounded_channel();
            let mut part = Part {
                next,
                end: Some(end),
                seen: Some(seen.clone()),
            };
            let remote = Arc::clone(&remote);
            tasks.spawn(async move {
                let sink = Sink::Part(send);
                if let Err(error) = part.run(&remote, &|_| Ok(()), &sink).await {
                    sink.fail(error);
                }
            });
            running.push_back((receive, end - next));
            next = end;
        }
        let Some((mut pieces, mut missing)) = running.pop_front() else {
            return Ok(());
        };
        while let Some(piece) = pieces.recv().await {
            let piece: Bytes = piece?;
            missing = missing.saturating_sub(piece.len() as u64);
            if !pipeline.push(piece).await {
                return Ok(());
            }
        }
        if missing > 0 {
            return Err(InstallError::Interrupted);
        }
    }
}

/// Who takes the bytes.
pub(super) enum Sink<'a> {
    /// At once: this part's turn has come.
    Pipeline(&'a Pipeline),
    /// Kept until its turn. Without a bound of its own: a part is one.
    Part(mpsc::UnboundedSender<Result<Bytes, InstallError>>),
}

impl Sink<'_> {
    /// `false`: no more is needed.
    pub(super) async fn give(&self, bytes: Bytes) -> bool {
        match self {
            Self::Pipeline(pipeline) => pipeline.push(bytes).await,
            Self::Part(send) => send.send(Ok(bytes)).is_ok(),
        }
    }

    fn fail(&self, error: InstallError) {
        if let Self::Part(send) = self {
            let _ = send.send(Err(error));
        }
    }
}

impl Remote {
    pub(super) fn too_large(&self) -> InstallError {
        InstallError::TooLarge {
            url: self.shown.clone(),
            limit: self.limit,
        }
    }
}
