//! The roles of an RDS instance: who may what.
//!
//! ```text
//!  rdsadmin       superuser, by socket only: RDS itself
//!  rdsrepladmin   replication, by TLS only: replicas and backups
//!  rds_superuser  what a master user gets: monitoring, signals, checkpoints; not a superuser
//!    └ master     CREATEROLE CREATEDB LOGIN; owns `postgres`, `template1` and DBName
//! ```
//!
//! (User guide, "Understanding the rds_superuser role".) Passwords travel as SCRAM verifiers: the
//! server never sees, and so never logs, the clear text.

use std::time::Duration;

use postgres_protocol::password::scram_sha_256;
use tokio_postgres::Client;

use super::engine::{Engine, EngineError};
use super::postgres::{Node, REPLICATION, refused};

/// A promoted server lets sessions in within this (real time) after its control file says so.
const PROMOTION_DEADLINE: Duration = Duration::from_secs(30);
/// Between two looks at a server that is changing.
const RETRY: Duration = Duration::from_millis(50);

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

async fn run(client: &Client, what: &'static str, statement: &str) -> Result<(), EngineError> {
    client
        .batch_execute(statement)
        .await
        .map_err(|error| refused(what, &error))
}

/// Makes the roles and databases of a new instance.
pub async fn create(
    engine: &Engine,
    node: &Node,
    port: u16,
    (master, password): (&str, &str),
    database: Option<&str>,
) -> Result<(), EngineError> {
    let client = node.connect(engine, port, "postgres").await?;
    let replication = scram_sha_256(engine.replication_password.as_bytes());
    let verifier = scram_sha_256(password.as_bytes());
    let name = identifier(master);
    run(
        &client,
        "creating roles",
        &format!(
            "CREATE ROLE {REPLICATION} LOGIN REPLICATION PASSWORD '{replication}';
             CREATE ROLE rds_superuser NOLOGIN;
             CREATE ROLE rds_replication NOLOGIN;
             CREATE ROLE rds_iam NOLOGIN;
             CREATE ROLE rds_password NOLOGIN;
             GRANT pg_monitor, pg_signal_backend, rds_replication, rds_password
                TO rds_superuser WITH ADMIN OPTION;
             CREATE ROLE {name} LOGIN CREATEDB CREATEROLE VALID UNTIL 'infinity'
                PASSWORD '{verifier}' IN ROLE rds_superuser"
        ),
    )
    .await?;
    let major = engine.major.parse::<u32>().unwrap_or_default();
    if major >= 15 {
        run(
            &client,
            "granting pg_checkpoint",
            "GRANT pg_checkpoint TO rds_superuser WITH ADMIN OPTION",
        )
        .await?;
    }
    run(
        &client,
        "handing over the first databases",
        &format!(
            "ALTER DATABASE postgres OWNER TO {name};
             ALTER DATABASE template1 OWNER TO {name}"
        ),
    )
    .await?;
    if let Some(database) = database.filter(|database| *database != "postgres") {
        let statement = format!(
            "CREATE DATABASE {} OWNER {name}{}",
            identifier(database),
            // Copies the template's files instead of writing them through the log.
            if major >= 15 {
                " STRATEGY file_copy"
            } else {
                ""
            }
        );
        run(&client, "creating DBName", &statement).await?;
    }
    Ok(())
}

/// Gives the master user another password.
pub async fn set_master_password(
    engine: &Engine,
    node: &Node,
    port: u16,
    master: &str,
    password: &str,
) -> Result<(), EngineError> {
    let client = node.connect(engine, port, "postgres").await?;
    let verifier = scram_sha_256(password.as_bytes());
    let statement = format!("ALTER ROLE {} PASSWORD '{verifier}'", identifier(master));
    run(&client, "changing the master password", &statement).await
}

/// Makes a replication slot that keeps write-ahead log from now on; an existing one is kept.
pub async fn ensure_slot(
    engine: &Engine,
    node: &Node,
    port: u16,
    slot: &str,
) -> Result<(), EngineError> {
    let client = node.connect(engine, port, "postgres").await?;
    client
        .execute(
            "SELECT pg_create_physical_replication_slot($1, true)
             WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1)",
            &[&slot],
        )
        .await
        .map(drop)
        .map_err(|error| refused("creating a replication slot", &error))
}

/// Drops a replication slot, ending whoever uses it.
pub async fn drop_slot(
    engine: &Engine,
    node: &Node,
    port: u16,
    slot: &str,
) -> Result<(), EngineError> {
    let client = node.connect(engine, port, "postgres").await?;
    let what = "dropping a replication slot";
    client
        .execute(
            "SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots
             WHERE slot_name = $1 AND active_pid IS NOT NULL",
            &[&slot],
        )
        .await
        .map_err(|error| refused(what, &error))?;
    client
        .execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1",
            &[&slot],
        )
        .await
        .map(drop)
        .map_err(|error| refused(what, &error))
}

/// Whether a follower with this slot receives the write-ahead log right now.
pub async fn is_followed(
    engine: &Engine,
    node: &Node,
    port: u16,
    slot: &str,
) -> Result<bool, EngineError> {
    let client = node.connect(engine, port, "postgres").await?;
    client
        .query_one(
            "SELECT EXISTS (SELECT FROM pg_stat_replication
               WHERE application_name = $1 AND state = 'streaming')",
            &[&slot],
        )
        .await
        .map(|row| row.get(0))
        .map_err(|error| refused("looking at replication", &error))
}

/// Ends recovery: the standby becomes a primary, on a timeline of its own. One that is a primary
/// already stays one.
pub async fn promote(engine: &Engine, node: &Node, port: u16) -> Result<(), EngineError> {
    if matches!(is_primary(engine, node, port).await, Ok(true)) {
        return Ok(());
    }
    let data = node.data();
    engine
        .run(
            "pg_ctl",
            &[
                "promote",
                "--pgdata",
                &data.to_string_lossy(),
                "--wait",
                "--timeout=60",
            ],
        )
        .await?;
    // `pg_ctl` reads the control file; sessions are let in a moment later.
    let deadline = tokio::time::Instant::now() + PROMOTION_DEADLINE;
    loop {
        let outcome = is_primary(engine, node, port).await;
        match outcome {
            Ok(true) => return Ok(()),
            _ if tokio::time::Instant::now() < deadline => tokio::time::sleep(RETRY).await,
            Ok(false) => {
                return Err(EngineError::NotStarted(
                    "the standby is still in recovery after its promotion".to_owned(),
                ));
            }
            Err(error) => return Err(error),
        }
    }
}

async fn is_primary(engine: &Engine, node: &Node, port: u16) -> Result<bool, EngineError> {
    let client = node.connect(engine, port, "postgres").await?;
    client
        .query_one("SELECT NOT pg_is_in_recovery()", &[])
        .await
        .map(|row| row.get(0))
        .map_err(|error| refused("looking at recovery", &error))
}
