//! A detached OpenPGP signature over the tarball, by a key whose fingerprint is pinned.
//!
//! What can be said without the tarball is said before its first byte: whether the key is the pinned
//! one and whether the signature is by it. The rest follows the bytes in the same pass, on a thread of
//! its own, and has the last word before a release becomes visible.
//!
//! The order of the last questions is the answer's meaning: a signature over other bytes, a forged
//! one, and only of a true one whether it or its key has expired.

use std::io::Read;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use pgp::composed::{Deserializable, DetachedSignature};
use pgp::packet::{Signature, SignatureVersionSpecific};
use tokio::sync::mpsc;

use super::signer::{Signer, certificate, ends, signer};
use crate::wanted::{self, Fingerprint};

/// Of a signature file; real ones have less than 1 KB.
pub(super) const MAX_BYTES: u64 = 64 * 1024;
/// Signatures from the near future are taken: clocks differ by so much (as for certificates).
const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// Why the signature does not let the release in.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// The specification's key is no key.
    #[error("the key that the specification gives cannot be read: {0}")]
    Key(String),
    /// It is one, of another fingerprint.
    #[error("the specification pins key {pinned} and gives key {given}")]
    OtherKey {
        /// The pin.
        pinned: Fingerprint,
        /// What came.
        given: String,
    },
    /// The signature file is none.
    #[error("the signature cannot be read: {0}")]
    Unreadable(String),
    /// Of a kind that proves nothing.
    #[error("the signature is {0}")]
    Weak(String),
    /// Somebody else signed.
    #[error("the signature is by key {found}; {pinned} is pinned")]
    UnknownKey {
        /// As the signature says.
        found: String,
        /// The pin.
        pinned: Fingerprint,
    },
    /// The key may not sign files, or is no proven part of the pinned one.
    #[error("key {0} signed, and is not a signing key of the pinned one")]
    Unfit(String),
    /// It is over other bytes.
    #[error("the signature was made over another file")]
    WrongFile,
    /// It does not hold.
    #[error("the signature is forged: key {0} did not make it")]
    Forged(String),
    /// It held until then.
    #[error("the signature is good, and expired on {0}")]
    Expired(Timestamp),
    /// The key held until then.
    #[error("the signature is good, and its key {key} expired on {on}")]
    KeyExpired {
        /// Primary key or subkey.
        key: String,
        /// When.
        on: Timestamp,
    },
    /// Withdrawn by its owner.
    #[error("the signature's key {0} is revoked")]
    KeyRevoked(String),
    /// Made later than now, or before its key.
    #[error("the signature says that it was made on {0}, which cannot be")]
    Untimely(Timestamp),
}

impl SignatureError {
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Key(_) => "signature_key_unreadable",
            Self::OtherKey { .. } => "signature_key_mismatch",
            Self::Unreadable(_) => "signature_unreadable",
            Self::Weak(_) => "signature_weak",
            Self::UnknownKey { .. } => "signature_unknown_key",
            Self::Unfit(_) => "signature_key_unfit",
            Self::WrongFile => "signature_wrong_file",
            Self::Forged(_) => "signature_forged",
            Self::Expired(_) => "signature_expired",
            Self::KeyExpired { .. } => "signature_key_expired",
            Self::KeyRevoked(_) => "signature_key_revoked",
            Self::Untimely(_) => "signature_untimely",
        }
    }

    pub(super) fn hint(&self) -> &'static str {
        match self {
            Self::Key(_) | Self::OtherKey { .. } => {
                "`mattermost.signature.key_file` must hold the armoured public key of `fingerprint`"
            }
            Self::Unreadable(_) => "check `mattermost.signature.url`: it may lead to an error page",
            Self::Weak(_) => "releases are signed as files, with SHA-256 or longer",
            Self::UnknownKey { .. } | Self::Unfit(_) => {
                "compare with the fingerprint that Mattermost publishes; do not simply take the new one"
            }
            Self::WrongFile => "release and signature do not belong together: check both URLs",
            Self::Forged(_) => "do not install this release; tell who runs the release server",
            Self::Expired(_) => "take a newer release, or its renewed signature",
            Self::KeyExpired { .. } => {
                "if its owner extended it, give the newly exported key in `mattermost.signature.key_file`"
            }
            Self::KeyRevoked(_) => "its owner withdrew it: take the key that replaces it",
            Self::Untimely(_) => "check this node's clock",
        }
    }

    /// A clock is set right, and a proxy's error page goes away; the rest stays as it is.
    pub(super) fn permanent(&self) -> bool {
        !matches!(self, Self::Untimely(_) | Self::Unreadable(_))
    }
}

/// Whoever follows the bytes and judges them.
#[derive(Debug)]
pub struct Checker {
    signature: Signature,
    signer: Signer,
}

impl Checker {
    /// Everything that can be said before the file is there.
    pub fn new(wanted: &wanted::Signature, signature: &[u8]) -> Result<Self, SignatureError> {
        let certificate = certificate(wanted)?;
        let mut refusal = None;
        for signature in signatures(signature)? {
            match signer(&certificate, wanted, &signature) {
                Ok(signer) => return Ok(Self { signature, signer }),
                // Of several signatures the first complaint counts: the file may carry foreign ones.
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        Err(refusal.unwrap_or_else(|| SignatureError::Unreadable("it is empty".to_owned())))
    }

    /// Reads all bytes; they end when the sender is gone.
    pub fn run(self, pieces: mpsc::Receiver<Bytes>, now: Timestamp) -> Result<(), SignatureError> {
        let digest = self.digest(pieces)?;
        let shown = &self.signer.shown;
        let (Some(alg), Some(made)) = (self.signature.hash_alg(), self.signature.signature())
        else {
            return Err(SignatureError::Unreadable("it has no content".to_owned()));
        };
        // The signature repeats the first two bytes of what it was made over: what differs there
        // belongs to another file, and what only pretends to belong does not verify.
        if self
            .signature
            .signed_hash_value()
            .as_ref()
            .map(<[u8; 2]>::as_slice)
            != digest.get(..2)
        {
            return Err(SignatureError::WrongFile);
        }
        if !self.signer.key.verify(alg, &digest, made) {
            return Err(SignatureError::Forged(shown.clone()));
        }
        if self.signer.revoked {
            return Err(SignatureError::KeyRevoked(shown.clone()));
        }
        let now = now.as_second();
        let created = self
            .signature
            .created()
            .map_or(0, pgp::types::Timestamp::as_secs);
        if i64::from(created) > now + CLOCK_SKEW.as_secs() as i64 || created < self.signer.created {
            return Err(SignatureError::Untimely(time(created)));
        }
        let expires = self
            .signature
            .signature_expiration_time()
            .and_then(|after| ends(created, after));
        if let Some(on) = expires.filter(|on| i64::from(*on) <= now) {
            return Err(SignatureError::Expired(time(on)));
        }
        if let Some(on) = self.signer.expires.filter(|on| i64::from(*on) <= now) {
            return Err(SignatureError::KeyExpired {
                key: shown.clone(),
                on: time(on),
            });
        }
        Ok(())
    }

    fn digest(&self, pieces: mpsc::Receiver<Bytes>) -> Result<Vec<u8>, SignatureError> {
        let unreadable = |error: pgp::errors::Error| SignatureError::Unreadable(error.to_string());
        let config = self
            .signature
            .config()
            .ok_or_else(|| SignatureError::Unreadable("its version is unknown".to_owned()))?;
        let mut hasher = config
            .hash_alg
            .new_hasher()
            .map_err(|error| SignatureError::Weak(error.to_string()))?;
        if let SignatureVersionSpecific::V6 { salt } = &config.version_specific {
            hasher.update(salt);
        }
        let mut pieces = pieces;
        while let Some(bytes) = pieces.blocking_recv() {
            hasher.update(&bytes);
        }
        let length = config
            .hash_signature_data(&mut hasher)
            .map_err(unreadable)?;
        hasher.update(&config.trailer(length).map_err(unreadable)?);
        Ok(hasher.finalize().into_vec())
    }
}

fn time(seconds: u32) -> Timestamp {
    Timestamp::from_second(seconds.into()).expect("32 bits of seconds are a time")
}

/// Armoured or binary.
fn signatures(bytes: &[u8]) -> Result<Vec<Signature>, SignatureError> {
    let unreadable = |error: pgp::errors::Error| SignatureError::Unreadable(error.to_string());
    let text = bytes.trim_ascii_start();
    let all: Vec<_> = if text.starts_with(b"-----BEGIN") {
        let (all, _) =
            DetachedSignature::from_armor_many(text.take(MAX_BYTES)).map_err(unreadable)?;
        all.collect()
    } else {
        DetachedSignature::from_bytes_many(bytes)
            .map_err(unreadable)?
            .collect()
    };
    all.into_iter()
        .map(|one| one.map(|one| one.signature).map_err(unreadable))
        .collect()
}
