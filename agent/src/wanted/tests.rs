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

#[test]
fn a_good_one_gets_the_documented_defaults() {
    let Wanted::Serving(serving) = Wanted::parse(&desired()).unwrap() else {
        panic!("goal is serve");
    };
    assert_eq!(serving.verification.consecutive, 3);
    assert_eq!(serving.verification.interval, Duration::from_secs(2));
    assert_eq!(serving.migration, Migration::Unordered);
}

#[test]
fn a_bad_one_is_refused_with_its_field() {
    let cases = [
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
    ];
    for (bad, field) in cases {
        assert_eq!(Wanted::parse(&bad).unwrap_err().field, field, "{bad:?}");
    }
}
