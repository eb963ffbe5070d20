//! Good and unusable desired states.

use fleet_proto::v1;

use super::*;

fn desired() -> Desired {
    Desired {
        generation: 4,
        goal: Goal::Serve.into(),
        artefact: Some(v1::Artefact {
            version: "11.10.0".into(),
            url: "https://releases.example.org/m.tar.gz".into(),
            sha256: "ab".repeat(32),
            ..v1::Artefact::default()
        }),
        configuration_digest: "cd".repeat(32),
        ..Desired::default()
    }
}

fn with(change: impl FnOnce(&mut v1::Artefact)) -> Desired {
    let mut all = desired();
    change(all.artefact.as_mut().unwrap());
    all
}

fn below(path: &str) -> Desired {
    Desired {
        site_path: path.into(),
        ..desired()
    }
}

fn store(change: impl FnOnce(&mut v1::FileStore)) -> Result<FileStore, WantedError> {
    let mut wire = v1::FileStore {
        bucket: "chat-files-1".into(),
        region: "eu-central-1".into(),
        ..v1::FileStore::default()
    };
    change(&mut wire);
    let message = Desired {
        file_store: Some(wire),
        ..desired()
    };
    match Wanted::parse(&message)? {
        Wanted::Serving(serving) => Ok(serving.file_store.unwrap()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn buckets_have_their_address() {
    let url = |change: fn(&mut v1::FileStore)| store(change).unwrap().url.to_string();
    assert_eq!(
        url(|_| {}),
        "https://chat-files-1.s3.eu-central-1.amazonaws.com/"
    );
    // Its dots would not match the certificate.
    assert_eq!(
        url(|one| one.bucket = "chat.example.org".into()),
        "https://s3.eu-central-1.amazonaws.com/chat.example.org/"
    );
    for (endpoint, expected) in [
        (
            "https://minio.example.org",
            "https://minio.example.org/chat-files-1/",
        ),
        (
            "https://minio.example.org:443/",
            "https://minio.example.org/chat-files-1/",
        ),
        (
            "http://[fd00::1]:9000",
            "http://[fd00::1]:9000/chat-files-1/",
        ),
    ] {
        let found = store(|one| one.endpoint = endpoint.into()).unwrap();
        assert_eq!(found.url.as_str(), expected);
    }
}

#[test]
fn a_bad_file_store_is_refused_with_its_member() {
    type Change = fn(&mut v1::FileStore);
    let cases: [(Change, &str); 19] = [
        (|one| one.bucket = String::new(), "`bucket`"),
        (|one| one.bucket = "ab".into(), "`bucket`"),
        (|one| one.bucket = "x".repeat(64), "`bucket`"),
        (|one| one.bucket = "Chat".into(), "`bucket`"),
        (|one| one.bucket = "a/../b".into(), "`bucket`"),
        (|one| one.bucket = "chat..files".into(), "`bucket`"),
        (|one| one.bucket = "-chat".into(), "`bucket`"),
        (|one| one.region = String::new(), "`region`"),
        (|one| one.region = "eu.central/1".into(), "`region`"),
        (|one| one.prefix = "chat".into(), "`prefix`"),
        (|one| one.prefix = "/".into(), "`prefix`"),
        (|one| one.prefix = "/chat/".into(), "`prefix`"),
        (|one| one.prefix = "a/../b/".into(), "`prefix`"),
        (|one| one.prefix = "a\nb/".into(), "`prefix`"),
        (|one| one.prefix = "x".repeat(1000) + "/", "`prefix`"),
        (|one| one.endpoint = "minio:9000".into(), "`endpoint`"),
        (
            |one| one.endpoint = "https://minio/path".into(),
            "`endpoint`",
        ),
        (
            |one| one.endpoint = "https://u:hidden@minio".into(),
            "`endpoint`",
        ),
        (|one| one.owner = "12345".into(), "`owner`"),
    ];
    for (change, member) in cases {
        let error = store(change).unwrap_err();
        assert_eq!(error.field, "file_store");
        assert!(error.reason.contains(member), "{}", error.reason);
        assert!(!error.reason.contains("hidden"), "{}", error.reason);
    }
}

#[test]
fn a_good_one_gets_the_documented_defaults() {
    let Wanted::Serving(serving) = Wanted::parse(&desired()).unwrap() else {
        panic!("goal is serve");
    };
    assert_eq!(serving.verification.consecutive, 3);
    assert_eq!(serving.verification.interval, Duration::from_secs(2));
    assert_eq!(serving.migration, Migration::Unordered);
    assert_eq!(serving.configuration_store, ConfigurationStore::File);
    assert!(serving.file_store.is_none() && serving.licence.is_none());
    let Wanted::Serving(serving) = Wanted::parse(&below("/chat/team-1")).unwrap() else {
        panic!("goal is serve");
    };
    assert_eq!(serving.site_path.as_str(), "/chat/team-1");
}

#[test]
fn a_bad_one_is_refused_with_its_field() {
    let cases = vec![
        (
            Desired {
                goal: 0,
                ..desired()
            },
            "goal",
        ),
        (
            Desired {
                goal: 77,
                ..desired()
            },
            "goal",
        ),
        (
            Desired {
                artefact: None,
                ..desired()
            },
            "artefact",
        ),
        (with(|a| a.version = "../11".into()), "artefact.version"),
        (with(|a| a.version = "..".into()), "artefact.version"),
        (with(|a| a.version = "a/b".into()), "artefact.version"),
        (with(|a| a.version = String::new()), "artefact.version"),
        (with(|a| a.sha256 = "ab".into()), "artefact.sha256"),
        (
            with(|a| a.url = "http://127.0.0.1/m".into()),
            "artefact.url",
        ),
        (
            with(|a| a.url = "file:///etc/passwd".into()),
            "artefact.url",
        ),
        (
            with(|a| a.url = "https://u:p@example.org/".into()),
            "artefact.url",
        ),
        (
            with(|a| a.signature_url = "http://example.org/s".into()),
            "artefact.signature_url",
        ),
        (
            with(|a| {
                a.signature_url = "https://example.org/s".into();
                // A key id, not a fingerprint.
                a.signature_fingerprint = "F8F2C31744774B28".into();
            }),
            "artefact.signature_fingerprint",
        ),
        (
            Desired {
                configuration_digest: String::new(),
                ..desired()
            },
            "configuration_digest",
        ),
        (
            Desired {
                database: Some(v1::Database::default()),
                ..desired()
            },
            "database",
        ),
        (
            Desired {
                configuration_store: 77,
                ..desired()
            },
            "configuration_store",
        ),
        // Nobody could be asked whether the configuration is there.
        (
            Desired {
                configuration_store: v1::ConfigurationStore::Database.into(),
                ..desired()
            },
            "configuration_store",
        ),
        (below("mattermost"), "site_path"),
        (below("/mattermost/"), "site_path"),
        (below("/"), "site_path"),
        (below("/a/../b"), "site_path"),
        (below("/a?b"), "site_path"),
        (below("/a b"), "site_path"),
    ];
    for (bad, field) in cases {
        assert_eq!(Wanted::parse(&bad).unwrap_err().field, field, "{bad:?}");
    }
}
