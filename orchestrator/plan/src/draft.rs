//! A decision in the making: effects, goals and reasons as they are found, and the journal's say in
//! what may be tried now.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::action::Action;
use crate::decision::{Decision, NodeGoal, Reason, Requeue};
use crate::intent::{Entry, Phase, Record, RolloutIntent};
use crate::licence;
use crate::turns::Turns;
use crate::view::{View, later};

/// How long a made resource may stay invisible: EC2 and Auto Scaling are eventually consistent, for
/// seconds as a rule.
const VISIBLE_SECONDS: u32 = 60;
/// How long an effect may be under way without a word before it is made again: longer than the time-out
/// of any one call. Names and client tokens make the second a repetition of the first.
const UNDER_WAY_SECONDS: u32 = 15;
/// First pause after a failure; it doubles with each, up to [`LONGEST_PAUSE_SECONDS`].
const FIRST_PAUSE_SECONDS: u32 = 2;
/// As above.
const LONGEST_PAUSE_SECONDS: u32 = 120;
/// After a refusal by IAM: whoever attached what was missing waits for the next try.
const REFUSED_PAUSE_SECONDS: u32 = 15;
/// When something is awaited that no event tells.
pub(crate) const SOON_MS: u64 = 3_000;
/// When all is as it should be.
pub(crate) const QUIET_MS: u64 = 15_000;

/// See the module.
#[derive(Debug)]
pub(crate) struct Draft {
    pub actions: Vec<Action>,
    pub nodes: BTreeMap<String, NodeGoal>,
    pub reasons: Vec<Reason>,
    pub record: Record,
    pub rollout: Option<RolloutIntent>,
    /// What a person must solve.
    pub stuck: Option<String>,
    /// Whose server may restart now.
    pub turns: Turns,
    /// See [`Decision::restarts_held`].
    pub restarts_held: bool,
}

impl Draft {
    pub fn new(view: &View<'_>) -> Self {
        let licence = licence::learnt(view);
        Self {
            actions: Vec::new(),
            nodes: BTreeMap::new(),
            reasons: Vec::new(),
            turns: Turns::new(view, &licence),
            record: Record {
                licence,
                ..view.record().clone()
            },
            rollout: view.intent.rollout.clone(),
            stuck: None,
            restarts_held: false,
        }
    }

    /// Notes why it waits.
    pub fn wait(&mut self, gate: &str, text: impl Into<String>) {
        self.wait_until(gate, text, None);
    }

    /// The same, with the moment until which it may last.
    pub fn wait_until(&mut self, gate: &str, text: impl Into<String>, deadline: Option<Timestamp>) {
        self.reasons.push(Reason {
            gate: gate.to_owned(),
            text: text.into(),
            deadline,
        });
    }

    /// Notes what a person must solve. The first one is the reason.
    pub fn stick(&mut self, gate: &str, text: impl Into<String>) {
        let text = text.into();
        self.wait(gate, text.clone());
        self.stuck.get_or_insert(text);
    }

    /// Whether reads of `field` succeeded; else notes that nothing can be concluded.
    pub fn knows(&mut self, view: &View<'_>, field: &str) -> bool {
        match view.unknown(field) {
            None => true,
            Some((read, why)) => {
                self.wait("not_readable", format!("{read} could not be read: {why}"));
                false
            }
        }
    }

    /// Makes what is not visible: not while it may just be invisible still.
    pub fn create(&mut self, view: &View<'_>, gate: &str, what: &str, action: Action) {
        if let Some(entry) = view.intent.journal.get(&action.key())
            && entry.error.is_none()
        {
            let (until, text) = match entry.done {
                Some(done) => (
                    later(done, VISIBLE_SECONDS),
                    format!("{what} was made and is not visible yet"),
                ),
                None => (
                    later(last_try(entry), UNDER_WAY_SECONDS),
                    format!("{what} is being made"),
                ),
            };
            if view.now < until {
                self.wait_until(gate, text, Some(until));
                return;
            }
        }
        if self.may_try(view, gate, what, &action) {
            self.wait(gate, format!("{what} is being made"));
            self.actions.push(action);
        }
    }

    /// Changes what is visible and not as wanted.
    pub fn set(&mut self, view: &View<'_>, gate: &str, what: &str, action: Action) {
        if self.may_try(view, gate, what, &action) {
            self.wait(gate, what.to_owned());
            self.actions.push(action);
        }
    }

    /// Not again at once after failures; the failure is the reason.
    fn may_try(&mut self, view: &View<'_>, gate: &str, what: &str, action: &Action) -> bool {
        if self.actions.contains(action) {
            return false;
        }
        let Some(entry) = view.intent.journal.get(&action.key()) else {
            return true;
        };
        let Some(error) = &entry.error else {
            return true;
        };
        let until = later(last_try(entry), pause(error, entry.failures));
        if view.now >= until {
            return true;
        }
        let text = format!(
            "{what}: failed {} time(s), tried again soon: {error}",
            entry.failures
        );
        self.wait_until(gate, text, Some(until));
        false
    }

    /// The decision. Without a rollout, `phase` is the stack's.
    pub fn finish(self, view: &View<'_>, phase: Phase) -> Decision {
        let moved = view
            .live_rollout()
            .is_some_and(|rollout| rollout.phase != phase);
        let changed = self.record != *view.record() || self.rollout != view.intent.rollout;
        let requeue = if moved {
            Requeue::Now
        } else if self.actions.is_empty()
            && !changed
            && matches!(phase, Phase::Ready | Phase::Gone | Phase::Stuck { .. })
        {
            Requeue::After(QUIET_MS)
        } else {
            Requeue::After(self.next_look(view))
        };
        Decision {
            next: phase,
            actions: self.actions,
            nodes: self.nodes,
            restarts_held: self.restarts_held,
            requeue,
            reasons: self.reasons,
            record: (self.record != *view.record()).then_some(self.record),
            rollout: (self.rollout != view.intent.rollout)
                .then_some(self.rollout)
                .flatten(),
        }
    }

    /// Soon, or earlier when a deadline falls due earlier.
    fn next_look(&self, view: &View<'_>) -> u64 {
        self.reasons
            .iter()
            .filter_map(|reason| reason.deadline)
            .map(|deadline| deadline.duration_since(view.now).as_millis())
            .filter_map(|left| u64::try_from(left).ok())
            .filter(|left| *left > 0)
            .chain([SOON_MS])
            .min()
            .unwrap_or(SOON_MS)
    }
}

fn last_try(entry: &Entry) -> Timestamp {
    entry
        .attempted
        .unwrap_or(entry.intended)
        .max(entry.intended)
}

/// Whether an effect failed because a right is missing, in the words of AWS's services.
pub(crate) fn is_refused_by_iam(error: &str) -> bool {
    ["AccessDenied", "UnauthorizedOperation", "NotAuthorized"]
        .iter()
        .any(|code| error.contains(code))
}

/// Seconds after so many failures in a row, of which this was the last.
fn pause(error: &str, failures: u32) -> u32 {
    let longest = if is_refused_by_iam(error) {
        REFUSED_PAUSE_SECONDS
    } else {
        LONGEST_PAUSE_SECONDS
    };
    FIRST_PAUSE_SECONDS
        .saturating_mul(1 << failures.saturating_sub(1).min(10))
        .min(longest)
}
