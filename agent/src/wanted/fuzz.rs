//! Messages from an orchestrator that lost its mind: decoded and checked without a panic, and what is
//! accepted can neither name a path nor leave HTTPS.

use fleet_proto::v1;
use proptest::collection::{hash_map, vec};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use prost::Message;

use super::*;
use crate::install::tests::fuzz::run;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[0-9a-f]{64}",
        "[0-9]{1,2}(\\.[0-9]{1,2}){0,3}",
        "https?://[a-z]{1,5}(:[0-9]{1,6})?(/[a-z.%{}]{0,9}){0,3}",
        "[./\\\\a-c]{0,8}",
        Just(String::new()),
    ]
}

fn artefact() -> impl Strategy<Value = v1::Artefact> {
    let texts = (text(), text(), text(), text(), text(), text(), text());
    (texts, any::<u64>(), any::<u64>()).prop_map(|(texts, max_bytes, max_files)| {
        let (version, url, sha256, trust_pem, signature_url, fingerprint, key) = texts;
        v1::Artefact {
            version,
            url,
            sha256,
            max_bytes,
            max_files,
            trust_pem,
            signature_url,
            signature_fingerprint: fingerprint,
            signature_key: key,
        }
    })
}

fn database() -> impl Strategy<Value = v1::Database> {
    let numbers = (any::<u32>(), any::<u32>(), any::<u32>());
    (text(), text(), text(), text(), numbers).prop_map(|(host, name, user, trust_pem, numbers)| {
        v1::Database {
            host,
            name,
            user,
            trust_pem,
            port: numbers.0,
            minimum_version: numbers.1,
            connections_needed: numbers.2,
        }
    })
}

fn file_store() -> impl Strategy<Value = v1::FileStore> {
    let texts = (text(), text(), text(), text(), text());
    (texts, any::<bool>()).prop_map(|(texts, own_keys)| {
        let (bucket, region, prefix, endpoint, owner) = texts;
        v1::FileStore {
            bucket,
            region,
            prefix,
            endpoint,
            owner,
            own_keys,
        }
    })
}

fn order() -> impl Strategy<Value = v1::Move> {
    let parts = (prop::option::of(file_store()), any::<bool>(), any::<bool>());
    parts.prop_map(|(to, configuration, alone)| v1::Move {
        to,
        configuration,
        alone,
    })
}

fn desired() -> impl Strategy<Value = Desired> {
    let parts = (
        prop::option::of(artefact()),
        prop::option::of(database()),
        hash_map(text(), text(), 0..3),
        text(),
        text(),
    );
    let numbers = (any::<u64>(), any::<i32>(), 0..6_i32, any::<i32>());
    let more = (any::<u32>(), any::<u32>(), any::<u32>());
    let lasting = (
        prop::option::of(file_store()),
        -1..3_i32,
        text(),
        prop::option::of(any::<bool>()),
        prop::option::of(order()),
    );
    (parts, numbers, more, lasting).prop_map(|(parts, numbers, more, lasting)| {
        let (artefact, database, settings, configuration_digest, rollout) = parts;
        let (generation, odd, goal, role) = numbers;
        let (file_store, configuration_store, site_path, cluster, order) = lasting;
        Desired {
            generation,
            goal: if goal == 5 { odd } else { goal },
            artefact,
            settings,
            configuration_digest,
            database,
            migration: Some(v1::Migration {
                role,
                expected_applied: more.0,
            }),
            verification: Some(v1::Verification {
                consecutive: more.0,
                interval_ms: more.1,
                start_timeout_s: more.2,
            }),
            drain: Some(v1::Drain {
                batch: more.0,
                interval_ms: more.1,
                deadline_s: more.2,
            }),
            rollout,
            file_store,
            configuration_store,
            site_path,
            licence: cluster.map(|cluster| v1::LicenceWanted { cluster }),
            r#move: order,
        }
    })
}

/// What no accepted state may do.
fn check(message: &Desired) -> Result<(), TestCaseError> {
    let Ok(Wanted::Serving(wanted) | Wanted::Prepared(wanted)) = Wanted::parse(message) else {
        return Ok(());
    };
    let version = wanted.artefact.version.as_str();
    prop_assert_eq!(std::path::Path::new(version).components().count(), 1);
    prop_assert!(!version.starts_with('.'), "{version}");
    prop_assert_eq!(wanted.artefact.url.scheme(), "https");
    if let Some(signature) = &wanted.artefact.signature {
        prop_assert_eq!(signature.url.scheme(), "https");
    }
    let path = wanted.site_path.as_str();
    prop_assert!(
        !path.ends_with('/')
            && !path.split('/').any(|part| part == "..")
            && !path.contains(['?', '#']),
        "{path}"
    );
    if let Some(store) = &wanted.file_store {
        prop_assert!(matches!(store.url.scheme(), "https" | "http"));
        prop_assert!(store.url.as_str().ends_with('/') && store.url.username().is_empty());
    }
    prop_assert!(wanted.artefact.max_bytes > 0 && wanted.artefact.max_files > 0);
    prop_assert!(!wanted.configuration_digest.is_empty());
    prop_assert!(!wanted.verification.interval.is_zero() && wanted.verification.consecutive > 0);
    Ok(())
}

#[test]
fn odd_messages_are_refused_or_harmless() {
    run("odd messages", 1000, &desired(), |message| check(&message));
}

#[test]
fn mutated_bytes_are_refused_or_harmless() {
    // Drawing a message costs more than all that is done with it: some, each changed often.
    let mut runner = TestRunner::deterministic();
    let seeds: Vec<Vec<u8>> = (0..100)
        .map(|_| {
            let drawn = desired().new_tree(&mut runner).unwrap();
            drawn.current().encode_to_vec()
        })
        .collect();
    let strategy = (
        0..seeds.len(),
        vec((any::<usize>(), any::<u8>()), 1..6),
        any::<usize>(),
    );
    let run_one = |(seed, changes, cut): (usize, Vec<(usize, u8)>, usize)| {
        let mut bytes = seeds[seed].clone();
        for (at, byte) in changes {
            let at = at % bytes.len().max(1);
            if let Some(there) = bytes.get_mut(at) {
                *there = byte;
            }
        }
        bytes.truncate(bytes.len() - (cut % 8).min(bytes.len()));
        match Desired::decode(bytes.as_slice()) {
            Ok(message) => check(&message),
            Err(_) => Ok(()),
        }
    };
    run("mutated messages", 20_000, &strategy, run_one);
}
