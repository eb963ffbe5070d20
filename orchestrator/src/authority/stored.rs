//! What Secrets Manager holds: the CA that signs, and the other one while there are two.

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData,
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{AuthorityError, CA_LIFETIME, Step, sha256, valid};

/// The secret's JSON.
#[derive(Serialize, Deserialize)]
pub(super) struct Stored {
    certificate: String,
    key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rotation: Option<Rotation>,
}

/// The other CA.
#[derive(Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
enum Rotation {
    /// The one that will sign.
    Announced {
        since: i64,
        certificate: String,
        key: String,
        cross: String,
    },
    /// The one that did; its key is gone.
    Signing {
        since: i64,
        certificate: String,
        cross: String,
    },
}

/// A CA's subject and key: two CAs of a stack are told apart by their names, too.
fn params(stack: &str, key: &KeyPair, now: Timestamp) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::new(Vec::new())?;
    let digest = hex::encode(Sha256::digest(key.subject_public_key_info()));
    params.distinguished_name.push(
        DnType::CommonName,
        format!("{stack} fleet CA {}", &digest[..8]),
    );
    // One level: the CA that replaces this one.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid(&mut params, now, CA_LIFETIME);
    Ok(params)
}

impl Stored {
    /// A new CA.
    pub(super) fn generate(stack: &str, now: Timestamp) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate()?;
        let certificate = params(stack, &key, now)?.self_signed(&key)?;
        Ok(Self {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            rotation: None,
        })
    }

    pub(super) fn read(secret: &SecretString) -> Result<Self, AuthorityError> {
        // The parser's words may quote the key.
        serde_json::from_str(secret.expose_secret())
            .map_err(|_| AuthorityError::Secret("it is not our JSON".to_owned()))
    }

    pub(super) fn write(&self) -> Result<SecretString, AuthorityError> {
        let text = serde_json::to_string(self)
            .map_err(|error| AuthorityError::Secret(error.to_string()))?;
        Ok(text.into())
    }

    pub(super) fn step(&self) -> Result<Step, AuthorityError> {
        Ok(match &self.rotation {
            None => Step::Steady,
            Some(Rotation::Announced {
                since, certificate, ..
            }) => Step::Announced {
                since: *since,
                next: sha256(certificate)?,
            },
            Some(Rotation::Signing {
                since, certificate, ..
            }) => Step::Signing {
                since: *since,
                previous: sha256(certificate)?,
            },
        })
    }

    /// Certificate and key of the one that signs.
    pub(super) fn signs(&self) -> (&str, &str) {
        (&self.certificate, &self.key)
    }

    /// Certificate of the other one.
    pub(super) fn other(&self) -> Option<&str> {
        match self.rotation.as_ref()? {
            Rotation::Announced { certificate, .. } | Rotation::Signing { certificate, .. } => {
                Some(certificate)
            }
        }
    }

    /// The one that signs, certified by the one that did.
    pub(super) fn cross(&self) -> Option<&str> {
        match self.rotation.as_ref()? {
            Rotation::Announced { .. } => None,
            Rotation::Signing { cross, .. } => Some(cross),
        }
    }

    /// The step that follows.
    pub(super) fn advance(self, stack: &str, now: Timestamp) -> Result<Self, AuthorityError> {
        let since = now.as_second();
        Ok(match self.rotation {
            None => {
                let new = Self::generate(stack, now)?;
                let cross = self.certify(stack, &new, now)?;
                Self {
                    rotation: Some(Rotation::Announced {
                        since,
                        certificate: new.certificate,
                        key: new.key,
                        cross,
                    }),
                    ..self
                }
            }
            Some(Rotation::Announced {
                certificate,
                key,
                cross,
                ..
            }) => Self {
                rotation: Some(Rotation::Signing {
                    since,
                    certificate: self.certificate,
                    cross,
                }),
                certificate,
                key,
            },
            Some(Rotation::Signing { .. }) => Self {
                rotation: None,
                ..self
            },
        })
    }

    /// Another CA's name and key, certified by this one.
    fn certify(&self, stack: &str, other: &Self, now: Timestamp) -> Result<String, AuthorityError> {
        let own = KeyPair::from_pem(&self.key)?;
        let issuer = Issuer::from_ca_cert_pem(&self.certificate, own)?;
        let key = KeyPair::from_pem(&other.key)?;
        let mut params = params(stack, &key, now)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        Ok(params.signed_by(&key, &issuer)?.pem())
    }
}
