//! A packed release of the stand-in, which behaves as a real Mattermost does, with everything that lasts:
//! its files in a bucket, its settings in the database, a licence, and a site below a path.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use fleet_proto::v1::{
    ConfigurationStore, Desired, FileStore, LicenceWanted, Migration, MigrationRole, Phase,
    ServerLicence,
};
use standin::licence::Licence;
use standin::release::pack;

use crate::postgres::{PASSWORD, Postgres};
use crate::s3::{BUCKET, Bucket, REGION};
use crate::scenario::Scenario;

/// Beside this test, when the whole workspace is built.
pub fn binary() -> Option<PathBuf> {
    let test = std::env::current_exe().unwrap();
    let binary = test.ancestors().nth(2)?.join("mattermost");
    if !binary.exists() {
        // Past the test harness, which keeps what tests print that pass.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: no `{}`; hint: `cargo build --workspace`",
            binary.display()
        );
        return None;
    }
    Some(binary)
}

pub fn settings(bucket: &Bucket) -> [(&'static str, String); 8] {
    let endpoint = bucket.endpoint.trim_start_matches("http://").to_owned();
    [
        ("MM_FILESETTINGS_DRIVERNAME", "amazons3".to_owned()),
        ("MM_FILESETTINGS_AMAZONS3BUCKET", BUCKET.to_owned()),
        ("MM_FILESETTINGS_AMAZONS3REGION", REGION.to_owned()),
        ("MM_FILESETTINGS_AMAZONS3PATHPREFIX", "chat/".to_owned()),
        ("MM_FILESETTINGS_AMAZONS3ENDPOINT", endpoint),
        ("MM_FILESETTINGS_AMAZONS3SSL", "false".to_owned()),
        ("MM_SQLSETTINGS_MAXOPENCONNS", "3".to_owned()),
        (
            "MM_SERVICESETTINGS_SITEURL",
            "https://chat.example.org/team".to_owned(),
        ),
    ]
}

/// Everything that lasts, and the secrets for it in the orchestrator.
fn order(node: &Scenario, postgres: &Postgres, bucket: &Bucket, packed: &Path) -> Desired {
    let licence = Licence::new((mattermost_agent::clock::unix_now() - 60) * 1000);
    let secrets = [
        ("MM_SQLSETTINGS_DATASOURCE", postgres.data_source()),
        ("MM_FILESETTINGS_AMAZONS3ACCESSKEYID", "OWNKEY".to_owned()),
        (
            "MM_FILESETTINGS_AMAZONS3SECRETACCESSKEY",
            "own-secret".to_owned(),
        ),
        ("MM_LICENSE", licence.text()),
    ];
    let shared = &node.orchestrator.shared;
    let owned = secrets.map(|(name, value)| (name.to_owned(), value));
    shared.secrets.lock().unwrap().extend(owned);
    PASSWORD.clone_into(&mut shared.password.lock().unwrap());
    Desired {
        settings: settings(bucket)
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
        database: Some(postgres.wanted()),
        migration: Some(Migration {
            role: MigrationRole::Migrate.into(),
            expected_applied: 0,
        }),
        file_store: Some(FileStore {
            own_keys: true,
            ..bucket.wanted("chat/")
        }),
        configuration_store: ConfigurationStore::Database.into(),
        site_path: "/team".to_owned(),
        licence: Some(LicenceWanted { cluster: true }),
        ..node.release_packed(1, "11.10.0", std::fs::read(packed).unwrap())
    }
}

#[tokio::test]
async fn what_lasts_is_verified_of_a_whole_server() {
    let Some(binary) = binary() else {
        return;
    };
    let postgres = Postgres::start().await;
    postgres.provision().await;
    let bucket = Bucket::start().await;
    let mut node = Scenario::new("127.77.8.1").await;
    let folder = tempfile::tempdir().unwrap();
    let (version, good) = ("11.10.0".parse().unwrap(), "good".parse().unwrap());
    let packed = pack(&binary, version, good, folder.path()).unwrap();
    let order = order(&node, &postgres, &bucket, &packed.file);
    node.orchestrator.want(order.clone());
    let report = node
        .orchestrator
        .until("serving or failed", |report| {
            matches!(report.phase(), Phase::Serving | Phase::Failed)
        })
        .await;
    assert_eq!(report.failure, None);
    let good = ServerLicence {
        licensed: true,
        cluster: true,
    };
    assert_eq!(report.licence, Some(good));
    let parts: Vec<&str> = report.version_id.split('.').collect();
    assert_eq!(
        (&parts[..3], parts.last()),
        (&["11", "10", "0"][..], Some(&"true"))
    );
    let schema = report.schema.unwrap();
    assert!(schema.configuration && schema.applied > 0, "{schema:?}");
    assert_eq!(bucket.keys(), [""; 0]);

    // A text that is none: the same server runs on without a licence.
    let damaged = ("MM_LICENSE".to_owned(), "damaged".to_owned());
    let shared = std::sync::Arc::clone(&node.orchestrator.shared);
    let licence = shared.secrets.lock().unwrap()["MM_LICENSE"].clone();
    shared.secrets.lock().unwrap().extend([damaged]);
    node.orchestrator.want(Desired {
        generation: 2,
        configuration_digest: "ab".repeat(32),
        ..order
    });
    let report = node
        .orchestrator
        .until("refused", |report| {
            report.generation == 2 && report.failure.is_some()
        })
        .await;
    assert_eq!(report.licence, Some(ServerLicence::default()));
    let failure = report.failure.unwrap();
    assert_eq!(failure.code, "licence_refused");
    let said = failure
        .journal
        .iter()
        .any(|line| line.to_lowercase().contains("license"));
    assert!(said, "{:?}", failure.journal);
    for secret in [PASSWORD, "p%40ss", "own-secret", &licence] {
        assert!(!node.log().contains(secret));
        assert!(!failure.journal.iter().any(|line| line.contains(secret)));
    }
}
