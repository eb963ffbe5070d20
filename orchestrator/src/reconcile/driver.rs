//! Turns the loop. The one place with a clock.

use std::sync::Arc;
use std::time::Duration;

use cloud::Reading;
use jiff::Timestamp;
use plan::intent::Intent;
use plan::{Decision, Requeue, Want};
use tokio::sync::watch;
use tokio::time::Instant;

use super::cadence::{self, Asks, Before};
use super::carry_out::carry_out;
use super::observe::{self, Memory};
use super::rotation;
use crate::core::{Core, Look};
use crate::store::{Epoch, Snapshot, StoreError};

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
    let mut asked = core.asks.subscribe();
    let mut number = 0;
    let mut before: Option<Decision> = None;
    loop {
        let began = Instant::now();
        changes.mark_unchanged();
        number += 1;
        let held = *epoch.borrow_and_update();
        let asks = *asked.borrow_and_update();
        let turn = Box::pin(turn(
            &core,
            &mut memory,
            (held, asks),
            number,
            before.as_ref(),
        ));
        let (mut look, wait) = turn.await;
        look.at = Some(core.now());
        look.asks = asks;
        core.metrics.aws_calls(core.cloud.calls());
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
            changed = asked.changed() => if changed.is_err() { return },
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
    (lease, asks): (Option<Epoch>, Asks),
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
                Want::Down { .. } => {
                    let look = observe::look(core, None, memory, (now, Reading::BUSY));
                    look.await.observed
                }
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
    let news = memory.is_news(&snapshot);
    if news {
        core.fleet.ring();
    }
    let durable = core.store.is_durable().await;
    // A lease from memory is worth nothing once the store is in Postgres.
    let held = lease.filter(|epoch| !durable || *epoch != Epoch(0));
    let situation = cadence::situation(core.want, held, &snapshot, news, asks);
    let reading = cadence::reading(memory.before.as_ref(), &situation, core.ages());
    // Whatever ends this turn early leaves a stack that is not known to be quiet.
    memory.before = Some(Before {
        situation,
        quiet: false,
    });
    let stale = see(core, &snapshot, memory, (now, reading), &mut look).await;
    if core.store.is_durable().await != durable {
        // What the store knows may be more than what memory knew: decide from it, not from memory.
        return (look, Duration::ZERO);
    }
    // What creates may begin without a lease, for it converges; what deletes may not while there may be one.
    if let Some(why) = core.store.doubt()
        && matches!(core.want, Want::Down { .. })
    {
        let text =
            format!("the lease, which lies in the stack's own database, cannot be taken: {why}");
        look.trouble.push(text);
        return (look, Duration::from_secs(2));
    }
    let Some(epoch) = held else {
        core.prober.set(None);
        look.held_by = match lease {
            Some(_) => None,
            None => core.store.holder().await.ok().flatten(),
        };
        look.trouble.push(match &look.held_by {
            Some(holder) => format!(
                "another orchestrator, `{}`, holds the lease until {}; this one serves nodes and waits{}",
                holder.name,
                holder.until.strftime("%H:%M:%S UTC"),
                ages(&look)
            ),
            None => "the lease is being taken in the stack's own database".to_owned(),
        });
        return (look, NOT_HOLDING.min(core.ages().pass()));
    };
    memory.upkeep.turn(core, &look.observed, &snapshot).await;
    rotation::go_on(core, &look.observed, &snapshot).await;
    let intent = intent(core, &snapshot);
    let mut decision = plan::plan(&intent, &look.observed, now);
    if stale && cadence::acts(&decision, &snapshot) {
        // What is to be done stands on what is there now, not on what was there a while ago.
        let anew = (now, Reading::ANEW);
        see(core, &snapshot, memory, anew, &mut look).await;
        decision = plan::plan(&intent, &look.observed, now);
    }
    core.prober
        .set(plan::probe_order(&intent, &look.observed, now));
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
            Requeue::After(milliseconds) => {
                let wait = Duration::from_millis(milliseconds).min(AT_LEAST);
                if cadence::is_quiet(&decision, &snapshot) {
                    memory.set_quiet();
                    wait.min(core.ages().pass())
                } else {
                    wait
                }
            }
        },
        Err(error) => {
            look.trouble.push(crate::chain(&error));
            Duration::from_secs(2)
        }
    };
    look.decision = Some(decision);
    (look, wait)
}

/// Looks, and shows it to sessions and enrolments before effects are made. Says whether it is too old to act on.
async fn see(
    core: &Arc<Core>,
    snapshot: &Snapshot,
    memory: &mut Memory,
    when: (Timestamp, Reading),
    look: &mut Look,
) -> bool {
    let seen = Box::pin(observe::look(core, Some(snapshot), memory, when)).await;
    look.observed = seen.observed;
    look.state_age = seen.state;
    look.settings_age = seen.settings;
    for (what, error) in &look.observed.unknown {
        log::debug!("not seen: {what}: {error}");
    }
    core.note_licence(&look.observed);
    core.looks.send_modify(|newest| {
        let newest = Arc::make_mut(newest);
        newest.observed.clone_from(&look.observed);
        newest.state_age = look.state_age;
        newest.settings_age = look.settings_age;
        newest.at = Some(core.now());
    });
    seen.stale
}

/// How old what a look shows is, where it was not all read for it.
fn ages(look: &Look) -> String {
    let seconds = |age: Option<Duration>| age.map_or(0, |age| age.as_secs());
    match (seconds(look.state_age), seconds(look.settings_age)) {
        (0, 0) => String::new(),
        (state, settings) => {
            format!("; what it shows was read up to {state} s ago, settings up to {settings} s")
        }
    }
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
    let anew = (core.now(), Reading::ANEW);
    let first = observe::look(core, Some(&snapshot), &mut memory, anew);
    let mut seen = Box::pin(first).await;
    for _ in 1..looks {
        snapshot = core.store.snapshot().await?;
        // What the first one read of settings a moment ago is new enough.
        let again = (core.now(), Reading::BUSY);
        let next = observe::look(core, Some(&snapshot), &mut memory, again);
        seen = Box::pin(next).await;
    }
    Ok((intent(core, &snapshot), seen.observed))
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
