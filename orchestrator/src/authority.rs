//! The certificate authority of the fleet: one per stack, kept in Secrets Manager, so that every
//! orchestrator of the stack signs with the same one.

use std::time::Duration;

use jiff::Timestamp;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A node's certificate lives this long (node.md: one hour).
const NODE_LIFETIME: Duration = Duration::from_secs(3600);
/// Clocks may differ by this much (node.md: ±5 minutes).
const SKEW: Duration = Duration::from_secs(300);
/// The orchestrator's own certificate is made at every start and lives this long.
const SERVER_LIFETIME: Duration = Duration::from_secs(90 * 24 * 3600);
/// The CA lives ten years; rotation has an overlap of both.
const CA_LIFETIME: Duration = Duration::from_secs(3650 * 24 * 3600);

/// What can be wrong with a CA or a request.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The secret is not what we put there.
    #[error("secret of the certificate authority: {0}")]
    Secret(String),
    /// The request is not a usable PKCS #10.
    #[error("certificate request: {0}")]
    Request(String),
    /// Making a certificate failed.
    #[error("certificate")]
    Certificate(#[from] rcgen::Error),
}

#[derive(Serialize, Deserialize)]
struct Stored {
    certificate: String,
    key: String,
}

/// A CA that can sign.
pub struct Authority {
    stack: String,
    certificate_pem: String,
    certificate_der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("stack", &self.stack)
            .finish_non_exhaustive()
    }
}

/// What matters of a certificate that a node showed; its chain was verified in the hand-shake.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// Seconds since 1970.
    pub not_after: i64,
    /// SHA-256 (hex) of the SubjectPublicKeyInfo.
    pub key_sha256: String,
}

impl Leaf {
    /// Reads a certificate, DER.
    pub fn read(der: &[u8]) -> Result<Self, AuthorityError> {
        use x509_parser::prelude::FromDer;
        let (_, leaf) = x509_parser::certificate::X509Certificate::from_der(der)
            .map_err(|error| AuthorityError::Request(error.to_string()))?;
        Ok(Self {
            not_after: leaf.validity().not_after.timestamp(),
            key_sha256: hex::encode(Sha256::digest(leaf.public_key().raw)),
        })
    }
}

/// A server certificate with its key, PEM.
pub struct ServerLeaf {
    /// Leaf, then CA.
    pub chain_pem: String,
    /// PKCS #8.
    pub key_pem: SecretString,
}

fn valid(params: &mut CertificateParams, now: Timestamp, lifetime: Duration) {
    let at = |seconds: i64| {
        time::OffsetDateTime::from_unix_timestamp(seconds)
            .unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
    };
    params.not_before = at(now.as_second() - SKEW.as_secs() as i64);
    params.not_after = at(now.as_second() + lifetime.as_secs() as i64);
}

impl Authority {
    /// A new CA, as the text to keep in Secrets Manager.
    pub fn generate(stack: &str, now: Timestamp) -> Result<SecretString, AuthorityError> {
        let mut params = CertificateParams::new(Vec::new())?;
        params
            .distinguished_name
            .push(DnType::CommonName, format!("{stack} fleet CA"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        valid(&mut params, now, CA_LIFETIME);
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let stored = Stored {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        };
        let text = serde_json::to_string(&stored)
            .map_err(|error| AuthorityError::Secret(error.to_string()))?;
        Ok(text.into())
    }

    /// From what Secrets Manager holds.
    pub fn load(stack: &str, secret: &SecretString) -> Result<Self, AuthorityError> {
        let unusable = |error: &dyn std::fmt::Display| AuthorityError::Secret(error.to_string());
        let stored: Stored = serde_json::from_str(secret.expose_secret())
            .map_err(|_| AuthorityError::Secret("it is not our JSON".to_owned()))?;
        let key = KeyPair::from_pem(&stored.key).map_err(|error| unusable(&error))?;
        let certificate_der = CertificateDer::from_pem_slice(stored.certificate.as_bytes())
            .map_err(|error| unusable(&error))?;
        let issuer =
            Issuer::from_ca_cert_der(&certificate_der, key).map_err(|error| unusable(&error))?;
        Ok(Self {
            stack: stack.to_owned(),
            certificate_pem: stored.certificate,
            certificate_der,
            issuer,
        })
    }

    /// SHA-256 (hex) of the CA's certificate: the pin in the nodes' user data.
    pub fn sha256(&self) -> String {
        hex::encode(Sha256::digest(&self.certificate_der))
    }

    /// The CA's certificate, PEM.
    pub fn pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The orchestrator's own server certificate.
    pub fn server(&self, now: Timestamp) -> Result<ServerLeaf, AuthorityError> {
        let mut params = CertificateParams::new(vec![fleet_proto::tls::server_name(&self.stack)])?;
        params
            .distinguished_name
            .push(DnType::CommonName, "orchestrator");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        valid(&mut params, now, SERVER_LIFETIME);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(ServerLeaf {
            chain_pem: format!("{}{}", certificate.pem(), self.certificate_pem),
            key_pem: key.serialize_pem().into(),
        })
    }

    /// Signs a node's request. The names in the request are ignored: the certificate names the
    /// instance that was proven, and nothing else.
    pub fn node(
        &self,
        request: &Request,
        instance_id: &str,
        now: Timestamp,
    ) -> Result<(String, i64), AuthorityError> {
        let uri = format!(
            "spiffe://{}.mattermost.internal/node/{instance_id}",
            self.stack
        );
        let mut params = CertificateParams::new(Vec::new())?;
        params
            .distinguished_name
            .push(DnType::CommonName, instance_id);
        params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(uri)?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let mut serial = [0_u8; 16];
        rand::fill(&mut serial);
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        valid(&mut params, now, NODE_LIFETIME);
        let certificate = params.signed_by(&request.parsed.public_key, &self.issuer)?;
        let not_after = now.as_second() + NODE_LIFETIME.as_secs() as i64;
        Ok((
            format!("{}{}", certificate.pem(), self.certificate_pem),
            not_after,
        ))
    }
}

/// A certificate request whose self-signature holds and whose key is one that we take.
pub struct Request {
    parsed: CertificateSigningRequestParams,
    key_sha256: String,
}

/// A P-256 request is about 300 bytes; anything longer is not from our agent.
const MAX_REQUEST: usize = 2048;

impl Request {
    /// Parses and checks a PKCS #10 request, DER. Only ECDSA P-256 keys are taken.
    pub fn parse(der: &[u8]) -> Result<Self, AuthorityError> {
        use x509_parser::prelude::FromDer;
        if der.len() > MAX_REQUEST {
            return Err(AuthorityError::Request(format!(
                "longer than {MAX_REQUEST} bytes"
            )));
        }
        let (rest, request) =
            x509_parser::certification_request::X509CertificationRequest::from_der(der)
                .map_err(|error| AuthorityError::Request(error.to_string()))?;
        if !rest.is_empty() {
            return Err(AuthorityError::Request("bytes after the end".to_owned()));
        }
        request
            .verify_signature()
            .map_err(|_| AuthorityError::Request("its signature does not hold".to_owned()))?;
        let spki = &request.certification_request_info.subject_pki;
        let p256 = matches!(
            spki.parsed(),
            Ok(x509_parser::public_key::PublicKey::EC(point)) if point.key_size() == 256
        );
        if !p256 {
            return Err(AuthorityError::Request(
                "the key is not ECDSA P-256".to_owned(),
            ));
        }
        let key_sha256 = hex::encode(Sha256::digest(spki.raw));
        let foreign = request.requested_extensions().is_some_and(|mut extensions| {
            extensions.any(|extension| {
                matches!(extension, x509_parser::extensions::ParsedExtension::SubjectAlternativeName(names) if !names.general_names.is_empty())
            })
        });
        if foreign {
            return Err(AuthorityError::Request(
                "it asks for names; the orchestrator alone names nodes".to_owned(),
            ));
        }
        let parsed = CertificateSigningRequestParams::from_der(
            &CertificateSigningRequestDer::from(der.to_vec()),
        )
        .map_err(|error| AuthorityError::Request(error.to_string()))?;
        Ok(Self { parsed, key_sha256 })
    }

    /// SHA-256 (hex) of the SubjectPublicKeyInfo.
    pub fn key_sha256(&self) -> &str {
        &self.key_sha256
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("key_sha256", &self.key_sha256)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
