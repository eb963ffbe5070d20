//! Where the tarball comes from: the image's cache, else HTTPS with resumption.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, ETAG, HeaderMap, IF_RANGE, RANGE};
use reqwest::{Certificate, Client, Response, StatusCode, redirect};
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use super::error::InstallError;
use super::pipeline::Pipeline;
use crate::disk::at;
use crate::layout::Layout;
use crate::wanted::Artefact;

/// One read from the cache.
const READ: usize = 256 * 1024;
const REDIRECTS: usize = 5;
/// How patient the transfer is.
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
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            stall: Duration::from_secs(30),
            attempts: 6,
            pause: Duration::from_millis(500),
            window: Duration::from_secs(60),
            floor: 16 * 1024,
        }
    }
}

/// The image's copies, likeliest first. The digest decides, not the name.
pub fn cached(layout: &Layout, artefact: &Artefact) -> Vec<PathBuf> {
    let arch = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    };
    let version = &artefact.version;
    [
        format!("mattermost-{}.tar.gz", artefact.sha256),
        format!("mattermost-{version}-linux-{arch}.tar.gz"),
        format!("mattermost-team-{version}-linux-{arch}.tar.gz"),
        format!("mattermost-{version}.tar.gz"),
    ]
    .into_iter()
    .map(|name| layout.cache().join(name))
    .filter(|path| path.is_file())
    .collect()
}

/// A file into the pipeline.
pub async fn read_file(path: &Path, pipeline: &Pipeline) -> Result<(), InstallError> {
    let mut file = File::open(path).await.map_err(at("open", path))?;
    loop {
        let mut buffer = bytes::BytesMut::with_capacity(READ);
        let length = file.read_buf(&mut buffer).await.map_err(at("read", path))?;
        if length == 0 || !pipeline.push(buffer.freeze()).await {
            return Ok(());
        }
    }
}

/// What the first answer said about the file, which the later ones must repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    total: Option<u64>,
    etag: Option<String>,
}

/// A download that continues where it broke.
pub struct Download<'a> {
    artefact: &'a Artefact,
    patience: Patience,
    client: Client,
    shown: String,
    received: u64,
    seen: Option<Seen>,
    /// Asked once, when the server has said how much it is, before the first byte.
    room: &'a Room<'a>,
}

/// Whether there is room for so many bytes of tarball; `None`: the server does not say.
pub type Room<'a> = dyn Fn(Option<u64>) -> Result<(), InstallError> + Send + Sync + 'a;

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

impl<'a> Download<'a> {
    /// Sets up the client: HTTPS only, proxies from the environment, the mirror's roots added.
    pub fn new(
        artefact: &'a Artefact,
        patience: Patience,
        room: &'a Room<'a>,
    ) -> Result<Self, InstallError> {
        let mut shown = artefact.url.clone();
        shown.set_query(None);
        let follow = redirect::Policy::custom(|attempt| {
            if attempt.url().scheme() != "https" {
                attempt.error("it is not https://")
            } else if attempt.previous().len() > REDIRECTS {
                attempt.error("too many redirects")
            } else {
                attempt.follow()
            }
        });
        let mut client = Client::builder()
            .redirect(follow)
            .connect_timeout(patience.stall)
            .read_timeout(patience.stall)
            .user_agent(concat!("mattermost-agent/", env!("CARGO_PKG_VERSION")));
        if !artefact.trust_pem.is_empty() {
            let roots = Certificate::from_pem_bundle(artefact.trust_pem.as_bytes())
                .map_err(InstallError::Client)?;
            client = client.tls_certs_merge(roots);
        }
        Ok(Self {
            artefact,
            patience,
            client: client.build().map_err(InstallError::Client)?,
            shown: shown.to_string(),
            received: 0,
            seen: None,
            room,
        })
    }

    /// All bytes into the pipeline, in order; fewer only when the pipeline refuses the rest.
    pub async fn run(&mut self, pipeline: &Pipeline) -> Result<(), InstallError> {
        let mut failures = 0;
        let mut pause = self.patience.pause;
        loop {
            let before = self.received;
            match self.attempt(pipeline).await {
                Ok(()) => return Ok(()),
                Err(Break::Final(error)) => return Err(error),
                Err(Break::Again) => {}
            }
            if self.received > before {
                failures = 0;
                pause = self.patience.pause;
            }
            failures += 1;
            if failures >= self.patience.attempts {
                return Err(InstallError::Broken {
                    url: self.shown.clone(),
                    received: self.received,
                    attempts: failures,
                });
            }
            log::warn!(
                "the transfer of `{}` broke at {} bytes: going on",
                self.shown,
                self.received
            );
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    async fn attempt(&mut self, pipeline: &Pipeline) -> Result<(), Break> {
        let mut request = self
            .client
            .get(self.artefact.url.clone())
            .header(ACCEPT_ENCODING, "identity");
        if self.received > 0 {
            request = request.header(RANGE, format!("bytes={}-", self.received));
            if let Some(etag) = self.seen.as_ref().and_then(|seen| seen.etag.as_ref()) {
                request = request.header(IF_RANGE, etag);
            }
        }
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return Err(self.unsent(error)),
        };
        let skip = self.check(&answer)?;
        self.body(answer, skip, pipeline).await
    }

    fn unsent(&self, source: reqwest::Error) -> Break {
        let url = self.shown.clone();
        if source.is_redirect() {
            return InstallError::Redirect {
                url,
                source: source.without_url(),
            }
            .into();
        }
        if crate::coded::certificate_error(&source).is_some() {
            return InstallError::Untrusted {
                url,
                source: source.without_url(),
            }
            .into();
        }
        if source.is_builder() {
            return InstallError::Client(source.without_url()).into();
        }
        if self.received == 0 {
            return InstallError::Unreachable {
                url,
                source: source.without_url(),
            }
            .into();
        }
        Break::Again
    }

    /// Checks status and headers against what is known; returns how many bytes to skip.
    fn check(&mut self, answer: &Response) -> Result<u64, Break> {
        let changed = |what: String| InstallError::Changed {
            url: self.shown.clone(),
            what,
        };
        let headers = answer.headers();
        let etag = text(headers, &ETAG).filter(|etag| !etag.starts_with("W/"));
        let (skip, total) = match answer.status() {
            // Also what a server without ranges answers: what is known already is skipped.
            StatusCode::OK => (self.received, answer.content_length()),
            StatusCode::PARTIAL_CONTENT => {
                let (start, total) = text(headers, &CONTENT_RANGE)
                    .as_deref()
                    .and_then(content_range)
                    .ok_or_else(|| changed("its Content-Range is unusable".to_owned()))?;
                if start != self.received {
                    return Err(changed(format!(
                        "it continues at {start} instead of {}",
                        self.received
                    ))
                    .into());
                }
                (0, total)
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                return Err(changed("it has become shorter".to_owned()).into());
            }
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                if self.patience.attempts <= 1 || self.seen.is_none() {
                    return Err(self.status(status).into());
                }
                return Err(Break::Again);
            }
            status => return Err(self.status(status).into()),
        };
        if total.is_some_and(|total| total > self.artefact.max_bytes) {
            return Err(self.too_large().into());
        }
        let now = Seen { total, etag };
        match &self.seen {
            None => {
                (self.room)(total)?;
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

    fn status(&self, status: StatusCode) -> InstallError {
        InstallError::Status {
            url: self.shown.clone(),
            status: status.as_u16(),
        }
    }

    fn too_large(&self) -> InstallError {
        InstallError::TooLarge {
            url: self.shown.clone(),
            limit: self.artefact.max_bytes,
        }
    }

    async fn body(
        &mut self,
        answer: Response,
        mut skip: u64,
        pipeline: &Pipeline,
    ) -> Result<(), Break> {
        let mut stream = answer.bytes_stream();
        let mut window = (Instant::now(), 0_u64);
        while let Some(piece) = stream.next().await {
            let Ok(mut piece) = piece else {
                return Err(Break::Again);
            };
            window.1 += piece.len() as u64;
            if window.0.elapsed() >= self.patience.window {
                let rate = (window.1 as f64 / window.0.elapsed().as_secs_f64()) as u64;
                if rate < self.patience.floor {
                    return Err(InstallError::TooSlow {
                        url: self.shown.clone(),
                        floor: self.patience.floor,
                    }
                    .into());
                }
                window = (Instant::now(), 0);
            }
            let dropped = skip.min(piece.len() as u64);
            skip -= dropped;
            let piece: Bytes = piece.split_off(dropped as usize);
            if piece.is_empty() {
                continue;
            }
            self.received += piece.len() as u64;
            if self.received > self.artefact.max_bytes {
                return Err(self.too_large().into());
            }
            // The disk's time is not the server's.
            let before = Instant::now();
            if !pipeline.push(piece).await {
                return Ok(());
            }
            window.0 += before.elapsed();
        }
        match self.seen.as_ref().and_then(|seen| seen.total) {
            // A server may give less than was asked for; the next request asks for the rest.
            Some(announced) if announced > self.received => Err(Break::Again),
            Some(announced) if announced < self.received => Err(InstallError::Length {
                url: self.shown.clone(),
                received: self.received,
                announced,
            }
            .into()),
            _ => Ok(()),
        }
    }
}

fn text(headers: &HeaderMap, name: &reqwest::header::HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// `bytes 100-199/200` → (100, 200).
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    let total = match total {
        "*" => None,
        number => Some(number.parse().ok()?),
    };
    Some((start.parse().ok()?, total))
}
