//! TLS of HTTPS listeners: certificates from ACM, chosen by server name.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::Lab;
use crate::api::ApiError;
use crate::elbv2::state::TlsSettings;

#[derive(Debug)]
struct ByName {
    /// The first is the default certificate.
    certificates: Vec<(Vec<String>, Arc<CertifiedKey>)>,
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let matching = hello.server_name().and_then(|name| {
            self.certificates
                .iter()
                .find(|(names, _)| names.iter().any(|pattern| covers(pattern, name)))
        });
        matching
            .or(self.certificates.first())
            .map(|(_, key)| Arc::clone(key))
    }
}

/// Whether a certificate's name, perhaps with a `*.`, stands for a host.
fn covers(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(parent) => host
            .split_once('.')
            .is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent)),
        None => pattern.eq_ignore_ascii_case(host),
    }
}

/// The configuration of an HTTPS listener; each certificate must exist in ACM.
pub(in crate::elbv2) fn configuration(
    lab: &Lab,
    region: &str,
    settings: &TlsSettings,
    http2: bool,
) -> Result<Arc<ServerConfig>, ApiError> {
    let mut certificates = Vec::new();
    for arn in &settings.certificates {
        let certificate = crate::acm::material(lab, region, arn).ok_or_else(|| {
            ApiError::new(
                "CertificateNotFound",
                format!("Certificate '{arn}' not found"),
            )
        })?;
        let key = certified_key(&certificate.chain, &certificate.key).map_err(|why| {
            ApiError::new(
                "CertificateNotFound",
                format!("Certificate '{arn}' cannot be used: {why}"),
            )
        })?;
        certificates.push((certificate.names, Arc::new(key)));
    }
    let versions: &[&rustls::SupportedProtocolVersion] = if settings.policy.contains("TLS13-1-3-") {
        &[&rustls::version::TLS13]
    } else if settings.policy.contains("TLS13") {
        &[&rustls::version::TLS13, &rustls::version::TLS12]
    } else {
        &[&rustls::version::TLS12]
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .expect("the provider has both versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ByName { certificates }));
    if http2 {
        config.alpn_protocols.push(b"h2".to_vec());
    }
    config.alpn_protocols.push(b"http/1.1".to_vec());
    Ok(Arc::new(config))
}

/// Whether a PEM certificate and a PEM key belong together and can serve TLS.
pub fn check_key_pair(certificate: &str, key: &str) -> Result<(), String> {
    certified_key(certificate, key).map(drop)
}

fn certified_key(chain: &str, key: &str) -> Result<CertifiedKey, String> {
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.to_string())?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| error.to_string())?;
    let key = aws_lc_rs::sign::any_supported_type(&key).map_err(|error| error.to_string())?;
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match().map_err(|error| error.to_string())?;
    Ok(certified)
}

#[cfg(test)]
mod tests {
    use super::covers;

    #[test]
    fn wildcards_cover_one_label() {
        for (pattern, host, expected) in [
            ("chat.example.com", "CHAT.example.com", true),
            ("*.example.com", "chat.example.com", true),
            ("*.example.com", "a.chat.example.com", false),
            ("*.example.com", "example.com", false),
        ] {
            assert_eq!(covers(pattern, host), expected, "{pattern} {host}");
        }
    }
}
