use std::sync::Arc;

use plan::spec::{Answers, template};

use super::*;
use crate::licence::Licences;
use crate::store::Access;

mod files;

const PASSWORD: &str = "p@ss:w/or d'%41";
const LICENCE: &str = "the licence's text";
const NOBODY: Release<'_> = Release {
    trust_pem: "",
    key: "",
};
const MIRROR: Release<'_> = Release {
    trust_pem: "MIRROR",
    key: "",
};

fn spec() -> Spec {
    let text = template(&Answers::default())
        .replace("cluster = false", "cluster = true")
        .replace("# licence_secret", "licence_secret");
    Spec::parse(&text, "test.toml").unwrap()
}

fn facts() -> Facts {
    Facts {
        database: Access {
            host: "db.example".to_owned(),
            port: 5432,
            database: "mattermost".to_owned(),
            user: "mattermost".to_owned(),
            password: PASSWORD.to_owned().into(),
            trust_pem: Arc::from("ROOTS"),
        },
        replicas: vec![("replica.example".to_owned(), 5433)],
        site_url: "https://chat.example".to_owned(),
        secret_settings: BTreeMap::new(),
        licences: licences(LICENCE),
        secrets_revision: "v1 v2".to_owned(),
    }
}

fn licences(text: &str) -> Licences {
    Licences::new([("l-1".to_owned(), text.to_owned().into())])
}

fn serve(change: impl FnOnce(&mut Serve)) -> NodeGoal {
    let mut serve = Serve::default();
    change(&mut serve);
    NodeGoal::Serve {
        version: serve.version,
        sha256: serve.sha256,
        url: serve.url,
        migrate: serve.migrate,
        expected_migrations: serve.expected_migrations,
        cluster: serve.cluster,
        scheduler: serve.scheduler,
        rollout: serve.rollout,
        settings: serve.settings,
        configuration: serve.configuration,
        licence: serve.licence,
        started_after: serve.started_after,
        files: serve.files,
        copy: None,
    }
}

struct Serve {
    version: String,
    sha256: String,
    url: String,
    migrate: bool,
    expected_migrations: u32,
    cluster: Option<String>,
    scheduler: bool,
    rollout: Option<String>,
    settings: BTreeMap<String, String>,
    configuration: ConfigurationHome,
    licence: Option<String>,
    started_after: Option<jiff::Timestamp>,
    files: Option<plan::FilesHome>,
}

impl Default for Serve {
    fn default() -> Self {
        Self {
            version: "11.10.0".to_owned(),
            sha256: "ab".repeat(32),
            url: "https://mirror.example/m.tar.gz".to_owned(),
            migrate: false,
            expected_migrations: 147,
            cluster: Some("chat".to_owned()),
            scheduler: true,
            rollout: Some("r-3".to_owned()),
            settings: pairs(&[("MM_TEAMSETTINGS_ENABLEOPENSERVER", "true")]),
            configuration: ConfigurationHome::Database,
            licence: Some("l-1".to_owned()),
            started_after: None,
            files: None,
        }
    }
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn settings_are_complete_and_hold_no_secret() {
    let wanted = pairs(&[
        ("MM_CLUSTERSETTINGS_CLUSTERNAME", "chat"),
        ("MM_CLUSTERSETTINGS_ENABLE", "true"),
        ("MM_JOBSETTINGS_RUNSCHEDULER", "true"),
        ("MM_SERVICESETTINGS_SITEURL", "https://chat.example"),
        ("MM_SERVICESETTINGS_TRUSTEDPROXYIPHEADER", "X-Forwarded-For"),
        ("MM_SQLSETTINGS_DRIVERNAME", "postgres"),
        ("MM_TEAMSETTINGS_ENABLEOPENSERVER", "true"),
    ]);
    assert_eq!(settings(&facts(), &serve(|_| {})), wanted);
    let alone = settings(&facts(), &serve(|serve| serve.cluster = None));
    assert_eq!(alone["MM_CLUSTERSETTINGS_ENABLE"], "false");
    assert!(!alone.contains_key("MM_CLUSTERSETTINGS_CLUSTERNAME"));
    // Whoever has another proxy in front says so.
    let header = "MM_SERVICESETTINGS_TRUSTEDPROXYIPHEADER";
    let own = settings(
        &facts(),
        &serve(|serve| serve.settings = pairs(&[(header, "CF-Connecting-IP X-Forwarded-For")])),
    );
    assert_eq!(own[header], "CF-Connecting-IP X-Forwarded-For");
    assert!(settings(&facts(), &NodeGoal::Drain).is_empty());

    // The whole message, as it is logged and kept by the agent.
    let message = message(&spec(), MIRROR, Some(&facts()), &serve(|_| {}), 1).unwrap();
    let text = format!("{message:?}");
    for secret in [PASSWORD, LICENCE, "MM_LICENSE", "DATASOURCE"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[test]
fn secrets_say_how_the_database_is_reached_and_do_not_show_themselves() {
    let all = secrets(&spec(), &facts(), &serve(|_| {}));
    let keys: Vec<&str> = all.keys().map(String::as_str).collect();
    let wanted = [
        "MM_LICENSE",
        "MM_SQLSETTINGS_DATASOURCE",
        "MM_SQLSETTINGS_DATASOURCEREPLICAS",
    ];
    assert_eq!(keys, wanted);
    let shown = format!("{all:?}");
    assert!(
        !shown.contains("p%40ss") && !shown.contains(LICENCE),
        "{shown}"
    );
    let source = |key: &str| url::Url::parse(all[key].expose_secret()).unwrap();
    let ends = [
        ("MM_SQLSETTINGS_DATASOURCE", "db.example", 5432),
        ("MM_SQLSETTINGS_DATASOURCEREPLICAS", "replica.example", 5433),
    ];
    for (key, host, port) in ends {
        let source = source(key);
        assert_eq!((source.host_str(), source.port()), (Some(host), Some(port)));
        assert_eq!(
            (source.username(), source.path()),
            ("mattermost", "/mattermost")
        );
        let password = percent_encoding::percent_decode_str(source.password().unwrap());
        assert_eq!(password.decode_utf8().unwrap(), PASSWORD);
        let parameters: BTreeMap<_, _> = source.query_pairs().into_owned().collect();
        assert_eq!(parameters["sslmode"], "verify-full");
        assert_eq!(parameters["connect_timeout"], "10");
    }
    let mut alone = spec();
    alone.mattermost.cluster = false;
    let all = secrets(&alone, &facts(), &serve(|_| {}));
    assert!(!all.contains_key("MM_SQLSETTINGS_DATASOURCEREPLICAS"));
}

fn with(change: impl FnOnce(&mut Facts)) -> Facts {
    let mut facts = facts();
    change(&mut facts);
    facts
}

#[test]
fn the_digest_changes_with_everything_that_a_server_reads() {
    let base = serve(|_| {});
    let digest = |facts: &Facts, goal: &NodeGoal| digest(MIRROR, Some(facts), goal);
    let database = |change: fn(&mut Access)| with(|facts| change(&mut facts.database));
    let mut digests = vec![("nothing", digest(&facts(), &base))];
    let goals = [
        (
            "the artefact",
            serve(|serve| serve.sha256 = "cd".repeat(32)),
        ),
        ("no cluster", serve(|serve| serve.cluster = None)),
        (
            "another cluster",
            serve(|serve| serve.cluster = Some("chat-r-3".to_owned())),
        ),
        ("no scheduler", serve(|serve| serve.scheduler = false)),
        (
            "another value",
            serve(|serve| serve.settings = pairs(&[("MM_TEAMSETTINGS_ENABLEOPENSERVER", "false")])),
        ),
        (
            "another key",
            serve(|serve| serve.settings = pairs(&[("MM_TEAMSETTINGS_ENABLEOPENSERVE", "rtrue")])),
        ),
        ("no setting", serve(|serve| serve.settings.clear())),
        (
            "settings on the node",
            serve(|serve| serve.configuration = ConfigurationHome::File),
        ),
        (
            "another licence",
            serve(|serve| serve.licence = Some("l-2".to_owned())),
        ),
        (
            "a newer server",
            serve(|serve| serve.started_after = Some(jiff::Timestamp::UNIX_EPOCH)),
        ),
    ];
    digests.extend(goals.map(|(what, goal)| (what, digest(&facts(), &goal))));
    let changes = [
        (
            "the host",
            database(|access| "other.example".clone_into(&mut access.host)),
        ),
        ("the port", database(|access| access.port = 5433)),
        (
            "the database",
            database(|access| "other".clone_into(&mut access.database)),
        ),
        ("no replica", with(|facts| facts.replicas.clear())),
        (
            "two replicas",
            with(|facts| facts.replicas.push(("third".to_owned(), 1))),
        ),
        (
            "the address",
            with(|facts| facts.site_url = "https://other.example".to_owned()),
        ),
        (
            "the database's roots",
            with(|facts| facts.database.trust_pem = "OTHER".into()),
        ),
        (
            "the secrets",
            with(|facts| facts.secrets_revision = "v1 v3".to_owned()),
        ),
    ];
    digests.extend(changes.map(|(what, facts)| (what, digest(&facts, &base))));
    let key = Release {
        key: "KEY",
        ..MIRROR
    };
    for (what, release) in [("the release's roots", NOBODY), ("the key", key)] {
        digests.push((what, super::digest(release, Some(&facts()), &base)));
    }
    for (index, (what, one)) in digests.iter().enumerate() {
        for (other, two) in &digests[index + 1..] {
            assert_ne!(one, two, "{what} and {other}");
        }
    }
}

#[test]
fn the_digest_changes_with_nothing_else() {
    let digest = |facts: &Facts, goal: &NodeGoal| digest(MIRROR, Some(facts), goal);
    let base = digest(&facts(), &serve(|_| {}));
    let goals = [
        serve(|serve| serve.rollout = None),
        serve(|serve| serve.migrate = true),
        serve(|serve| serve.expected_migrations = 148),
        serve(|serve| serve.url = "https://other.example/m.tar.gz".to_owned()),
    ];
    for goal in goals {
        assert_eq!(digest(&facts(), &goal), base, "{goal:?}");
    }
    let same = [
        // A secret's value is known by its version alone.
        with(|facts| facts.licences = licences("other")),
        with(|facts| facts.database.password = "other".to_owned().into()),
    ];
    for facts in same {
        assert_eq!(digest(&facts, &serve(|_| {})), base);
    }
}

const SMTP: &str = "MM_EMAILSETTINGS_SMTPPASSWORD";
const SMTP_PASSWORD: &str = "smtp's own p@ssword";

fn smtp() -> BTreeMap<String, SecretString> {
    [(SMTP.to_owned(), SMTP_PASSWORD.to_owned().into())].into()
}

#[test]
fn a_named_secret_goes_with_the_secrets_alone() {
    let facts = with(|facts| facts.secret_settings = smtp());
    let all = secrets(&spec(), &facts, &serve(|_| {}));
    assert_eq!(all[SMTP].expose_secret(), SMTP_PASSWORD);
    assert!(all.contains_key("MM_SQLSETTINGS_DATASOURCE"));
    let told = message(&spec(), MIRROR, Some(&facts), &serve(|_| {}), 1).unwrap();
    assert!(!told.settings.contains_key(SMTP));
    for shown in [
        format!("{told:?}"),
        format!("{facts:?}"),
        format!("{all:?}"),
    ] {
        assert!(!shown.contains(SMTP_PASSWORD), "{shown}");
    }
    // The version decides the digest, the value does not.
    let digest = |facts: &Facts| digest(MIRROR, Some(facts), &serve(|_| {}));
    assert_eq!(digest(&facts), digest(&super::tests::facts()));
}

#[test]
fn a_server_below_a_path_is_asked_below_it() {
    for (url, path) in [
        ("https://chat.example", ""),
        ("https://chat.example/mattermost", "/mattermost"),
        ("https://chat.example/a/b", "/a/b"),
    ] {
        let mut spec = spec();
        spec.load_balancer.site_url = Some(url.to_owned());
        let told = message(&spec, MIRROR, Some(&facts()), &serve(|_| {}), 1).unwrap();
        assert_eq!(told.site_path, path, "{url}");
    }
}

#[test]
fn a_serving_node_is_told_everything() {
    let facts = facts();
    let goal = serve(|_| {});
    let wanted = v1::Desired {
        generation: 4,
        goal: v1::Goal::Serve.into(),
        artefact: Some(v1::Artefact {
            version: "11.10.0".to_owned(),
            url: "https://mirror.example/m.tar.gz".to_owned(),
            sha256: "ab".repeat(32),
            max_bytes: 4_294_967_296,
            max_files: 200_000,
            trust_pem: "MIRROR".to_owned(),
            ..v1::Artefact::default()
        }),
        settings: settings(&facts, &goal).into_iter().collect(),
        // Another one here means that every running node is configured anew.
        configuration_digest: "7eb15505767451867c9ab09af51169b8f2cff703498746877260b06910fa5940"
            .to_owned(),
        database: Some(v1::Database {
            host: "db.example".to_owned(),
            port: 5432,
            name: "mattermost".to_owned(),
            user: "mattermost".to_owned(),
            trust_pem: "ROOTS".to_owned(),
            minimum_version: 14,
            connections_needed: 10,
        }),
        migration: Some(v1::Migration {
            role: v1::MigrationRole::Wait.into(),
            expected_applied: 147,
        }),
        verification: Some(v1::Verification {
            consecutive: spec().rollout.reads_in_a_row,
            interval_ms: 0,
            start_timeout_s: spec().rollout.node_deadline_seconds,
        }),
        drain: Some(v1::Drain {
            batch: 12,
            interval_ms: 200,
            deadline_s: 870,
        }),
        rollout: "r-3".to_owned(),
        configuration_store: v1::ConfigurationStore::Database.into(),
        licence: Some(v1::LicenceWanted { cluster: true }),
        ..v1::Desired::default()
    };
    assert_eq!(
        message(&spec(), MIRROR, Some(&facts), &goal, 4),
        Some(wanted)
    );
}

#[test]
fn a_signature_is_asked_for_at_the_release_that_is_wanted() {
    let signed = |line: &str| {
        let text = template(&Answers::default())
            .replace("cluster = false", &format!("{line}\ncluster = false"));
        let spec = Spec::parse(&text, "test.toml").unwrap();
        let goal = serve(|serve| serve.url = "https://m.example/m.tar.gz?x=1".to_owned());
        let told = message(
            &spec,
            Release {
                trust_pem: "",
                key: "KEY",
            },
            Some(&facts()),
            &goal,
            1,
        )
        .unwrap();
        let told = told.artefact.unwrap();
        assert_eq!(told.signature_key, "KEY");
        assert_eq!(told.signature_fingerprint, "AB".repeat(20));
        told.signature_url
    };
    let print = format!("fingerprint = \"{}\"", "AB".repeat(20));
    let beside = signed(&format!("signature = {{ {print}, key_file = \"k\" }}"));
    assert_eq!(beside, "https://m.example/m.tar.gz.sig?x=1");
    let elsewhere = signed(&format!(
        "signature = {{ {print}, key_file = \"k\", url = \"https://s.example/{{version}}\" }}"
    ));
    assert_eq!(elsewhere, "https://s.example/11.10.0");
}

#[test]
fn other_goals_differ_where_they_must() {
    let told = |goal: &NodeGoal| message(&spec(), MIRROR, Some(&facts()), goal, 1).unwrap();
    let migrates = told(&serve(|serve| serve.migrate = true));
    assert_eq!(
        migrates.migration.unwrap().role(),
        v1::MigrationRole::Migrate
    );
    let prepare = NodeGoal::Prepare {
        version: "11.10.0".to_owned(),
        sha256: "ab".repeat(32),
        url: "https://mirror.example/m.tar.gz".to_owned(),
        rollout: None,
        settings: BTreeMap::new(),
        configuration: ConfigurationHome::Database,
        licence: Some("l-1".to_owned()),
        files: None,
    };
    let prepared = told(&prepare);
    assert_eq!(prepared.goal(), v1::Goal::Prepare);
    assert_eq!(prepared.migration.unwrap().role(), v1::MigrationRole::Wait);
    assert_eq!(prepared.settings["MM_JOBSETTINGS_RUNSCHEDULER"], "false");
    assert_eq!(
        prepared.configuration_store(),
        v1::ConfigurationStore::Database
    );
    let before = told(&serve(|serve| {
        serve.configuration = ConfigurationHome::File;
    }));
    assert_eq!(
        before.configuration_store(),
        v1::ConfigurationStore::Unspecified
    );
    let drained = message(&spec(), NOBODY, None, &NodeGoal::Drain, 9).unwrap();
    assert_eq!((drained.goal(), drained.generation), (v1::Goal::Drain, 9));
    assert!(drained.artefact.is_none() && drained.settings.is_empty());
}

#[test]
fn nothing_is_told_before_everything_for_it_is_known() {
    let without = with(|facts| facts.licences = Licences::default());
    for facts in [None, Some(&without)] {
        let told = message(&spec(), NOBODY, facts, &serve(|_| {}), 1);
        assert_eq!(told, None, "{facts:?}");
    }
    assert_eq!(digest(NOBODY, None, &serve(|_| {})), None);
    assert!(digest(NOBODY, None, &NodeGoal::Drain).is_some());
    let mut named = spec();
    let reference = plan::spec::SecretRef::parse("chat/smtp#password").unwrap();
    named.mattermost.secrets = [(SMTP.to_owned(), reference)].into();
    assert_eq!(
        message(&named, NOBODY, Some(&facts()), &serve(|_| {}), 1),
        None
    );
    let whole = with(|facts| facts.secret_settings = smtp());
    assert!(message(&named, NOBODY, Some(&whole), &serve(|_| {}), 1).is_some());
    let mut free = spec();
    free.mattermost.licence_secret = None;
    assert!(message(&free, NOBODY, Some(&without), &serve(|_| {}), 1).is_some());
}

#[test]
fn an_order_to_copy_restarts_no_server_and_one_to_move_names_what_goes_where() {
    let order = plan::MoveOrder {
        files: Some(plan::BucketHome {
            bucket: "chat-files".to_owned(),
            region: "eu-central-1".to_owned(),
            prefix: "chat/".to_owned(),
            ..plan::BucketHome::default()
        }),
        configuration: true,
        alone: true,
    };
    let facts = facts();
    let plain = serve(|serve| serve.configuration = ConfigurationHome::File);
    let mut copying = plain.clone();
    if let NodeGoal::Serve { copy, .. } = &mut copying {
        *copy = Some(order.clone());
    }
    let digests = [&plain, &copying].map(|goal| digest(NOBODY, Some(&facts), goal));
    assert_eq!(digests[0], digests[1]);
    let goal = NodeGoal::Move {
        version: "11.10.0".to_owned(),
        sha256: "ab".repeat(32),
        url: "https://m.example/m".to_owned(),
        rollout: Some("r-2".to_owned()),
        settings: BTreeMap::new(),
        files: None,
        order,
    };
    for (goal, named) in [(copying, v1::Goal::Serve), (goal, v1::Goal::Move)] {
        let order = super::files::order(&goal).unwrap();
        assert!(order.configuration && order.alone);
        assert_eq!(order.to.unwrap().bucket, "chat-files");
        let store = super::configuration_store(&goal);
        assert_eq!(store, v1::ConfigurationStore::Unspecified);
        let said = message(&spec(), NOBODY, Some(&facts), &goal, 7).unwrap();
        assert_eq!(said.goal(), named);
        assert!(said.r#move.is_some() && said.file_store.is_none());
    }
    assert_eq!(super::files::order(&plain), None);
}
