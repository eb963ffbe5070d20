//! The making of an instance, and the frame that every operation runs in.
//!
//! Each state lasts as long as AWS takes or as the real work takes, whichever is longer. Durations
//! are typical values for an empty `db.t3` instance, as the user guide and AWS's support articles
//! give them ("a DB instance takes about 5 to 10 minutes to create"); the playbook's operator waited
//! "5–10 minutes".

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::engine::EngineError;
use super::model::{Hidden, Instance, Replication};
use super::{backup, events, nodes, roles, wal};
use crate::Lab;

/// `creating` of a new instance.
const CREATING: Duration = Duration::from_mins(4);
/// `creating` of a replica or of an instance from a snapshot: the volume comes from a snapshot.
const CREATING_FROM_SNAPSHOT: Duration = Duration::from_mins(5);
/// What a Multi-AZ instance takes on top.
const CREATING_STANDBY: Duration = Duration::from_mins(1);

/// Where an instance's data comes from.
#[derive(Debug)]
pub enum Origin {
    /// Nowhere: `initdb`.
    Nothing {
        /// Of the master user.
        password: Hidden,
    },
    /// The instance's source.
    Source,
    /// A snapshot's files, with another master password where AWS manages it.
    Snapshot {
        /// The files.
        directory: PathBuf,
        /// For a managed master user.
        password: Option<Hidden>,
    },
    /// A base backup's files and the log after it.
    Log {
        /// The files.
        directory: PathBuf,
        /// The pieces of the log.
        log: PathBuf,
        /// Until when the log is replayed.
        second: Timestamp,
        /// For a managed master user.
        password: Option<Hidden>,
    },
}

/// Runs an operation of an instance until it ends, the instance is deleted, or the lab stops.
pub fn spawn(lab: &Lab, instance: &Instance, task: impl Future<Output = ()> + Send + 'static) {
    let cancel = instance.cancel.clone();
    lab.spawn(async move {
        tokio::select! {
            () = task => {}
            () = cancel.cancelled() => {}
        }
    });
}

/// The instance is lost: status `failed`, and an event that says why.
pub fn fail(lab: &Lab, region: &str, id: &str, error: &EngineError) {
    log::error!("{region} DB instance {id}: {error}");
    lab.rds
        .edit(region, id, |instance| instance.status = "failed");
    events::instance(
        lab,
        region,
        id,
        &["failure"],
        format!("DB instance failed: {error}"),
    );
}

/// Makes an instance: the task behind the ways to create one.
pub async fn make(lab: Arc<Lab>, region: String, id: String, origin: Origin) {
    let Some(instance) = lab.rds.instance(&region, &id) else {
        return;
    };
    let mut takes = match origin {
        Origin::Nothing { .. } => CREATING,
        Origin::Source | Origin::Snapshot { .. } | Origin::Log { .. } => CREATING_FROM_SNAPSHOT,
    };
    if instance.multi_az {
        takes += CREATING_STANDBY;
    }
    let (kind, said) = match origin {
        Origin::Nothing { .. } | Origin::Source => ("creation", "DB instance created"),
        Origin::Snapshot { .. } => ("restoration", "Restored from snapshot"),
        Origin::Log { .. } => ("restoration", "Restored to a point in time"),
    };
    let (built, ()) = tokio::join!(
        build(&lab, &region, &instance, origin),
        lab.clock.sleep(takes)
    );
    if let Err(error) = built {
        fail(&lab, &region, &id, &error);
        return;
    }
    let now = lab.clock.now();
    lab.rds.edit(&region, &id, |instance| {
        instance.endpoint_shown = true;
        instance.created = Some(now);
        if instance.source.is_some() {
            instance.replication = Some(Replication::replicating());
        }
    });
    events::instance(&lab, &region, &id, &[kind], said);
    if instance.retention > 0 {
        backup::automated(&lab, &region, &id).await;
    }
    rest(&lab, &region, &id);
}

/// The status of an instance that nothing is done to: `available`, or `storage-optimization` while its
/// storage is being optimised.
pub fn rest(lab: &Lab, region: &str, id: &str) {
    let now = lab.clock.now();
    lab.rds.edit(region, id, |instance| {
        instance.status = match instance.optimised_at {
            Some(end) if end > now => "storage-optimization",
            _ => "available",
        };
    });
}

async fn build(
    lab: &Arc<Lab>,
    region: &str,
    instance: &Instance,
    origin: Origin,
) -> Result<(), EngineError> {
    let engine = lab
        .rds
        .engine(lab)
        .await
        .map_err(|error| EngineError::NotStarted(error.message))?;
    let mut machine = instance.machine.lock().await;
    let (id, port) = (instance.id.as_str(), instance.port);
    let node = nodes::new_node(&engine, &mut machine, instance, &instance.zone)?;
    match &origin {
        Origin::Nothing { .. } => node.initialise(&engine).await?,
        Origin::Snapshot { directory, .. } => node.copy_files(&engine, directory).await?,
        Origin::Log {
            directory,
            log: pieces,
            second,
            ..
        } => {
            node.copy_files(&engine, directory).await?;
            wal::replay_until(&engine, &node, pieces, *second)?;
        }
        Origin::Source => {
            let source = instance
                .source
                .as_deref()
                .and_then(|source| lab.rds.instance(region, source))
                .ok_or_else(|| EngineError::NotStarted("the source instance is gone".to_owned()))?;
            {
                let mut theirs = source.machine.lock().await;
                let primary = theirs.primary()?;
                roles::ensure_slot(&engine, primary, source.port, &instance.slot(region)).await?;
            }
            node.copy_server(&engine, source.address, source.port)
                .await?;
        }
    }
    machine.primary = Some(node);
    nodes::start_primary(lab, &engine, region, id, &mut machine).await?;
    let primary = machine.primary()?;
    if matches!(origin, Origin::Log { .. }) {
        wal::replayed(&engine, primary, port).await?;
    }
    match &origin {
        Origin::Nothing { password } => {
            let master = (instance.master.as_str(), password.0.as_str());
            roles::create(&engine, primary, port, master, instance.database.as_deref()).await?;
        }
        Origin::Snapshot {
            password: Some(password),
            ..
        }
        | Origin::Log {
            password: Some(password),
            ..
        } => {
            roles::set_master_password(&engine, primary, port, &instance.master, &password.0)
                .await?;
        }
        _ => {}
    }
    if instance.multi_az {
        nodes::add_standby(lab, &engine, region, id, &mut machine).await?;
    }
    Ok(())
}
