//! A server that ended without having been asked to: RDS starts it again.
//!
//! `DBInstanceStatus` stays what it was (AWS shows no state for an engine restart); events tell.

use std::sync::Arc;
use std::time::Duration;

use super::model::Instance;
use super::postgres::Node;
use super::{events, lifecycle, nodes};
use crate::Lab;
use rustix::process::Signal;

/// RDS notices a dead engine and starts it again within about half a minute.
const NOTICED_AFTER: Duration = Duration::from_secs(30);
/// Attempts before the instance counts as failed.
const ATTEMPTS: u32 = 10;

/// Which node of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It serves the endpoint.
    Primary,
    /// The hidden one.
    Standby,
}

/// What is to happen when a node's server ends unasked.
pub fn on_crash(
    lab: &Arc<Lab>,
    region: &str,
    instance: &Instance,
    role: Role,
) -> impl FnOnce() + Send + 'static + use<> {
    let (lab, region, id) = (Arc::downgrade(lab), region.to_owned(), instance.id.clone());
    move || {
        let Some(lab) = lab.upgrade() else { return };
        let Some(instance) = lab.rds.instance(&region, &id) else {
            return;
        };
        log::warn!("{region} DB instance {id}: the server of the {role:?} ended");
        let task = recover(Arc::clone(&lab), region, id, role);
        lifecycle::spawn(&lab, &instance, task);
    }
}

async fn recover(lab: Arc<Lab>, region: String, id: String, role: Role) {
    if role == Role::Standby {
        release_primary(&lab, &region, &id).await;
    }
    for attempt in 1..=ATTEMPTS {
        lab.clock.sleep(NOTICED_AFTER).await;
        let Some(instance) = lab.rds.instance(&region, &id) else {
            return;
        };
        let Some(engine) = lab.rds.engine.get().cloned() else {
            return;
        };
        if matches!(
            instance.status,
            "deleting" | "stopping" | "stopped" | "failed"
        ) {
            return;
        }
        let mut machine = instance.machine.lock().await;
        let node = match role {
            Role::Primary => machine.primary.as_ref(),
            Role::Standby => machine.standby.as_ref(),
        };
        if node.is_none_or(Node::is_up) {
            // Another operation was faster: a reboot, a failover.
            return;
        }
        if role == Role::Primary && attempt == 1 {
            events::instance(
                &lab,
                &region,
                &id,
                &["recovery"],
                "Recovery of the DB instance has started. Recovery time will vary with the amount of data to be recovered.",
            );
        }
        let started = match role {
            Role::Primary => nodes::start_primary(&lab, &engine, &region, &id, &mut machine).await,
            Role::Standby => nodes::start_standby(&lab, &engine, &region, &id, &mut machine).await,
        };
        match started {
            Ok(()) => {
                if role == Role::Primary {
                    events::instance(
                        &lab,
                        &region,
                        &id,
                        &["recovery"],
                        "Recovery of the DB instance is complete.",
                    );
                    events::instance(
                        &lab,
                        &region,
                        &id,
                        &["availability"],
                        "DB instance restarted",
                    );
                }
                return;
            }
            Err(error) if attempt == ATTEMPTS && role == Role::Primary => {
                lifecycle::fail(&lab, &region, &id, &error);
            }
            Err(error) => log::warn!("{region} DB instance {id}, attempt {attempt}: {error}"),
        }
    }
}

/// The primary must not wait at each commit for a standby that is gone.
async fn release_primary(lab: &Lab, region: &str, id: &str) {
    let (Some(instance), Some(engine)) = (lab.rds.instance(region, id), lab.rds.engine.get())
    else {
        return;
    };
    let mut machine = instance.machine.lock().await;
    if let Err(error) = nodes::reconfigure_primary(lab, engine, region, id, &mut machine, false) {
        log::warn!("{region} DB instance {id}: {error}");
    }
}

/// `POST /lab/rds/crash`: kills the serving node's server.
pub async fn crash(lab: &Lab, region: &str, id: &str) -> Result<(), String> {
    let instance = lab
        .rds
        .instance(region, id)
        .ok_or_else(|| format!("there is no DB instance `{id}`"))?;
    let machine = instance.machine.lock().await;
    let server = machine
        .primary
        .as_ref()
        .and_then(|node| node.server.as_ref())
        .filter(|server| !server.is_gone())
        .ok_or_else(|| format!("the server of `{id}` does not run"))?;
    server.signal(Signal::KILL);
    Ok(())
}
