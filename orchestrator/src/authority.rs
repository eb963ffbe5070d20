//! The certificate authority of the fleet: one per stack, kept in Secrets Manager, so that every
//! orchestrator of the stack signs with the same one. While it is rotated there are two: one signs,
//! both are trusted.
//!
//! ```text
//!            rotate              every node learnt the new one          nobody needs the old one
//!   steady ----------> announced ----------------------------> signing -------------------------> steady
//!   signs:  old         old                                     new                                new
//!   trusted: old        old, new                                new, old                           new
//! ```
//!
//! Invariants: the new CA is certified by the old one, too (`cross`), so that a node which knows only the
//! old one, by its user data or because it was away, still verifies an orchestrator of the new one; a
//! certificate lives an hour, the key that signs it never leaves this type.

mod request;
mod rotation;
mod stored;

use std::time::Duration;

use jiff::Timestamp;
use rcgen::string::Ia5String;
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose, SanType,
    SerialNumber,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use secrecy::SecretString;
use sha2::{Digest, Sha256};

pub use request::{Leaf, Request};
pub use rotation::{Fleet, Next, Step, next};
use stored::Stored;

/// A node's certificate lives this long (node.md: one hour).
pub const NODE_LIFETIME: Duration = Duration::from_secs(3600);
/// Clocks may differ by this much (node.md: ±5 minutes): certificates begin so much earlier. They end
/// when they say: renewal at half life leaves nodes twenty-four minutes at least.
pub const SKEW: Duration = Duration::from_secs(300);
/// The orchestrator's own certificate is made at every start, and again long before it ends.
const SERVER_LIFETIME: Duration = Duration::from_secs(90 * 24 * 3600);
/// The CA lives ten years.
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

/// A CA that can sign, and whom else to trust.
pub struct Authority {
    stack: String,
    certificate_pem: String,
    certificate_der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    step: Step,
    /// The other CA of a rotation, PEM.
    other: Option<String>,
    /// This one, certified by the one that it replaces, PEM.
    cross: Option<String>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("stack", &self.stack)
            .field("step", &self.step)
            .finish_non_exhaustive()
    }
}

/// A server certificate with its key, PEM.
pub struct ServerLeaf {
    /// Leaf, then CA; while an older CA is still trusted also the way there.
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

fn sha256(pem: &str) -> Result<String, AuthorityError> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| AuthorityError::Secret(error.to_string()))?;
    Ok(hex::encode(Sha256::digest(&der)))
}

impl Authority {
    /// A new CA, as the text to keep in Secrets Manager.
    pub fn generate(stack: &str, now: Timestamp) -> Result<SecretString, AuthorityError> {
        Stored::generate(stack, now)?.write()
    }

    /// From what Secrets Manager holds.
    pub fn load(stack: &str, secret: &SecretString) -> Result<Self, AuthorityError> {
        let unusable = |error: &dyn std::fmt::Display| AuthorityError::Secret(error.to_string());
        let stored = Stored::read(secret)?;
        let step = stored.step()?;
        let other = stored.other().map(str::to_owned);
        let cross = stored.cross().map(str::to_owned);
        let (certificate_pem, key) = stored.signs();
        let key = KeyPair::from_pem(key).map_err(|error| unusable(&error))?;
        let certificate_der = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|error| unusable(&error))?;
        let issuer =
            Issuer::from_ca_cert_der(&certificate_der, key).map_err(|error| unusable(&error))?;
        Ok(Self {
            stack: stack.to_owned(),
            certificate_pem: certificate_pem.to_owned(),
            certificate_der,
            issuer,
            step,
            other,
            cross,
        })
    }

    /// The next text of a rotation, from the one that Secrets Manager holds, with a word that is the
    /// same for whoever takes this very step.
    pub fn advance(
        stack: &str,
        secret: &SecretString,
        now: Timestamp,
    ) -> Result<(SecretString, String), AuthorityError> {
        let stored = Stored::read(secret)?;
        let word = format!("{}/{}", stored.step()?.name(), sha256(stored.signs().0)?);
        Ok((stored.advance(stack, now)?.write()?, word))
    }

    /// Where its rotation is.
    pub fn step(&self) -> &Step {
        &self.step
    }

    /// SHA-256 (hex) of the CA's certificate: the pin in the nodes' user data.
    pub fn sha256(&self) -> String {
        hex::encode(Sha256::digest(&self.certificate_der))
    }

    /// The CA that signs, PEM.
    #[cfg(test)]
    pub fn pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Every CA to trust now, PEM.
    pub fn trust_pem(&self) -> String {
        let other = self.other.as_deref().unwrap_or_default();
        format!("{}{other}", self.certificate_pem)
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
        let mut chain_pem = format!("{}{}", certificate.pem(), self.certificate_pem);
        if let (Some(cross), Some(other)) = (&self.cross, &self.other) {
            chain_pem.push_str(cross);
            chain_pem.push_str(other);
        }
        Ok(ServerLeaf {
            chain_pem,
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

#[cfg(test)]
mod tests;
