//! Keys, signatures and what owners say of their keys, made to order.

use std::time::SystemTime;

use pgp::composed::{
    ArmorOptions, DetachedSignature, KeyType, SecretKeyParamsBuilder, SignedPublicKey,
    SignedSecretKey, SubkeyParamsBuilder,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::types::{Duration, KeyDetails, Password, SigningKey, Timestamp};

const DAY: u32 = 24 * 3600;

fn now() -> u32 {
    let since = crate::clock::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap().as_secs() as u32
}

/// A key with a signing subkey, born so many days ago.
pub fn key(days: u32) -> SignedSecretKey {
    let born = Timestamp::from_secs(now() - days * DAY);
    let subkey = SubkeyParamsBuilder::default()
        .key_type(KeyType::Ed25519Legacy)
        .can_sign(true)
        .created_at(born)
        .build()
        .unwrap();
    SecretKeyParamsBuilder::default()
        .key_type(KeyType::Ed25519Legacy)
        .can_certify(true)
        .can_sign(true)
        .created_at(born)
        .primary_user_id("Releases <releases@example.org>".into())
        .subkey(subkey)
        .build()
        .unwrap()
        .generate(rand_core::OsRng)
        .unwrap()
}

pub fn armoured(key: &SignedPublicKey) -> String {
    key.to_armored_string(ArmorOptions::default()).unwrap()
}

/// How a signature is made.
#[derive(Clone, Copy)]
pub struct How {
    pub kind: SignatureType,
    pub hash: HashAlgorithm,
    pub days_ago: i64,
    pub valid_days: u32,
}

pub const GOOD: How = How {
    kind: SignatureType::Binary,
    hash: HashAlgorithm::Sha256,
    days_ago: 0,
    valid_days: 0,
};

pub fn packets(key: &impl SigningKey, how: How) -> Vec<Subpacket> {
    let made = (i64::from(now()) - how.days_ago * i64::from(DAY)) as u32;
    let mut all = vec![
        SubpacketData::IssuerFingerprint(key.fingerprint()),
        SubpacketData::SignatureCreationTime(Timestamp::from_secs(made)),
    ];
    if how.valid_days > 0 {
        let valid = Duration::from_secs(how.valid_days * DAY);
        all.push(SubpacketData::SignatureExpirationTime(valid));
    }
    all.into_iter()
        .map(|one| Subpacket::regular(one).unwrap())
        .collect()
}

pub fn sign(key: &impl SigningKey, how: How, bytes: &[u8]) -> DetachedSignature {
    let mut config = SignatureConfig::v4(how.kind, key.algorithm(), how.hash);
    config.hashed_subpackets = packets(key, how);
    DetachedSignature::new(config.sign(key, &Password::empty(), bytes).unwrap())
}

/// What the owner says about the whole key: an expiry, or that it is withdrawn.
pub fn word(key: &SignedSecretKey, kind: SignatureType, valid: Option<u32>) -> SignedPublicKey {
    let mut public = key.to_public_key();
    let mut config = SignatureConfig::v4(kind, key.primary_key.algorithm(), HashAlgorithm::Sha256);
    // A moment after what the key said of itself when it was made.
    let later = How {
        days_ago: -1,
        ..GOOD
    };
    config.hashed_subpackets = packets(&key.primary_key, later);
    if let Some(days) = valid {
        let valid = SubpacketData::KeyExpirationTime(Duration::from_secs(days * DAY));
        config
            .hashed_subpackets
            .push(Subpacket::regular(valid).unwrap());
    }
    let word = config
        .sign_key(&key.primary_key, &Password::empty(), &public.primary_key)
        .unwrap();
    if kind == SignatureType::KeyRevocation {
        public.details.revocation_signatures.push(word);
    } else {
        public.details.direct_signatures.push(word);
    }
    public
}
