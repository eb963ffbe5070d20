use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::json;

use super::*;

/// A licence's text: the document with a signature behind it.
fn text(document: &str) -> String {
    let mut bytes = document.as_bytes().to_vec();
    bytes.extend([7; SIGNATURE]);
    STANDARD.encode(bytes)
}

fn document() -> serde_json::Value {
    json!({
        "id": "qwertyuiop",
        "issued_at": 1_767_225_600_000_i64,
        "starts_at": 1_767_225_600_000_i64,
        "expires_at": 1_798_761_600_000_i64,
        "sku_name": "Enterprise",
        "sku_short_name": "enterprise",
        "customer": { "id": "c", "name": "Ada", "email": "ada@example.com", "company": "Example" },
        "features": { "users": 100, "cluster": true, "future_features": true },
        "is_trial": false,
    })
}

#[test]
fn a_licence_says_its_term_and_whether_it_allows_a_cluster() {
    let read = term(&text(&document().to_string())).unwrap();
    let expected = Term {
        id: "qwertyuiop".to_owned(),
        starts: "2026-01-01T00:00:00Z".parse().unwrap(),
        expires: "2027-01-01T00:00:00Z".parse().unwrap(),
        cluster: true,
        sku: "enterprise".to_owned(),
        customer: "Example".to_owned(),
    };
    assert_eq!(read, expected);
    // As a file has it: lines of 64, and one more at its end.
    let encoded = text(&document().to_string());
    let lines: Vec<&str> = (0..encoded.len())
        .step_by(64)
        .map(|at| &encoded[at..(at + 64).min(encoded.len())])
        .collect();
    assert_eq!(term(&(lines.join("\n") + "\n")), Ok(expected));
}

#[test]
fn a_feature_that_is_not_named_is_what_future_features_are() {
    for (features, cluster) in [
        (json!({ "cluster": false }), false),
        (json!({ "cluster": true, "future_features": false }), true),
        (json!({ "future_features": false }), false),
        (json!({}), true),
        (json!(null), true),
    ] {
        let mut document = document();
        document["features"] = features.clone();
        let read = term(&text(&document.to_string())).unwrap();
        assert_eq!(read.cluster, cluster, "{features}");
    }
}

#[test]
fn what_is_no_licence_is_not_readable_and_is_not_quoted() {
    let with = |member: &str, value: serde_json::Value| {
        let mut document = document();
        document[member] = value;
        text(&document.to_string())
    };
    let short = STANDARD.encode([1; SIGNATURE]);
    for (given, expected) in [
        ("LAB-CLUSTER-LICENCE".to_owned(), NotReadable::Encoding),
        (String::new(), NotReadable::TooShort(0)),
        (short, NotReadable::TooShort(SIGNATURE)),
        (text("no document"), NotReadable::Document),
        (text("[1]"), NotReadable::Document),
        (text("{}"), NotReadable::Document),
        (with("expires_at", json!("soon")), NotReadable::Document),
        (with("expires_at", json!(i64::MAX)), NotReadable::Term),
        (with("expires_at", json!(1)), NotReadable::Term),
        ("A".repeat(LONGEST + 1), NotReadable::TooLong(LONGEST + 1)),
    ] {
        let error = term(&given).unwrap_err();
        assert_eq!(error, expected);
        let shown = format!("{error} {error:?}");
        assert!(given.is_empty() || !shown.contains(&given), "{shown}");
    }
}

#[test]
fn texts_show_themselves_nowhere() {
    let licences = Licences::new([("v1".to_owned(), "the text".to_owned().into())]);
    let mut reader = Reader::default();
    reader.keep("v1".to_owned(), "the text".to_owned().into());
    let shown = format!("{licences:?} {reader:?}");
    assert!(
        shown.contains("v1") && !shown.contains("the text"),
        "{shown}"
    );
}

#[test]
fn what_was_read_stays_good_and_why_no_more_is_read_is_known() {
    const SECRET: &str = "demo/licence";
    let read = |id: &str| {
        Ok(SecretVersion {
            id: id.to_owned(),
            text: format!("text of {id}").into(),
        })
    };
    let seen = |reader: &Reader| {
        let known = reader.known();
        let ids = |unread: &UnreadLicence| unread.readable.iter().cloned().collect::<Vec<_>>();
        (
            known.licence.map(|seen| seen.current),
            known
                .unread
                .as_ref()
                .map(|unread| (unread.why.clone(), ids(unread))),
            known.texts.0.into_keys().collect::<Vec<_>>(),
        )
    };
    let unread = |why: NoText, ids: &[&str]| {
        Some((
            why,
            ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>(),
        ))
    };
    let v1 = || vec!["v1".to_owned()];

    let mut reader = Reader::default();
    assert_eq!(seen(&reader), (None, None, vec![]));
    reader.take(SECRET, Err(NoText::Deleting));
    assert_eq!(seen(&reader), (None, unread(NoText::Deleting, &[]), vec![]));
    assert!(reader.read.is_none(), "the next look asks again");
    // An earlier version is read by its id.
    reader.keep("v1".to_owned(), "text of v1".to_owned().into());
    assert_eq!(
        seen(&reader),
        (None, unread(NoText::Deleting, &["v1"]), v1())
    );

    let mut reader = Reader::default();
    reader.take(SECRET, read("v1"));
    assert_eq!(seen(&reader), (Some("v1".to_owned()), None, v1()));
    reader.take(SECRET, Err(NoText::Bytes));
    let kept = (Some("v1".to_owned()), unread(NoText::Bytes, &["v1"]), v1());
    assert_eq!(seen(&reader), kept);
    assert!(!format!("{:?}", reader.known()).contains("text of"));
    reader.take(SECRET, read("v2"));
    let (current, unread, texts) = seen(&reader);
    assert_eq!(
        (current.as_deref(), unread, texts.len()),
        (Some("v2"), None, 2)
    );
}

#[test]
fn the_versions_that_may_be_needed_are_kept() {
    let goal = |version: &str| NodeGoal::Prepare {
        version: "11.10.0".to_owned(),
        sha256: "ab".repeat(32),
        url: "https://mirror.example/m.tar.gz".to_owned(),
        rollout: None,
        settings: BTreeMap::new(),
        configuration: plan::ConfigurationHome::Database,
        files: None,
        licence: Some(version.to_owned()),
    };
    let row = |version: &str, revoked| crate::store::NodeRow {
        goal: Some(goal(version)),
        revoked,
        ..crate::store::NodeRow::default()
    };
    let mut snapshot = Snapshot::default();
    snapshot.nodes.insert("i-1".to_owned(), row("told", false));
    snapshot.nodes.insert("i-2".to_owned(), row("gone", true));
    let record = LicenceRecord {
        proven: Some("proven".to_owned()),
        refused: None,
    };
    let reader = Reader {
        current: Some("current".to_owned()),
        ..Reader::default()
    };
    let wanted = reader.wanted(&record, &snapshot);
    assert_eq!(
        wanted.into_iter().collect::<Vec<_>>(),
        ["current", "proven", "told"]
    );
}

#[test]
fn a_node_gets_the_text_of_its_goals_version_and_none_without_it() {
    let text = plan::spec::template(&plan::spec::Answers::default())
        .replace("cluster = false", "cluster = true")
        .replace("# licence_secret", "licence_secret");
    let spec = plan::Spec::parse(&text, "test.toml").unwrap();
    let facts = crate::fleet::Facts {
        database: crate::store::Access {
            host: "db.example".to_owned(),
            port: 5432,
            database: "mattermost".to_owned(),
            user: "mattermost".to_owned(),
            password: "secret".to_owned().into(),
            trust_pem: "ROOTS".into(),
        },
        replicas: Vec::new(),
        site_url: "https://chat.example".to_owned(),
        licences: Licences::new(
            [("v1", "first"), ("v2", "second")]
                .map(|(id, text)| (id.to_owned(), text.to_owned().into())),
        ),
        secret_settings: BTreeMap::new(),
        secrets_revision: "p1".to_owned(),
    };
    let release = crate::desired::Release {
        trust_pem: "",
        key: "",
    };
    for (version, expected) in [
        (Some("v1"), Some("first")),
        (Some("v2"), Some("second")),
        (Some("v3"), None),
        (None, None),
    ] {
        let goal = NodeGoal::Serve {
            version: "11.10.0".to_owned(),
            sha256: "ab".repeat(32),
            url: "https://mirror.example/m.tar.gz".to_owned(),
            migrate: false,
            expected_migrations: 147,
            cluster: None,
            scheduler: true,
            rollout: None,
            settings: BTreeMap::new(),
            configuration: plan::ConfigurationHome::Database,
            files: None,
            copy: None,
            licence: version.map(str::to_owned),
            started_after: None,
        };
        let secrets = crate::desired::secrets(&spec, &facts, &goal);
        let given = secrets.get("MM_LICENSE").map(ExposeSecret::expose_secret);
        assert_eq!(given, expected);
        // Without the text it would serve unlicensed: it is told nothing.
        let told = crate::desired::message(&spec, release, Some(&facts), &goal, 1);
        assert_eq!(told.is_some(), expected.is_some(), "{version:?}");
        if let Some(told) = told {
            assert_eq!(
                told.licence,
                Some(fleet_proto::v1::LicenceWanted { cluster: true })
            );
            assert!(!format!("{told:?}").contains(expected.unwrap()));
        }
    }
}

#[test]
fn status_has_the_licence_in_force() {
    let file = plan::spec::template(&plan::spec::Answers::default())
        .replace("# licence_secret", "licence_secret");
    let spec = Spec::parse(&file, "test.toml").unwrap();
    let mut seen = Licence {
        current: "v1".to_owned(),
        ..Licence::default()
    };
    let row = |seen: &Licence| {
        let observed = Observed {
            licence: Some(seen.clone()),
            ..Observed::default()
        };
        let row = row(&spec, &observed).unwrap();
        format!("{} {} {}: {}", row.kind, row.name, row.id, row.state)
    };
    let unknown = "licence mattermost/licence version v1: its end is not known";
    assert_eq!(row(&seen), unknown);
    let known = term(&text(&document().to_string())).unwrap();
    seen.terms.insert("v1".to_owned(), known);
    let known = "licence mattermost/licence version v1: enterprise until 2027-01-01, with cluster";
    assert_eq!(row(&seen), known);
    assert_eq!(super::row(&spec, &Observed::default()), None);
    let row = |licence: Option<Licence>| {
        let observed = Observed {
            licence,
            licence_unread: Some(UnreadLicence {
                why: NoText::Deleting,
                readable: BTreeSet::new(),
            }),
            ..Observed::default()
        };
        let row = super::row(&spec, &observed).unwrap();
        format!("{} {}: {}", row.name, row.id, row.state)
    };
    let gone = "the secret is scheduled for deletion";
    assert_eq!(row(None), format!("mattermost/licence : {gone}"));
    let both = "version v1: enterprise until 2027-01-01, with cluster; the secret is scheduled";
    assert!(row(Some(seen)).contains(both));
}

#[test]
fn the_end_is_a_number_while_it_is_known() {
    let metrics = crate::metrics::Metrics::default();
    let line = |metrics: &crate::metrics::Metrics| {
        let text = metrics.text();
        let found = text
            .lines()
            .find(|line| line.contains("licence_expiry_timestamp_seconds{"));
        found.map(str::to_owned)
    };
    assert_eq!(line(&metrics), None);
    metrics.licence_ends("mattermost/licence", Some(1_798_761_600));
    let expected =
        "orchestrator_licence_expiry_timestamp_seconds{secret=\"mattermost/licence\"} 1798761600";
    assert_eq!(line(&metrics).as_deref(), Some(expected));
    metrics.licence_ends("mattermost/licence", None);
    assert_eq!(line(&metrics), None);
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(given in any::<String>()) {
        let _ = term(&given);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..1024)) {
        let _ = term(&STANDARD.encode(bytes));
    }

    #[test]
    fn any_document_is_read_or_refused(
        id in any::<String>(),
        starts in any::<i64>(),
        expires in any::<i64>(),
        cluster in any::<Option<bool>>(),
    ) {
        let document = json!({
            "id": id, "starts_at": starts, "expires_at": expires, "features": { "cluster": cluster },
        });
        if let Ok(term) = term(&text(&document.to_string())) {
            prop_assert!(term.starts <= term.expires);
            prop_assert_eq!(term.expires.as_millisecond(), expires);
            prop_assert_eq!(term.cluster, cluster.unwrap_or(true));
            prop_assert!(term.id.chars().count() <= LONGEST_NAME);
            prop_assert!(!term.id.chars().any(char::is_control));
        }
    }
}
