//! What would happen, told before it does: the planner is run against a model of the world in which
//! every effect succeeds, and what it asked for is written down. No list of resources is kept twice.

mod database;
mod rollout;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use rollout::forecast_rollout;

use crate::action::Action;
use crate::intent::{Intent, Phase};
use crate::observed::Observed;
use crate::plan;
use crate::world::World;

/// Looks after which a world in which nothing happens any more is left alone.
const IDLE: usize = 40;
/// Looks at most.
const LOOKS: usize = 1200;

/// What happens to a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sign {
    /// It is made.
    Add,
    /// It is changed.
    Change,
    /// It is deleted.
    Delete,
}

impl Sign {
    fn letter(self) -> char {
        match self {
            Self::Add => '+',
            Self::Change => '~',
            Self::Delete => '-',
        }
    }
}

/// One thing that would be made, changed or deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What happens to it.
    pub sign: Sign,
    /// `security group`, `DB instance`, …
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What is worth knowing, in a few words; may be empty.
    pub detail: String,
}

/// A plan for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    /// The stack, or the rollout.
    pub title: String,
    /// Facts, by heading: way, migration, pause, …
    pub facts: Vec<(String, String)>,
    /// In the order in which they would be made.
    pub changes: Vec<Change>,
    /// What stands in the way, and what a person should know.
    pub notes: Vec<String>,
    /// Whether the end was reached in the model.
    pub reaches_its_end: bool,
}

/// What `up` (or `down`, as the intent says) would do.
pub fn forecast(intent: &Intent, observed: &Observed, now: Timestamp) -> Forecast {
    let mut course = Course::new(intent, observed, now);
    let last =
        course.run(|phase| phase.ends_a_rollout() || matches!(phase, Phase::Ready | Phase::Gone));
    let mut notes: Vec<String> = observed
        .unknown
        .iter()
        .map(|(read, why)| format!("{read} could not be read: {why}"))
        .collect();
    notes.extend(course.first_notices);
    if !last.ended {
        notes.extend(last.reasons);
    }
    let mut told = BTreeSet::new();
    notes.retain(|note| told.insert(note.clone()));
    Forecast {
        title: format!("stack {}", intent.spec.stack),
        facts: Vec::new(),
        changes: course.changes,
        notes,
        reaches_its_end: last.ended,
    }
}

/// The planner's way through the model.
struct Course<'a> {
    world: World,
    intent: Intent,
    before: &'a Observed,
    keys: BTreeSet<String>,
    changes: Vec<Change>,
    first_notices: Vec<String>,
}

struct Last {
    ended: bool,
    reasons: Vec<String>,
}

impl<'a> Course<'a> {
    fn new(intent: &Intent, observed: &'a Observed, now: Timestamp) -> Self {
        let mut intent = intent.clone();
        intent.journal.clear();
        Self {
            world: World::new(&intent.spec, observed, now),
            intent,
            before: observed,
            keys: BTreeSet::new(),
            changes: Vec::new(),
            first_notices: Vec::new(),
        }
    }

    fn run(&mut self, is_end: impl Fn(&Phase) -> bool) -> Last {
        let mut idle = 0;
        let mut reasons = Vec::new();
        for turn in 0..LOOKS {
            self.world.look();
            let decision = plan(&self.intent, &self.world.observed, self.world.now);
            reasons = decision
                .reasons
                .iter()
                .map(|reason| reason.text.clone())
                .collect();
            if turn == 0 {
                let notices = decision
                    .reasons
                    .iter()
                    .filter(|reason| reason.gate == crate::stack::NOTICE);
                self.first_notices = notices.map(|reason| reason.text.clone()).collect();
            }
            let moved = self
                .intent
                .rollout
                .as_ref()
                .is_some_and(|rollout| rollout.phase != decision.next);
            if matches!(decision.next, Phase::Stuck { .. }) {
                break;
            }
            if is_end(&decision.next) {
                return Last {
                    ended: true,
                    reasons,
                };
            }
            for action in &decision.actions {
                self.note(action);
            }
            idle = if decision.actions.is_empty() && !moved {
                idle + 1
            } else {
                0
            };
            if idle > IDLE && self.intent.rollout.is_none() {
                break;
            }
            self.world.commit(&mut self.intent, &decision);
            self.world.perform(&mut self.intent, &decision);
            self.world.tick();
        }
        Last {
            ended: false,
            reasons,
        }
    }

    /// Writes an action down once; what is made and then completed is made.
    fn note(&mut self, action: &Action) {
        let Some(change) = words::change(action, self.before) else {
            return;
        };
        if self.keys.insert(format!("{}/{}", change.kind, change.name))
            || change.sign == Sign::Delete
        {
            self.changes.push(change);
        }
    }
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |sign| {
            self.changes
                .iter()
                .filter(|change| change.sign == sign)
                .count()
        };
        if self.changes.is_empty() && self.reaches_its_end {
            writeln!(f, "{}: nothing to do", self.title)?;
        } else if self.changes.is_empty() {
            writeln!(f, "{}: waits before its first change", self.title)?;
        } else {
            writeln!(
                f,
                "{}: {} to add, {} to change, {} to delete",
                self.title,
                count(Sign::Add),
                count(Sign::Change),
                count(Sign::Delete)
            )?;
        }
        for (heading, text) in &self.facts {
            writeln!(f, "  {heading:<12} {text}")?;
        }
        if !self.changes.is_empty() {
            writeln!(f)?;
        }
        let width = |of: fn(&Change) -> &str| {
            self.changes
                .iter()
                .map(|change| of(change).chars().count())
                .max()
                .unwrap_or(0)
        };
        let (kinds, names) = (width(|change| &change.kind), width(|change| &change.name));
        for change in &self.changes {
            let line = format!(
                "  {} {:<kinds$}  {:<names$}  {}",
                change.sign.letter(),
                change.kind,
                change.name,
                change.detail
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        if !self.notes.is_empty() {
            writeln!(f)?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        Ok(())
    }
}
