//! Turns the loop. The one place with a clock.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use plan::intent::Intent;
use plan::{Action, Decision, Requeue, Want};
use tokio::sync::watch;
use tokio::time::Instant;

use super::apply;
use super::observe::{self, Memory};
use super::rotation;
use super::timeline::events;
use crate::core::{Core, Look};
use crate::desired;
use crate::store::{Commit, Epoch, Snapshot, StoreError};

/// A lease outlives the longest call (20 s, `cloud`) that may be under way when it is last renewed.
const LEASE: Duration = Duration::from_secs(30);
/// It is renewed this often, also while effects run.
const RENEW: Duration = Duration::from_secs(8);
/// Who does not hold it asks this often, so that one that was given back is soon taken.
const ASK: Duration = Duration::from_secs(2);
/// Without news the loop looks this often at the latest, whatever the planner says.
const AT_LEAST: Duration = Duration::from_secs(30);
/// What an effect changed shows within about a second, mostly; then the next thing may be due.
const AFTER_EFFECT: Duration = Duration::from_secs(1);
/// Without the lease there is nothing to do but to serve nodes from what the holder decides.
const NOT_HOLDING: Duration = Duration::from_secs(5);
/// News arrive in bunches (a fleet that reports); looks are at least this far apart.
const AT_MOST: Duration = Duration::from_millis(300);

/// The present moment: the door through which time enters the orchestrator.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the orchestrator's one door for time"
)]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// Runs the loop until shutdown.
pub async fn run(core: Arc<Core>) {
    let (epochs, mut epoch) = watch::channel(None);
    core.tasks.spawn(hold_lease(Arc::clone(&core), epochs));
    // The first turn knows whether it may act.
    tokio::select! {
        _ = epoch.changed() => {}
        () = tokio::time::sleep(AFTER_EFFECT) => {}
        () = core.shutdown.cancelled() => return,
    }
    let mut memory = Memory::new(core.now());
    let mut changes = core.store.changed.subscribe();
    let mut number = 0;
    let mut before: Option<Decision> = None;
    loop {
        let began = Instant::now();
        changes.mark_unchanged();
        number += 1;
        let held = *epoch.borrow_and_update();
        let turn = Box::pin(turn(&core, &mut memory, held, number, before.as_ref()));
        let (mut look, wait) = turn.await;
        look.at = Some(core.now());
        core.metrics.look(
            began.elapsed().as_secs_f64(),
            core.fleet.sessions(),
            held.is_some(),
        );
        before = look.decision.clone().or(before);
        core.looks.send_replace(Arc::new(look));
        let quiet_until = began + AT_MOST;
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            changed = changes.changed() => if changed.is_err() { return },
            changed = epoch.changed() => if changed.is_err() { return },
            () = core.shutdown.cancelled() => break,
        }
        tokio::select! {
            () = tokio::time::sleep_until(quiet_until) => {}
            () = core.shutdown.cancelled() => break,
        }
    }
    if let Err(error) = core.store.release(&core.holder).await {
        log::debug!("lease not given back: {}", crate::chain(&error));
    }
}

/// Keeps the lease, or asks for it again and again.
async fn hold_lease(core: Arc<Core>, epochs: watch::Sender<Option<Epoch>>) {
    loop {
        let epoch = match core.store.lease(&core.holder, LEASE).await {
            Ok(epoch) => epoch,
            Err(error) => {
                log::warn!("the lease: {}", crate::chain(&error));
                None
            }
        };
        epochs.send_if_modified(|held| std::mem::replace(held, epoch) != epoch);
        let mut changes = core.store.changed.subscribe();
        let durable = core.store.is_durable().await;
        let again = if epoch.is_some() { RENEW } else { ASK };
        tokio::select! {
            () = tokio::time::sleep(again) => {}
            // The store moved: the lease must be taken where it is now, at once.
            () = async {
                while changes.changed().await.is_ok() {
                    if core.store.is_durable().await != durable {
                        return;
                    }
                }
            } => {}
            () = core.shutdown.cancelled() => return,
        }
    }
}

/// One turn: what was seen and decided, and how long to wait.
async fn turn(
    core: &Arc<Core>,
    memory: &mut Memory,
    held: Option<Epoch>,
    number: u64,
    before: Option<&Decision>,
) -> (Look, Duration) {
    let mut look = Look {
        number,
        ..Look::default()
    };
    let now = core.now();
    let snapshot = match core.store.snapshot().await {
        Ok(snapshot) => snapshot,
        Err(error) => {
            look.observed = match core.want {
                Want::Up => core.looks.borrow().observed.clone(),
                // It may be that the database goes because we asked for it: the look tells.
                Want::Down { .. } => observe::look(core, None, memory, now).await,
            };
            if !core.store.is_durable().await {
                return (look, Duration::ZERO);
            }
            look.trouble.push(format!(
                "the store does not answer: {}",
                crate::chain(&error)
            ));
            return (look, Duration::from_secs(2));
        }
    };
    // Sessions look at their goals when this rings, and only then.
    if memory.is_news(&snapshot) {
        core.fleet.ring();
    }
    let durable = core.store.is_durable().await;
    look.observed = observe::look(core, Some(&snapshot), memory, now).await;
    if core.store.is_durable().await != durable {
        // What the store knows may be more than what memory knew: decide from it, not from memory.
        return (look, Duration::ZERO);
    }
    for (what, error) in &look.observed.unknown {
        log::debug!("not seen: {what}: {error}");
    }
    core.note_licence(&look.observed);
    // Sessions and enrolments look at it before effects are made.
    core.looks.send_modify(|newest| {
        let newest = Arc::make_mut(newest);
        newest.observed.clone_from(&look.observed);
        newest.at = Some(core.now());
    });
    // What creates may begin without a lease, for it converges; what deletes may not while there may be one.
    if let Some(why) = core.store.doubt()
        && matches!(core.want, Want::Down { .. })
    {
        let text =
            format!("the lease, which lies in the stack's own database, cannot be taken: {why}");
        look.trouble.push(text);
        return (look, Duration::from_secs(2));
    }
    // A lease from memory is worth nothing once the store is in Postgres.
    let Some(epoch) = held.filter(|epoch| !durable || *epoch != Epoch(0)) else {
        core.prober.set(None);
        look.held_by = match held {
            Some(_) => None,
            None => core.store.holder().await.ok().flatten(),
        };
        look.trouble.push(match &look.held_by {
            Some(holder) => format!(
                "another orchestrator, `{}`, holds the lease until {}; this one serves nodes and waits",
                holder.name,
                holder.until.strftime("%H:%M:%S UTC")
            ),
            None => "the lease is being taken in the stack's own database".to_owned(),
        });
        return (look, NOT_HOLDING);
    };
    memory.upkeep.turn(core, &look.observed, &snapshot).await;
    rotation::go_on(core, &look.observed, &snapshot).await;
    let intent = intent(core, &snapshot);
    core.prober
        .set(plan::probe_order(&intent, &look.observed, now));
    let decision = plan::plan(&intent, &look.observed, now);
    if let Err(refusals) = plan::lint(&decision, &look.observed, &intent) {
        for refusal in &refusals {
            log::error!("refused to act: {refusal}");
        }
        look.trouble.extend(
            refusals
                .iter()
                .map(|refusal| format!("refused to act: {refusal}")),
        );
        look.decision = Some(Decision {
            actions: Vec::new(),
            ..decision
        });
        return (look, Duration::from_secs(5));
    }
    let wait = match carry_out(
        core,
        epoch,
        &intent,
        &snapshot,
        (&look.observed, &decision),
        before,
        now,
    )
    .await
    {
        Ok(()) => match decision.requeue {
            Requeue::Now => Duration::ZERO,
            Requeue::After(_) if !decision.actions.is_empty() => AFTER_EFFECT,
            Requeue::After(milliseconds) => Duration::from_millis(milliseconds).min(AT_LEAST),
        },
        Err(error) => {
            look.trouble.push(crate::chain(&error));
            Duration::from_secs(2)
        }
    };
    look.decision = Some(decision);
    (look, wait)
}

/// Looks and decides once, and does nothing: for `plan`.
pub async fn decide_once(
    core: &Arc<Core>,
) -> Result<(Intent, plan::Observed, Decision), StoreError> {
    // A fact counts when it was seen several times in a row; the stack may just have been looked at
    // for the first time by this process.
    let looks = core.spec.rollout.reads_in_a_row.max(2);
    let (intent, observed) = looked(core, looks).await?;
    let decision = plan::plan(&intent, &observed, core.now());
    Ok((intent, observed, decision))
}

/// Looks and decides nothing: what is wanted and recorded, and what is there. Twice, since the first look
/// finds the store.
pub async fn read(core: &Arc<Core>) -> Result<(Intent, plan::Observed), StoreError> {
    looked(core, 2).await
}

/// What the last of so many looks in a row saw.
async fn looked(core: &Arc<Core>, looks: u32) -> Result<(Intent, plan::Observed), StoreError> {
    let mut memory = Memory::new(core.now());
    let mut snapshot = core.store.snapshot().await?;
    let first = observe::look(core, Some(&snapshot), &mut memory, core.now());
    let mut observed = Box::pin(first).await;
    for _ in 1..looks {
        snapshot = core.store.snapshot().await?;
        let next = observe::look(core, Some(&snapshot), &mut memory, core.now());
        observed = Box::pin(next).await;
    }
    Ok((intent(core, &snapshot), observed))
}

/// What is wanted, from file and store.
pub fn intent(core: &Core, snapshot: &Snapshot) -> Intent {
    Intent {
        spec: core.spec.clone(),
        want: core.want,
        record: snapshot.record.clone(),
        rollout: snapshot.rollout.clone(),
        journal: snapshot.journal.clone(),
        ca_sha256: core
            .authority
            .borrow()
            .as_ref()
            .map(|authority| authority.sha256()),
    }
}

/// Writes the decision down, then makes its effects.
async fn carry_out(
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
