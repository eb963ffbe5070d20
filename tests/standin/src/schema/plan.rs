//! Which migrations a release has, and the plan files that a downgrade is run from.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::list::{MIGRATIONS, Migration};
use crate::release::{Behaviour, Manifest, Version};

/// Numbers of the migrations that only bad releases have: far above the real ones.
const BAD_NUMBER: i64 = 990_001;

/// All migrations of a release, in order.
pub fn migrations_of(manifest: &Manifest) -> Vec<Migration> {
    let mut migrations: Vec<Migration> = MIGRATIONS
        .iter()
        .filter(|migration| {
            let since = migration.since;
            (since.major, since.minor) <= (manifest.version.major, manifest.version.minor)
        })
        .cloned()
        .collect();
    let bad = |number, name, up, down| Migration {
        number,
        name,
        since: Version::new(manifest.version.major, manifest.version.minor, 0),
        transactional: false,
        up,
        down,
    };
    match manifest.behaviour {
        Behaviour::SlowMigration(_) => migrations.push(bad(
            BAD_NUMBER,
            "rewrite_posts_slowly",
            // `migrate` puts the wait between these two.
            &[
                "CREATE TABLE IF NOT EXISTS posts_rewritten (id VARCHAR(26) PRIMARY KEY)",
                "ALTER TABLE posts_rewritten ADD COLUMN IF NOT EXISTS done BOOLEAN",
            ],
            &["DROP TABLE IF EXISTS posts_rewritten"],
        )),
        Behaviour::HalfDoneMigration => migrations.push(bad(
            BAD_NUMBER + 1,
            "split_posts_half",
            &[
                "CREATE TABLE posts_archive (id VARCHAR(26) PRIMARY KEY)",
                "ALTER TABLE posts_archive ADD CONSTRAINT archived FOREIGN KEY (id) REFERENCES posts_absent (id)",
            ],
            &["DROP TABLE IF EXISTS posts_archive"],
        )),
        _ => {}
    }
    migrations
}

/// A plan file, as `db migrate --save-plan` writes it and `db downgrade` reads it.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Plan {
    /// The version whose start or migration it undoes.
    pub made_by: String,
    /// Newest first: the order in which a downgrade goes.
    pub revert_migrations: Vec<PlanStep>,
}

/// One migration of a plan.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct PlanStep {
    /// `db_migrations.version`.
    pub version: i64,
    /// `db_migrations.name`.
    pub name: String,
}

/// Why a downgrade cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Neither a plan file nor numbers.
    #[error("`{0}` is neither a plan file nor a list of migration numbers as in `152,150,149`")]
    NotAPlan(String),
    /// The plan file is broken.
    #[error("the plan `{path}` cannot be read")]
    Broken {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// This binary does not know a migration: it is older than the schema.
    #[error(
        "migration {number} is not known to {version}: a downgrade is run with the newer binary"
    )]
    Unknown {
        /// The migration.
        number: i64,
        /// This binary.
        version: Version,
    },
    /// The database refuses.
    #[error("migration {number} cannot be undone")]
    Postgres {
        /// The migration.
        number: i64,
        /// Why.
        #[source]
        source: tokio_postgres::Error,
    },
}

impl Plan {
    /// The plan that undoes migrations applied in this order.
    pub fn undo(manifest: &Manifest, applied: &[Migration]) -> Self {
        Self {
            made_by: manifest.reported().to_string(),
            revert_migrations: applied
                .iter()
                .rev()
                .map(|migration| PlanStep {
                    version: migration.number,
                    name: migration.name.to_owned(),
                })
                .collect(),
        }
    }
}

/// Resolves `db downgrade`'s argument: a plan (its name in one of the `folders`, or a path), or numbers.
/// Newest first, whatever the order given.
pub fn select(
    argument: &str,
    folders: &[&Path],
    manifest: &Manifest,
) -> Result<Vec<Migration>, PlanError> {
    let file = folders
        .iter()
        .map(|folder| folder.join(argument))
        .find_map(|path| std::fs::read(&path).ok().map(|bytes| (path, bytes)));
    let mut numbers: Vec<i64> = match file {
        Some((path, bytes)) => serde_json::from_slice::<Plan>(&bytes)
            .map_err(|source| PlanError::Broken {
                path: path.display().to_string(),
                source,
            })?
            .revert_migrations
            .iter()
            .map(|step| step.version)
            .collect(),
        None => argument
            .split(',')
            .map(|number| number.trim().parse::<i64>())
            .collect::<Result<_, _>>()
            .map_err(|_| PlanError::NotAPlan(argument.to_owned()))?,
    };
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    numbers.dedup();
    let known = migrations_of(manifest);
    numbers
        .into_iter()
        .map(|number| {
            known
                .iter()
                .find(|migration| migration.number == number)
                .cloned()
                .ok_or(PlanError::Unknown {
                    number,
                    version: manifest.reported(),
                })
        })
        .collect()
}

/// Undoes migrations, one after the other. The lock is the caller's.
pub async fn downgrade(client: &mut Client, steps: &[Migration]) -> Result<(), PlanError> {
    for migration in steps {
        undo(client, migration)
            .await
            .map_err(|source| PlanError::Postgres {
                number: migration.number,
                source,
            })?;
    }
    Ok(())
}

async fn undo(client: &mut Client, migration: &Migration) -> Result<(), tokio_postgres::Error> {
    const FORGET: &str = "DELETE FROM db_migrations WHERE version = $1";
    if migration.transactional {
        let transaction = client.transaction().await?;
        for statement in migration.down {
            transaction.batch_execute(statement).await?;
        }
        transaction.execute(FORGET, &[&migration.number]).await?;
        transaction.commit().await
    } else {
        for statement in migration.down {
            client.batch_execute(statement).await?;
        }
        client.execute(FORGET, &[&migration.number]).await?;
        Ok(())
    }
}
