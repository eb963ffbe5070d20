//! The connections to one target: a pool of idle ones, and the count of requests under way.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;

use super::forward::Upload;
use super::stream::{Activity, Metered, Pulse};
use crate::Lab;
use crate::elbv2::state::Shared;

/// "The load balancer failed to establish a connection to the target before the connection timeout
/// expired (10 seconds)": the user guide's page on troubleshooting, HTTP 504. Real time.
const CONNECT: Duration = Duration::from_secs(10);
/// Idle connections kept per target; more are closed.
const MAX_IDLE: usize = 256;

/// The connections to one registered target.
#[derive(Debug)]
pub(in crate::elbv2) struct Backend {
    pub address: SocketAddr,
    in_flight: Arc<AtomicUsize>,
    idle: Mutex<Vec<Upstream>>,
    /// Cancelled when the deregistration delay is over.
    pub cut: CancellationToken,
}

/// A request or tunnel under way.
#[derive(Debug)]
pub(in crate::elbv2) struct InFlight(Arc<AtomicUsize>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// How a connection to a target ended, where it was not the target that ended it.
const ENDED_IDLE: u8 = 1;
const ENDED_CUT: u8 = 2;

/// An open connection to a target.
#[derive(Debug)]
pub(super) struct Upstream {
    pub sender: SendRequest<Upload>,
    pub activity: Activity,
    pulse: Pulse,
    ended: Arc<AtomicU8>,
}

impl Upstream {
    /// Whether the idle time-out ended it.
    pub fn ended_idle(&self) -> bool {
        self.ended.load(Ordering::Acquire) == ENDED_IDLE
    }
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoConnection {
    /// Refused, reset, unreachable.
    Refused,
    /// No answer in time.
    TimedOut,
}

impl Backend {
    /// To this address, nothing open yet.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            in_flight: Arc::default(),
            idle: Mutex::default(),
            cut: CancellationToken::new(),
        }
    }

    /// One more request under way.
    pub fn begin(&self) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        InFlight(Arc::clone(&self.in_flight))
    }

    /// Requests and tunnels under way.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Closes what is idle: the target was deregistered.
    pub fn close_idle(&self) {
        self.pool().clear();
    }

    /// An idle connection that is still open, the most recently used first.
    pub(super) async fn take(&self) -> Option<Upstream> {
        loop {
            let mut upstream = self.pool().pop()?;
            if upstream.sender.ready().await.is_ok() && upstream.pulse.is_quiet() {
                return Some(upstream);
            }
        }
    }

    /// Gives a connection back whose request and answer are both complete.
    pub(super) fn put(&self, upstream: Upstream) {
        let mut pool = self.pool();
        if !upstream.sender.is_closed() && !self.cut.is_cancelled() && pool.len() < MAX_IDLE {
            pool.push(upstream);
        }
    }

    /// A new connection, from the load balancer node's own address.
    pub(super) async fn connect(
        &self,
        lab: &Lab,
        shared: &Arc<Shared>,
        node: IpAddr,
    ) -> Result<Upstream, NoConnection> {
        let stream = match tokio::time::timeout(CONNECT, connect_from(node, self.address)).await {
            Err(_) => return Err(NoConnection::TimedOut),
            Ok(Err(error)) => {
                log::debug!("target {}: {error}", self.address);
                return Err(NoConnection::Refused);
            }
            Ok(Ok(stream)) => Metered::new(stream, shared.recorder.connection(false)),
        };
        let (activity, pulse) = (stream.activity(), stream.pulse());
        let (sender, connection) = http1::Builder::new()
            .preserve_header_case(true)
            .handshake::<_, Upload>(TokioIo::new(stream))
            .await
            .map_err(|_| NoConnection::Refused)?;
        let ended = Arc::new(AtomicU8::new(0));
        let upstream = Upstream {
            sender,
            activity: activity.clone(),
            pulse,
            ended: Arc::clone(&ended),
        };
        let (cut, limit) = (self.cut.clone(), shared.idle.subscribe());
        lab.spawn(async move {
            let mut connection = pin!(connection.with_upgrades());
            // The reason is written before the connection is dropped, and so before its request fails.
            let why = tokio::select! {
                _ = connection.as_mut() => 0,
                () = Activity::idle(vec![activity], limit) => ENDED_IDLE,
                () = cut.cancelled() => ENDED_CUT,
            };
            ended.store(why, Ordering::Release);
        });
        Ok(upstream)
    }

    fn pool(&self) -> std::sync::MutexGuard<'_, Vec<Upstream>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connects from a node's address, as targets see an ALB come from its nodes' addresses.
pub(in crate::elbv2) async fn connect_from(
    node: IpAddr,
    to: SocketAddr,
) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((node, 0).into())?;
    socket.connect(to).await
}
