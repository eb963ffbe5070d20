//! A node of a stack from before: its files and its `config.json` are brought to where they last, beside a
//! packed release of the stand-in, which behaves as a real Mattermost does.

use std::collections::BTreeMap;

use fleet_proto::v1::{
    ConfigurationStore, Desired, FileStore, Goal, Migration, MigrationRole, Move, NodeReport, Phase,
};
use standin::release::pack;

use crate::lasting::{binary, settings};
use crate::postgres::{PASSWORD, Postgres};
use crate::s3::{BUCKET, Bucket, Mood};
use crate::scenario::Scenario;

const DATA: &str = "opt/mattermost/shared/data";

struct Stage {
    node: Scenario,
    bucket: Bucket,
    postgres: Postgres,
    /// As the stack ran until now.
    before: Desired,
}

impl Stage {
    /// Serving as before; none without the stand-in's binary. A mortal agent kills itself (see `kills.rs`).
    async fn new(address: &str, mortal: bool) -> Option<Self> {
        let binary = binary()?;
        let postgres = Postgres::start().await;
        postgres.provision().await;
        let bucket = Bucket::start().await;
        let mut node = Scenario::before_boot(address).await;
        node.mortal = mortal;
        node.start_agent();
        let folder = tempfile::tempdir().unwrap();
        let good = "good".parse().unwrap();
        let packed = pack(&binary, "11.10.0".parse().unwrap(), good, folder.path()).unwrap();
        let shared = std::sync::Arc::clone(&node.orchestrator.shared);
        let secrets = [
            ("MM_SQLSETTINGS_DATASOURCE", postgres.data_source()),
            ("MM_FILESETTINGS_AMAZONS3ACCESSKEYID", "OWNKEY".to_owned()),
            (
                "MM_FILESETTINGS_AMAZONS3SECRETACCESSKEY",
                "own-secret".to_owned(),
            ),
        ];
        let secrets = secrets.map(|(name, value)| (name.to_owned(), value));
        shared.secrets.lock().unwrap().extend(secrets);
        PASSWORD.clone_into(&mut shared.password.lock().unwrap());
        let before = Desired {
            settings: [("MM_SQLSETTINGS_MAXOPENCONNS".to_owned(), "3".to_owned())].into(),
            database: Some(postgres.wanted()),
            migration: Some(Migration {
                role: MigrationRole::Migrate.into(),
                expected_applied: 0,
            }),
            ..node.release_packed(1, "11.10.0", std::fs::read(packed.file).unwrap())
        };
        let mut stage = Self {
            node,
            bucket,
            postgres,
            before,
        };
        stage.node.orchestrator.want(stage.before.clone());
        let report = stage.until(1, Phase::Serving).await;
        assert!(report.can_move);
        assert!(
            report
                .configuration_file
                .contains_key("FileSettings.PublicLinkSalt")
        );
        Some(stage)
    }

    async fn until(&mut self, generation: u64, phase: Phase) -> NodeReport {
        let found = self.node.orchestrator.until(phase.as_str_name(), |report| {
            report.generation == generation
                && (report.phase() == phase || report.phase() == Phase::Failed)
        });
        found.await
    }

    fn write(&self, key: &str, content: &[u8]) {
        let path = self.node.path(DATA).join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn order(&self, configuration: bool) -> Move {
        Move {
            to: Some(self.store()),
            configuration,
            alone: true,
        }
    }

    fn store(&self) -> FileStore {
        FileStore {
            own_keys: true,
            ..self.bucket.wanted("chat/")
        }
    }

    /// Files of the node, as keys of the bucket.
    fn here(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.node.path(DATA)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let key = path
                        .strip_prefix(self.node.path(DATA))
                        .unwrap()
                        .display()
                        .to_string();
                    found.push(format!("/{BUCKET}/chat/{key}"));
                }
            }
        }
        found.sort();
        found
    }

    fn process(&self) -> String {
        std::fs::read_to_string(self.node.path("run/mattermost/server.pid")).unwrap()
    }

    fn waiting() -> Migration {
        Migration {
            role: MigrationRole::Wait.into(),
            expected_applied: 1,
        }
    }

    /// Digests of the active row, by SQL.
    async fn row(&self) -> BTreeMap<String, String> {
        let client = self
            .postgres
            .client("mattermost", "mmuser", PASSWORD)
            .await
            .unwrap();
        let mut found = BTreeMap::new();
        for (section, name) in [
            ("FileSettings", "PublicLinkSalt"),
            ("SqlSettings", "AtRestEncryptKey"),
            ("TeamSettings", "SiteName"),
        ] {
            let rows = client
                .query(
                    &format!("SELECT encode(sha256(convert_to(value::json #>> '{{{section},{name}}}', 'UTF8')), 'hex') FROM configurations WHERE active"),
                    &[],
                )
                .await
                .unwrap();
            found.insert(format!("{section}.{name}"), rows[0].get(0));
        }
        found
    }
}

#[tokio::test]
async fn what_lies_on_a_node_is_brought_to_where_it_lasts() {
    let Some(mut stage) = Stage::new("127.77.9.1", false).await else {
        return;
    };
    stage.write("20260801/teams/t/a.txt", b"first");
    stage.write("plugins/com.example.tar.gz", &vec![7; 300_000]);
    // Beside the server, which is the same process afterwards.
    let process = stage.process();
    stage.node.orchestrator.want(Desired {
        generation: 2,
        migration: Some(Stage::waiting()),
        r#move: Some(stage.order(false)),
        ..stage.before.clone()
    });
    let report = stage
        .node
        .orchestrator
        .until("copied", |report| report.moved.is_some())
        .await;
    assert_eq!((report.generation, report.phase()), (2, Phase::Serving));
    let moved = report.moved.unwrap();
    assert_eq!(moved.digest, moved.bucket_digest);
    assert!(!moved.complete && !moved.configuration);
    assert_eq!(stage.bucket.keys(), stage.here());
    assert_eq!(stage.process(), process);
    // What changes until the server is stopped is in the second pass.
    stage.write("20260801/teams/t/b.txt", b"second");
    std::fs::remove_file(stage.node.path(DATA).join("plugins/com.example.tar.gz")).unwrap();
    stage.node.orchestrator.want(Desired {
        generation: 3,
        goal: Goal::Move.into(),
        migration: Some(Stage::waiting()),
        r#move: Some(stage.order(true)),
        ..stage.before.clone()
    });
    let report = stage.until(3, Phase::Moved).await;
    assert_eq!(report.failure, None);
    let moved = report.moved.unwrap();
    assert!(moved.complete && moved.configuration);
    assert_eq!(moved.digest, moved.bucket_digest);
    assert_eq!(stage.bucket.keys(), stage.here());
    assert!(
        !stage.node.path("run/mattermost/server.pid").exists(),
        "no server runs"
    );
    let file: BTreeMap<String, String> = report.configuration_file.into_iter().collect();
    for (name, digest) in stage.row().await {
        assert_eq!(file.get(&name), Some(&digest), "{name}");
    }
    // And it serves from there, with the same salts.
    let salts = stage.row().await;
    let store = stage.store();
    let lasting = settings(&stage.bucket).map(|(name, value)| (name.to_owned(), value));
    stage.node.orchestrator.want(Desired {
        generation: 4,
        settings: lasting.into(),
        configuration_digest: "cd".repeat(32),
        migration: Some(Stage::waiting()),
        file_store: Some(store),
        configuration_store: ConfigurationStore::Database.into(),
        site_path: "/team".to_owned(),
        ..stage.before.clone()
    });
    let report = stage.until(4, Phase::Serving).await;
    assert_eq!(report.failure, None);
    assert!(report.configuration_file.is_empty());
    assert_eq!(stage.row().await, salts);
    for secret in [PASSWORD, "p%40ss", "own-secret"] {
        assert!(!stage.node.log().contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn a_bucket_that_refuses_leaves_the_node_as_it_was() {
    let Some(mut stage) = Stage::new("127.77.9.2", false).await else {
        return;
    };
    stage.write("a.txt", b"first");
    stage.bucket.becomes(Mood::Denied("PUT"));
    stage.node.orchestrator.want(Desired {
        generation: 2,
        goal: Goal::Move.into(),
        migration: Some(Stage::waiting()),
        r#move: Some(stage.order(false)),
        ..stage.before.clone()
    });
    let report = stage.until(2, Phase::Moved).await;
    let failure = report.failure.unwrap();
    assert_eq!(
        (failure.code.as_str(), report.moved),
        ("file_store_denied", None)
    );
    assert_eq!(failure.phase, i32::from(Phase::Moving));
    // Back to how it was: the same files, the same settings.
    stage.node.orchestrator.want(Desired {
        generation: 3,
        migration: Some(Stage::waiting()),
        ..stage.before.clone()
    });
    let report = stage.until(3, Phase::Serving).await;
    assert_eq!(report.failure, None);
    assert!(!report.configuration_file.is_empty());
    assert_eq!(stage.bucket.keys(), [""; 0]);
    assert_eq!(
        std::fs::read(stage.node.path(DATA).join("a.txt")).unwrap(),
        b"first"
    );
}

/// The agent dies after each effect of a move: the next one ends the move, and the way back from there is
/// open as well.
#[tokio::test]
async fn killed_at_every_step_of_a_move_the_next_start_ends_it() {
    let Some(mut stage) = Stage::new("127.77.9.3", true).await else {
        return;
    };
    stage.write("20260801/teams/t/a.txt", b"first");
    let mut generation = 1;
    for step in crate::kills::steps_of_a_move() {
        let when = step.name();
        // Something to send, each time.
        stage.write(&format!("20260801/{when}.txt"), when.as_bytes());
        crate::kills::order(stage.node.root.path(), step);
        generation += 1;
        stage.node.orchestrator.want(Desired {
            generation,
            goal: Goal::Move.into(),
            migration: Some(Stage::waiting()),
            r#move: Some(stage.order(true)),
            ..stage.before.clone()
        });
        stage.node.agent_died(when).await;
        // What the dead one said last.
        while stage.node.orchestrator.reports.try_recv().is_ok() {}
        stage.node.start_agent();
        let report = stage.until(generation, Phase::Moved).await;
        assert_eq!(report.failure, None, "{when}");
        let moved = report.moved.unwrap();
        assert!(moved.complete && moved.configuration, "{when}");
        assert_eq!(moved.digest, moved.bucket_digest, "{when}");
        assert_eq!(stage.bucket.keys(), stage.here(), "{when}");
        let server = stage.node.path("run/mattermost/server.pid");
        assert!(!server.exists(), "{when}: a server runs");
        let file: BTreeMap<String, String> = report.configuration_file.into_iter().collect();
        for (name, digest) in stage.row().await {
            assert_eq!(file.get(&name), Some(&digest), "{when}: {name}");
        }
        generation += 1;
        stage.node.orchestrator.want(Desired {
            generation,
            migration: Some(Stage::waiting()),
            ..stage.before.clone()
        });
        let back = stage.until(generation, Phase::Serving).await;
        let again: BTreeMap<String, String> = back.configuration_file.into_iter().collect();
        assert_eq!(again, file, "{when}: it serves from its own file again");
    }
}

/// What the specification sets wins over what the file has, and hides it; it must not replace it.
#[tokio::test]
async fn a_site_name_in_the_specification_leaves_the_files_own_as_it_was() {
    let Some(mut stage) = Stage::new("127.77.9.4", false).await else {
        return;
    };
    let path = stage.node.path("opt/mattermost/shared/config/config.json");
    let mut file: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    file["TeamSettings"]["SiteName"] = "Set in the System Console".into();
    std::fs::write(&path, file.to_string()).unwrap();
    let overriding = [
        ("MM_SQLSETTINGS_MAXOPENCONNS", "3"),
        ("MM_TEAMSETTINGS_SITENAME", "Set in the specification"),
    ];
    let settings = overriding.map(|(name, value)| (name.to_owned(), value.to_owned()));
    stage.node.orchestrator.want(Desired {
        generation: 2,
        goal: Goal::Move.into(),
        settings: settings.into(),
        configuration_digest: "ef".repeat(32),
        migration: Some(Stage::waiting()),
        r#move: Some(stage.order(true)),
        ..stage.before.clone()
    });
    let report = stage.until(2, Phase::Moved).await;
    assert_eq!(report.failure, None);
    let file: BTreeMap<String, String> = report.configuration_file.into_iter().collect();
    let row = stage.row().await;
    let expected = crate::releases::sha256(b"Set in the System Console");
    assert_eq!(row["TeamSettings.SiteName"], expected);
    for (name, digest) in row {
        assert_eq!(file.get(&name), Some(&digest), "{name}");
    }
}
