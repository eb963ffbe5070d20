//! Multi-AZ: the hidden standby takes over the endpoint.
//!
//! ```text
//!   zone a            zone b                      zone a              zone b
//!   primary ──WAL──►  standby      failover       (gone, rebuilt      primary
//!     │ 127.x:5432    no endpoint  ─────────►      as standby)          │ 127.x:5432
//! ```
//!
//! On AWS the endpoint's *name* moves; the lab has no DNS, so the *address* moves. Every commit that
//! was acknowledged is on the standby (`synchronous_standby_names`), so none is lost.

use std::sync::Arc;
use std::time::Duration;

use super::engine::EngineError;
use super::model::Instance;
use super::postgres::{Node, Stop};
use super::{events, lifecycle, nodes, replica, roles};
use crate::Lab;

/// "Failover times are typically 60–120 seconds" (user guide, Multi-AZ DB instance deployments).
const FAILOVER: Duration = Duration::from_mins(1);
/// Until the lost side is there again as the standby.
const REBUILD_AFTER: Duration = Duration::from_mins(3);

/// `POST /lab/rds/failover`: the primary's host dies.
pub fn host_failure(lab: &Arc<Lab>, region: &str, id: &str) -> Result<(), String> {
    let instance = lab
        .rds
        .instance(region, id)
        .ok_or_else(|| format!("there is no DB instance `{id}`"))?;
    if !instance.multi_az {
        return Err(format!("`{id}` is not a Multi-AZ instance"));
    }
    let (lab2, region, id) = (Arc::clone(lab), region.to_owned(), id.to_owned());
    lifecycle::spawn(lab, &instance, async move {
        run(&lab2, &region, &id, Stop::Kill).await;
    });
    Ok(())
}

/// Fails over, then has the standby rebuilt. The status is the caller's.
pub async fn run(lab: &Arc<Lab>, region: &str, id: &str, how: Stop) {
    let note = |category: &'static str, message: &str| {
        events::instance(lab, region, id, &[category], message);
    };
    note("failover", "Multi-AZ instance failover started.");
    match take_over(lab, region, id, how).await {
        Ok(()) => {
            note("availability", "DB instance restarted");
            note("failover", "Multi-AZ instance failover completed");
        }
        Err(error) => {
            note(
                "failover",
                &format!("Multi-AZ instance failover failed: {error}"),
            );
            return;
        }
    }
    let Some(instance) = lab.rds.instance(region, id) else {
        return;
    };
    let (lab2, region, id) = (Arc::clone(lab), region.to_owned(), id.to_owned());
    lifecycle::spawn(lab, &instance, async move {
        lab2.clock.sleep(REBUILD_AFTER).await;
        if let Err(error) = rebuild(&lab2, &region, &id).await {
            let message = format!("The standby could not be rebuilt: {error}");
            events::instance(&lab2, &region, &id, &["failure"], message);
        }
    });
}

async fn take_over(lab: &Arc<Lab>, region: &str, id: &str, how: Stop) -> Result<(), EngineError> {
    let (engine, instance) = nodes::at_hand(lab, region, id).await?;
    let mut machine = instance.machine.lock().await;
    if !machine.standby.as_ref().is_some_and(Node::is_up) {
        return Err(EngineError::NotStarted(
            "there is no standby to fail over to; it is being rebuilt".to_owned(),
        ));
    }
    machine.primary()?.stop(how).await;
    let wait = lab.clock.sleep(FAILOVER);
    let work = prepare(lab, &engine, region, &instance, machine.standby.as_mut());
    let (prepared, ()) = tokio::join!(work, wait);
    prepared?;
    let old = machine.primary.take();
    machine.primary = machine.standby.take();
    if let Some(old) = old {
        old.remove();
    }
    lab.rds.edit(region, id, |instance| {
        if let Some(other) = instance.secondary_zone.take() {
            instance.secondary_zone = Some(std::mem::replace(&mut instance.zone, other));
        }
    });
    nodes::start_primary(lab, &engine, region, id, &mut machine).await
}

/// Makes the standby a primary that lacks only the endpoint.
async fn prepare(
    lab: &Lab,
    engine: &super::engine::Engine,
    region: &str,
    instance: &Instance,
    standby: Option<&mut Node>,
) -> Result<(), EngineError> {
    let Some(standby) = standby else {
        return Err(EngineError::NotStarted("there is no standby".to_owned()));
    };
    // A Multi-AZ read replica's standby takes over its following, and is not promoted.
    if instance.source.is_none() {
        roles::promote(engine, standby, instance.port).await?;
        for replica in replica::replicas_of(lab, region, &instance.id) {
            roles::ensure_slot(engine, standby, instance.port, &replica.slot(region)).await?;
        }
    }
    standby.stop(Stop::Fast).await;
    Ok(())
}

async fn rebuild(lab: &Arc<Lab>, region: &str, id: &str) -> Result<(), EngineError> {
    let Some(engine) = lab.rds.engine.get().cloned() else {
        return Ok(());
    };
    let instance = lab
        .rds
        .instance(region, id)
        .ok_or_else(|| nodes::vanished(id))?;
    let mut machine = instance.machine.lock().await;
    if machine.standby.is_some() || !instance.multi_az {
        return Ok(());
    }
    nodes::add_standby(lab, &engine, region, id, &mut machine).await
}
