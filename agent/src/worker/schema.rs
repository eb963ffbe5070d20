//! The database's part of a start: checked, migrated by the one node that has the order, and waited for by
//! all others.
//!
//! ```text
//!   the node that migrates: db migrate -> start; its server writes the first row of `configurations`
//!   any other:              until db_migrations and `configurations` are as expected -> start
//! ```
//!
//! `db migrate` opens MM_CONFIG without writing to it, so only a started server makes that row, with the
//! stack's salts and keys. Two servers that start on an empty table would each make their own.

use std::time::Duration;

use fleet_proto::v1::{Phase, Schema};

use super::failure::without_sources;
use super::serve::DiskTrouble;
use super::{Failed, StartError, Worker};
use crate::database;
use crate::environment::Environment;
use crate::progress::FailedMigration;
use crate::service::ServiceError;
use crate::steps::{Step as Done, reached};
use crate::wanted::{ConfigurationStore, Migration, Serving};

/// Between reads of the schema while another node migrates.
const SCHEMA_POLL: Duration = Duration::from_secs(1);

impl Worker {
    /// Checked, and its schema as this node's part in the migration wants it.
    pub(super) async fn prepare_database(
        &self,
        wanted: &Serving,
        environment: &Environment,
    ) -> Result<(), Failed> {
        let Some(database) = &wanted.database else {
            return Ok(());
        };
        let failed = || Failed::at(Phase::Installed);
        let connection = database::connect(database, environment.database_password())
            .await
            .map_err(failed())?;
        connection.check().await.map_err(failed())?;
        let mut schema = connection.schema().await.map_err(failed())?;
        self.reporter.schema(schema.clone());
        match wanted.migration {
            Migration::Unordered => {}
            Migration::Migrate => {
                drop(connection);
                self.migrate(wanted).await?;
                // Its own word counts for nothing (mattermost.md): read back.
                schema = self.read_schema(wanted, environment).await?;
                if schema.applied == 0 {
                    return Err(Failed::at(Phase::Migrating)(StartError::Schema {
                        applied: 0,
                        expected: 1,
                    }));
                }
                self.reporter.schema(schema);
            }
            Migration::Wait(expected) => {
                while let Some(missing) = missing(&schema, expected, wanted.configuration_store) {
                    self.reporter.note(missing);
                    tokio::time::sleep(SCHEMA_POLL).await;
                    schema = connection.schema().await.map_err(failed())?;
                    self.reporter.schema(schema.clone());
                }
            }
        }
        Ok(())
    }

    pub(super) async fn read_schema(
        &self,
        wanted: &Serving,
        environment: &Environment,
    ) -> Result<Schema, Failed> {
        let Some(database) = &wanted.database else {
            return Ok(Schema::default());
        };
        database::connect(database, environment.database_password())
            .await
            .map_err(Failed::at(Phase::Migrating))?
            .schema()
            .await
            .map_err(Failed::at(Phase::Migrating))
    }

    /// Once per generation, also when it failed: a node that boots again must not migrate on an old order.
    async fn migrate(&self, wanted: &Serving) -> Result<(), Failed> {
        let failed = || Failed::at(Phase::Migrating);
        let mut progress = self
            .store
            .progress()
            .map_err(DiskTrouble)
            .map_err(failed())?;
        if progress.migrated_generation == wanted.generation {
            return Ok(());
        }
        self.reporter.reach(Phase::Migrating);
        if let Some(known) = &progress.failed_migration
            && known.generation == wanted.generation
        {
            return Err(failed_migration(known));
        }
        reached(Done::MigrationDue);
        match self.service.migrate(&wanted.artefact.version).await {
            Ok(()) => {}
            Err(ServiceError::Migration { ended, lines }) => {
                let lines = without_sources(lines);
                let known = FailedMigration {
                    generation: wanted.generation,
                    ended,
                    lines,
                };
                let failed = failed_migration(&known);
                progress.failed_migration = Some(known);
                if let Err(error) = self.store.set_progress(&progress) {
                    log::error!("{}", crate::coded::chain(&error));
                }
                reached(Done::MigrationFailed);
                return Err(failed);
            }
            Err(error) => return Err(Failed::at(Phase::Migrating)(error)),
        }
        reached(Done::Migrated);
        progress.migrated_generation = wanted.generation;
        self.store
            .set_progress(&progress)
            .map_err(DiskTrouble)
            .map_err(failed())?;
        reached(Done::MigrationRecorded);
        Ok(())
    }
}

/// What a node that waits is waiting for, one line; nothing: it may start.
fn missing(schema: &Schema, expected: u32, store: ConfigurationStore) -> Option<String> {
    if schema.applied < expected {
        return Some(format!(
            "waiting for the migration: {} of {expected} applied",
            schema.applied
        ));
    }
    if store == ConfigurationStore::Database && !schema.configuration {
        return Some(
            "waiting for the configuration: table `configurations` has no active row yet, which the server \
             of the node that migrates writes"
                .to_owned(),
        );
    }
    None
}

fn failed_migration(known: &FailedMigration) -> Failed {
    Failed {
        journal: known.lines.clone(),
        ..Failed::at(Phase::Migrating)(ServiceError::Migration {
            ended: known.ended.clone(),
            lines: known.lines.clone(),
        })
    }
}
