//! Where the server is, and how it is reached: HTTP clients and WebSockets with one TLS set-up.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use url::Url;

use crate::api::LoadError;

/// Where Debian and its kin keep the system's authorities.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Connecting may take this long.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// What one WebSocket reads at once.
const READ_BUFFER: usize = 8 * 1024;

/// A plain or an encrypted stream.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A WebSocket over either.
pub(crate) type Socket = WebSocketStream<Box<dyn Stream>>;

/// A server's address.
#[derive(Clone)]
pub(crate) struct Endpoint {
    /// Without a slash at the end.
    base: String,
    host: String,
    port: u16,
    tls: Arc<ClientConfig>,
    encrypted: bool,
}

impl Endpoint {
    /// Checks the URL and reads the authorities.
    pub(crate) fn new(url: &str, ca: Option<&Path>) -> Result<Self, LoadError> {
        let wrong = |why: &str| LoadError::Url(url.to_owned(), why.to_owned());
        let parsed = Url::parse(url).map_err(|error| wrong(&error.to_string()))?;
        let encrypted = match parsed.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(wrong("wanted is `http://` or `https://`")),
        };
        let host = parsed.host_str().ok_or_else(|| wrong("it has no host"))?;
        let roots = match ca {
            Some(path) => authorities(path)?,
            None if encrypted => authorities(Path::new(SYSTEM_ROOTS))?,
            None => RootCertStore::empty(),
        };
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(LoadError::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            base: url.trim_end_matches('/').to_owned(),
            host: host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned(),
            port: parsed
                .port_or_known_default()
                .ok_or_else(|| wrong("it has no port"))?,
            tls: Arc::new(tls),
            encrypted,
        })
    }

    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// The path, with its query, that reaches a link of this server through this address: a link names
    /// the host of the site URL, which may lie elsewhere. None when the link is no URL.
    pub(crate) fn path_of(&self, link: &str) -> Option<String> {
        let link = Url::parse(link).ok()?;
        let below = Url::parse(&self.base).ok()?;
        let path = link.path();
        let path = match below.path().trim_end_matches('/') {
            "" => path,
            prefix => path.strip_prefix(prefix).unwrap_or(path),
        };
        let query = link.query().map(|query| format!("?{query}"));
        Some(format!("{path}{}", query.unwrap_or_default()))
    }

    /// An HTTP client with connections of its own, as each device has.
    pub(crate) fn http(&self, timeout: Duration) -> Result<reqwest::Client, LoadError> {
        self.client(timeout).build().map_err(LoadError::Client)
    }

    /// An HTTP client that keeps no connection and follows no redirect.
    pub(crate) fn spread(&self, timeout: Duration) -> Result<reqwest::Client, LoadError> {
        self.client(timeout)
            .pool_max_idle_per_host(0)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(LoadError::Client)
    }

    /// Proxies are not asked: the server is named, and the WebSocket would not go through them.
    fn client(&self, timeout: Duration) -> reqwest::ClientBuilder {
        reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(CONNECT_LIMIT)
            .timeout(timeout)
            .tcp_nodelay(true)
            .tls_backend_preconfigured(ClientConfig::clone(&self.tls))
    }

    /// Opens the chat's WebSocket with the bearer header.
    pub(crate) async fn websocket(&self, token: &str) -> Result<Socket, String> {
        tokio::time::timeout(CONNECT_LIMIT, self.upgrade(token))
            .await
            .map_err(|_| format!("no WebSocket within {CONNECT_LIMIT:?}"))?
    }

    async fn upgrade(&self, token: &str) -> Result<Socket, String> {
        let stream = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(|error| format!("cannot connect: {error}"))?;
        let _ = stream.set_nodelay(true);
        let stream: Box<dyn Stream> = if self.encrypted {
            let name = ServerName::try_from(self.host.clone())
                .map_err(|error| format!("`{}` is no server name: {error}", self.host))?;
            let connector = TlsConnector::from(Arc::clone(&self.tls));
            let stream = connector.connect(name, stream).await;
            Box::new(stream.map_err(|error| format!("TLS: {error}"))?)
        } else {
            Box::new(stream)
        };
        let url = format!("{}/api/v4/websocket", self.base.replacen("http", "ws", 1));
        let mut request = url
            .into_client_request()
            .map_err(|error| error.to_string())?;
        let bearer = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| "the token is no header value".to_owned())?;
        request.headers_mut().insert("authorization", bearer);
        // Hundreds of clients live in one process; the default buffer is 128 KiB each.
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
        let (socket, _) =
            tokio_tungstenite::client_async_with_config(request, stream, Some(config))
                .await
                .map_err(|error| format!("WebSocket refused: {error}"))?;
        Ok(socket)
    }
}

fn authorities(path: &Path) -> Result<RootCertStore, LoadError> {
    let failed = |source| LoadError::Authorities {
        path: PathBuf::from(path),
        source,
    };
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(failed)? {
        store.add_parsable_certificates([certificate.map_err(failed)?]);
    }
    Ok(store)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_reached_through_the_address_of_the_run() {
        let wanted = Some("/files/abc/public?h=x-y_z".to_owned());
        let root = Endpoint::new("http://127.0.0.1:80", None).unwrap();
        let link = "https://chat.example.com/files/abc/public?h=x-y_z";
        assert_eq!(root.path_of(link), wanted);
        let below = Endpoint::new("http://127.0.0.1:80/mattermost/", None).unwrap();
        let link = "https://chat.example.com/mattermost/files/abc/public?h=x-y_z";
        assert_eq!(below.path_of(link), wanted);
        assert_eq!(root.path_of("/files/abc/public"), None);
    }
}
