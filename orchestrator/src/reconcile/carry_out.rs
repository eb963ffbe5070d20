//! What was decided is written down, told to nodes, and done, in this order.

use std::sync::Arc;

use jiff::Timestamp;
use plan::intent::Intent;
use plan::{Action, Decision};

use super::apply;
use super::timeline::events;
use crate::core::Core;
use crate::desired;
use crate::store::{Commit, Epoch, Snapshot, StoreError};

/// Writes the decision down, then makes its effects.
pub(super) async fn carry_out(
    core: &Arc<Core>,
    epoch: Epoch,
    intent: &Intent,
    snapshot: &Snapshot,
    (observed, decision): (&plan::Observed, &Decision),
    before: Option<&Decision>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let reasons: Vec<String> = decision
        .reasons
        .iter()
        .map(crate::status::reason_text)
        .collect();
    let rollout = decision
        .rollout
        .clone()
        .filter(|new| Some(new) != intent.rollout.as_ref());
    // The row also says why it waits; while only that changes it is written when the first reason does.
    let first = |decision: &Decision| decision.reasons.first().map(|reason| reason.text.clone());
    let rollout = rollout.or_else(|| {
        let news = before.is_none_or(|before| first(before) != first(decision));
        intent
            .rollout
            .clone()
            .filter(|_| news && decision.rollout.is_none())
    });
    let commit = Commit {
        record: decision
            .record
            .clone()
            .filter(|record| *record != intent.record),
        events: events(intent, decision, before),
        rollout,
        reasons,
        intended: decision.actions.iter().map(Action::key).collect(),
    };
    if commit.record.is_some()
        || commit.rollout.is_some()
        || !commit.intended.is_empty()
        || !commit.events.is_empty()
    {
        core.store.commit(epoch, commit, now).await?;
    }
    let facts = core.fleet.facts();
    let mut rang = false;
    let mut stale = Vec::new();
    for (instance, goal) in &decision.nodes {
        let Some(known) = snapshot.nodes.get(instance) else {
            continue;
        };
        let Some(digest) = desired::digest(core.release(), facts.as_deref(), goal) else {
            continue;
        };
        if known.goal.as_ref() != Some(goal) {
            core.store.set_goal(epoch, instance, goal, &digest).await?;
            rang = true;
        } else if known.digest.as_deref() != Some(digest.as_str())
            // A node that is given a number without a message waits for ever.
            && desired::message(&core.spec, core.release(), facts.as_deref(), goal, 1).is_some()
        {
            stale.push((instance, goal, digest));
        }
    }
    let names: Vec<&str> = stale
        .iter()
        .map(|(instance, ..)| instance.as_str())
        .collect();
    let next = plan::next_for_new_facts(&decision.nodes, observed, &names)
        .filter(|_| !rang && !decision.restarts_held);
    for (instance, goal, digest) in &stale {
        if next == Some(instance.as_str()) {
            let goal = plan::for_new_facts(goal, instance, observed);
            core.store.set_goal(epoch, instance, &goal, digest).await?;
            rang = true;
        }
    }
    if rang {
        core.fleet.ring();
    }
    for action in &decision.actions {
        if core.shutdown.is_cancelled() {
            return Ok(());
        }
        let key = action.key();
        log::info!(ACTION = key.as_str(); "{key}");
        let result = apply::apply(core, action).await;
        let outcome = match &result {
            Ok(cloud::Outcome::Unchanged) => "unchanged",
            Ok(_) => "done",
            Err(_) => "failed",
        };
        core.metrics.effect(&key, outcome);
        if let Err(error) = &result {
            log::warn!(ACTION = key.as_str(); "{key}: {error:#}");
        }
        let result = result.map(|_| ()).map_err(|error| format!("{error:#}"));
        core.store
            .record_effect(epoch, &key, result, core.now())
            .await?;
    }
    Ok(())
}
