//! Reboot, stop, start, delete.

use std::sync::Arc;
use std::time::Duration;

use super::engine::EngineError;
use super::model::{Instance, Snapshot};
use super::postgres::Stop;
use super::{
    backup, bad_combination, bad_state, events, failover, lifecycle, names, nodes, render, replica,
    snapshots, wal,
};
use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};
use crate::{ec2, secrets};

/// A reboot without failover: about a minute, half of it with the server down.
const REBOOTING: Duration = Duration::from_mins(1);
/// Stopping and starting take some minutes each.
const STOPPING: Duration = Duration::from_mins(4);
const STARTING: Duration = Duration::from_mins(4);
/// Deleting an empty instance.
const DELETING: Duration = Duration::from_mins(3);
/// A final snapshot on top of it.
const FINAL_SNAPSHOT: Duration = Duration::from_mins(2);

/// The reply with the instance as it is now.
pub fn shown(lab: &Lab, region: &str, id: &str) -> Reply {
    let xml = lab.rds.with(region, |state| {
        state
            .instances
            .get(id)
            .map(|instance| render::instance(region, state, instance))
    });
    Xml::new()
        .child("DBInstance", xml.unwrap_or_default())
        .into()
}

/// Moves an instance from one of `from` to `to`, or refuses.
fn begin(
    lab: &Lab,
    region: &str,
    id: &str,
    from: &[&str],
    to: &'static str,
) -> Result<Instance, ApiError> {
    let found = lab.rds.find(region, id)?;
    lab.rds
        .edit(region, &found.id, |instance| {
            if from.contains(&instance.status) {
                instance.status = to;
                Ok(instance.clone())
            } else {
                Err(bad_state(format!(
                    "Instance {} is not in {} state: its status is {}.",
                    instance.id,
                    from.join(" or "),
                    instance.status
                )))
            }
        })
        .unwrap_or(Ok(found))
}

/// `RebootDBInstance`.
pub fn reboot(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let (p, region) = (&call.params, call.region.as_str());
    let id = p.str("DBInstanceIdentifier")?;
    let force = p.opt_bool("ForceFailover")?.unwrap_or(false);
    p.finish()?;
    let found = lab.rds.find(region, &id)?;
    if force && !found.multi_az {
        return Err(bad_combination(
            "You cannot specify ForceFailover when the instance is not configured for Multi-AZ.",
        ));
    }
    let from = [
        "available",
        "storage-optimization",
        "incompatible-parameters",
    ];
    let instance = begin(lab, region, &found.id, &from, "rebooting")?;
    let reply = shown(lab, region, &found.id);
    let (lab2, region, id) = (Arc::clone(lab), region.to_owned(), found.id);
    lifecycle::spawn(lab, &instance, async move {
        if force {
            let message = "The user requested a failover of the DB instance.";
            events::instance(&lab2, &region, &id, &["failover"], message);
            failover::run(&lab2, &region, &id, Stop::Fast).await;
            lifecycle::rest(&lab2, &region, &id);
            return;
        }
        let done = restart(&lab2, &region, &id, REBOOTING).await;
        finish_restart(&lab2, &region, &id, done);
    });
    Ok(reply)
}

fn settle(lab: &Lab, region: &str, id: &str, status: &'static str) {
    lab.rds
        .edit(region, id, |instance| instance.status = status);
}

/// After a restart: `available`, or `incompatible-parameters` with the server's own words.
pub fn finish_restart(lab: &Lab, region: &str, id: &str, done: Result<(), EngineError>) {
    match done {
        Ok(()) => {
            lifecycle::rest(lab, region, id);
            events::instance(lab, region, id, &["availability"], "DB instance restarted");
        }
        Err(error) => {
            settle(lab, region, id, "incompatible-parameters");
            let message = format!("The DB instance does not start with its parameters: {error}");
            events::instance(lab, region, id, &["failure"], message);
        }
    }
}

/// Stops the server, lets `takes` pass, starts it with its parameter group as it is then.
pub async fn restart(
    lab: &Arc<Lab>,
    region: &str,
    id: &str,
    takes: Duration,
) -> Result<(), EngineError> {
    let (engine, instance) = nodes::at_hand(lab, region, id).await?;
    let mut machine = instance.machine.lock().await;
    lab.clock.sleep(takes / 2).await;
    machine.primary()?.stop(Stop::Fast).await;
    events::instance(lab, region, id, &["availability"], "DB instance shutdown");
    lab.clock.sleep(takes / 2).await;
    nodes::start_primary(lab, &engine, region, id, &mut machine).await
}

/// `StopDBInstance`.
pub fn stop(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let (p, region) = (&call.params, call.region.as_str());
    let id = p.str("DBInstanceIdentifier")?;
    p.finish()?;
    let found = lab.rds.find(region, &id)?;
    if found.source.is_some() || !replica::replicas_of(lab, region, &found.id).is_empty() {
        return Err(bad_state(format!(
            "Cannot stop the DB instance {}: it is a read replica or has one.",
            found.id
        )));
    }
    let instance = begin(lab, region, &found.id, &["available"], "stopping")?;
    let (lab2, region2, id2) = (Arc::clone(lab), region.to_owned(), found.id.clone());
    lifecycle::spawn(lab, &instance, async move {
        let Some(instance) = lab2.rds.instance(&region2, &id2) else {
            return;
        };
        {
            let mut machine = instance.machine.lock().await;
            // The primary first: its last byte reaches the standby.
            if let Some(node) = machine.primary.as_mut() {
                node.stop(Stop::Fast).await;
            }
            if let Some(node) = machine.standby.as_mut() {
                node.stop(Stop::Fast).await;
            }
        }
        lab2.clock.sleep(STOPPING).await;
        lab2.rds
            .edit(&region2, &id2, |instance| instance.status = "stopped");
        events::instance(
            &lab2,
            &region2,
            &id2,
            &["notification"],
            "DB instance stopped",
        );
    });
    Ok(shown(lab, region, &found.id))
}

/// `StartDBInstance`.
pub fn start(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let (p, region) = (&call.params, call.region.as_str());
    let id = p.str("DBInstanceIdentifier")?;
    p.finish()?;
    let found = lab.rds.find(region, &id)?;
    let instance = begin(lab, region, &found.id, &["stopped"], "starting")?;
    let (lab2, region2, id2) = (Arc::clone(lab), region.to_owned(), found.id.clone());
    lifecycle::spawn(lab, &instance, async move {
        lab2.clock.sleep(STARTING).await;
        let done = start_nodes(&lab2, &region2, &id2).await;
        if done.is_ok() {
            events::instance(
                &lab2,
                &region2,
                &id2,
                &["notification"],
                "DB instance started",
            );
        }
        finish_restart(&lab2, &region2, &id2, done);
    });
    Ok(shown(lab, region, &found.id))
}

async fn start_nodes(lab: &Arc<Lab>, region: &str, id: &str) -> Result<(), EngineError> {
    let (engine, instance) = nodes::at_hand(lab, region, id).await?;
    let mut machine = instance.machine.lock().await;
    nodes::start_primary(lab, &engine, region, id, &mut machine).await?;
    if machine.standby.is_some() {
        nodes::start_standby(lab, &engine, region, id, &mut machine).await?;
    }
    Ok(())
}

/// `DeleteDBInstance`.
pub fn delete(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let (p, region) = (&call.params, call.region.as_str());
    let id = p.str("DBInstanceIdentifier")?;
    let skip = p.opt_bool("SkipFinalSnapshot")?.unwrap_or(false);
    let last = p
        .opt("FinalDBSnapshotIdentifier")
        .map(|name| names::identifier("FinalDBSnapshotIdentifier", &name))
        .transpose()?;
    let keep_backups = p.opt_bool("DeleteAutomatedBackups")? == Some(false);
    p.finish()?;
    let instance = lab.rds.find(region, &id)?;
    if instance.status == "deleting" {
        return Err(bad_state(format!(
            "Instance {} is already being deleted.",
            instance.id
        )));
    }
    if instance.deletion_protection {
        return Err(bad_combination(
            "Cannot delete protected DB Instance, please disable deletion protection and try again.",
        ));
    }
    match (&last, skip) {
        (None, false) => {
            return Err(bad_combination(
                "FinalDBSnapshotIdentifier is required unless SkipFinalSnapshot is specified.",
            ));
        }
        (Some(_), true) => {
            return Err(bad_combination(
                "FinalDBSnapshotIdentifier cannot be specified when SkipFinalSnapshot is true.",
            ));
        }
        (Some(_), false) if instance.source.is_some() => {
            return Err(bad_combination(
                "FinalDBSnapshotIdentifier can not be specified when deleting a replica.",
            ));
        }
        (Some(_), false) if !matches!(instance.status, "available" | "storage-optimization") => {
            return Err(bad_state(format!(
                "Cannot create a final snapshot because the database instance {} is not in the available state but {}.",
                instance.id, instance.status
            )));
        }
        (Some(name), false) => snapshots::check_free(lab, region, name)?,
        (None, true) => {}
    }
    // Whatever was under way ends here; the deletion itself must not be cancelled.
    instance.cancel.cancel();
    lab.rds.edit(region, &instance.id, |instance| {
        instance.status = "deleting";
    });
    let reply = shown(lab, region, &instance.id);
    let task = remove(
        Arc::clone(lab),
        region.to_owned(),
        instance,
        last,
        keep_backups,
    );
    lab.spawn(task);
    Ok(reply)
}

async fn remove(
    lab: Arc<Lab>,
    region: String,
    instance: Instance,
    last: Option<String>,
    keep_backups: bool,
) {
    let id = instance.id.as_str();
    if let (Some(name), Some(engine)) = (&last, lab.rds.engine.get()) {
        let root = engine.root.clone();
        let snapshot = backup::register(
            &lab,
            &region,
            &instance,
            (name, "manual"),
            Vec::new(),
            &root,
        );
        events::snapshot(
            &lab,
            &region,
            name,
            &["creation"],
            "Creating manual snapshot",
        );
        let taken = backup::take(&lab, &region, &instance, &snapshot, FINAL_SNAPSHOT).await;
        if let Err(error) = taken {
            // Without the snapshot that was asked for nothing is deleted.
            let message = format!("Unable to create the final snapshot, not deleted: {error}");
            events::instance(&lab, &region, id, &["failure"], message);
            lifecycle::rest(&lab, &region, id);
            lab.rds.edit(&region, id, |instance| {
                instance.cancel = tokio_util::sync::CancellationToken::new();
            });
            return;
        }
        events::snapshot(
            &lab,
            &region,
            name,
            &["creation"],
            "Manual snapshot created",
        );
    }
    for replica in replica::replicas_of(&lab, &region, id) {
        if matches!(
            replica.status,
            "creating" | "deleting" | "failed" | "modifying"
        ) {
            // One that is being made fails without its source; one being promoted goes on.
            continue;
        }
        replica::begin_promotion(&lab, &region, &replica, replica.retention, None);
    }
    let stop = async {
        let mut machine = instance.machine.lock().await;
        for mut node in [machine.primary.take(), machine.standby.take()]
            .into_iter()
            .flatten()
        {
            node.stop(Stop::Fast).await;
            node.remove();
        }
    };
    tokio::join!(stop, lab.clock.sleep(DELETING));
    if let Some(source) = &instance.source {
        replica::forget_slot(&lab, &region, source, &instance.slot(&region)).await;
    }
    let backups: Vec<Snapshot> = lab.rds.with(&region, |state| {
        state.instances.remove(id);
        state
            .snapshots
            .values()
            .filter(|snapshot| snapshot.instance.resource_id == instance.resource_id)
            .filter(|snapshot| {
                // One that was under way ended with the instance.
                (snapshot.kind == "automated" && !keep_backups) || snapshot.status == "creating"
            })
            .cloned()
            .collect()
    });
    for snapshot in backups {
        snapshots::forget(&lab, &region, &snapshot);
    }
    if !keep_backups && let Some(engine) = lab.rds.engine.get() {
        wal::forget(engine, &instance);
    }
    if let Some(secret) = &instance.secret {
        secrets::delete_owned(&lab, &region, secret);
    }
    ec2::release_address(&lab, &region, instance.address);
    events::instance(&lab, &region, id, &["deletion"], "DB instance deleted");
}
