//! Connections to Postgres: TLS as the DSN asks for it, a bounded pool.
//!
//! The pool never holds more than `MaxOpenConns` connections, which is what the connection budget of
//! an overlap is reckoned with; at most `MaxIdleConns` of them rest.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::{Client, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::dsn::{Dsn, SslMode};

/// Where the system keeps its authorities, for `verify-full` without `sslrootcert`.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// `SqlSettings.QueryTimeout`: a server that went away without a word is noticed within this.
pub const QUERY_TIMEOUT: Duration = Duration::from_secs(30);

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The authorities cannot be read.
    #[error("cannot read the database's certificate authorities `{path}`")]
    Roots {
        /// `sslrootcert`.
        path: String,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The file of authorities holds none.
    #[error("`{0}` holds no certificate that can be trusted")]
    NoRoots(String),
    /// The TLS set-up is refused.
    #[error("the database's TLS set-up is not usable")]
    Tls(#[source] rustls::Error),
    /// The verifier is refused.
    #[error("the database's certificate authorities are not usable")]
    Verifier(#[source] rustls::client::VerifierBuilderError),
    /// The server refuses, or a query fails.
    #[error("the database does not do what was asked")]
    Postgres(#[from] tokio_postgres::Error),
}

/// A pool of connections to one data source.
pub struct Database {
    config: tokio_postgres::Config,
    tls: Option<MakeRustlsConnect>,
    permits: Arc<Semaphore>,
    idle: Arc<Idle>,
    host: String,
    port: u16,
}

struct Idle {
    clients: Mutex<Vec<Client>>,
    limit: usize,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database")
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl Database {
    /// A pool that has not connected yet.
    pub fn new(dsn: &Dsn, max_open: usize, max_idle: usize) -> Result<Self, DatabaseError> {
        let mut config = tokio_postgres::Config::new();
        config
            .host(&dsn.host)
            .port(dsn.port)
            .user(&dsn.user)
            .dbname(&dsn.database)
            .application_name("mattermost")
            .keepalives_idle(QUERY_TIMEOUT)
            .tcp_user_timeout(QUERY_TIMEOUT);
        if let Some(password) = &dsn.password {
            config.password(password);
        }
        if let Some(timeout) = dsn.connect_timeout {
            config.connect_timeout(timeout);
        }
        if !dsn.parameters.is_empty() {
            let options: Vec<String> = dsn
                .parameters
                .iter()
                .map(|(key, value)| format!("-c {key}={}", value.replace(' ', "\\ ")))
                .collect();
            config.options(options.join(" "));
        }
        config.ssl_mode(match dsn.ssl_mode {
            SslMode::Disable => tokio_postgres::config::SslMode::Disable,
            _ => tokio_postgres::config::SslMode::Require,
        });
        Ok(Self {
            config,
            tls: tls(dsn)?.map(MakeRustlsConnect::new),
            permits: Arc::new(Semaphore::new(max_open.max(1))),
            idle: Arc::new(Idle {
                clients: Mutex::default(),
                limit: max_idle.max(1),
            }),
            host: dsn.host.clone(),
            port: dsn.port,
        })
    }

    /// The server's host and port, for messages and for finding the own address.
    pub fn address(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// A connection, from the pool or a new one; waits while `MaxOpenConns` are in use.
    pub async fn connection(&self) -> Result<Connection, DatabaseError> {
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        let rested = loop {
            let mut clients = self
                .idle
                .clients
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            match clients.pop() {
                Some(client) if client.is_closed() => {}
                other => break other,
            }
        };
        let client = match rested {
            Some(client) => client,
            None => self.connect().await?,
        };
        Ok(Connection {
            client: Some(client),
            idle: Arc::clone(&self.idle),
            _permit: permit,
        })
    }

    async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        // The connection's own error reaches whoever uses the client; it is not told twice.
        match &self.tls {
            None => {
                let (client, connection) = self.config.connect(NoTls).await?;
                tokio::spawn(async move { drop(connection.await) });
                Ok(client)
            }
            Some(tls) => {
                let (client, connection) = self.config.connect(tls.clone()).await?;
                tokio::spawn(async move { drop(connection.await) });
                Ok(client)
            }
        }
    }
}

/// A borrowed connection; goes back to the pool when dropped, unless it broke.
pub struct Connection {
    client: Option<Client>,
    idle: Arc<Idle>,
    _permit: OwnedSemaphorePermit,
}

impl Deref for Connection {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.client
            .as_ref()
            .expect("the client leaves only in drop")
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut Client {
        self.client
            .as_mut()
            .expect("the client leaves only in drop")
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Some(client) = self.client.take().filter(|client| !client.is_closed()) else {
            return;
        };
        let mut clients = self
            .idle
            .clients
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if clients.len() < self.idle.limit {
            clients.push(client);
        }
    }
}

fn tls(dsn: &Dsn) -> Result<Option<ClientConfig>, DatabaseError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = || {
        ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(DatabaseError::Tls)
    };
    let unchecked = |verifier: Arc<dyn ServerCertVerifier>| {
        builder().map(|builder| {
            builder
                .dangerous()
                .with_custom_certificate_verifier(verifier)
                .with_no_client_auth()
        })
    };
    let config = match (dsn.ssl_mode, &dsn.ssl_root_cert) {
        (SslMode::Disable, _) => return Ok(None),
        (SslMode::Require, None) => unchecked(Arc::new(NoCheck(provider.clone())))?,
        (SslMode::Require | SslMode::VerifyCa, _) => {
            let chain = WebPkiServerVerifier::builder_with_provider(
                Arc::new(roots(dsn)?),
                Arc::clone(&provider),
            )
            .build()
            .map_err(DatabaseError::Verifier)?;
            unchecked(Arc::new(ChainOnly(chain)))?
        }
        (SslMode::VerifyFull, _) => builder()?
            .with_root_certificates(roots(dsn)?)
            .with_no_client_auth(),
    };
    Ok(Some(config))
}

fn roots(dsn: &Dsn) -> Result<RootCertStore, DatabaseError> {
    let path = dsn
        .ssl_root_cert
        .clone()
        .unwrap_or_else(|| SYSTEM_ROOTS.into());
    let name = path.display().to_string();
    let failed = |source| DatabaseError::Roots {
        path: name.clone(),
        source,
    };
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&path).map_err(failed)? {
        store.add_parsable_certificates([certificate.map_err(failed)?]);
    }
    if store.is_empty() {
        return Err(DatabaseError::NoRoots(name));
    }
    Ok(store)
}

/// `require`: encrypted, whoever answers.
#[derive(Debug)]
struct NoCheck(Arc<CryptoProvider>);

impl ServerCertVerifier for NoCheck {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// `verify-ca`: the chain counts, the name does not. The name is checked after the chain, so a
/// wrong name means a right chain.
#[derive(Debug)]
struct ChainOnly(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for ChainOnly {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self
            .0
            .verify_server_cert(certificate, intermediates, name, ocsp, now)
        {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
