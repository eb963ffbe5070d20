//! TLS between nodes, orchestrator and operators: rustls with aws-lc-rs, TLS 1.3, HTTP/2.
//!
//! ```text
//!   before enrolment   client_pinned(pin) ------------------> server_optional_client_auth
//!   afterwards         client_mutual(trust, chain, key) ----> (the service looks at the Peer)
//! ```
//!
//! Invariants: the server is always verified as `orchestrator.<stack>.mattermost.internal`, by full
//! path, name and validity; every configuration names its provider, so that no process-wide default
//! is needed; a certificate says who its holder is by one URI, `spiffe://<stack>.mattermost.internal/…`.

mod channel;
mod door;
mod incoming;
mod name;
mod pin;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

pub use channel::{ChannelError, connect};
pub use door::{Bounds, Door, Keeper, Turned};
pub use incoming::{Peer, TlsConnection, TlsIncoming};
pub use name::{
    Holder, PeerName, node_uri, operator_uri, peer_instance_id, peer_name, server_name,
};
pub use pin::{NotAPin, Pin};

/// What can be wrong with the material of a TLS configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The text is no PEM, or holds no certificate.
    #[error("{what} holds no certificate in PEM form")]
    NoCertificate {
        /// Which text it was.
        what: &'static str,
    },
    /// A PEM block is broken.
    #[error("{what} is not valid PEM")]
    Pem {
        /// Which text it was.
        what: &'static str,
        /// What the parser says.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// rustls refuses certificate or key.
    #[error("{what} cannot be used")]
    Refused {
        /// Which text it was.
        what: &'static str,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The roots for client certificates cannot be used.
    #[error("the CA for client certificates cannot be used")]
    ClientCa(#[source] rustls::server::VerifierBuilderError),
}

/// The provider of every configuration here.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// All certificates of a PEM text, in order; at least one.
pub fn certificates(
    what: &'static str,
    pem: &str,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| TlsError::Pem { what, source })?;
    if all.is_empty() {
        return Err(TlsError::NoCertificate { what });
    }
    Ok(all)
}

/// A root store of a PEM text's certificates.
pub fn roots(what: &'static str, pem: &str) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(what, pem)? {
        store
            .add(certificate)
            .map_err(|source| TlsError::Refused { what, source })?;
    }
    Ok(store)
}

fn key(pem: &str) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|source| TlsError::Pem {
        what: "the private key",
        source,
    })
}

fn client_builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("aws-lc-rs has cipher suites for TLS 1.3")
}

/// Before enrolment: trusts exactly the CA certificate in the presented chain whose hash is the pin.
pub fn client_pinned(pin: Pin) -> ClientConfig {
    pinned(pin, Vec::new())
}

/// Enrolling again: trusts also the CAs that the node learnt since, of which the pin may know none.
pub fn client_pinned_or(pin: Pin, trust_pem: &str) -> Result<ClientConfig, TlsError> {
    Ok(pinned(pin, certificates("the trusted CAs", trust_pem)?))
}

fn pinned(pin: Pin, learnt: Vec<CertificateDer<'static>>) -> ClientConfig {
    let mut config = client_builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(pin::PinnedVerifier::new(pin, learnt)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// After enrolment: trusts the CAs of `trust_pem` and presents the certificate.
pub fn client_mutual(
    trust_pem: &str,
    chain_pem: &str,
    key_pem: &str,
) -> Result<ClientConfig, TlsError> {
    let mut config = client_builder()
        .with_root_certificates(roots("the trusted CAs", trust_pem)?)
        .with_client_auth_cert(
            certificates("the certificate chain", chain_pem)?,
            key(key_pem)?,
        )
        .map_err(|source| TlsError::Refused {
            what: "the certificate with its key",
            source,
        })?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// The orchestrator's port for nodes: a client may come without a certificate (to enrol); one that
/// it shows must be valid and chain to `client_ca_pem`. The services look at the [`Peer`].
///
/// `chain_pem` is leaf, then the CA: nodes that enrol look for the pinned CA in the chain.
pub fn server_optional_client_auth(
    chain_pem: &str,
    key_pem: &str,
    client_ca_pem: &str,
) -> Result<ServerConfig, TlsError> {
    server(chain_pem, key_pem, client_ca_pem, false)
}

/// A port that nobody may speak to without a certificate (operators over TCP).
pub fn server_required_client_auth(
    chain_pem: &str,
    key_pem: &str,
    client_ca_pem: &str,
) -> Result<ServerConfig, TlsError> {
    server(chain_pem, key_pem, client_ca_pem, true)
}

fn server(
    chain_pem: &str,
    key_pem: &str,
    client_ca_pem: &str,
    required: bool,
) -> Result<ServerConfig, TlsError> {
    let clients = WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots("the CA for client certificates", client_ca_pem)?),
        provider(),
    );
    let clients = if required {
        clients
    } else {
        clients.allow_unauthenticated()
    };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("aws-lc-rs has cipher suites for TLS 1.3")
        .with_client_cert_verifier(clients.build().map_err(TlsError::ClientCa)?)
        .with_single_cert(
            certificates("the certificate chain", chain_pem)?,
            key(key_pem)?,
        )
        .map_err(|source| TlsError::Refused {
            what: "the certificate with its key",
            source,
        })?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}
