//! Connections to RDS: always TLS, always verified against the roots given, password never shown.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;
use tokio_postgres::{AsyncMessage, Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How a database is reached.
#[derive(Clone, Debug)]
pub struct Access {
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Database.
    pub database: String,
    /// Role.
    pub user: String,
    /// Its password.
    pub password: SecretString,
    /// Roots that the server's certificate must chain to, PEM.
    pub trust_pem: Arc<str>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The roots are not usable.
    #[error("the database's trust file holds no usable certificate: {0}")]
    Trust(String),
    /// TLS could not be set up.
    #[error("TLS for the database")]
    Tls(#[from] rustls::Error),
    /// No answer in time.
    #[error("`{host}:{port}` did not answer within {seconds} s")]
    Timeout {
        /// Host.
        host: String,
        /// Port.
        port: u16,
        /// Limit.
        seconds: u64,
    },
    /// Refused, wrong password, no such database …
    #[error("`{user}@{host}:{port}/{database}`")]
    Refused {
        /// Role.
        user: String,
        /// Host.
        host: String,
        /// Port.
        port: u16,
        /// Database.
        database: String,
        /// The driver's word.
        #[source]
        source: tokio_postgres::Error,
    },
}

/// A primary that fails over answers again within a minute; one attempt need not wait for that.
const CONNECT_SECONDS: u64 = 10;
/// Limits of every session, kept by the server, so that a row which somebody else holds locked delays a call
/// and never stops whoever waits for this connection. A lock is given up long before the lease ends; a
/// statement takes milliseconds, `CREATE DATABASE` a few seconds; and an orchestrator that is frozen within a
/// transaction gives its locks back within the time of its lease.
const LIMITS: &str =
    "-c lock_timeout=3s -c statement_timeout=20s -c idle_in_transaction_session_timeout=20s";

/// Opens a connection; notifications ring `changed`. The connection's task ends with the client.
pub(super) async fn open(
    access: &Access,
    changed: Option<watch::Sender<u64>>,
) -> Result<Client, ConnectError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(access.trust_pem.as_bytes()) {
        let certificate = certificate.map_err(|error| ConnectError::Trust(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| ConnectError::Trust(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(ConnectError::Trust("it is empty".to_owned()));
    }
    let tls = ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()?
    .with_root_certificates(roots)
    .with_no_client_auth();
    let mut config = Config::new();
    config
        .host(&access.host)
        .port(access.port)
        .dbname(&access.database)
        .user(&access.user)
        .password(access.password.expose_secret())
        .ssl_mode(tokio_postgres::config::SslMode::Require)
        .application_name("orchestrator")
        .options(LIMITS)
        .keepalives_idle(Duration::from_secs(10))
        .tcp_user_timeout(Duration::from_secs(15))
        .connect_timeout(Duration::from_secs(CONNECT_SECONDS));
    let attempt = tokio::time::timeout(
        Duration::from_secs(CONNECT_SECONDS),
        config.connect(MakeRustlsConnect::new(tls)),
    )
    .await;
    let (client, mut connection) = match attempt {
        Err(_) => {
            return Err(ConnectError::Timeout {
                host: access.host.clone(),
                port: access.port,
                seconds: CONNECT_SECONDS,
            });
        }
        Ok(Err(source)) => {
            return Err(ConnectError::Refused {
                user: access.user.clone(),
                host: access.host.clone(),
                port: access.port,
                database: access.database.clone(),
                source,
            });
        }
        Ok(Ok(pair)) => pair,
    };
    tokio::spawn(async move {
        let messages =
            futures_util::stream::poll_fn(move |context| connection.poll_message(context));
        tokio::pin!(messages);
        while let Some(message) = futures_util::StreamExt::next(&mut messages).await {
            match message {
                Ok(AsyncMessage::Notification(_)) => {
                    if let Some(changed) = &changed {
                        super::ring(changed);
                    }
                }
                Ok(AsyncMessage::Notice(notice)) => {
                    log::debug!("database notice: {}", notice.message());
                }
                Ok(_) => {}
                Err(error) => {
                    log::debug!("database connection ended: {error}");
                    return;
                }
            }
        }
    });
    Ok(client)
}
