//! Says in the store which nodes have their sessions here, so that whoever holds the lease knows the nodes of
//! every control host from its first look on.

use std::sync::Arc;
use std::time::Duration;

use crate::core::Core;

/// A session that is not renewed counts for so long: a node that lost its orchestrator is back with another
/// one within seconds.
const LIVES: Duration = Duration::from_secs(30);
/// They are renewed this often, all at once.
const RENEW: Duration = Duration::from_secs(8);

/// Renews the sessions of this process until shutdown.
pub async fn hold(core: Arc<Core>) {
    let mut again = tokio::time::interval(RENEW);
    again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = again.tick() => {}
            () = core.shutdown.cancelled() => return,
        }
        renew(&core, &core.fleet.connected()).await;
    }
}

/// These have a session here now.
pub async fn renew(core: &Core, instances: &[String]) {
    if instances.is_empty() {
        return;
    }
    let held = core.store.hold_sessions(&core.holder, instances, LIVES);
    if let Err(error) = held.await {
        log::warn!("sessions not kept in the store: {}", crate::chain(&error));
    }
}

/// This one ended. When that is not kept it ends by itself.
pub async fn end(core: &Core, instance: &str) {
    if let Err(error) = core.store.end_session(&core.holder, instance).await {
        log::debug!("end of a session not kept: {}", crate::chain(&error));
    }
}
