//! What is written is read back, and what may not be there is refused without showing it.

use fleet_proto::v1;
use proptest::prelude::*;

use super::*;
use crate::wanted::Wanted;

fn environment(variables: BTreeMap<String, String>) -> Environment {
    Environment {
        digest: "d".repeat(64),
        variables: variables
            .into_iter()
            .map(|(name, value)| (name, SecretString::from(value)))
            .collect(),
        database_password: SecretString::from("pw"),
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        variables in proptest::collection::btree_map("MM_[A-Z0-9_]{1,20}", "[^\0]{0,40}", 0..6)
    ) {
        let written = environment(variables.clone());
        let (digest, read) = parse(&written.to_text()).unwrap();
        prop_assert_eq!(digest, written.digest);
        let read: BTreeMap<String, String> = read
            .into_iter()
            .map(|(name, value)| (name, value.expose_secret().to_owned()))
            .collect();
        prop_assert_eq!(read, variables);
    }
}

#[test]
fn root_certificate_is_the_nodes_file() {
    let source = SecretString::from(
        "postgres://m:p%40ss@db:5432/mattermost?sslmode=verify-full&sslrootcert=/old&connect_timeout=10",
    );
    let changed = with_root("X", &source, "/etc/ca.pem").unwrap();
    assert_eq!(
        changed.expose_secret(),
        "postgres://m:p%40ss@db:5432/mattermost?sslmode=verify-full&connect_timeout=10&sslrootcert=%2Fetc%2Fca.pem"
    );
    assert!(with_root("X", &SecretString::from("secret-not-a-url"), "/x").is_err());
}

#[test]
fn debug_shows_no_value() {
    let shown = format!(
        "{:?}",
        environment(BTreeMap::from([("MM_A".into(), "hidden".into())]))
    );
    assert!(shown.contains("MM_A") && !shown.contains("hidden") && !shown.contains("pw"));
}

#[test]
fn bad_settings_are_refused_by_name() {
    let cases = ["PATH", "MM_", "MM_lower", "MM_A=B", "LD_PRELOAD", "MM_A\nB"];
    for name in cases {
        assert!(check(name, &SecretString::from("x")).is_err(), "{name}");
    }
    let error = check("MM_A", &SecretString::from("se\0cret")).unwrap_err();
    assert!(!error.to_string().contains("cret"));
}

const SOURCE: &str = "postgres://m:p%40ss@db:5432/mattermost?sslmode=verify-full";

fn composed(
    store: v1::ConfigurationStore,
    settings: &[(&str, &str)],
    secrets: &[(&str, &str)],
) -> Result<BTreeMap<String, String>, EnvironmentError> {
    let map = |pairs: &[(&str, &str)]| {
        let owned = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        owned.collect()
    };
    let desired = v1::Desired {
        generation: 1,
        goal: v1::Goal::Serve.into(),
        artefact: Some(v1::Artefact {
            version: "11.10.0".into(),
            url: "https://releases.example.org/m.tar.gz".into(),
            sha256: "ab".repeat(32),
            ..v1::Artefact::default()
        }),
        configuration_digest: "cd".repeat(32),
        settings: map(settings),
        database: Some(v1::Database {
            host: "db".into(),
            name: "mattermost".into(),
            user: "m".into(),
            trust_pem: "roots".into(),
            ..v1::Database::default()
        }),
        configuration_store: store.into(),
        ..v1::Desired::default()
    };
    let Ok(Wanted::Serving(wanted)) = Wanted::parse(&desired) else {
        panic!("a good state");
    };
    let instance = Instance {
        id: "i-0123456789abcdef0".parse().unwrap(),
        address: [10, 0, 0, 7].into(),
        region: "eu-central-1".to_owned(),
    };
    let secrets = SecretsReply {
        settings: map(secrets),
        database_password: "p@ss".to_owned(),
    };
    let environment = Environment::compose(&wanted, secrets, &instance, &Layout::new("/node"))?;
    assert!(environment.is_of(&wanted));
    let variables = environment.variables();
    Ok(variables
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}

#[test]
fn settings_in_the_database_are_reached_as_the_data_is() {
    let source = [("MM_SQLSETTINGS_DATASOURCE", SOURCE)];
    let made = composed(v1::ConfigurationStore::Database, &[], &source).unwrap();
    assert_eq!(made["MM_CONFIG"], made["MM_SQLSETTINGS_DATASOURCE"]);
    assert_eq!(
        made["MM_CONFIG"],
        format!("{SOURCE}&sslrootcert=%2Fnode%2Fetc%2Fmattermost%2Fdatabase-ca.pem")
    );
    let on_the_node = composed(v1::ConfigurationStore::Unspecified, &[], &source).unwrap();
    assert!(!on_the_node.contains_key("MM_CONFIG"));
}

type Pairs<'a> = &'a [(&'a str, &'a str)];

#[test]
fn who_else_says_where_the_configuration_lives_is_refused_by_name() {
    let database = v1::ConfigurationStore::Database;
    let source = ("MM_SQLSETTINGS_DATASOURCE", SOURCE);
    let theirs = ("MM_CONFIG", "postgres://m:hidden@db/other");
    let defaults = ("MM_CUSTOM_DEFAULTS_PATH", "/hidden.json");
    let cases: [(Pairs<'_>, Pairs<'_>, &str, &str); 6] = [
        (&[theirs], &[source], "setting_reserved", "MM_CONFIG"),
        (&[], &[source, theirs], "setting_reserved", "MM_CONFIG"),
        (
            &[defaults],
            &[source],
            "setting_reserved",
            "MM_CUSTOM_DEFAULTS_PATH",
        ),
        (
            &[],
            &[source, defaults],
            "setting_reserved",
            "MM_CUSTOM_DEFAULTS_PATH",
        ),
        (&[], &[], "data_source_missing", "MM_SQLSETTINGS_DATASOURCE"),
        (
            &[],
            &[("MM_SQLSETTINGS_DATASOURCE", "config.json?hidden")],
            "data_source_invalid",
            "MM_SQLSETTINGS_DATASOURCE",
        ),
    ];
    for (settings, secrets, code, name) in cases {
        let error = composed(database, settings, secrets).unwrap_err();
        assert_eq!(error.code(), code);
        let text = format!("{error} {error:?} {}", error.hint());
        assert!(text.contains(name) && !text.contains("hidden"), "{text}");
        assert!(error.permanent());
    }
    let on_the_node = composed(v1::ConfigurationStore::Unspecified, &[theirs], &[source]);
    assert_eq!(on_the_node.unwrap_err().code(), "setting_reserved");
}

#[test]
fn keys_of_a_store_that_has_its_own_are_both_needed() {
    let [id, secret] = FILE_STORE_KEYS;
    let with = |names: &[&str]| {
        let pairs = names
            .iter()
            .map(|name| ((*name).to_owned(), format!("value of {name}")));
        environment(pairs.collect()).file_store_keys()
    };
    let keys = with(&[id, secret]).unwrap();
    assert_eq!(keys.secret_access_key(), format!("value of {secret}"));
    assert_eq!(with(&[secret]).unwrap_err(), id);
    assert_eq!(with(&[id]).unwrap_err(), secret);
}

#[test]
fn what_the_file_has_beneath_the_settings_reaches_the_database() {
    let kept = [
        "MM_FILESETTINGS_AMAZONS3BUCKET",
        "MM_FILESETTINGS_DIRECTORY",
        "MM_LICENSE",
        "MM_PLUGINSETTINGS_ENABLE",
        "MM_SERVICESETTINGS_LISTENADDRESS",
        "MM_SERVICESETTINGS_SITEURL",
        "MM_SQLSETTINGS_DATASOURCE",
        "MM_SQLSETTINGS_MAXOPENCONNS",
    ];
    let left_out = [
        "MM_CLUSTERSETTINGS_CLUSTERNAME",
        "MM_EMAILSETTINGS_INVITESALT",
        "MM_FILESETTINGS_PUBLICLINKSALT",
        "MM_PLUGINSETTINGS_ENABLEUPLOADS",
        "MM_SQLSETTINGS_ATRESTENCRYPTKEY",
        "MM_TEAMSETTINGS_SITENAME",
    ];
    let all = kept.iter().chain(&left_out);
    let variables = all.map(|name| ((*name).to_owned(), "x".to_owned()));
    let once = environment(variables.collect()).for_local_mode(Path::new("/s"));
    let mut expected = kept.to_vec();
    expected.extend([
        "MM_CLUSTERSETTINGS_ENABLE",
        "MM_JOBSETTINGS_RUNSCHEDULER",
        "MM_SERVICESETTINGS_ENABLELOCALMODE",
        "MM_SERVICESETTINGS_LOCALMODESOCKETLOCATION",
    ]);
    expected.sort_unstable();
    let names: Vec<&str> = once.variables().map(|(name, _)| name).collect();
    assert_eq!(names, expected);
}
