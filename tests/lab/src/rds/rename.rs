//! A new identifier: `NewDBInstanceIdentifier` of `ModifyDBInstance`.
//!
//! The instance is away for minutes and comes back under another endpoint; replicas, log, automated backups and tags
//! stay with it, and its former name is free (user guide, "Renaming a DB instance"; renaming to replace one is its
//! own example).

use std::sync::Arc;
use std::time::Duration;

use super::engine::EngineError;
use super::model::Instance;
use super::postgres::Stop;
use super::{bad_combination, events, lifecycle, names, nodes, operate};
use crate::Lab;
use crate::api::ApiError;

/// The user guide says minutes; a restart is in it.
const RENAMING: Duration = Duration::from_mins(2);

/// The new name, checked. A name in a maintenance window is not for the lab.
pub fn check(
    lab: &Lab,
    region: &str,
    found: &Instance,
    name: &str,
    immediately: bool,
) -> Result<String, ApiError> {
    let name = names::identifier("NewDBInstanceIdentifier", name)?;
    if !immediately {
        return Err(bad_combination(
            "The lab renames with ApplyImmediately only.",
        ));
    }
    if found.status != "available" {
        return Err(super::bad_state(format!(
            "Database instance {} is not in available state: its status is {}.",
            found.id, found.status
        )));
    }
    let taken = lab
        .rds
        .with(region, |state| state.instances.contains_key(&name));
    if taken {
        return Err(ApiError::new(
            "DBInstanceAlreadyExists",
            format!("A DB instance named {name} exists already."),
        ));
    }
    Ok(name)
}

/// Renames, with its restart.
pub fn begin(lab: &Arc<Lab>, region: &str, found: &Instance, name: String) {
    lab.rds
        .edit(region, &found.id, |instance| instance.status = "renaming");
    let (lab2, region, old) = (Arc::clone(lab), region.to_owned(), found.id.clone());
    lifecycle::spawn(lab, found, async move {
        let done = rename(&lab2, &region, &old, &name).await;
        operate::finish_restart(&lab2, &region, &name, done);
    });
}

async fn rename(lab: &Arc<Lab>, region: &str, old: &str, name: &str) -> Result<(), EngineError> {
    let (engine, instance) = nodes::at_hand(lab, region, old).await?;
    let mut machine = instance.machine.lock().await;
    lab.clock.sleep(RENAMING / 2).await;
    if let Some(standby) = machine.standby.as_mut() {
        standby.stop(Stop::Fast).await;
    }
    machine.primary()?.stop(Stop::Fast).await;
    lab.rds.with(region, |state| {
        if let Some(mut instance) = state.instances.remove(old) {
            name.clone_into(&mut instance.id);
            state.instances.insert(name.to_owned(), instance);
        }
        for replica in state.instances.values_mut() {
            if replica.source.as_deref() == Some(old) {
                replica.source = Some(name.to_owned());
            }
        }
    });
    let message = format!("Renamed instance from {old} to {name}");
    events::instance(lab, region, name, &["configuration change"], message);
    lab.clock.sleep(RENAMING / 2).await;
    nodes::start_primary(lab, &engine, region, name, &mut machine).await?;
    if machine.standby.is_some() {
        nodes::start_standby(lab, &engine, region, name, &mut machine).await?;
    }
    Ok(())
}
