//! One range of a transfer: asked for, checked against what the first answer said, continued where it
//! breaks, and given up when it is too slow or another file.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::StreamExt;
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, IF_RANGE, RANGE,
};
use reqwest::{Response, StatusCode};
use tokio::time::Instant;

use super::client::{lasting, unsent};
use super::download::{Remote, Room, Sink};
use super::error::InstallError;

/// What the first answer said about the file, which the later ones must repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) total: Option<u64>,
    /// A strong one only: it alone says that two ranges are of the same bytes.
    pub(super) etag: Option<String>,
}

/// Why one attempt ended.
enum Break {
    /// Try again from where it stopped.
    Again,
    /// No use.
    Final(InstallError),
}

impl From<InstallError> for Break {
    fn from(error: InstallError) -> Self {
        Self::Final(error)
    }
}

/// A range on its way.
pub(super) struct Part {
    /// Offset of the next byte.
    pub(super) next: u64,
    /// Offset behind its last byte; a server that gives all gives more than a first part. `None`: to
    /// wherever the stream ends.
    pub(super) end: Option<u64>,
    pub(super) seen: Option<Seen>,
}

impl Part {
    /// With further attempts, until it is whole. `false`: whoever takes the bytes takes no more.
    pub(super) async fn run(
        &mut self,
        remote: &Remote,
        room: &Room<'_>,
        sink: &Sink<'_>,
    ) -> Result<bool, InstallError> {
        let mut failures = 0;
        let mut pause = remote.patience.pause;
        loop {
            let before = self.next;
            match self.attempt(remote, room, sink).await {
                Ok(taken) => return Ok(taken),
                Err(Break::Final(error)) => return Err(error),
                Err(Break::Again) => {}
            }
            if self.next > before {
                failures = 0;
                pause = remote.patience.pause;
            }
            failures += 1;
            let (url, received) = (remote.shown.clone(), self.next);
            if failures >= remote.patience.attempts {
                return Err(InstallError::Broken {
                    url,
                    received,
                    attempts: failures,
                });
            }
            log::warn!("the transfer of `{url}` broke at {received} bytes: going on");
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    async fn attempt(
        &mut self,
        remote: &Remote,
        room: &Room<'_>,
        sink: &Sink<'_>,
    ) -> Result<bool, Break> {
        let last = self
            .end
            .map(|end| end.saturating_sub(1).to_string())
            .unwrap_or_default();
        let mut request = remote
            .client
            .get(remote.url.clone())
            .header(ACCEPT_ENCODING, "identity")
            .header(RANGE, format!("bytes={}-{last}", self.next));
        if let Some(etag) = self.seen.as_ref().and_then(|seen| seen.etag.as_ref()) {
            request = request.header(IF_RANGE, etag);
        }
        let answer = request.send().await.map_err(|source| {
            if self.seen.is_some() && !lasting(&source) {
                Break::Again
            } else {
                unsent(&remote.shown, source).into()
            }
        })?;
        let unmeasured = self.seen.as_ref().is_some_and(|seen| seen.total.is_none());
        if unmeasured && answer.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            // It ends where the last answer ended; the digest tells whether that is right.
            return Ok(true);
        }
        let skip = self.check(remote, room, &answer)?;
        self.body(remote, answer, skip, sink).await
    }

    /// Checks status and headers against what is known; returns how many bytes to skip.
    fn check(&mut self, remote: &Remote, room: &Room<'_>, answer: &Response) -> Result<u64, Break> {
        let changed = |what: String| InstallError::Changed {
            url: remote.shown.clone(),
            what,
        };
        let status = |status: StatusCode| InstallError::Status {
            url: remote.shown.clone(),
            status: status.as_u16(),
        };
        let headers = answer.headers();
        let etag = text(headers, &ETAG).filter(|etag| !etag.starts_with("W/"));
        let (skip, total) = match answer.status() {
            // Also what a server without ranges answers: what is known already is skipped.
            StatusCode::OK => {
                let total = answer.content_length();
                if self.seen.is_none() {
                    self.end = total;
                }
                (self.next, total)
            }
            StatusCode::PARTIAL_CONTENT => {
                let (start, end, total) = text(headers, &CONTENT_RANGE)
                    .as_deref()
                    .and_then(content_range)
                    .ok_or_else(|| changed("its Content-Range is unusable".to_owned()))?;
                if start != self.next {
                    return Err(changed(format!(
                        "it continues at {start} instead of {}",
                        self.next
                    ))
                    .into());
                }
                if let Some(received) = answer.content_length().filter(|it| *it != end - start) {
                    return Err(InstallError::Length {
                        url: remote.shown.clone(),
                        received,
                        announced: end - start,
                    }
                    .into());
                }
                if self.seen.is_none() {
                    self.end = self.end.into_iter().chain(total).min();
                }
                (0, total)
            }
            StatusCode::RANGE_NOT_SATISFIABLE if self.seen.is_some() => {
                return Err(changed("it has become shorter".to_owned()).into());
            }
            code if code.is_server_error() || code == StatusCode::TOO_MANY_REQUESTS => {
                if remote.patience.attempts <= 1 || self.seen.is_none() {
                    return Err(status(code).into());
                }
                return Err(Break::Again);
            }
            code => return Err(status(code).into()),
        };
        if total.is_some_and(|total| total > remote.limit) {
            return Err(remote.too_large().into());
        }
        let now = Seen { total, etag };
        match &self.seen {
            None => {
                room(total)?;
                self.seen = Some(now);
            }
            Some(seen) if *seen == now => {}
            Some(seen) => {
                return Err(changed(format!(
                    "length {:?} was {:?}, ETag {:?} was {:?}",
                    now.total, seen.total, now.etag, seen.etag
                ))
                .into());
            }
        }
        Ok(skip)
    }

    async fn body(
        &mut self,
        remote: &Remote,
        answer: Response,
        mut skip: u64,
        sink: &Sink<'_>,
    ) -> Result<bool, Break> {
        let mut stream = answer.bytes_stream();
        let mut floor = Floor::new(remote);
        while let Some(piece) = stream.next().await {
            let Ok(mut piece) = piece else {
                return Err(Break::Again);
            };
            floor.count(piece.len() as u64)?;
            let dropped = skip.min(piece.len() as u64);
            skip -= dropped;
            let mut piece: Bytes = piece.split_off(dropped as usize);
            if let Some(end) = self.end {
                piece.truncate(usize::try_from(end - self.next).unwrap_or(usize::MAX));
            }
            if piece.is_empty() {
                continue;
            }
            self.next += piece.len() as u64;
            if self.next > remote.limit {
                return Err(remote.too_large().into());
            }
            // The disk's time is not the server's.
            let before = Instant::now();
            if !sink.give(piece).await {
                return Ok(false);
            }
            floor.began += before.elapsed();
            if self.end == Some(self.next) {
                return Ok(true);
            }
        }
        match self.end {
            // A server may give less than was asked for; the next request asks for the rest.
            Some(end) if end > self.next => Err(Break::Again),
            _ => Ok(true),
        }
    }
}

/// What a transfer must reach: all parts together, over one part's waiting.
struct Floor<'a> {
    remote: &'a Remote,
    began: Instant,
    before: u64,
}

impl<'a> Floor<'a> {
    fn new(remote: &'a Remote) -> Self {
        Self {
            remote,
            began: Instant::now(),
            before: remote.received.load(Ordering::Relaxed),
        }
    }

    fn count(&mut self, bytes: u64) -> Result<(), InstallError> {
        let all = self.remote.received.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let waited = self.began.elapsed();
        if waited < self.remote.patience.window {
            return Ok(());
        }
        let floor = self.remote.patience.floor;
        if ((all - self.before) as f64 / waited.as_secs_f64()) < floor as f64 {
            let url = self.remote.shown.clone();
            return Err(InstallError::TooSlow { url, floor });
        }
        (self.began, self.before) = (Instant::now(), all);
        Ok(())
    }
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// `bytes 100-199/300` → (100, 200, 300): the end is behind the last byte.
fn content_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, last) = range.split_once('-')?;
    let (start, last): (u64, u64) = (start.parse().ok()?, last.parse().ok()?);
    let end = last.checked_add(1).filter(|end| *end > start)?;
    let total = match total {
        "*" => None,
        number => Some(number.parse().ok().filter(|total| end <= *total)?),
    };
    Some((start, end, total))
}
