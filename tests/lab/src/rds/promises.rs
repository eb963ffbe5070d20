//! The keeping of promises that `ModifyDBInstance` made.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::engine::EngineError;
use super::model::{Hidden, Pending};
use super::{
    backup, events, lifecycle, names, nodes, operate, place, replica, roles, storage, subnet_groups,
};
use crate::Lab;
use crate::secrets;

/// Between the call and the status `modifying`.
pub const ACCEPTED_AFTER: Duration = Duration::from_secs(10);
const PASSWORD: Duration = Duration::from_secs(20);
const CLASS: Duration = Duration::from_mins(5);
const STORAGE: Duration = Duration::from_mins(2);
const TO_MULTI_AZ: Duration = Duration::from_mins(6);
const TO_SINGLE_AZ: Duration = Duration::from_mins(2);
const RESTART: Duration = Duration::from_mins(1);
const SMALL: Duration = Duration::from_secs(30);

/// What of the promises is to be kept now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Passwords and ports: never deferred.
    Urgent,
    /// Everything.
    All,
}

/// Lab time until the instance's maintenance window begins (a wall-clock moment, as all are).
pub fn until_window(lab: &Lab, region: &str, id: &str) -> Duration {
    let window = lab
        .rds
        .instance(region, id)
        .and_then(|instance| {
            let begin = instance.maintenance_window.split('-').next()?.to_owned();
            names::minute_of_week(&begin)
        })
        .unwrap_or(0);
    let minutes = (window + 10_080 - minute_of_week(lab.clock.now())) % 10_080;
    Duration::from_secs(minutes.unsigned_abs() * 60)
}

/// Minutes since Monday 00:00 UTC; 1970-01-01 was a Thursday.
fn minute_of_week(at: Timestamp) -> i64 {
    (at.as_second().div_euclid(60) + 3 * 1440).rem_euclid(10_080)
}

/// Keeps the promises in scope, one after the other; status `available` (or what it was) after it.
pub async fn keep(lab: &Arc<Lab>, region: &str, id: &str, scope: Scope) {
    let Some(instance) = lab.rds.instance(region, id) else {
        return;
    };
    let before = instance.status;
    let done = if is_open(before) {
        carry_out(lab, region, id, instance.pending, scope).await
    } else {
        // Something else began meanwhile (a reboot, a snapshot): the promises stand.
        Ok(())
    };
    let changed = lab.rds.edit(region, id, |instance| {
        instance.applying = false;
        matches!(
            instance.status,
            "modifying" | "resetting-master-credentials"
        )
    });
    if changed == Some(true) {
        if before == "incompatible-parameters" {
            lab.rds
                .edit(region, id, |instance| instance.status = before);
        } else {
            lifecycle::rest(lab, region, id);
        }
    }
    if let Err(error) = done {
        events::instance(
            lab,
            region,
            id,
            &["failure"],
            format!("The modification failed: {error}"),
        );
    }
    let urgent = lab.rds.instance(region, id).is_some_and(|instance| {
        instance.pending.password.is_some() || instance.pending.port.is_some()
    });
    if urgent && !is_open(before) {
        lab.clock.sleep(ACCEPTED_AFTER).await;
        Box::pin(keep(lab, region, id, scope)).await;
    }
}

/// Whether changes are made in this status.
fn is_open(status: &str) -> bool {
    matches!(
        status,
        "available" | "storage-optimization" | "storage-full" | "incompatible-parameters"
    )
}

async fn carry_out(
    lab: &Arc<Lab>,
    region: &str,
    id: &str,
    pending: Pending,
    scope: Scope,
) -> Result<(), EngineError> {
    let set = |status: &'static str| lab.rds.edit(region, id, |i| i.status = status);
    let note = |text: &str| events::instance(lab, region, id, &["configuration change"], text);
    if let Some(password) = pending.password {
        set("resetting-master-credentials");
        lab.clock.sleep(PASSWORD).await;
        reset_password(lab, region, id, &password).await?;
        lab.rds.edit(region, id, |i| i.pending.password = None);
        note("Reset master credentials");
    }
    if let Some(port) = pending.port {
        set("modifying");
        change_port(lab, region, id, port).await?;
        note(&format!("Finished updating the port number to {port}"));
    }
    if scope == Scope::Urgent {
        return Ok(());
    }
    if let Some(class) = pending.class {
        set("modifying");
        note("Applying modification to database instance class");
        lab.clock.sleep(CLASS).await;
        lab.rds.edit(region, id, |i| i.class.clone_from(&class));
        let done = operate::restart(lab, region, id, RESTART).await;
        lab.rds.edit(region, id, |i| i.pending.class = None);
        done?;
        note("Finished applying modification to DB instance class");
    }
    if pending.storage.is_some() || pending.storage_type.is_some() || pending.iops.is_some() {
        set("modifying");
        note("Applying modification to allocated storage");
        lab.clock.sleep(STORAGE).await;
        storage::changed(lab, region, id);
        note("Finished applying modification to allocated storage");
    }
    if let Some(multi_az) = pending.multi_az {
        set("modifying");
        change_standby(lab, region, id, multi_az).await?;
    }
    if pending.certificate_authority.is_some() {
        set("modifying");
        lab.clock.sleep(SMALL).await;
        lab.rds.edit(region, id, |i| {
            if let Some(name) = i.pending.certificate_authority.take() {
                i.certificate_authority = name;
            }
        });
        note("Updated the certificate authority");
    }
    if let Some(days) = pending.retention {
        set("modifying");
        lab.clock.sleep(SMALL).await;
        lab.rds.edit(region, id, |i| {
            i.retention = days;
            i.pending.retention = None;
            if days == 0 {
                i.latest_restorable = None;
            }
        });
        if days == 0 {
            note("Disabled automated backups");
        } else {
            note("Enabled automated backups");
            backup::automated(lab, region, id).await;
            set("modifying");
        }
    }
    Ok(())
}

async fn reset_password(
    lab: &Arc<Lab>,
    region: &str,
    id: &str,
    password: &Hidden,
) -> Result<(), EngineError> {
    let (engine, instance) = nodes::at_hand(lab, region, id).await?;
    let mut machine = instance.machine.lock().await;
    let node = machine.primary()?;
    roles::set_master_password(&engine, node, instance.port, &instance.master, &password.0).await?;
    if let Some(secret) = &instance.secret {
        let value = serde_json::json!({ "username": instance.master, "password": password.0 });
        secrets::set_value(lab, region, secret, &value.to_string());
    }
    Ok(())
}

async fn change_port(lab: &Arc<Lab>, region: &str, id: &str, port: u16) -> Result<(), EngineError> {
    let engine = lab
        .rds
        .engine(lab)
        .await
        .map_err(|error| EngineError::NotStarted(error.message))?;
    lab.rds.edit(region, id, |instance| {
        instance.port = port;
        instance.pending.port = None;
    });
    operate::restart(lab, region, id, RESTART).await?;
    let instance = lab
        .rds
        .instance(region, id)
        .ok_or_else(|| nodes::vanished(id))?;
    {
        let mut machine = instance.machine.lock().await;
        if let Some(standby) = machine.standby.as_mut() {
            standby.stop(super::postgres::Stop::Fast).await;
            nodes::start_standby(lab, &engine, region, id, &mut machine).await?;
        }
    }
    for replica in replica::replicas_of(lab, region, id) {
        let mut machine = replica.machine.lock().await;
        nodes::reconfigure_primary(lab, &engine, region, &replica.id, &mut machine, false)?;
    }
    Ok(())
}

async fn change_standby(
    lab: &Arc<Lab>,
    region: &str,
    id: &str,
    wanted: bool,
) -> Result<(), EngineError> {
    let note = |text: &str| events::instance(lab, region, id, &["configuration change"], text);
    let (engine, instance) = nodes::at_hand(lab, region, id).await?;
    if wanted {
        note("Applying modification to convert to a Multi-AZ DB Instance");
        let zone = subnet_groups::resolve(lab, region, Some(&instance.subnet_group))
            .and_then(|group| place::secondary(lab, &group, &instance.zone))
            .map_err(|error| EngineError::NotStarted(error.message))?;
        lab.rds
            .edit(region, id, |instance| instance.secondary_zone = Some(zone));
        let work = async {
            let mut machine = instance.machine.lock().await;
            nodes::add_standby(lab, &engine, region, id, &mut machine).await
        };
        let (done, ()) = tokio::join!(work, lab.clock.sleep(TO_MULTI_AZ));
        done?;
    } else {
        note("Applying modification to convert to a standard (Single-AZ) DB Instance");
        let work = async {
            let mut machine = instance.machine.lock().await;
            nodes::drop_standby(lab, &engine, region, id, &mut machine).await
        };
        let (done, ()) = tokio::join!(work, lab.clock.sleep(TO_SINGLE_AZ));
        done?;
        lab.rds
            .edit(region, id, |instance| instance.secondary_zone = None);
    }
    lab.rds.edit(region, id, |instance| {
        instance.multi_az = wanted;
        instance.pending.multi_az = None;
    });
    note(if wanted {
        "Finished applying modification to convert to a Multi-AZ DB Instance"
    } else {
        "Finished applying modification to convert to a standard (Single-AZ) DB Instance"
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weeks_begin_on_monday() {
        for (at, expected) in [
            ("1970-01-01T00:00:00Z", 3 * 1440),
            ("2026-11-22T12:30:00Z", 6 * 1440 + 750),
            ("2026-11-23T00:00:59Z", 0),
        ] {
            let at: Timestamp = at.parse().unwrap();
            assert_eq!(minute_of_week(at), expected, "{at}");
        }
    }
}
