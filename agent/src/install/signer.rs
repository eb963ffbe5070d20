//! Which key a signature names, and what the pinned certificate proves of it: that it belongs there,
//! may sign files, until when, and whether it was withdrawn.

use pgp::composed::{Deserializable, SignedPublicKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::types::{KeyDetails, SignatureBytes, Tag, VerifyingKey};

use super::signature::SignatureError;
use crate::wanted;

/// The key that must have made the signature, as the pinned certificate proves it.
#[derive(Debug)]
pub(super) struct Signer {
    pub(super) key: PublicKey,
    pub(super) shown: String,
    pub(super) created: u32,
    /// The earlier of its own and the primary key's, seconds since 1970.
    pub(super) expires: Option<u32>,
    pub(super) revoked: bool,
}

#[derive(Debug)]
pub(super) enum PublicKey {
    Primary(Box<pgp::packet::PublicKey>),
    Subkey(Box<pgp::packet::PublicSubkey>),
}

impl PublicKey {
    pub(super) fn verify(
        &self,
        hash: HashAlgorithm,
        digest: &[u8],
        signature: &SignatureBytes,
    ) -> bool {
        match self {
            Self::Primary(key) => key.verify(hash, digest, signature),
            Self::Subkey(key) => key.verify(hash, digest, signature),
        }
        .is_ok()
    }
}

/// A period of 0 means: never.
pub(super) fn ends(created: u32, after: pgp::types::Duration) -> Option<u32> {
    (after.as_secs() > 0).then(|| created.saturating_add(after.as_secs()))
}

/// The pinned one among the given.
pub(super) fn certificate(wanted: &wanted::Signature) -> Result<SignedPublicKey, SignatureError> {
    let unreadable = |error: pgp::errors::Error| SignatureError::Key(error.to_string());
    let (keys, _) = SignedPublicKey::from_string_many(&wanted.key).map_err(unreadable)?;
    let mut given = Vec::new();
    for key in keys {
        let key = key.map_err(unreadable)?;
        let found = shown(&key.primary_key);
        if wanted.fingerprint.as_str() == found {
            return Ok(key);
        }
        given.push(found);
    }
    if given.is_empty() {
        return Err(SignatureError::Key("it holds no public key".to_owned()));
    }
    Err(SignatureError::OtherKey {
        pinned: wanted.fingerprint.clone(),
        given: given.join(", "),
    })
}

fn shown(key: &impl KeyDetails) -> String {
    hex::encode_upper(key.fingerprint().as_bytes())
}

/// The component of the certificate that the signature names, if it may sign files.
pub(super) fn signer(
    certificate: &SignedPublicKey,
    wanted: &wanted::Signature,
    signature: &Signature,
) -> Result<Signer, SignatureError> {
    if signature.typ() != Some(SignatureType::Binary) {
        return Err(SignatureError::Weak("not one over a file".to_owned()));
    }
    match signature.hash_alg() {
        Some(HashAlgorithm::Sha256 | HashAlgorithm::Sha384 | HashAlgorithm::Sha512) => {}
        other => {
            let name = other.map_or_else(|| "an unknown hash".to_owned(), |name| name.to_string());
            return Err(SignatureError::Weak(format!("made with {name}")));
        }
    }
    let primary = &certificate.primary_key;
    let (primary_expires, primary_signs) = own_word(certificate);
    let revoked = certificate
        .details
        .revocation_signatures
        .iter()
        .any(|revocation| revocation.verify_key(primary).is_ok());
    if names(signature, primary) {
        if !primary_signs {
            return Err(SignatureError::Unfit(shown(primary)));
        }
        return Ok(Signer {
            key: PublicKey::Primary(Box::new(primary.clone())),
            shown: shown(primary),
            created: primary.created_at().as_secs(),
            expires: primary_expires,
            revoked,
        });
    }
    let Some(subkey) = certificate
        .public_subkeys
        .iter()
        .find(|subkey| names(signature, &subkey.key))
    else {
        return Err(SignatureError::UnknownKey {
            found: issuer(signature),
            pinned: wanted.fingerprint.clone(),
        });
    };
    let shown = shown(&subkey.key);
    let bound = |one: &&Signature| one.verify_subkey_binding(primary, &subkey.key).is_ok();
    let of = |kind| move |one: &&Signature| one.typ() == Some(kind);
    let binding = subkey
        .signatures
        .iter()
        .filter(of(SignatureType::SubkeyBinding))
        .filter(bound)
        .max_by_key(|one| one.created())
        // A subkey that signs must itself agree to belong to this primary key.
        .filter(|one| {
            one.key_flags().sign()
                && one.embedded_signature().is_some_and(|back| {
                    back.verify_primary_key_binding(&subkey.key, primary)
                        .is_ok()
                })
        })
        .ok_or_else(|| SignatureError::Unfit(shown.clone()))?;
    let withdrawn = subkey
        .signatures
        .iter()
        .filter(of(SignatureType::SubkeyRevocation))
        .any(|one| bound(&one));
    let created = subkey.key.created_at().as_secs();
    let own = binding
        .key_expiration_time()
        .and_then(|after| ends(created, after));
    Ok(Signer {
        key: PublicKey::Subkey(Box::new(subkey.key.clone())),
        shown,
        created,
        expires: own.into_iter().chain(primary_expires).min(),
        revoked: revoked || withdrawn,
    })
}

/// What the newest signature of the primary key over itself says: until when it is valid, and whether
/// it signs files. Without a word about it, it does.
fn own_word(certificate: &SignedPublicKey) -> (Option<u32>, bool) {
    let primary = &certificate.primary_key;
    let direct = certificate
        .details
        .direct_signatures
        .iter()
        .filter(|one| one.verify_key(primary).is_ok());
    let named = certificate.details.users.iter().flat_map(|user| {
        user.signatures.iter().filter(move |one| {
            one.typ() != Some(SignatureType::CertRevocation)
                && one
                    .verify_certification(primary, Tag::UserId, &user.id)
                    .is_ok()
        })
    });
    let Some(newest) = direct.chain(named).max_by_key(|one| one.created()) else {
        return (None, false);
    };
    let expires = newest
        .key_expiration_time()
        .and_then(|after| ends(primary.created_at().as_secs(), after));
    let flags = newest.key_flags();
    let silent = flags == pgp::packet::KeyFlags::default();
    (expires, silent || flags.sign())
}

/// Whether the signature says that this key made it. A fingerprint counts more than a key id.
fn names(signature: &Signature, key: &impl KeyDetails) -> bool {
    let fingerprints = signature.issuer_fingerprint();
    if fingerprints.is_empty() {
        let id = key.legacy_key_id();
        return signature.issuer_key_id().into_iter().any(|one| *one == id);
    }
    let fingerprint = key.fingerprint();
    fingerprints.into_iter().any(|one| *one == fingerprint)
}

fn issuer(signature: &Signature) -> String {
    let fingerprint = signature
        .issuer_fingerprint()
        .first()
        .map(|one| hex::encode_upper(one.as_bytes()));
    fingerprint
        .or_else(|| {
            signature
                .issuer_key_id()
                .first()
                .map(|one| hex::encode_upper(one.as_ref()))
        })
        .unwrap_or_else(|| "without a name".to_owned())
}
