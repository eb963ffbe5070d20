//! What the holder of the lease keeps in order beside its decisions: certificates of instances that are gone,
//! and the length of the history.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::SignedDuration;
use plan::Observed;
use plan::observed::Instance;
use tokio::time::Instant;

use crate::core::Core;
use crate::store::{EVENTS, Snapshot};

/// The history is cut this often.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);
/// EC2 is asked this often for one instance that enrolled and is not shown: it may be shown late, but not
/// twice a minute apart.
const ASK_EVERY: Duration = Duration::from_secs(60);
/// And for so many at one turn.
const AT_ONCE: usize = 10;

/// What is remembered between turns. Losing it costs a minute.
#[derive(Debug)]
pub struct Upkeep {
    ask_every: Duration,
    pruned: Option<Instant>,
    /// Enrolled instances that the looks do not show: when EC2 was asked for each.
    missing: BTreeMap<String, Instant>,
}

impl Default for Upkeep {
    fn default() -> Self {
        Self::asking_every(ASK_EVERY)
    }
}

impl Upkeep {
    /// That asks EC2 for one missing instance this often.
    pub fn asking_every(ask_every: Duration) -> Self {
        Self {
            ask_every,
            pruned: None,
            missing: BTreeMap::new(),
        }
    }

    /// One turn's share.
    pub async fn turn(&mut self, core: &Core, observed: &Observed, snapshot: &Snapshot) {
        let mut gone: Vec<String> = observed
            .instances
            .values()
            .filter(|instance| is_gone(instance))
            .map(|instance| instance.id.clone())
            .collect();
        if !observed.unknown.contains_key("instances") {
            gone.extend(self.missing(core, observed, snapshot).await);
        }
        if let Err(error) = core.store.revoke(&gone).await {
            log::warn!(
                "certificates of terminated instances: {}",
                crate::chain(&error)
            );
        }
        self.prune(core).await;
    }

    /// Of those that enrolled and are not shown, those that EC2 does not know by their ids either: this
    /// orchestrator was away while they ended, or somebody removed the stack's tag before. Who is still there
    /// keeps its row: without the tag no call of it is answered, and with the tag again it is a node again.
    async fn missing(
        &mut self,
        core: &Core,
        observed: &Observed,
        snapshot: &Snapshot,
    ) -> Vec<String> {
        let missing: Vec<&String> = snapshot
            .nodes
            .iter()
            .filter(|(id, row)| !row.revoked && !observed.instances.contains_key(*id))
            .map(|(id, _)| id)
            .collect();
        self.missing.retain(|id, _| missing.contains(&id));
        let mut gone = Vec::new();
        for id in missing.into_iter().take(AT_ONCE) {
            let before = self.missing.get(id).copied();
            if before.is_some_and(|asked| asked.elapsed() < self.ask_every) {
                continue;
            }
            let found = match core.cloud.observe_instance(id).await {
                Ok(found) => found,
                Err(error) => {
                    log::debug!("instance {id}, which enrolled, could not be asked for: {error}");
                    continue;
                }
            };
            self.missing.insert(id.clone(), Instant::now());
            match found {
                Some(instance) if is_gone(&instance) => gone.push(id.clone()),
                None if before.is_some() => gone.push(id.clone()),
                None => {}
                Some(_) => log::warn!(
                    NODE = id.as_str();
                    "instance {id} enrolled, runs, and lacks the tag `{}={}`: its calls are refused",
                    plan::observed::STACK_TAG,
                    core.spec.stack
                ),
            }
        }
        gone
    }

    async fn prune(&mut self, core: &Core) {
        if self.pruned.is_some_and(|at| at.elapsed() < PRUNE_EVERY) {
            return;
        }
        self.pruned = Some(Instant::now());
        let days = i64::from(core.spec.orchestrator.event_days);
        let Ok(oldest) = core
            .now()
            .checked_sub(SignedDuration::from_hours(24 * days))
        else {
            return;
        };
        match core.store.prune_events(oldest, EVENTS).await {
            Ok(0) => {}
            Ok(gone) => {
                log::info!("{gone} events older than {days} days or beyond {EVENTS} were deleted");
            }
            Err(error) => log::warn!("old events were not deleted: {}", crate::chain(&error)),
        }
    }
}

fn is_gone(instance: &Instance) -> bool {
    matches!(instance.state.as_str(), "terminated" | "shutting-down")
}
