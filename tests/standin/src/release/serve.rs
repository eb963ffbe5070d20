//! The release server: tarballs over HTTPS, with ranges, as a download host has them.

use std::io::{self, SeekFrom};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE,
    RANGE,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Frame;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::io::ReaderStream;

/// A client that does not finish its handshake is let go.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// After a failed accept (no file descriptors left) the next try waits.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Bytes read from the file at once.
const CHUNK: usize = 64 * 1024;

type Answer = Response<BoxBody<Bytes, io::Error>>;

/// Why nothing can be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The certificate or the key cannot be read.
    #[error("cannot read `{path}`")]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// They do not fit together.
    #[error("the certificate and the key do not fit together")]
    Tls(#[from] rustls::Error),
}

/// The TLS set-up from a certificate (chain) and a key, both PEM files.
pub fn tls_from_files(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, ServeError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ServeError::Pem { path, source }
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .map_err(failed(certificate))?
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed(certificate))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(failed(key))?;
    config(chain, secret)
}

/// The same from the texts of both.
pub fn tls_from_pem(certificate: &str, key: &str) -> Result<Arc<ServerConfig>, ServeError> {
    let failed = |what: &str| {
        let path = PathBuf::from(what);
        move |source| ServeError::Pem { path, source }
    };
    let chain = CertificateDer::pem_slice_iter(certificate.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed("the certificate"))?;
    let secret = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(failed("the key"))?;
    config(chain, secret)
}

fn config(
    chain: Vec<CertificateDer<'static>>,
    secret: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, ServeError> {
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, secret)?;
    Ok(Arc::new(config))
}

/// Serves the files below `dir` over HTTPS, until the future is dropped: `GET` and `HEAD`, one byte
/// range, `ETag` with `If-None-Match` and `If-Range`. Nothing outside `dir` is reachable.
pub async fn serve_releases(dir: PathBuf, listener: TcpListener, tls: Arc<ServerConfig>) {
    let acceptor = TlsAcceptor::from(tls);
    let dir: Arc<Path> = dir.into();
    // Dropped with this future: every connection ends with it.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (acceptor, dir) = (acceptor.clone(), Arc::clone(&dir));
        connections.spawn(async move {
            let shaken = tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await;
            let Ok(Ok(stream)) = shaken else { return };
            let service = service_fn(move |request| {
                let dir = Arc::clone(&dir);
                async move { Ok::<_, io::Error>(answer(&dir, &request).await) }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                log::info!("A download ended early: {error}");
            }
        });
    }
}

async fn answer<B>(dir: &Path, request: &Request<B>) -> Answer {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return status(StatusCode::METHOD_NOT_ALLOWED);
    }
    let Some(path) = inside(dir, request.uri().path()) else {
        return status(StatusCode::NOT_FOUND);
    };
    match file(&path, request.method(), request.headers()).await {
        Ok(answer) => answer,
        Err(error) if error.kind() == io::ErrorKind::NotFound => status(StatusCode::NOT_FOUND),
        Err(error) => {
            log::error!("Cannot read `{}`: {error}", path.display());
            status(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

/// The file that a URL path names; none when it would leave the directory.
fn inside(dir: &Path, path: &str) -> Option<PathBuf> {
    let relative = Path::new(path.strip_prefix('/')?);
    let plain = relative
        .components()
        .all(|component| matches!(component, Component::Normal(_)));
    (plain && !path.contains('%')).then(|| dir.join(relative))
}

fn empty() -> BoxBody<Bytes, io::Error> {
    Empty::new().map_err(|never| match never {}).boxed()
}

fn status(status: StatusCode) -> Answer {
    let mut answer = Response::new(empty());
    *answer.status_mut() = status;
    answer
}

async fn file(path: &Path, method: &Method, headers: &HeaderMap) -> io::Result<Answer> {
    let mut file = File::open(path).await?;
    let metadata = file.metadata().await?;
    if !metadata.is_file() {
        return Ok(status(StatusCode::NOT_FOUND));
    }
    let size = metadata.len();
    let changed = metadata
        .modified()?
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let etag = format!("\"{size:x}-{:x}\"", changed.as_nanos());
    let builder = Response::builder()
        .header(ETAG, &etag)
        .header(ACCEPT_RANGES, "bytes");
    let sent = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let built = |answer: Result<Answer, http::Error>| answer.map_err(io::Error::other);
    if sent(IF_NONE_MATCH) == Some(etag.as_str()) {
        return built(builder.status(StatusCode::NOT_MODIFIED).body(empty()));
    }
    let wanted = sent(RANGE).filter(|_| sent(IF_RANGE).is_none_or(|tag| tag == etag));
    let (code, first, length) = match wanted.map_or(Wanted::Whole, |range| parse_range(range, size))
    {
        Wanted::Whole => (StatusCode::OK, 0, size),
        Wanted::Part(first, length) => (StatusCode::PARTIAL_CONTENT, first, length),
        Wanted::Outside => {
            let builder = builder
                .status(StatusCode::RANGE_NOT_SATISFIABLE)
                .header(CONTENT_RANGE, format!("bytes */{size}"));
            return built(builder.body(empty()));
        }
    };
    let mut builder = builder
        .status(code)
        .header(CONTENT_TYPE, "application/gzip")
        .header(CONTENT_LENGTH, length);
    if code == StatusCode::PARTIAL_CONTENT {
        let last = first + length - 1;
        builder = builder.header(CONTENT_RANGE, format!("bytes {first}-{last}/{size}"));
    }
    if *method == Method::HEAD {
        return built(builder.body(empty()));
    }
    file.seek(SeekFrom::Start(first)).await?;
    let stream = ReaderStream::with_capacity(file.take(length), CHUNK).map_ok(Frame::data);
    built(builder.body(StreamBody::new(stream).boxed()))
}

#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Whole,
    Part(u64, u64),
    Outside,
}

/// One range of bytes. Several at once, or another unit, are answered with the whole, as the standard allows.
fn parse_range(text: &str, size: u64) -> Wanted {
    let Some((first, last)) = text
        .strip_prefix("bytes=")
        .filter(|range| !range.contains(','))
        .and_then(|range| range.trim().split_once('-'))
    else {
        return Wanted::Whole;
    };
    let (first, last) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => (first, last.min(size.saturating_sub(1))),
        (Ok(first), Err(_)) if last.is_empty() => (first, size.saturating_sub(1)),
        (Err(_), Ok(0)) if first.is_empty() => return Wanted::Outside,
        (Err(_), Ok(tail)) if first.is_empty() => {
            (size.saturating_sub(tail), size.saturating_sub(1))
        }
        _ => return Wanted::Whole,
    };
    if first >= size {
        return Wanted::Outside;
    }
    Wanted::Part(first, last - first + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_follow_the_standard() {
        for (text, wanted) in [
            ("bytes=0-9", Wanted::Part(0, 10)),
            ("bytes=90-", Wanted::Part(90, 10)),
            ("bytes=90-1000", Wanted::Part(90, 10)),
            ("bytes=-10", Wanted::Part(90, 10)),
            ("bytes=-1000", Wanted::Part(0, 100)),
            ("bytes=99-99", Wanted::Part(99, 1)),
            ("bytes=100-", Wanted::Outside),
            ("bytes=-0", Wanted::Outside),
            ("bytes=9-1", Wanted::Whole),
            ("bytes=0-1,5-6", Wanted::Whole),
            ("lines=0-1", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
        ] {
            assert_eq!(parse_range(text, 100), wanted, "{text}");
        }
        assert_eq!(parse_range("bytes=0-", 0), Wanted::Outside);
    }

    #[test]
    fn nothing_outside_the_directory_is_reachable() {
        let dir = Path::new("/releases");
        assert_eq!(inside(dir, "/1/a.gz"), Some(dir.join("1/a.gz")));
        for path in [
            "/../etc/passwd",
            "/1/../../etc",
            "//etc/passwd",
            "/%2e%2e/x",
            "x",
            "/./x/..",
        ] {
            assert_eq!(inside(dir, path), None, "{path}");
        }
    }
}
