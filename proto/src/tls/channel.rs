//! A gRPC channel over our TLS: one connection, kept alive by HTTP/2 pings.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::codegen::Service;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};

/// TCP and TLS together: ample beside the round trips of the farthest region (about 300 ms each).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Liveness of a quiet connection: a dead peer is noticed within both together.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no channel.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// Not `host:port`.
    #[error("`{0}` is not an address of the form `host:port`")]
    Address(String),
    /// The name to verify is no DNS name.
    #[error("`{0}` is not a server name")]
    ServerName(String),
    /// TCP or TLS failed; the source says which.
    #[error("cannot connect to `{address}`")]
    Connect {
        /// `host:port`.
        address: String,
        /// TCP's, TLS's or HTTP/2's words.
        #[source]
        source: tonic::transport::Error,
    },
}

/// Connects to `address` (`host:port`), verifies the peer as `server_name` and speaks HTTP/2.
///
/// The channel reconnects by itself, with the same configuration, when it is used after a loss;
/// who renews a certificate connects anew.
///
/// `from` is the source address: the orchestrator compares it with the instance's private address, and
/// a host with several addresses would otherwise choose by its routes.
pub async fn connect(
    address: &str,
    server_name: &str,
    config: Arc<ClientConfig>,
    from: Option<IpAddr>,
) -> Result<Channel, ChannelError> {
    let name = ServerName::try_from(server_name.to_owned())
        .map_err(|_| ChannelError::ServerName(server_name.to_owned()))?;
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .ok()
        .filter(|endpoint| endpoint.uri().port().is_some())
        .ok_or_else(|| ChannelError::Address(address.to_owned()))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    let connector = Connector {
        address: address.to_owned(),
        name,
        tls: TlsConnector::from(config),
        from,
    };
    endpoint
        .connect_with_connector(connector)
        .await
        .map_err(|source| ChannelError::Connect {
            address: address.to_owned(),
            source,
        })
}

/// What tonic asks for a connection. The URI only carries the address that we already have.
#[derive(Clone)]
struct Connector {
    address: String,
    name: ServerName<'static>,
    tls: TlsConnector,
    from: Option<IpAddr>,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let tcp = open(&this.address, this.from).await?;
            tcp.set_nodelay(true)?;
            Ok(TokioIo::new(this.tls.connect(this.name, tcp).await?))
        })
    }
}

/// The first of the name's addresses that answers, from the source address when one is given.
async fn open(address: &str, from: Option<IpAddr>) -> io::Result<TcpStream> {
    let Some(from) = from else {
        return TcpStream::connect(address).await;
    };
    let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "no address of its kind");
    for target in tokio::net::lookup_host(address).await? {
        if target.is_ipv4() != from.is_ipv4() {
            continue;
        }
        let socket = if from.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        socket.bind(SocketAddr::new(from, 0))?;
        match socket.connect(target).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}
