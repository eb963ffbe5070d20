//! Detached signatures: by the pinned key and good, or refused by name.

mod keys;

use jiff::Timestamp;
use pgp::composed::{ArmorOptions, DetachedSignature, SignedPublicKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{SignatureConfig, SignatureType};
use pgp::ser::Serialize;
use pgp::types::{KeyDetails, Password};
use proptest::collection::vec;
use proptest::prelude::*;

use super::fixture::{NEW, Node, artefact, release};
use super::fuzz::run;
use super::release_server::{Do, Server};
use super::servers::ok;
use crate::coded::Coded;
use crate::install::InstallError;
use crate::install::signature::{Checker, SignatureError};
use crate::wanted::{Artefact, Signature};
use keys::{GOOD, How, armoured, key, packets, sign, word};

pub struct Case {
    pub name: &'static str,
    pub key: String,
    pub fingerprint: String,
    pub signature: Vec<u8>,
    pub code: Option<&'static str>,
}

fn wanted(case: &Case, all: &[u8]) -> Artefact {
    Artefact {
        signature: Some(Signature {
            url: "https://127.0.0.1:1/m.tar.gz.sig".parse().unwrap(),
            fingerprint: case.fingerprint.parse().unwrap(),
            key: case.key.clone(),
        }),
        ..artefact(NEW, all)
    }
}

fn cases(all: &[u8]) -> Vec<Case> {
    let pinned = key(100);
    let public = pinned.to_public_key();
    let fingerprint = hex::encode(public.fingerprint().as_bytes());
    let other = key(100);
    let primary = &pinned.primary_key;
    let good = sign(primary, GOOD, all);
    let mut forged = good.to_bytes().unwrap();
    *forged.last_mut().unwrap() ^= 1;
    // The octet that names the hash: after header, version, kind and key algorithm.
    let mut sha1 = good.to_bytes().unwrap();
    sha1[5] = HashAlgorithm::Sha1.into();
    // Says that the pinned key made it, and was made by another one.
    let mut pretending = SignatureConfig::v4(
        SignatureType::Binary,
        other.primary_key.algorithm(),
        HashAlgorithm::Sha256,
    );
    pretending.hashed_subpackets = packets(primary, GOOD);
    let pretending = pretending
        .sign(&other.primary_key, &Password::empty(), all)
        .unwrap();
    // A subkey of another key, put into the pinned certificate.
    let mut grafted = public.clone();
    grafted.public_subkeys = other.to_public_key().public_subkeys;
    let by_other_subkey = sign(&other.secret_subkeys[0].key, GOOD, all);
    let expired_key = word(&pinned, SignatureType::Key, Some(50));
    let extended_key = word(&pinned, SignatureType::Key, Some(500));
    let revoked = word(&pinned, SignatureType::KeyRevocation, None);
    let both = [
        sign(&other.primary_key, GOOD, all).to_bytes().unwrap(),
        good.to_bytes().unwrap(),
    ]
    .concat();
    let case = |name, signature: Vec<u8>, code| Case {
        name,
        key: armoured(&public),
        fingerprint: fingerprint.clone(),
        signature,
        code,
    };
    let with_key = |key: &SignedPublicKey, case: Case| Case {
        key: armoured(key),
        ..case
    };
    let bytes = |how| sign(primary, how, all).to_bytes().unwrap();
    let old = How {
        days_ago: 60,
        ..GOOD
    };
    vec![
        case("binary", good.to_bytes().unwrap(), None),
        case(
            "armoured",
            good.to_armored_bytes(ArmorOptions::default()).unwrap(),
            None,
        ),
        case(
            "SHA-512",
            bytes(How {
                hash: HashAlgorithm::Sha512,
                ..GOOD
            }),
            None,
        ),
        case(
            "by the signing subkey",
            sign(&pinned.secret_subkeys[0].key, GOOD, all)
                .to_bytes()
                .unwrap(),
            None,
        ),
        case("beside a foreign one", both, None),
        case(
            "valid for long enough",
            bytes(How {
                valid_days: 90,
                ..old
            }),
            None,
        ),
        with_key(
            &extended_key,
            case("key was extended", good.to_bytes().unwrap(), None),
        ),
        Case {
            fingerprint: fingerprint.to_uppercase()[..20].to_owned() + " " + &fingerprint[20..],
            ..case("fingerprint in groups", good.to_bytes().unwrap(), None)
        },
        case(
            "over another file",
            sign(primary, GOOD, b"another").to_bytes().unwrap(),
            Some("signature_wrong_file"),
        ),
        case("one bit", forged, Some("signature_forged")),
        case(
            "in another's name",
            DetachedSignature::new(pretending).to_bytes().unwrap(),
            Some("signature_forged"),
        ),
        case(
            "another key",
            sign(&other.primary_key, GOOD, all).to_bytes().unwrap(),
            Some("signature_unknown_key"),
        ),
        with_key(
            &grafted,
            case(
                "grafted subkey",
                by_other_subkey.to_bytes().unwrap(),
                Some("signature_key_unfit"),
            ),
        ),
        with_key(
            &other.to_public_key(),
            case(
                "pin and key differ",
                good.to_bytes().unwrap(),
                Some("signature_key_mismatch"),
            ),
        ),
        Case {
            key: "-----BEGIN NOTHING-----".into(),
            ..case(
                "no key",
                good.to_bytes().unwrap(),
                Some("signature_key_unreadable"),
            )
        },
        case(
            "expired",
            bytes(How {
                valid_days: 30,
                ..old
            }),
            Some("signature_expired"),
        ),
        with_key(
            &expired_key,
            case("expired key", bytes(old), Some("signature_key_expired")),
        ),
        with_key(
            &revoked,
            case("revoked key", bytes(old), Some("signature_key_revoked")),
        ),
        case(
            "tomorrow's",
            bytes(How {
                days_ago: -1,
                ..GOOD
            }),
            Some("signature_untimely"),
        ),
        case(
            "older than its key",
            bytes(How {
                days_ago: 200,
                ..GOOD
            }),
            Some("signature_untimely"),
        ),
        case("SHA-1", sha1, Some("signature_weak")),
        case(
            "over a text",
            bytes(How {
                kind: SignatureType::Text,
                ..GOOD
            }),
            Some("signature_weak"),
        ),
        case(
            "an error page",
            b"<html>not found</html>".to_vec(),
            Some("signature_unreadable"),
        ),
        case("nothing", Vec::new(), Some("signature_unreadable")),
        case(
            "half of one",
            good.to_bytes().unwrap()[..20].to_vec(),
            Some("signature_unreadable"),
        ),
    ]
}

/// From beside the image's copy.
pub async fn check(case: &Case, all: &[u8]) {
    let node = Node::new().await;
    let wanted = wanted(case, all);
    let copy = format!("mattermost-{}.tar.gz", wanted.sha256);
    std::fs::write(node.layout.cache().join(&copy), all).unwrap();
    std::fs::write(
        node.layout.cache().join(format!("{copy}.sig")),
        &case.signature,
    )
    .unwrap();
    let result = node.install(&wanted).await;
    match case.code {
        None => {
            result.unwrap_or_else(|error| panic!("{}: {error}", case.name));
        }
        Some(code) => {
            let error = result.expect_err(case.name);
            assert!(
                error.starts_with(&format!("{code}:")),
                "{}: expected {code}, got {error}",
                case.name
            );
            node.assert_untouched(case.name);
        }
    }
}

#[tokio::test]
async fn signatures_are_good_or_refused_by_name_without_a_trace() {
    let all = release(NEW);
    for case in cases(&all) {
        check(&case, &all).await;
    }
}

#[tokio::test]
async fn signature_comes_from_the_server_and_before_the_release() {
    let all = release(NEW);
    let pinned = key(1);
    let signature = sign(&pinned.primary_key, GOOD, &all).to_bytes().unwrap();
    let give = |bytes: &[u8]| Do::Say(ok(bytes.len(), "", bytes));
    let status = |line: &str| {
        Do::Say(format!("HTTP/1.1 {line}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").into())
    };
    let cases = [
        ("given", vec![give(&signature), give(&all)], None),
        (
            "after a pause",
            vec![status("503 Busy"), give(&signature), give(&all)],
            None,
        ),
        (
            "missing",
            vec![status("404 Not Found")],
            Some("source_status"),
        ),
        (
            "endless",
            vec![Do::Flood(
                b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec(),
            )],
            Some("source_too_large"),
        ),
        (
            "a page",
            vec![give(b"<html>")],
            Some("signature_unreadable"),
        ),
        (
            "of another release",
            vec![
                give(&sign(&pinned.primary_key, GOOD, b"x").to_bytes().unwrap()),
                give(&all),
            ],
            Some("signature_wrong_file"),
        ),
    ];
    for (name, answers, code) in cases {
        let node = Node::new().await;
        let server = Server::new(answers).await;
        let mut wanted = server.artefact(&all);
        wanted.signature = Some(Signature {
            url: format!("{}.sig", wanted.url).parse().unwrap(),
            fingerprint: hex::encode(pinned.fingerprint().as_bytes())
                .parse()
                .unwrap(),
            key: armoured(&pinned.to_public_key()),
        });
        let result = node.install(&wanted).await;
        let Some(code) = code else {
            result.unwrap_or_else(|error| panic!("{name}: {error}"));
            continue;
        };
        let error = result.expect_err(name);
        assert!(
            error.starts_with(&format!("{code}:")),
            "{name}: expected {code}, got {error}"
        );
        node.assert_untouched(name);
    }
}

/// Files and keys that are nearly right: refused by name or taken, never a panic.
#[test]
fn mutated_signatures_and_keys_are_never_a_panic() {
    let all = release(NEW);
    let cases = cases(&all);
    let strategy = (
        0..cases.len(),
        any::<bool>(),
        vec((any::<usize>(), any::<u8>()), 1..4),
    );
    run(
        "mutated signatures",
        4000,
        &strategy,
        |(case, of_key, changes)| {
            let case = &cases[case];
            let mut key = case.key.clone().into_bytes();
            let mut signature = case.signature.clone();
            let bytes = if of_key { &mut key } else { &mut signature };
            for (at, byte) in changes {
                let at = at % bytes.len().max(1);
                if let Some(there) = bytes.get_mut(at) {
                    *there = byte;
                }
            }
            let wanted = Signature {
                url: "https://127.0.0.1:1/m.sig".parse().unwrap(),
                fingerprint: case.fingerprint.parse().unwrap(),
                key: String::from_utf8_lossy(&key).into_owned(),
            };
            let _ = Checker::new(&wanted, &signature);
            Ok(())
        },
    );
}

#[test]
fn what_may_pass_is_tried_again() {
    let cases = [
        (SignatureError::Untimely(Timestamp::UNIX_EPOCH), false),
        (SignatureError::Unreadable("a page".to_owned()), false),
        (SignatureError::WrongFile, true),
        (SignatureError::Forged("key".to_owned()), true),
    ];
    for (error, permanent) in cases {
        let error = InstallError::Signature(error);
        assert_eq!(error.permanent(), permanent, "{error}");
    }
}
