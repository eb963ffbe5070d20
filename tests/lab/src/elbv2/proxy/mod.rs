//! The data path of a load balancer.
//!
//! ```text
//!  client --TCP--> accept --[TLS]--> HTTP/1.1 or HTTP/2
//!                                        |  each request
//!                                        v
//!                 route: rule -> action -> target group -> target      (short lock, no await)
//!                    |                          |
//!        redirect, fixed response,              v
//!        503 without a target        forward: pooled or fresh connection to the target
//!                                        |                       |
//!                                   body streams back      101: tunnel until an end,
//!                                                          the idle time-out, or the cut
//! ```
//!
//! Every open request and tunnel holds an [`backend::InFlight`]; it is what least-outstanding-requests
//! counts. When a target's deregistration delay is over its `cut` ends whatever is still open.

mod answer;
mod backend;
mod cookie;
mod forward;
mod route;
mod stream;
mod tls;
mod tunnel;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

pub(super) use backend::{Backend, connect_from};
pub use tls::check_key_pair;
pub(super) use tls::configuration;

use super::state::Shared;
use crate::Lab;
use stream::{Activity, Metered};

/// Ports below 1024 need a privilege; without it the lab listens this much higher, and says so.
const UNPRIVILEGED_OFFSET: u16 = 8000;
/// Real time between attempts to bind an address that is taken.
const BIND_AGAIN: Duration = Duration::from_secs(1);
/// Real time that a client has for its TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The sockets of a listener.
#[derive(Debug, Default)]
pub(super) struct Front {
    /// Cancelled when the listener is deleted or its port changes: no new connections, and the open
    /// ones end.
    pub closed: CancellationToken,
    tls: Mutex<Option<Arc<ServerConfig>>>,
    /// By the address wanted.
    sockets: Mutex<BTreeMap<SocketAddr, Socket>>,
}

/// One address of a listener.
#[derive(Clone, Debug)]
struct Socket {
    /// Where it really listens; else why not.
    actual: Result<SocketAddr, String>,
    /// Cancelled with the front, or when the load balancer leaves this address's zone.
    closed: CancellationToken,
}

impl Front {
    /// For a listener; HTTPS listeners have a configuration.
    pub fn new(tls: Option<Arc<ServerConfig>>) -> Self {
        Self {
            tls: Mutex::new(tls),
            ..Self::default()
        }
    }

    /// New certificates, policy or protocols, for connections from now on.
    pub fn set_tls(&self, tls: Option<Arc<ServerConfig>>) {
        *self.tls.lock().unwrap_or_else(PoisonError::into_inner) = tls;
    }

    /// Another front with the same configuration, not yet bound.
    pub fn again(&self) -> Self {
        Self::new(self.tls())
    }

    /// Each address wanted, and where it really listens or why not.
    pub fn bound(&self) -> Vec<(SocketAddr, Result<SocketAddr, String>)> {
        self.sockets()
            .iter()
            .map(|(wanted, socket)| (*wanted, socket.actual.clone()))
            .collect()
    }

    /// Closes the addresses that are not in `kept`, with their connections.
    pub fn keep(&self, kept: &[Ipv4Addr]) {
        self.sockets().retain(|wanted, socket| {
            let stays = kept.iter().any(|address| wanted.ip() == *address);
            if !stays {
                socket.closed.cancel();
            }
            stays
        });
    }

    fn sockets(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Socket>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.tls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// What the connections of one listener have in common.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub lab: Arc<Lab>,
    pub region: String,
    pub listener: String,
    pub port: u16,
    pub shared: Arc<Shared>,
    pub front: Arc<Front>,
}

/// Listens on those addresses of a load balancer's nodes where it does not yet; returns when each has
/// been tried once.
pub(super) async fn open(place: Place, addresses: &[Ipv4Addr]) {
    for address in addresses {
        let wanted = SocketAddr::from((*address, place.port));
        let closed = place.front.closed.child_token();
        match place.front.sockets().entry(wanted) {
            Entry::Occupied(_) => continue,
            Entry::Vacant(entry) => entry.insert(Socket {
                actual: Err("not tried yet".to_owned()),
                closed: closed.clone(),
            }),
        };
        let first = bind(&place, wanted).await;
        let place = place.clone();
        Arc::clone(&place.lab).spawn(async move {
            tokio::select! {
                () = listen(&place, wanted, &closed, first) => {}
                () = closed.cancelled() => {}
            }
        });
    }
}

async fn bind(place: &Place, wanted: SocketAddr) -> Option<TcpListener> {
    let mut result = TcpListener::bind(wanted).await;
    if let Err(error) = &result
        && error.kind() == std::io::ErrorKind::PermissionDenied
        && wanted.port() < 1024
    {
        let mut higher = wanted;
        higher.set_port(wanted.port() + UNPRIVILEGED_OFFSET);
        log::error!(
            "{}: no permission to listen on {wanted}; listening on {higher} instead",
            place.listener
        );
        result = TcpListener::bind(higher).await;
    }
    let actual = result
        .as_ref()
        .map_err(ToString::to_string)
        .and_then(|socket| socket.local_addr().map_err(|error| error.to_string()));
    match &actual {
        Ok(address) => log::info!("{} listens on {address}", place.listener),
        Err(error) => log::error!("{} cannot listen on {wanted}: {error}", place.listener),
    }
    if let Some(socket) = place.front.sockets().get_mut(&wanted) {
        socket.actual = actual;
    }
    result.ok()
}

async fn listen(
    place: &Place,
    wanted: SocketAddr,
    closed: &CancellationToken,
    mut socket: Option<TcpListener>,
) {
    loop {
        let Some(listening) = &socket else {
            tokio::time::sleep(BIND_AGAIN).await;
            socket = bind(place, wanted).await;
            continue;
        };
        match listening.accept().await {
            Ok((stream, peer)) => {
                let (lab, place) = (Arc::clone(&place.lab), place.clone());
                let connection = serve(place, stream, peer, wanted, closed.clone());
                lab.spawn(connection);
            }
            // Out of descriptors, or a client that was gone before it was accepted.
            Err(error) => {
                log::warn!("{} could not accept: {error}", place.listener);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// A client's connection, as its requests see it.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub place: Place,
    pub peer: SocketAddr,
    /// The node's address.
    pub local: SocketAddr,
    pub tls: bool,
    /// Cancelled when the listener, or its presence at `local`, is gone.
    pub closed: CancellationToken,
    activity: Activity,
    requests: Arc<AtomicUsize>,
}

/// A request under way on a client's connection: while there is one, silence is not idleness (the
/// target's connection has a time-out of its own).
#[derive(Debug)]
struct Busy {
    requests: Arc<AtomicUsize>,
    activity: Activity,
}

impl Client {
    fn busy(&self) -> Busy {
        self.requests.fetch_add(1, Ordering::AcqRel);
        Busy {
            requests: Arc::clone(&self.requests),
            activity: self.activity.clone(),
        }
    }

    /// Returns when the connection has been idle between requests for as long as it may be.
    async fn idle(&self) {
        loop {
            let limit = self.place.shared.idle.subscribe();
            Activity::idle(vec![self.activity.clone()], limit).await;
            if self.requests.load(Ordering::Acquire) == 0 {
                return;
            }
            self.activity.touch();
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.activity.touch();
        self.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

async fn serve(
    place: Place,
    stream: TcpStream,
    peer: SocketAddr,
    local: SocketAddr,
    closed: CancellationToken,
) {
    let stream = Metered::new(stream, place.shared.recorder.connection(true));
    let tls = place.front.tls();
    let client = Client {
        activity: stream.activity(),
        place,
        peer,
        local,
        tls: tls.is_some(),
        closed,
        requests: Arc::default(),
    };
    match tls {
        None => http(client, stream, false).await,
        Some(tls) => {
            let handshake = tokio_rustls::TlsAcceptor::from(tls).accept(stream);
            match tokio::time::timeout(HANDSHAKE, handshake).await {
                Ok(Ok(stream)) => {
                    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    http(client, stream, http2).await;
                }
                Ok(Err(error)) => log::debug!("{peer}: TLS handshake failed: {error}"),
                Err(_) => log::debug!("{peer}: no TLS handshake within {HANDSHAKE:?}"),
            }
        }
    }
}

async fn http<S>(client: Client, stream: S, http2: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answering = client.clone();
    let service = service_fn(move |request| {
        let client = answering.clone();
        async move { Ok::<_, Infallible>(route::answer(client, request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().preserve_header_case(true);
    let builder = if http2 {
        builder.http2_only()
    } else {
        builder.http1_only()
    };
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let keep_alive = *client.place.shared.keep_alive.borrow();
    tokio::select! {
        result = connection.as_mut() => {
            if let Err(error) = result {
                log::debug!("{}: {error}", client.peer);
            }
            return;
        }
        () = client.idle() => return,
        () = client.closed.cancelled() => return,
        () = client.place.shared.gone.cancelled() => return,
        () = tokio::time::sleep(keep_alive) => connection.as_mut().graceful_shutdown(),
    }
    // The client keep-alive is over: what is under way ends, then the connection does.
    tokio::select! {
        _ = connection => {}
        () = client.closed.cancelled() => {}
        () = client.place.shared.gone.cancelled() => {}
    }
}
