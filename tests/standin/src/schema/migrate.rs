//! Applying migrations, with the real server's ways of going wrong.
//!
//! ```text
//!   bookkeeping tables ──> lock row ──> read db_migrations ──> each pending one ──> unlock
//!        │ two at once on an empty                                  │ transactional: all or nothing
//!        └ database: one dies, duplicate key in pg_type             └ otherwise: half done if it dies
//! ```

use std::time::Duration;

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::list::Migration;
use super::lock::{self, Lock};
use super::plan::{self, migrations_of};
use crate::database::{Database, DatabaseError};
use crate::release::{Behaviour, Manifest};

/// How long the bookkeeping tables stay uncommitted on an empty database. The real server's window
/// is as wide as its first migrations take; this one makes the race as easy to lose.
const RACE_WINDOW_SECONDS: f64 = 0.25;

/// How to migrate.
#[derive(Clone, Copy, Debug, Default)]
pub struct MigrateOptions {
    /// On a failure, undo what this run applied, the failed one included.
    pub auto_recover: bool,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What a run did.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Newly applied (or, in a dry run, pending), in order.
    pub applied: Vec<Migration>,
}

/// Why the schema is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// Another node made the bookkeeping tables at the same instant.
    #[error("failed to create the migration tables: {text}")]
    LostRace {
        /// Postgres's own words: `duplicate key value violates unique constraint "pg_type_…"`.
        text: String,
        /// The whole error.
        #[source]
        source: tokio_postgres::Error,
    },
    /// One migration failed.
    #[error("failed to apply migration {number} `{name}`: {text}{}", if *recovered { "; what this run applied was undone" } else { "" })]
    Failed {
        /// The migration.
        number: i64,
        /// Its name.
        name: &'static str,
        /// Postgres's own words.
        text: String,
        /// Whether `--auto-recover` undid this run.
        recovered: bool,
        /// The whole error.
        #[source]
        source: tokio_postgres::Error,
    },
    /// `--auto-recover` failed as well.
    #[error("the recovery after a failed migration failed")]
    Recovery(#[source] plan::PlanError),
    /// The database does not answer.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<tokio_postgres::Error> for MigrateError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error.into())
    }
}

/// Brings the schema to what the release wants. Nothing pending, nothing done.
pub async fn migrate(
    database: &Database,
    manifest: &Manifest,
    options: MigrateOptions,
) -> Result<Outcome, MigrateError> {
    let mut client = database.connection().await?;
    if options.dry_run {
        let applied = pending(&client, manifest).await?;
        return Ok(Outcome { applied });
    }
    bookkeeping(&mut client).await?;
    let lock = Lock::acquire(lock::SCHEMA, &client, database).await?;
    let result = apply_all(&mut client, manifest, options).await;
    // A lost connection cannot unlock; the row then runs out by itself.
    if let Err(error) = lock.release(&client).await {
        log::warn!("Cannot release the migration lock: {error}");
    }
    result
}

/// The applied migrations, oldest first; empty where there is no bookkeeping yet.
pub async fn applied(client: &Client) -> Result<Vec<(i64, String)>, tokio_postgres::Error> {
    let rows = client
        .query(
            "SELECT version, name FROM db_migrations ORDER BY version",
            &[],
        )
        .await;
    match rows {
        Ok(rows) => Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect()),
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

async fn pending(
    client: &Client,
    manifest: &Manifest,
) -> Result<Vec<Migration>, tokio_postgres::Error> {
    let applied = applied(client).await?;
    Ok(migrations_of(manifest)
        .into_iter()
        .filter(|migration| {
            !applied
                .iter()
                .any(|(number, _)| *number == migration.number)
        })
        .collect())
}

/// Makes `db_migrations` and `db_lock`. There is no lock yet to do it under: that is the race.
async fn bookkeeping(client: &mut Client) -> Result<(), MigrateError> {
    let transaction = client.transaction().await?;
    let made = async {
        let fresh: bool = transaction
            .query_one("SELECT to_regclass('db_migrations') IS NULL", &[])
            .await?
            .get(0);
        transaction
            .batch_execute(
                "CREATE TABLE IF NOT EXISTS db_lock (id VARCHAR(64) PRIMARY KEY, expireat BIGINT); \
                 CREATE TABLE IF NOT EXISTS db_migrations (version BIGINT NOT NULL, name VARCHAR NOT NULL, PRIMARY KEY (version))",
            )
            .await?;
        if fresh {
            transaction
                .execute("SELECT pg_sleep($1)", &[&RACE_WINDOW_SECONDS])
                .await?;
        }
        Ok(())
    };
    let made: Result<(), tokio_postgres::Error> = made.await;
    match made {
        Ok(()) => Ok(transaction.commit().await?),
        Err(source) if source.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
            Err(MigrateError::LostRace {
                text: words(&source),
                source,
            })
        }
        Err(error) => Err(error.into()),
    }
}

async fn apply_all(
    client: &mut Client,
    manifest: &Manifest,
    options: MigrateOptions,
) -> Result<Outcome, MigrateError> {
    let mut outcome = Outcome::default();
    for migration in pending(client, manifest).await? {
        log::info!("Migrating {} `{}`", migration.number, migration.name);
        let pause = match manifest.behaviour {
            Behaviour::SlowMigration(seconds)
                if !crate::schema::MIGRATIONS.contains(&migration) =>
            {
                Duration::from_secs(seconds.into())
            }
            _ => Duration::ZERO,
        };
        let done = apply(client, &migration, pause).await;
        let Err(source) = done else {
            outcome.applied.push(migration);
            continue;
        };
        let (number, name, text) = (migration.number, migration.name, words(&source));
        if options.auto_recover {
            outcome.applied.push(migration);
            outcome.applied.reverse();
            plan::downgrade(client, &outcome.applied)
                .await
                .map_err(MigrateError::Recovery)?;
        }
        return Err(MigrateError::Failed {
            number,
            name,
            text,
            recovered: options.auto_recover,
            source,
        });
    }
    Ok(outcome)
}

async fn apply(
    client: &mut Client,
    migration: &Migration,
    pause: Duration,
) -> Result<(), tokio_postgres::Error> {
    const REMEMBER: &str = "INSERT INTO db_migrations (version, name) VALUES ($1, $2)";
    if migration.transactional {
        let transaction = client.transaction().await?;
        for statement in migration.up {
            transaction.batch_execute(statement).await?;
        }
        transaction
            .execute(REMEMBER, &[&migration.number, &migration.name])
            .await?;
        return transaction.commit().await;
    }
    for (index, statement) in migration.up.iter().enumerate() {
        if index > 0 && !pause.is_zero() {
            client
                .execute("SELECT pg_sleep($1)", &[&pause.as_secs_f64()])
                .await?;
        }
        client.batch_execute(statement).await?;
    }
    client
        .execute(REMEMBER, &[&migration.number, &migration.name])
        .await?;
    Ok(())
}

/// What Postgres says, without the client library's frame around it.
fn words(error: &tokio_postgres::Error) -> String {
    error
        .as_db_error()
        .map_or_else(|| error.to_string(), |error| error.message().to_owned())
}
