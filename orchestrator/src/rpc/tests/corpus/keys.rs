//! The certificate request: what it asks for, and the key it is for.

use rcgen::{
    CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PublicKeyData, SanType,
};

use super::Case;
use super::enrolment::{from, signed};
use super::forge::{Attempt, csr, key_sha256};

/// A request for these names, by the key that the proof is for.
fn names(attempt: &mut Attempt, names: Vec<SanType>) {
    let mut params = CertificateParams::default();
    params.subject_alt_names = names;
    attempt.csr = csr(&attempt.key, &params);
}

fn with_key(attempt: &mut Attempt, key: &KeyPair) {
    attempt.csr = csr(key, &CertificateParams::default());
    attempt.signing.set("x-fleet-key-sha256", key_sha256(key));
}

pub fn cases() -> Vec<Case> {
    vec![
        signed(
            "a request for the orchestrator's name",
            "csr",
            |_, attempt| {
                let name = fleet_proto::tls::server_name(super::super::STACK);
                names(attempt, vec![SanType::DnsName(name.try_into().unwrap())]);
            },
        ),
        signed(
            "a request for another node's name",
            "csr",
            |stage, attempt| {
                let other = stage.machine("bob").id.parse().unwrap();
                let uri = fleet_proto::tls::node_uri(super::super::STACK, &other);
                names(attempt, vec![SanType::URI(uri.try_into().unwrap())]);
            },
        ),
        signed("a request for an operator's name", "csr", |_, attempt| {
            let uri = fleet_proto::tls::operator_uri(super::super::STACK, "root");
            names(attempt, vec![SanType::URI(uri.try_into().unwrap())]);
        }),
        signed("a request for an address", "csr", |_, attempt| {
            names(attempt, vec![SanType::IpAddress([127, 0, 0, 1].into())]);
        }),
        signed("a P-384 key", "csr", |_, attempt| {
            with_key(
                attempt,
                &KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap(),
            );
        }),
        signed("an Ed25519 key", "csr", |_, attempt| {
            with_key(attempt, &KeyPair::generate_for(&PKCS_ED25519).unwrap());
        }),
        signed("no request", "csr", |_, attempt| attempt.csr.clear()),
        signed("rubbish for a request", "csr", |_, attempt| {
            attempt.csr = b"-----BEGIN CERTIFICATE REQUEST-----".to_vec();
        }),
        signed(
            "a request whose signature is broken",
            "csr",
            |_, attempt| {
                *attempt.csr.last_mut().unwrap() ^= 1;
            },
        ),
        signed(
            "another's key in a request that was signed by one's own",
            "csr",
            |_, attempt| {
                let other = KeyPair::generate().unwrap().subject_public_key_info();
                let own = attempt.key.subject_public_key_info();
                let at = attempt.csr.windows(own.len()).position(|part| part == own);
                let at = at.unwrap();
                attempt.csr[at..at + own.len()].copy_from_slice(&other);
            },
        ),
        signed("bytes behind the request", "csr", |_, attempt| {
            attempt.csr.push(0);
        }),
        signed("a request of 4 KB", "csr", |_, attempt| {
            attempt.csr.resize(4096, 0);
        }),
        from(
            "ann",
            "a second key for an enrolled instance",
            "other_key",
            |_, _| {},
        ),
    ]
}
