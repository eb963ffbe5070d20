//! The checks before a start, against a real PostgreSQL in each of the states that they tell apart,
//! and two nodes of which one migrates.

use std::net::TcpListener;

use fleet_proto::v1::{Database, Migration, MigrationRole, Phase};
use mattermost_agent::coded::Coded;
use mattermost_agent::database::{DatabaseError, connect};
use mattermost_agent::wanted;
use secrecy::SecretString;

use crate::orchestrator::Ca;
use crate::postgres::{PASSWORD, Postgres};
use crate::scenario::Scenario;

fn typed(wire: &Database) -> wanted::Database {
    wanted::Database {
        host: wire.host.clone(),
        port: wire.port as u16,
        name: wire.name.clone(),
        user: wire.user.clone(),
        trust_pem: wire.trust_pem.clone(),
        minimum_version: wire.minimum_version,
        connections_needed: wire.connections_needed,
    }
}

async fn check_with(wire: &Database, password: &str) -> Result<u32, DatabaseError> {
    let wanted = typed(wire);
    let connection = connect(&wanted, &SecretString::from(password)).await?;
    connection.check().await?;
    Ok(connection.schema().await?.applied)
}

async fn code(wire: &Database, password: &str) -> String {
    match check_with(wire, password).await {
        Ok(_) => "good".to_owned(),
        Err(error) => {
            assert!(!error.hint().is_empty(), "{error}");
            let text = mattermost_agent::coded::chain(&error);
            assert!(!text.contains(PASSWORD), "{text}");
            error.code().to_owned()
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_database_is_told_apart() {
    let postgres = Postgres::start().await;
    postgres.provision().await;
    let good = postgres.wanted();
    assert_eq!(check_with(&good, PASSWORD).await.unwrap(), 0);

    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let cases = [
        // A label that is too long is refused by the resolver itself: nobody is asked.
        (
            "name",
            Database {
                host: format!("{}.invalid", "x".repeat(70)),
                ..good.clone()
            },
            "database_name_not_found",
        ),
        (
            "port",
            Database {
                port: closed.into(),
                ..good.clone()
            },
            "database_refused",
        ),
        (
            "other CA",
            Database {
                trust_pem: Ca::new().0.pem(),
                ..good.clone()
            },
            "database_untrusted",
        ),
        (
            "other name",
            Database {
                host: "127.0.0.1".into(),
                ..good.clone()
            },
            "database_untrusted",
        ),
        (
            "roots",
            Database {
                trust_pem: "none".into(),
                ..good.clone()
            },
            "database_roots",
        ),
        (
            "database",
            Database {
                name: "missing".into(),
                ..good.clone()
            },
            "database_missing",
        ),
        (
            "role",
            Database {
                user: "missing".into(),
                ..good.clone()
            },
            "database_password",
        ),
        (
            "version",
            Database {
                minimum_version: 99,
                ..good.clone()
            },
            "database_too_old",
        ),
        (
            "connections",
            Database {
                connections_needed: 99,
                ..good.clone()
            },
            "database_too_few_connections",
        ),
    ];
    for (case, wire, expected) in cases {
        assert_eq!(code(&wire, PASSWORD).await, expected, "{case}");
    }
    assert_eq!(code(&good, "wrong").await, "database_password");

    let states = [
        (
            "CREATE TABLE theirs (n int)",
            "DROP TABLE theirs",
            "database_schema_owner",
        ),
        (
            "ALTER SCHEMA public OWNER TO super",
            "ALTER SCHEMA public OWNER TO pg_database_owner",
            "database_schema_owner",
        ),
        (
            "REVOKE ALL ON SCHEMA public FROM PUBLIC, pg_database_owner",
            "GRANT ALL ON SCHEMA public TO PUBLIC, pg_database_owner",
            "database_rights",
        ),
        (
            "REVOKE CONNECT ON DATABASE mattermost FROM PUBLIC, mmuser",
            "GRANT CONNECT ON DATABASE mattermost TO PUBLIC, mmuser",
            "database_connect_right",
        ),
        (
            "ALTER ROLE mmuser NOLOGIN",
            "ALTER ROLE mmuser LOGIN",
            "database_not_allowed",
        ),
        (
            "DROP SCHEMA public",
            "CREATE SCHEMA public AUTHORIZATION mmuser",
            "database_schema_missing",
        ),
        (
            "ALTER SYSTEM SET ssl = off; SELECT pg_reload_conf()",
            "",
            "database_no_tls",
        ),
    ];
    for (break_it, mend, expected) in states {
        postgres.run("mattermost", break_it).await;
        let mut found = code(&good, PASSWORD).await;
        // A reload takes effect a moment later.
        while expected == "database_no_tls" && found == "good" {
            found = code(&good, PASSWORD).await;
        }
        assert_eq!(found, expected, "{break_it}");
        if !mend.is_empty() {
            postgres.run("mattermost", mend).await;
            assert_eq!(code(&good, PASSWORD).await, "good", "{mend}");
        }
    }
}

#[tokio::test]
async fn database_whose_connections_are_taken_is_full() {
    let postgres = Postgres::start().await;
    postgres.provision().await;
    let mut held = Vec::new();
    // Twelve, three of them reserved: with six taken two are left besides the agent's own.
    let needs_five = Database {
        connections_needed: 5,
        ..postgres.wanted()
    };
    assert_eq!(code(&needs_five, PASSWORD).await, "good");
    for _ in 0..6 {
        let client = postgres.client("mattermost", "mmuser", PASSWORD).await;
        held.push(client.unwrap());
    }
    assert_eq!(
        code(&needs_five, PASSWORD).await,
        "database_too_few_connections"
    );
    while let Ok(client) = postgres.client("mattermost", "mmuser", PASSWORD).await {
        held.push(client);
    }
    assert_eq!(code(&postgres.wanted(), PASSWORD).await, "database_full");
}

#[tokio::test]
async fn database_that_never_answers_times_out() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let wire = Database {
        host: "localhost".into(),
        port: silent.local_addr().unwrap().port().into(),
        name: "mattermost".into(),
        user: "mmuser".into(),
        trust_pem: Ca::new().0.pem(),
        ..Database::default()
    };
    assert_eq!(code(&wire, PASSWORD).await, "database_timeout");
}

#[tokio::test]
async fn one_node_migrates_and_the_other_waits() {
    let postgres = Postgres::start().await;
    postgres.provision().await;
    let mut waiting = Scenario::new("127.77.3.1").await;
    let mut migrating = Scenario::new("127.77.3.2").await;
    for node in [&waiting, &migrating] {
        let shared = &node.orchestrator.shared;
        shared
            .secrets
            .lock()
            .unwrap()
            .insert("MM_SQLSETTINGS_DATASOURCE".into(), postgres.data_source());
        PASSWORD.clone_into(&mut shared.password.lock().unwrap());
    }
    let want = |node: &Scenario, role: MigrationRole, expected_applied| {
        let mut desired = node.release(1, "11.10.0");
        desired.database = Some(postgres.wanted());
        desired.migration = Some(Migration {
            role: role.into(),
            expected_applied,
        });
        node.orchestrator.want(desired);
    };
    want(&waiting, MigrationRole::Wait, 2);
    let report = waiting
        .orchestrator
        .until("waiting", |report| {
            report.note.contains("waiting for the migration")
        })
        .await;
    assert_eq!(report.phase(), Phase::Installed);

    want(&migrating, MigrationRole::Migrate, 0);
    migrating
        .orchestrator
        .until("migrating", |report| report.phase() == Phase::Migrating)
        .await;
    for node in [&mut migrating, &mut waiting] {
        let report = node
            .orchestrator
            .until("serving", |report| report.phase() == Phase::Serving)
            .await;
        let schema = report.schema.unwrap();
        assert_eq!((schema.applied, schema.newest), (2, 2));
        assert_eq!(schema.newest_name, "create_users");
        assert!(!node.log().contains(PASSWORD) && !node.log().contains("p%40ss"));
    }
}

#[tokio::test]
async fn migration_that_fails_is_not_repeated_unasked() {
    let postgres = Postgres::start().await;
    postgres.provision().await;
    // The script's table is there already, and too narrow.
    let owner = postgres
        .client("mattermost", "mmuser", PASSWORD)
        .await
        .unwrap();
    owner
        .batch_execute("CREATE TABLE db_migrations (version bigint, name varchar(3))")
        .await
        .unwrap();
    let mut node = Scenario::new("127.77.3.3").await;
    let shared = &node.orchestrator.shared;
    shared
        .secrets
        .lock()
        .unwrap()
        .insert("MM_SQLSETTINGS_DATASOURCE".into(), postgres.data_source());
    PASSWORD.clone_into(&mut shared.password.lock().unwrap());
    let mut desired = node.release(1, "11.10.0");
    desired.database = Some(postgres.wanted());
    desired.migration = Some(Migration {
        role: MigrationRole::Migrate.into(),
        expected_applied: 0,
    });
    node.orchestrator.want(desired);
    let failure = node.orchestrator.failure().await;
    assert_eq!(
        (failure.phase(), failure.code.as_str()),
        (Phase::Migrating, "migration_failed")
    );
    assert!(
        failure.journal.iter().any(|line| line.contains("too long")),
        "{failure:?}"
    );
    assert!(
        !node.path("opt/mattermost/current").exists(),
        "what did not migrate is not activated"
    );
}

#[tokio::test]
async fn migration_that_failed_is_not_repeated_by_an_agent_that_starts_again() {
    let postgres = Postgres::start().await;
    postgres.provision().await;
    let mut node = Scenario::new("127.77.3.4").await;
    let shared = std::sync::Arc::clone(&node.orchestrator.shared);
    let source = ("MM_SQLSETTINGS_DATASOURCE".into(), postgres.data_source());
    shared.secrets.lock().unwrap().extend([source]);
    PASSWORD.clone_into(&mut shared.password.lock().unwrap());
    let ran = node.path("ran");
    let program = format!(
        "#!/bin/sh\n\
         [ \"$1\" = version ] && echo 'Version: 11.10.0' && exit 0\n\
         echo ran >> '{}'\n\
         echo 'no licence' >&2\n\
         exit 3\n",
        ran.display()
    );
    let mut desired = node.release_of(1, "11.10.0", &program);
    desired.database = Some(postgres.wanted());
    desired.migration = Some(Migration {
        role: MigrationRole::Migrate.into(),
        expected_applied: 0,
    });
    // Told again by an agent that starts again, and tried again on a newer order only.
    for (generation, restart) in [(1, false), (1, true), (2, false)] {
        let sessions = shared.calls.lock().unwrap().sessions;
        if restart {
            node.kill_agent().await;
            node.start_agent();
        } else {
            desired.generation = generation;
            node.orchestrator.want(desired.clone());
        }
        let report = node
            .orchestrator
            .until("failed", |report| {
                report.generation == generation
                    && report.phase() == Phase::Failed
                    && (!restart || shared.calls.lock().unwrap().sessions > sessions)
            })
            .await;
        let failure = report.failure.unwrap();
        assert_eq!(failure.code, "migration_failed");
        assert!(failure.error.contains("exit status: 3"), "{failure:?}");
        assert!(
            failure.journal.iter().any(|line| line.contains("licence")),
            "{failure:?}"
        );
        let runs = std::fs::read_to_string(&ran).unwrap().lines().count();
        assert_eq!(runs as u64, generation);
    }
}
