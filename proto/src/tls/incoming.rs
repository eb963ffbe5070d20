//! The server's side: accepted connections with their TLS hand-shake done, and who the peer is.
//!
//! ```text
//!   listener --accept--> a place at the door --> hand-shake (with a deadline) --done--> tonic
//! ```
//!
//! A peer that is slow or wrong in its hand-shake occupies one place for at most the deadline and
//! never delays another; one that shows no certificate is cut off after a while, whatever it does.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
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

use super::door::{Displaced, Door, Place, Turned};
use super::name::{PeerName, peer_name};

/// Hand-shakes at once: more than strangers may have connections, so that they never fill it. The
/// rest waits in the kernel's backlog, which paces a storm of reconnects.
const HANDSHAKES: usize = 2048;
/// Connections turned away before others get their turn.
const TURNED_AWAY: usize = 256;
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
    /// Without a certificate: when it ends.
    end: Option<End>,
    _place: Place,
}

/// The end of a connection without a certificate: its time is over, or it makes room for another one.
struct End {
    time: Pin<Box<Sleep>>,
    displaced: Displaced,
    door: Door,
    source: IpAddr,
    /// It came, and was told.
    over: bool,
}

impl std::fmt::Debug for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("End")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl End {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.over {
            return Poll::Ready(());
        }
        if self.displaced.as_mut().poll(cx).is_ready() {
            displaced(&self.door, self.source);
            self.over = true;
            return Poll::Ready(());
        }
        self.over = self.time.as_mut().poll(cx).is_ready();
        if self.over {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// Counts and logs that a connection made room for a newer one of its source.
fn displaced(door: &Door, source: IpAddr) {
    let refused = Turned::Source;
    log::info!(
        "a connection of {source} refused by check `{refused}`: it made room for a newer one"
    );
    door.turn_away(refused, source);
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
        if let Some(end) = &mut self.end
            && end.poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
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
    door: Door,
    handshakes: JoinSet<Option<TlsConnection>>,
    /// While the process is out of descriptors: when to accept again.
    pause: Option<Pin<Box<Sleep>>>,
}

impl TlsIncoming {
    /// With a configuration that never changes.
    pub fn new(listener: TcpListener, config: ServerConfig) -> Self {
        Self::watching(
            listener,
            watch::channel(Arc::new(config)).1,
            Door::default(),
        )
    }

    /// Each hand-shake takes the newest configuration: certificates and CAs rotate without a restart.
    pub fn watching(
        listener: TcpListener,
        config: watch::Receiver<Arc<ServerConfig>>,
        door: Door,
    ) -> Self {
        Self {
            listener,
            config,
            door,
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
    mut place: Place,
    door: Door,
) -> Option<TlsConnection> {
    let _ = tcp.set_nodelay(true);
    let bounds = door.bounds();
    let made_room = place.displaced();
    let accepted = tokio::select! {
        accepted = tokio::time::timeout(bounds.hand_shake, acceptor.accept(tcp)) => accepted,
        () = made_room => {
            displaced(&door, address.ip());
            return None;
        }
    };
    let refused = match accepted {
        Ok(Ok(stream)) => {
            let certificates: Arc<[CertificateDer<'static>]> = stream
                .get_ref()
                .1
                .peer_certificates()
                .map(|chain| chain.iter().map(|one| one.clone().into_owned()).collect())
                .unwrap_or_default();
            let end = if certificates.is_empty() {
                Some(End {
                    time: Box::pin(tokio::time::sleep(bounds.anonymous)),
                    displaced: place.displaced(),
                    door,
                    source: address.ip(),
                    over: false,
                })
            } else {
                if let Err(refused) = place.prove() {
                    log::info!("connection of {address} refused by check `{refused}`");
                    door.turn_away(refused, address.ip());
                    return None;
                }
                None
            };
            return Some(TlsConnection {
                stream,
                peer: Peer {
                    address,
                    certificates,
                },
                end,
                _place: place,
            });
        }
        Ok(Err(error)) => {
            let refused = Turned::of(&error);
            log::info!("TLS hand-shake with {address} refused by check `{refused}`: {error}");
            refused
        }
        Err(_) => {
            let refused = Turned::Slow;
            log::info!(
                "TLS hand-shake with {address} refused by check `{refused}`: longer than {:?}",
                bounds.hand_shake
            );
            refused
        }
    };
    door.turn_away(refused, address.ip());
    None
}

impl Stream for TlsIncoming {
    type Item = io::Result<TlsConnection>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let mut turned_away = 0;
        while this.handshakes.len() < HANDSHAKES {
            if let Some(pause) = &mut this.pause {
                if pause.as_mut().poll(cx).is_pending() {
                    break;
                }
                this.pause = None;
            }
            match this.listener.poll_accept(cx) {
                Poll::Ready(Ok((tcp, address))) => {
                    // A listener for both families shows IPv4 peers as mapped addresses.
                    let address = SocketAddr::new(address.ip().to_canonical(), address.port());
                    match this.door.enter(address.ip()) {
                        Ok(place) => {
                            let acceptor = TlsAcceptor::from(Arc::clone(&this.config.borrow()));
                            let door = this.door.clone();
                            this.handshakes
                                .spawn(handshake(acceptor, tcp, address, place, door));
                        }
                        Err(refused) => {
                            drop(tcp);
                            log::debug!("connection of {address} refused by check `{refused}`");
                            this.door.turn_away(refused, address.ip());
                            turned_away += 1;
                            if turned_away == TURNED_AWAY {
                                cx.waker().wake_by_ref();
                                break;
                            }
                        }
                    }
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
