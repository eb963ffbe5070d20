//! Settings in the database: MM_CONFIG, who may write its first row, and who waits for it.

use std::collections::HashMap;

use fleet_proto::v1::{ConfigurationStore, Desired, Migration, MigrationRole, NodeReport, Phase};

use crate::postgres::{PASSWORD, Postgres};
use crate::scenario::Scenario;

const SOURCE: &str = "MM_SQLSETTINGS_DATASOURCE";

async fn node(address: &str, postgres: &Postgres) -> Scenario {
    let node = Scenario::new(address).await;
    let shared = &node.orchestrator.shared;
    let source = (SOURCE.to_owned(), postgres.data_source());
    shared.secrets.lock().unwrap().extend([source]);
    PASSWORD.clone_into(&mut shared.password.lock().unwrap());
    node
}

fn desired(node: &Scenario, postgres: &Postgres, role: MigrationRole) -> Desired {
    Desired {
        database: Some(postgres.wanted()),
        migration: Some(Migration {
            role: role.into(),
            expected_applied: 2,
        }),
        configuration_store: ConfigurationStore::Database.into(),
        ..node.release(1, "11.10.0")
    }
}

fn environment_of_server(node: &Scenario) -> HashMap<String, String> {
    let pid = std::fs::read_to_string(node.path("run/mattermost/server.pid")).unwrap();
    let pid = pid.split_whitespace().next().unwrap();
    let bytes = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    String::from_utf8_lossy(&bytes)
        .split('\0')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn has_configuration(report: &NodeReport) -> bool {
    report
        .schema
        .as_ref()
        .is_some_and(|schema| schema.configuration)
}

#[tokio::test]
async fn only_the_node_that_migrates_starts_before_the_configuration_is_there() {
    let postgres = Postgres::start().await;
    postgres.provision().await;
    let mut waiting = node("127.77.6.1", &postgres).await;
    // The schema is there, and so is the table, as `db migrate` leaves them; no server wrote its row yet.
    let owner = postgres
        .client("mattermost", "mmuser", PASSWORD)
        .await
        .unwrap();
    owner
        .batch_execute(
            "CREATE TABLE db_migrations (version bigint PRIMARY KEY, name text); \
             INSERT INTO db_migrations VALUES (1, 'create_teams'), (2, 'create_users'); \
             CREATE TABLE configurations (id varchar(26) PRIMARY KEY, value text NOT NULL, \
                createat bigint NOT NULL, active boolean NULL UNIQUE); \
             INSERT INTO configurations VALUES ('old', '{}', 1, NULL)",
        )
        .await
        .unwrap();
    let order = desired(&waiting, &postgres, MigrationRole::Wait);
    waiting.orchestrator.want(order);
    let report = waiting
        .orchestrator
        .until("waiting", |report| {
            report.note.contains("`configurations` has no active row")
        })
        .await;
    assert_eq!(report.phase(), Phase::Installed);
    assert!(!has_configuration(&report) && report.schema.unwrap().applied == 2);
    assert!(!waiting.path("run/mattermost/server.pid").exists());

    let mut migrating = node("127.77.6.2", &postgres).await;
    let order = desired(&migrating, &postgres, MigrationRole::Migrate);
    migrating.orchestrator.want(order);
    for node in [&mut migrating, &mut waiting] {
        let report = node
            .orchestrator
            .until("serving", |report| report.phase() == Phase::Serving)
            .await;
        assert!(has_configuration(&report), "{report:?}");
        let variables = environment_of_server(node);
        assert_eq!(variables["MM_CONFIG"], variables[SOURCE]);
        assert!(variables["MM_CONFIG"].contains("sslmode=verify-full"));
        assert!(variables["MM_CONFIG"].contains("sslrootcert=%2F"));
        // In the root-only file, and nowhere else.
        let file = node.path("etc/mattermost/mattermost.env");
        assert!(
            std::fs::read_to_string(file)
                .unwrap()
                .contains("MM_CONFIG=\"postgres://")
        );
        assert!(!node.log().contains(PASSWORD) && !node.log().contains("p%40ss"));
    }
}

#[tokio::test]
async fn server_whose_settings_are_not_in_the_database_is_not_verified() {
    let postgres = Postgres::start().await;
    postgres.provision().await;
    let mut node = node("127.77.6.3", &postgres).await;
    let shared = node.path("opt/mattermost/shared/config");
    std::fs::create_dir_all(&shared).unwrap();
    std::fs::write(shared.join("forget-configuration"), "").unwrap();
    let order = desired(&node, &postgres, MigrationRole::Migrate);
    node.orchestrator.want(order);
    let failure = node.orchestrator.failure().await;
    assert_eq!(
        (failure.phase(), failure.code.as_str()),
        (Phase::Starting, "configuration_missing")
    );
    assert!(
        failure
            .journal
            .iter()
            .any(|line| line.contains("listening"))
    );

    // Whoever writes it: the next look finds it.
    let owner = postgres
        .client("mattermost", "mmuser", PASSWORD)
        .await
        .unwrap();
    owner
        .batch_execute("INSERT INTO configurations VALUES ('late', '{}', 1, true)")
        .await
        .unwrap();
    node.orchestrator
        .until("serving", |report| {
            report.phase() == Phase::Serving && has_configuration(report)
        })
        .await;
}

#[tokio::test]
async fn configuration_from_elsewhere_is_refused_by_name() {
    let postgres = Postgres::start().await;
    postgres.provision().await;
    let mut node = node("127.77.6.4", &postgres).await;
    let theirs = (
        "MM_CONFIG".to_owned(),
        "postgres://m:hidden@other/db".to_owned(),
    );
    node.orchestrator
        .shared
        .secrets
        .lock()
        .unwrap()
        .extend([theirs]);
    let order = desired(&node, &postgres, MigrationRole::Migrate);
    node.orchestrator.want(order);
    let report = node
        .orchestrator
        .until("refused", |report| report.phase() == Phase::Failed)
        .await;
    let failure = report.failure.unwrap();
    assert_eq!(failure.code, "setting_reserved");
    assert!(failure.error.contains("`MM_CONFIG`"), "{}", failure.error);
    assert!(!node.path("etc/mattermost/mattermost.env").exists());
    assert!(!node.log().contains("hidden"));
}

#[tokio::test]
async fn server_gets_what_a_container_gives_and_nothing_else_of_the_agents_environment() {
    let mut node = Scenario::before_boot("127.77.6.5").await;
    let passed_on = [
        (
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "http://127.0.0.1:9/credentials",
        ),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/nowhere/token"),
        ("AWS_CA_BUNDLE", "/nowhere/bundle.pem"),
    ];
    let kept = [
        ("AWS_SECRET_ACCESS_KEY", "hidden"),
        ("AWS_PROFILE", "mine"),
        ("HOME", "/nowhere"),
    ];
    for (name, value) in passed_on.into_iter().chain(kept) {
        node.environment.push((name, value.to_owned()));
    }
    node.start_agent();
    node.orchestrator.want(node.release(1, "11.10.0"));
    node.orchestrator
        .until("serving", |report| report.phase() == Phase::Serving)
        .await;
    let variables = environment_of_server(&node);
    for (name, value) in passed_on {
        assert_eq!(
            variables.get(name).map(String::as_str),
            Some(value),
            "{name}"
        );
    }
    for (name, _) in kept {
        assert!(!variables.contains_key(name), "{name} leaked");
    }
    for name in variables.keys().filter(|name| name.starts_with("AWS_")) {
        let known =
            passed_on.iter().any(|(one, _)| one == name) || name.starts_with("AWS_CONTAINER_");
        assert!(known, "{name} leaked");
    }
}
