//! Asks through the load balancer, as users do: what the holder of the lease is told to ask, and nothing else.
//!
//! ```text
//!   driver ── order (plan) ──> two tasks, green and users ── answers ──> the next look
//! ```
//!
//! Nothing is judged here, and nothing is kept but answers: losing them costs seconds.

mod ask;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use plan::ProbeOrder;
use plan::observed::{OwnProbes, Probe, ProbeOutcome, Probes, Traffic};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::core::Core;
use ask::{Answer, Asker};

/// A gate waits for green's answers, in a cutover with it users behind the maintenance page.
const GREEN_EVERY: Duration = Duration::from_millis(500);
/// Answers to what users ask, kept for the window that is watched: more than an hour of one a second.
const KEPT: usize = 4096;

/// For whom is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// With the rollout's header.
    Green,
    /// Without it.
    Users,
}

/// What is to be asked, and what was answered.
#[derive(Debug)]
pub struct Prober {
    order: watch::Sender<Option<ProbeOrder>>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    green: Option<Probe>,
    users: Option<Probe>,
    log: VecDeque<Line>,
}

/// One asking as users ask.
#[derive(Debug)]
struct Line {
    at: Timestamp,
    requests: u64,
    outcome: ProbeOutcome,
}

impl Default for Prober {
    fn default() -> Self {
        Self {
            order: watch::Sender::new(None),
            seen: Mutex::default(),
        }
    }
}

impl Prober {
    /// From now on this is asked; none: nothing, by whoever does not hold the lease.
    pub fn set(&self, order: Option<ProbeOrder>) {
        self.order.send_if_modified(|known| {
            let differs = *known != order;
            *known = order;
            differs
        });
    }

    /// What was answered so far; of what users get, also the sum over the time of this traffic.
    pub fn seen(&self, traffic: Option<&Traffic>) -> Probes {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Probes {
            green: seen.green.clone(),
            users: seen.users.clone(),
            window: traffic.map(|traffic| seen.sum(traffic.since, traffic.until)),
        }
    }

    /// Keeps an answer. Whether it is news: another kind of answer than the one before, or one more of the first
    /// few of its kind, which gates count.
    fn note(&self, side: Side, rule: Option<String>, answer: Answer, now: Timestamp) -> bool {
        /// More in a row than any gate asks for.
        const COUNTED: u32 = 5;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if side == Side::Users {
            seen.log.push_back(Line {
                at: now,
                requests: answer.requests,
                outcome: answer.outcome.clone(),
            });
            while seen.log.len() > KEPT {
                seen.log.pop_front();
            }
        }
        let place = match side {
            Side::Green => &mut seen.green,
            Side::Users => &mut seen.users,
        };
        let before = place
            .as_ref()
            .filter(|before| before.rule == rule && before.outcome.is_like(&answer.outcome));
        let probe = Probe {
            at: now,
            since: before.map_or(now, |before| before.since),
            in_a_row: before.map_or(0, |before| before.in_a_row).saturating_add(1),
            rule,
            outcome: answer.outcome,
        };
        let is_news = probe.in_a_row <= COUNTED;
        *place = Some(probe);
        is_news
    }
}

impl Seen {
    fn sum(&self, since: Timestamp, until: Timestamp) -> OwnProbes {
        let mut sum = OwnProbes {
            since,
            asked: 0,
            requests: 0,
            failed: 0,
            unreachable: 0,
            last: None,
        };
        let of_window = |line: &&Line| (since..until).contains(&line.at);
        for line in self.log.iter().filter(of_window) {
            match &line.outcome {
                ProbeOutcome::Unreachable { text } => {
                    sum.unreachable += 1;
                    sum.last = Some(text.clone());
                    continue;
                }
                ProbeOutcome::Failed { what, text, .. } => {
                    sum.last = Some(format!("{}: {text}", what.words()));
                }
                ProbeOutcome::Passed { .. } => {}
            }
            sum.asked += 1;
            sum.requests += line.requests;
            sum.failed += u64::from(line.outcome.is_uncounted_failure());
        }
        sum
    }
}

/// One asking of the part of an order that is for this side, and the pause after it. None: it has none.
struct Task {
    place: plan::ProbePlace,
    token: Option<String>,
    rule: Option<String>,
    every: Duration,
}

impl Task {
    fn of(side: Side, order: Option<&ProbeOrder>) -> Option<Self> {
        let order = order?;
        let place = order.place.clone();
        match side {
            Side::Green => order.green.as_ref().map(|green| Self {
                place,
                token: Some(green.token.clone()),
                rule: Some(green.rule.clone()),
                every: GREEN_EVERY,
            }),
            Side::Users => order.users.map(|seconds| Self {
                place,
                token: None,
                rule: None,
                every: Duration::from_secs(seconds.into()),
            }),
        }
    }
}

/// Asks for one side until shutdown.
pub async fn run(core: Arc<Core>, side: Side) {
    let mut asker = Asker::new(&core.release_trust);
    let mut orders = core.prober.order.subscribe();
    loop {
        let task = Task::of(side, orders.borrow_and_update().as_ref());
        let began = Instant::now();
        let again = match &task {
            Some(task) => {
                let Some(answer) = asked(&mut asker, task, &core.shutdown).await else {
                    return;
                };
                log::debug!(
                    "asked through the load balancer, {side:?}: {:?}",
                    answer.outcome
                );
                let rule = task.rule.clone();
                if core.prober.note(side, rule, answer, core.now()) && side == Side::Green {
                    crate::store::ring(&core.store.changed);
                }
                Some(began + task.every)
            }
            None => None,
        };
        let pause = async {
            match again {
                Some(again) => tokio::time::sleep_until(again).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = pause => {}
            changed = orders.changed() => if changed.is_err() { return },
            () = core.shutdown.cancelled() => return,
        }
    }
}

async fn asked(asker: &mut Asker, task: &Task, shutdown: &CancellationToken) -> Option<Answer> {
    tokio::select! {
        answer = asker.ask(&task.place, task.token.as_deref()) => Some(answer),
        () = shutdown.cancelled() => None,
    }
}

/// Asks once, as users do: for those that have no running orchestrator.
pub async fn once(core: &Core, order: &ProbeOrder) -> ProbeOutcome {
    let mut asker = Asker::new(&core.release_trust);
    asker.ask(&order.place, None).await.outcome
}
