//! A little HTTP server to balance over.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use bytes::Bytes;
use http::header::{CONNECTION, UPGRADE};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// What a backend is told and what it has seen.
pub struct Script {
    pub name: &'static str,
    /// The status of `/health`; 0 does not answer.
    pub health: AtomicU16,
    pub requests: AtomicUsize,
    pub connections: AtomicUsize,
    /// Of those, how many are open.
    pub open: AtomicUsize,
    /// Makes it close every connection.
    pub hang_up: Notify,
    /// Requests for `/slow` that have arrived.
    pub slow: Notify,
    /// Lets `/slow` go on.
    pub release: Notify,
}

/// A little HTTP server: `/health`, `/slow` (waits to be released), `/never` (does not answer), `/ws`
/// (an echo after the upgrade), `/headers`, `/echo` (the body); all else answers its name.
pub struct Backend {
    pub address: SocketAddr,
    pub script: Arc<Script>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Backend {
    pub async fn start(name: &'static str) -> Self {
        let socket = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let script = Arc::new(Script {
            name,
            health: AtomicU16::new(200),
            requests: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            hang_up: Notify::new(),
            slow: Notify::new(),
            release: Notify::new(),
        });
        let shared = Arc::clone(&script);
        let server = tokio::spawn(async move {
            loop {
                let (stream, _) = socket.accept().await.unwrap();
                tokio::spawn(connection(Arc::clone(&shared), stream));
            }
        });
        Self {
            address,
            script,
            server,
        }
    }
}

async fn connection(script: Arc<Script>, stream: TcpStream) {
    let counted = Arc::new(AtomicUsize::new(0));
    let (answering, count) = (Arc::clone(&script), Arc::clone(&counted));
    let service = service_fn(move |request: Request<Incoming>| {
        let script = Arc::clone(&answering);
        if request.uri().path() != "/health" && count.fetch_add(1, Ordering::AcqRel) == 0 {
            script.connections.fetch_add(1, Ordering::AcqRel);
            script.open.fetch_add(1, Ordering::AcqRel);
        }
        async move { Ok::<_, Infallible>(respond(&script, request).await) }
    });
    let serving = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::select! {
        _ = serving => {}
        () = script.hang_up.notified() => {}
    }
    if counted.load(Ordering::Acquire) > 0 {
        script.open.fetch_sub(1, Ordering::AcqRel);
    }
}

async fn respond(script: &Script, mut request: Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    if path == "/health" {
        let status = script.health.load(Ordering::Relaxed);
        if status == 0 {
            std::future::pending::<()>().await;
        }
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        return response;
    }
    script.requests.fetch_add(1, Ordering::Relaxed);
    match path.as_str() {
        "/slow" => {
            script.slow.notify_one();
            script.release.notified().await;
        }
        "/never" => std::future::pending().await,
        "/ws" => {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let stream = TokioIo::new(upgrade.await.unwrap());
                let (mut read, mut write) = tokio::io::split(stream);
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
            return Response::builder()
                .status(101)
                .header(CONNECTION, "Upgrade")
                .header(UPGRADE, "websocket")
                .body(Full::default())
                .unwrap();
        }
        "/headers" => {
            let lines: Vec<String> = request
                .headers()
                .iter()
                .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or_default()))
                .collect();
            return Response::new(Full::from(lines.join("\n")));
        }
        "/echo" => {
            let body = request.into_body().collect().await;
            return Response::new(Full::new(body.unwrap().to_bytes()));
        }
        _ => {}
    }
    Response::new(Full::from(script.name))
}
