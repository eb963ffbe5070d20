//! The node's key and certificate, on disk so that a restarted node renews instead of enrolling.
//!
//! State belongs to one instance: an image made of a configured node must not carry its identity on,
//! so everything here is dropped when the instance id is another.

use std::path::PathBuf;

use fleet_proto::backoff::spread;
use fleet_proto::id::InstanceId;
use fleet_proto::v1::Certificate;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PublicKeyData};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::clock::unix_now;
use crate::disk::{DiskError, ensure_directory, read_if_there, remove_file, write_atomically};
use crate::layout::Layout;

/// Why there is no usable identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Reading or writing the state directory.
    #[error("the node's identity cannot be kept on disk")]
    Disk(#[from] DiskError),
    /// Making a key or a request.
    #[error("the node's key cannot be used")]
    Key(#[from] rcgen::Error),
    /// The stored certificate record cannot be written.
    #[error("the node's certificate cannot be recorded")]
    Record(#[from] serde_json::Error),
}

/// Over so many seconds a fleet renews that could not for a while.
const OVERDUE: f64 = 60.0;

/// A certificate as stored, with the times that renewal needs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Held {
    instance: InstanceId,
    /// Leaf first, PEM.
    pub chain_pem: String,
    /// The CAs to trust, PEM.
    pub trust_pem: String,
    /// When it came, seconds since 1970 by this node's clock.
    pub received: i64,
    /// When it ends, seconds since 1970.
    pub not_after: i64,
}

impl Held {
    /// Not yet expired by this node's clock.
    pub fn valid_at(&self, now: i64) -> bool {
        now < self.not_after
    }

    /// Half of its life, moved by up to a tenth of it either way, so that nodes which came together do
    /// not renew together. One that is overdue, because no orchestrator was there, is spread over up to a
    /// minute from `now`. Where in it a node stands follows from its name and this certificate, not from
    /// dice: asked again it is the same. From the name alone would make nodes whose periods have a
    /// common multiple meet again and again.
    pub fn renew_at(&self, now: i64) -> i64 {
        self.renew_from(
            now,
            spread(&format!("{}/{}", self.instance, self.not_after)),
        )
    }

    fn renew_from(&self, now: i64, spread: f64) -> i64 {
        let life = (self.not_after - self.received).max(0) as f64;
        let due = self.received + (life * (0.5 + 0.1 * spread)) as i64;
        if due > now {
            return due;
        }
        let left = (self.not_after - now).max(0) as f64;
        now + (OVERDUE.min(left / 2.0) * f64::midpoint(spread, 1.0)) as i64
    }
}

/// Key and certificate of this instance.
pub struct Identity {
    directory: PathBuf,
    instance: InstanceId,
    key: KeyPair,
    held: Option<Held>,
}

impl Identity {
    /// Loads what is on disk, or makes a key (ECDSA P-256). The key never leaves the directory.
    pub fn load(layout: &Layout, instance: &InstanceId) -> Result<Self, IdentityError> {
        let directory = layout.state();
        ensure_directory(&directory, 0o700)?;
        let owner = directory.join("instance");
        let known = read_if_there(&owner)?;
        if known.as_deref() != Some(instance.as_str().as_bytes()) {
            if known.is_some() {
                log::warn!("the state on disk is another instance's: it is dropped");
            }
            for name in [
                "node.key",
                "certificate.json",
                "trust.pem",
                "desired",
                "progress.json",
            ] {
                remove_file(&directory.join(name))?;
            }
            // The secrets of that instance's server are not for this one.
            for file in [layout.environment_file(), layout.database_password_file()] {
                remove_file(&file)?;
            }
            write_atomically(&owner, instance.as_str().as_bytes(), 0o600)?;
        }
        let key = Self::load_key(&directory)?;
        let held = read_if_there(&directory.join("certificate.json"))?
            .and_then(|text| serde_json::from_slice::<Held>(&text).ok())
            .filter(|held| held.instance == *instance);
        Ok(Self {
            directory,
            instance: instance.clone(),
            key,
            held,
        })
    }

    fn load_key(directory: &std::path::Path) -> Result<KeyPair, IdentityError> {
        let path = directory.join("node.key");
        if let Some(bytes) = read_if_there(&path)? {
            match KeyPair::from_pem(&String::from_utf8_lossy(&bytes)) {
                Ok(key) => return Ok(key),
                Err(error) => log::warn!("the key on disk is damaged ({error}): making a new one"),
            }
        }
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        write_atomically(&path, key.serialize_pem().as_bytes(), 0o600)?;
        Ok(key)
    }

    /// The certificate in use, expired or not.
    pub fn held(&self) -> Option<&Held> {
        self.held.as_ref()
    }

    /// The key, PEM: for the TLS configuration only.
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// SHA-256 (hex) of the public key as SubjectPublicKeyInfo (DER).
    pub fn key_sha256(&self) -> String {
        hex::encode(Sha256::digest(self.key.subject_public_key_info()))
    }

    /// A request for a certificate of this key, PKCS #10 DER. It names nothing: the orchestrator
    /// decides what the certificate says.
    pub fn csr(&self) -> Result<Vec<u8>, IdentityError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        Ok(params.serialize_request(&self.key)?.der().to_vec())
    }

    /// Every CA that an orchestrator said to trust, PEM, newest word: it outlives the certificate, since
    /// a CA may have been replaced since the user data was written.
    pub fn trust(&self) -> Result<Option<String>, IdentityError> {
        let pem = read_if_there(&self.directory.join("trust.pem"))?;
        Ok(pem.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Takes a certificate into use and keeps it, with whom to trust from now on. One that cannot be kept on
    /// disk is in use all the same: a full disk must not ask for another one again and again.
    pub fn accept(&mut self, certificate: Certificate) -> Result<(), IdentityError> {
        let held = Held {
            instance: self.instance.clone(),
            chain_pem: certificate.chain_pem,
            trust_pem: certificate.trust_pem,
            received: unix_now(),
            not_after: certificate.not_after,
        };
        let held = self.held.insert(held);
        write_atomically(
            &self.directory.join("trust.pem"),
            held.trust_pem.as_bytes(),
            0o600,
        )?;
        write_atomically(
            &self.directory.join("certificate.json"),
            &serde_json::to_vec_pretty(held)?,
            0o600,
        )?;
        Ok(())
    }

    /// Forgets the certificate (the orchestrator no longer takes it); the key stays.
    pub fn forget(&mut self) -> Result<(), IdentityError> {
        remove_file(&self.directory.join("certificate.json"))?;
        self.held = None;
        Ok(())
    }
}

#[cfg(test)]
mod storm;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn instance(digit: char) -> InstanceId {
        format!("i-{}", digit.to_string().repeat(17))
            .parse()
            .unwrap()
    }

    #[test]
    fn key_survives_restarts_but_not_another_instance() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path());
        let mut first = Identity::load(&layout, &instance('a')).unwrap();
        first
            .accept(Certificate {
                chain_pem: "chain".into(),
                trust_pem: "trust".into(),
                not_after: unix_now() + 3600,
            })
            .unwrap();
        let secrets = [layout.environment_file(), layout.database_password_file()];
        for file in &secrets {
            ensure_directory(&layout.configuration(), 0o755).unwrap();
            write_atomically(file, b"secret", 0o600).unwrap();
        }
        let mode = std::fs::metadata(layout.state().join("node.key")).unwrap();
        assert_eq!(mode.permissions().mode() & 0o7777, 0o600);

        let again = Identity::load(&layout, &instance('a')).unwrap();
        assert_eq!(again.key_sha256(), first.key_sha256());
        assert!(again.held().unwrap().valid_at(unix_now()));
        assert!(secrets.iter().all(|file| file.exists()));

        let copied = Identity::load(&layout, &instance('b')).unwrap();
        assert_ne!(copied.key_sha256(), first.key_sha256());
        assert!(copied.held().is_none());
        assert!(!secrets.iter().any(|file| file.exists()));
    }

    #[test]
    fn renewal_lies_around_half_of_the_life() {
        let held = Held {
            instance: instance('a'),
            chain_pem: String::new(),
            trust_pem: String::new(),
            received: 1000,
            not_after: 4600,
        };
        for (spread, expected) in [(-1.0, 2440), (0.0, 2800), (1.0, 3160)] {
            assert_eq!(held.renew_from(1000, spread), expected, "{spread}");
        }
        // Overdue: within a minute, and in any case before half of what is left.
        for (now, spread, expected) in [
            (3200, -1.0, 3200),
            (3200, 0.0, 3230),
            (3200, 1.0, 3260),
            (4560, 1.0, 4580),
            (5000, 1.0, 5000),
        ] {
            assert_eq!(held.renew_from(now, spread), expected, "{now} {spread}");
        }
    }

    #[test]
    fn what_to_trust_outlives_the_certificate_but_not_the_instance() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path());
        let mut identity = Identity::load(&layout, &instance('a')).unwrap();
        assert_eq!(identity.trust().unwrap(), None);
        let certificate = Certificate {
            chain_pem: "chain".into(),
            trust_pem: "old and new".into(),
            not_after: unix_now() + 3600,
        };
        identity.accept(certificate).unwrap();
        identity.forget().unwrap();
        let again = Identity::load(&layout, &instance('a')).unwrap();
        assert!(again.held().is_none());
        assert_eq!(again.trust().unwrap().as_deref(), Some("old and new"));
        let copied = Identity::load(&layout, &instance('b')).unwrap();
        assert_eq!(copied.trust().unwrap(), None);
    }
}
