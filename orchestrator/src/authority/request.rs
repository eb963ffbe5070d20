//! What nodes show: certificate requests, and the certificates that they were given.

use rcgen::CertificateSigningRequestParams;
use rustls::pki_types::CertificateSigningRequestDer;
use sha2::{Digest, Sha256};

use super::AuthorityError;

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

/// A certificate request whose self-signature holds and whose key is one that we take.
pub struct Request {
    pub(super) parsed: CertificateSigningRequestParams,
    pub(super) key_sha256: String,
}

/// A P-256 request is about 300 bytes; anything longer is not from our agent.
pub(super) const MAX_REQUEST: usize = 2048;

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
