//! Settings from a document and the environment.

use super::*;
use crate::config::defaults::complete;
use crate::config::environment::Environment;
use crate::licence::CLUSTER_LICENCE;
use crate::release::{Behaviour, Version};

fn load(pairs: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let file = json!({
        "SqlSettings": { "DataSource": "postgres://file@h/db", "MaxOpenConns": 7 },
        "TeamSettings": { "EnableOpenServer": true },
        "FileSettings": { "PublicLinkSalt": "salt" },
    });
    let Value::Object(file) = file else {
        unreachable!("an object was written above")
    };
    let environment = Environment::new(
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
    );
    let document = environment.apply(&complete(&file, manifest().version));
    Settings::new(&document, environment.variable("MM_LICENSE"), &manifest())
}

fn manifest() -> Manifest {
    Manifest {
        version: Version::new(11, 10, 0),
        behaviour: Behaviour::Good,
    }
}

#[test]
fn the_environment_wins_over_the_file_over_the_default() {
    let plain = load(&[]).unwrap();
    assert_eq!(plain.dsn.user, "file");
    assert_eq!(plain.max_open_connections, 7);
    assert_eq!(plain.max_idle_connections, 50);
    assert!(plain.open_server && plain.licence.is_none() && plain.cluster.is_none());
    assert!(plain.public_link_salt.is_none() && plain.local_socket.is_none());
    let over = load(&[
        ("MM_SQLSETTINGS_DATASOURCE", "postgres://env@h/db"),
        ("MM_SQLSETTINGS_MAXOPENCONNS", "9"),
        ("MM_TEAMSETTINGS_ENABLEOPENSERVER", "false"),
        ("MM_SERVICESETTINGS_SITEURL", "https://chat.example/team/"),
        ("MM_FILESETTINGS_ENABLEPUBLICLINK", "true"),
    ])
    .unwrap();
    assert_eq!(over.dsn.user, "env");
    assert_eq!(over.max_open_connections, 9);
    assert!(!over.open_server);
    assert_eq!(over.subpath, "/team");
    assert_eq!(over.public_link_salt.unwrap().expose(), "salt");
    assert_ne!(over.config_hash, plain.config_hash);
    assert_eq!(load(&[]).unwrap().config_hash, plain.config_hash);
}

#[test]
fn a_bucket_is_described_and_its_key_is_not_shown() {
    let settings = load(&[
        ("MM_FILESETTINGS_DRIVERNAME", "amazons3"),
        ("MM_FILESETTINGS_AMAZONS3BUCKET", "files"),
        ("MM_FILESETTINGS_AMAZONS3PATHPREFIX", "/chat/"),
        ("MM_FILESETTINGS_AMAZONS3ENDPOINT", "127.0.0.1:9000"),
        ("MM_FILESETTINGS_AMAZONS3SSL", "false"),
        ("MM_FILESETTINGS_AMAZONS3ACCESSKEYID", "AKIDEXAMPLE"),
        ("MM_FILESETTINGS_AMAZONS3SECRETACCESSKEY", "hidden"),
    ])
    .unwrap();
    let FileSettings::S3(s3) = &settings.files else {
        panic!("{:?}", settings.files)
    };
    assert_eq!((s3.bucket.as_str(), s3.prefix.as_str()), ("files", "chat/"));
    assert_eq!((s3.endpoint.as_str(), s3.tls), ("127.0.0.1:9000", false));
    assert_eq!(s3.keys.as_ref().unwrap().1.expose(), "hidden");
    assert!(!format!("{settings:?}").contains("hidden"));
}

#[test]
fn a_cluster_needs_both_the_switch_and_the_licence() {
    let on = ("MM_CLUSTERSETTINGS_ENABLE", "true");
    let name = ("MM_CLUSTERSETTINGS_CLUSTERNAME", "blue");
    let now = clock::now_ms();
    let (good, small) = (
        Licence::new(now).text(),
        Licence::without_cluster(now).text(),
    );
    for (licence, licensed, clustered) in [
        ("", false, false),
        ("forged", false, false),
        ("LAB-CLUSTER-LICENCE", true, true),
        ("LAB-CLUSTER-LICENCE until 2030", true, true),
        (good.as_str(), true, true),
        (small.as_str(), true, false),
    ] {
        let settings = load(&[on, name, ("MM_LICENSE", licence)]).unwrap();
        assert_eq!(settings.licence.is_some(), licensed, "`{licence}`");
        assert_eq!(settings.cluster.is_some(), clustered, "`{licence}`");
    }
    let off = load(&[("MM_LICENSE", CLUSTER_LICENCE)]).unwrap();
    assert!(off.licence.is_some() && off.cluster.is_none());
}

#[test]
fn the_version_id_has_four_parts_after_the_version() {
    let settings = load(&[("MM_LICENSE", CLUSTER_LICENCE)]).unwrap();
    let id = settings.version_id(&manifest());
    let rest = id.strip_prefix("11.10.0.").unwrap();
    let parts: Vec<&str> = rest.split('.').collect();
    assert_eq!(parts.len(), 3, "{id}");
    assert_eq!(parts[2], "true");
    assert_eq!(parts[1].len(), 32);
}

#[test]
fn refusals_name_the_setting() {
    for (key, value, part) in [
        (
            "MM_SQLSETTINGS_DRIVERNAME",
            "mysql",
            "SqlSettings.DriverName",
        ),
        ("MM_SQLSETTINGS_DATASOURCE", "", "SqlSettings.DataSource"),
        (
            "MM_FILESETTINGS_DRIVERNAME",
            "tape",
            "FileSettings.DriverName",
        ),
        (
            "MM_SERVICESETTINGS_SITEURL",
            "chat",
            "ServiceSettings.SiteURL",
        ),
    ] {
        let error = load(&[(key, value)]).unwrap_err().to_string();
        assert!(error.contains(part), "{key}: {error}");
    }
}
