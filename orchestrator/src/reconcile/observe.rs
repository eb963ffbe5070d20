//! One look at the world: AWS, SQL, the nodes' reports, and how often in a row each fact was seen.

mod facts;
mod named;
mod nodes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cloud::{Answers, Reading, Scope, Seen};
use jiff::Timestamp;
use plan::intent::{Phase, RolloutIntent, Window};
use plan::observed::{Databases, streak_db, streak_target};
use plan::{History, Observed, Want};
use secrecy::SecretString;
use tokio::time::Instant;

use crate::authority::Authority;
use crate::core::Core;
use crate::licence;
use crate::reconcile::cadence::Before;
use crate::reconcile::login::Login;
use crate::reconcile::upkeep::Upkeep;
use crate::store::{Access, Snapshot, provision};

/// SQL is asked this often at most: it costs a few TLS hand-shakes.
const SQL_EVERY: Duration = Duration::from_secs(3);

/// What the loop remembers between looks. Losing it costs time, never correctness.
#[derive(Debug)]
pub struct Memory {
    streaks: BTreeMap<String, u32>,
    /// What AWS answered.
    answers: Answers,
    /// What SQL showed, when, and with which versions of the roles' secrets it was asked.
    databases: Option<(Instant, Vec<String>, Databases)>,
    secrets: BTreeMap<String, (String, SecretString)>,
    named: named::Named,
    licence: licence::Reader,
    /// What is kept in order beside the decisions.
    pub upkeep: Upkeep,
    /// What the pass before was about, and how it ended.
    pub before: Option<Before>,
    /// The store's newest answer.
    last: Snapshot,
    started: Timestamp,
}

impl Memory {
    /// Nothing yet.
    pub fn new(started: Timestamp) -> Self {
        Self {
            streaks: BTreeMap::new(),
            answers: Answers::default(),
            databases: None,
            secrets: BTreeMap::new(),
            named: named::Named::default(),
            licence: licence::Reader::default(),
            upkeep: Upkeep::default(),
            before: None,
            last: Snapshot::default(),
            started,
        }
    }

    /// The pass ended with nothing to do.
    pub fn set_quiet(&mut self) {
        if let Some(before) = &mut self.before {
            before.quiet = true;
        }
    }

    /// Whether a node was given a goal that the last snapshot did not have: by another orchestrator, or by this
    /// one when it did not learn that its write succeeded.
    pub fn is_news(&self, snapshot: &Snapshot) -> bool {
        snapshot.nodes.iter().any(|(instance, row)| {
            let before = self.last.nodes.get(instance);
            row.generation > before.map_or(0, |before| before.generation)
        })
    }

    /// A role's login by the secret's name. What is no login is said in the log at every look: the stack
    /// waits for it.
    async fn login(&mut self, core: &Core, observed: &Observed, name: &str) -> Option<Login> {
        let value = self.secret(core, observed, name).await?;
        Login::parse(name, &value)
            .inspect_err(|error| log::warn!("{error}"))
            .ok()
    }

    /// A secret's value by name, read again only when its version changed.
    async fn secret(
        &mut self,
        core: &Core,
        observed: &Observed,
        name: &str,
    ) -> Option<SecretString> {
        let version = &observed
            .secrets
            .get(name)
            .filter(|secret| !secret.deleting)?
            .version_id;
        if let Some((known, value)) = self.secrets.get(name)
            && known == version
        {
            return Some(value.clone());
        }
        match core.cloud.read_secret(name).await {
            Ok(value) => {
                self.secrets
                    .insert(name.to_owned(), (version.clone(), value.clone()));
                Some(value)
            }
            Err(error) => {
                log::warn!("secret `{name}`: {error}");
                None
            }
        }
    }
}

/// What serves and what a live rollout brings; until something serves, what the specification names.
fn images(core: &Core, snapshot: &Snapshot) -> BTreeSet<String> {
    let record = &snapshot.record;
    let mut images: BTreeSet<String> = record.image_id.iter().cloned().collect();
    match &record.proven {
        Some(proven) => images.insert(proven.image_id.clone()),
        None => images.insert(core.spec.fleet.image.clone()),
    };
    let rollouts = snapshot.rollout.iter();
    images.extend(rollouts.map(|rollout| rollout.to.image_id.clone()));
    images
}

/// Looks with what the store says now; without an answer (none), with what it said last. `reading` says how old
/// what AWS answered may be.
pub async fn look(
    core: &Arc<Core>,
    answer: Option<&Snapshot>,
    memory: &mut Memory,
    (now, reading): (Timestamp, Reading),
) -> Seen {
    if let Some(snapshot) = answer {
        memory.last.clone_from(snapshot);
    }
    let snapshot = &memory.last.clone();
    let scope = Scope {
        spec: core.spec.clone(),
        images: images(core, snapshot),
        now,
        deletes_files: core.want.deletes_files(),
    };
    let seen = core.cloud.observe_with(&scope, &memory.answers, reading);
    let mut seen = seen.await;
    let observed = &mut seen.observed;
    authority(core, observed, memory).await;
    facts::learn(core, observed, memory).await;
    nodes::learn(core, observed, snapshot, memory.started);
    if let Some(rollout) = &snapshot.rollout
        && matches!(rollout.phase, Phase::Shifting { .. } | Phase::Baking)
        && let Some(window) = rollout.watch
    {
        traffic(core, observed, window, now).await;
    }
    observed.chat = core.chat();
    observed.probes = core.prober.seen(observed.traffic.as_ref());
    streaks(observed, memory, seen.counts);
    seen
}

/// The CA, once its secret is there.
async fn authority(core: &Arc<Core>, observed: &Observed, memory: &mut Memory) {
    let name = core.spec.names().ca_secret();
    let known = memory
        .secrets
        .get(&name)
        .map(|(version, _)| version.clone());
    let Some(secret) = memory.secret(core, observed, &name).await else {
        return;
    };
    if core.authority.borrow().is_some()
        && memory
            .secrets
            .get(&name)
            .map(|(version, _)| version.clone())
            == known
    {
        return;
    }
    match Authority::load(&core.spec.stack, &secret) {
        Ok(authority) => drop(core.authority.send_replace(Some(Arc::new(authority)))),
        Err(error) => {
            log::error!("the fleet's CA: {}", crate::chain(&error));
        }
    }
}

/// Puts the store where the history lies, or notes why that is not known.
async fn history(core: &Arc<Core>, observed: &Observed, access: Option<Access>, last: &Snapshot) {
    let role = access.as_ref().map(|access| access.user.as_str());
    let durable = core.store.is_durable().await;
    // After a restart the master may be refused, its secret changed by hand: the store needs only its own role.
    let opened = match &access {
        Some(access) if !durable && observed.databases.is_none() => provision::opens(access).await,
        _ => false,
    };
    let found = plan::history(core.want, &core.spec, observed, role, opened);
    if durable {
        // Only `down` takes the database away from under its own store.
        if found == History::Memory && matches!(core.want, Want::Down { .. }) {
            log::info!("the store leaves the stack's database, which is being deleted");
            core.store.detach(last).await;
        }
        return;
    }
    match (found, access) {
        (History::Memory, _) => core.store.believe_memory(),
        (History::Database, Some(access)) => attach(core, access).await,
        (History::Database, None) => {}
        (History::Unclear(why), _) => core.store.doubt_memory(&why),
    }
}

/// Puts the store into its database.
async fn attach(core: &Arc<Core>, access: Access) {
    match core.store.attach(access).await {
        Ok(()) => {
            log::info!("the store is in the stack's own database now");
            if core.holds_host_lock
                && let Some(host) = core.holder.split('/').next()
                && let Err(error) = core.store.forfeit(host).await
            {
                log::warn!("leases of earlier processes: {}", crate::chain(&error));
            }
        }
        Err(error) => {
            let why = crate::chain(&error);
            core.store.doubt_memory(&why);
            log::warn!("the store stays in memory for now: {why}");
        }
    }
}

async fn databases(
    observed: &mut Observed,
    memory: &mut Memory,
    master: &Access,
    roles: &[(String, String, SecretString)],
    versions: Vec<String>,
) {
    let fresh = memory
        .last
        .rollout
        .as_ref()
        .is_some_and(RolloutIntent::waits_for_sql);
    if let Some((at, asked_with, seen)) = &memory.databases
        && (at.elapsed() < SQL_EVERY && !fresh)
        // An answer to a former password says nothing of the present one.
        && *asked_with == versions
    {
        observed.databases = Some(Databases {
            clock: None,
            ..seen.clone()
        });
        return;
    }
    match provision::observe(master, roles).await {
        Ok(seen) => {
            memory.databases = Some((Instant::now(), versions, seen.clone()));
            observed.databases = Some(seen);
        }
        Err(error) => {
            memory.databases = None;
            observed.master_refused = error.is_wrong_password();
            observed
                .unknown
                .insert("databases".to_owned(), crate::chain(&error));
        }
    }
}

/// What went through the load balancer in the window that the rollout watches, as far as its numbers are whole.
async fn traffic(core: &Arc<Core>, observed: &mut Observed, window: Window, now: Timestamp) {
    let Some(balancer) = &observed.load_balancer else {
        return;
    };
    let until = window.whole_until(now, core.spec.rollout.metrics_delay_seconds);
    if until <= window.began {
        return;
    }
    let groups: BTreeMap<String, String> = observed
        .target_groups
        .values()
        .map(|group| (group.name.clone(), group.arn.clone()))
        .collect();
    match core
        .cloud
        .traffic(&balancer.arn, &groups, window.began, until)
        .await
    {
        Ok(traffic) => observed.traffic = Some(traffic),
        Err(error) => drop(
            observed
                .unknown
                .insert("traffic".to_owned(), error.to_string()),
        ),
    }
}

/// How often in a row each fact was seen. An answer that is given again is not seen again.
fn streaks(observed: &mut Observed, memory: &mut Memory, counts: bool) {
    let mut facts = Vec::new();
    for (id, db) in &observed.db_instances {
        facts.push(streak_db(id, &db.status));
    }
    for group in observed.target_groups.values() {
        for (target, state) in &group.targets {
            facts.push(streak_target(&group.arn, target, state));
        }
    }
    let before = std::mem::take(&mut memory.streaks);
    memory.streaks = facts
        .into_iter()
        .map(|fact| {
            let seen = before.get(&fact).copied().unwrap_or(0);
            let count = if counts || seen == 0 {
                seen.saturating_add(1)
            } else {
                seen
            };
            (fact, count)
        })
        .collect();
    observed.streaks.clone_from(&memory.streaks);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::NodeRow;

    #[test]
    fn a_goal_that_another_one_gave_is_news_once() {
        let told = |generation| {
            let row = NodeRow {
                generation,
                ..NodeRow::default()
            };
            Snapshot {
                nodes: BTreeMap::from([("i-1".to_owned(), row)]),
                ..Snapshot::default()
            }
        };
        let mut memory = Memory::new(Timestamp::UNIX_EPOCH);
        assert!(!memory.is_news(&told(0)), "it enrolled and has no goal");
        assert!(memory.is_news(&told(1)));
        memory.last = told(1);
        assert!(!memory.is_news(&told(1)));
        assert!(memory.is_news(&told(2)));
    }
}
