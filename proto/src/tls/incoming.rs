//! The server's side: accepted connections with their TLS hand-shake done, and who the peer is.
//!
//! ```text
//!   listener --accept--> hand-shakes (bounded, each with a deadline) --done--> tonic
//! ```
//!
//! A peer that is slow or wrong in its hand-shake occupies one place for at most the deadline and
//! never delays another.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::codegen::tokio_stream::Stream;
use tonic::transport::server::Connected;

use super::name::{PeerName, peer_name};

/// A hand-shake is two round trips and one signature; what takes longer is not worth a place.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// Hand-shakes at once. More wait in the kernel's backlog, which paces a storm of reconnects.
const HANDSHAKES: usize = 512;
/// After a failed accept (out of descriptors): closing connections needs some time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who is at the other end: in every request's extensions, as tonic's connect info.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where the connection comes from.
    pub address: SocketAddr,
    /// The verified client certificates, leaf first; empty when it showed none.
    pub certificates: Arc<[CertificateDer<'static>]>,
}

impl Peer {
    /// Whom the client certificate names; `None` without one, or with one that is not ours.
    pub fn name(&self) -> Option<PeerName> {
        peer_name(self.certificates.first()?)
    }
}

/// One connection after its hand-shake.
#[derive(Debug)]
pub struct TlsConnection {
    stream: TlsStream<TcpStream>,
    peer: Peer,
}

impl Connected for TlsConnection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for TlsConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for TlsConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// For `Server::serve_with_incoming`: yields connections whose hand-shake is done, never an error.
#[derive(Debug)]
pub struct TlsIncoming {
    listener: TcpListener,
    config: watch::Receiver<Arc<ServerConfig>>,
    handshakes: JoinSet<Option<TlsConnection>>,
    /// While the process is out of descriptors: when to accept again.
    pause: Option<Pin<Box<Sleep>>>,
}

impl TlsIncoming {
    /// With a configuration that never changes.
    pub fn new(listener: TcpListener, config: ServerConfig) -> Self {
        Self::watching(listener, watch::channel(Arc::new(config)).1)
    }

    /// Each hand-shake takes the newest configuration: certificates and CAs rotate without a restart.
    pub fn watching(listener: TcpListener, config: watch::Receiver<Arc<ServerConfig>>) -> Self {
        Self {
            listener,
            config,
            handshakes: JoinSet::new(),
            pause: None,
        }
    }

    /// Where it listens.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

async fn handshake(
    acceptor: TlsAcceptor,
    tcp: TcpStream,
    address: SocketAddr,
) -> Option<TlsConnection> {
    let _ = tcp.set_nodelay(true);
    match tokio::time::timeout(HANDSHAKE_DEADLINE, acceptor.accept(tcp)).await {
        Ok(Ok(stream)) => {
            let certificates = stream
                .get_ref()
                .1
                .peer_certificates()
                .map(|chain| chain.iter().map(|one| one.clone().into_owned()).collect())
                .unwrap_or_default();
            Some(TlsConnection {
                stream,
                peer: Peer {
                    address,
                    certificates,
                },
            })
        }
        Ok(Err(error)) => {
            log::info!("TLS hand-shake with {address} failed: {error}");
            None
        }
        Err(_) => {
            log::info!("TLS hand-shake with {address} took longer than {HANDSHAKE_DEADLINE:?}");
            None
        }
    }
}

impl Stream for TlsIncoming {
    type Item = io::Result<TlsConnection>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        while this.handshakes.len() < HANDSHAKES {
            if let Some(pause) = &mut this.pause {
                if pause.as_mut().poll(cx).is_pending() {
                    break;
                }
                this.pause = None;
            }
            match this.listener.poll_accept(cx) {
                Poll::Ready(Ok((tcp, address))) => {
                    let acceptor = TlsAcceptor::from(Arc::clone(&this.config.borrow()));
                    this.handshakes.spawn(handshake(acceptor, tcp, address));
                }
                // Out of descriptors, or the connection is already gone: the listener lives on.
                Poll::Ready(Err(error)) => {
                    log::warn!("cannot accept a connection: {error}");
                    this.pause = Some(Box::pin(tokio::time::sleep(ACCEPT_PAUSE)));
                }
                Poll::Pending => break,
            }
        }
        loop {
            match this.handshakes.poll_join_next(cx) {
                Poll::Ready(Some(Ok(Some(connection)))) => {
                    return Poll::Ready(Some(Ok(connection)));
                }
                // A failed hand-shake is logged where it failed; look for the next.
                Poll::Ready(Some(_)) => {}
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    }
}
