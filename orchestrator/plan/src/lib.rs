//! Decisions, and nothing else: what a stack should become next, from what is wanted and what was seen.
//!
//! ```text
//!   Intent (specification, rollout, record)     Observed (AWS reads, node reports, SQL reads)
//!                         \                     /
//!                          plan(intent, observed, now) -> Decision
//!                                     |
//!                          lint(decision, observed, intent)   knows nothing of the planner, may refuse
//! ```
//!
//! Pure and total: no I/O, clock, randomness, environment or unordered maps; no `Result`, no panic.
//! The same input gives the byte-identical decision. A bad input is a phase (`Stuck`), not an error.

pub mod action;
pub mod configuration;
pub mod decision;
pub mod files;
pub mod intent;
pub mod lint;
pub mod observed;
pub mod rollout;
pub mod spec;

mod down;
mod draft;
mod equality;
mod forecast;
mod hindrances;
mod history;
mod kms_key;
mod launches;
mod licence;
mod lifecycle;
mod moving;
mod nodes;
mod probing;
mod stack;
mod turns;
mod versions;
mod view;
#[expect(
    clippy::assigning_clones,
    reason = "a model reads better by assignment"
)]
mod world;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use action::Action;
pub use configuration::ConfigurationHome;
pub use decision::{Decision, NodeGoal, Reason, Requeue};
pub use files::{BucketHome, FilesHome};
pub use forecast::{Change, Forecast, Sign, forecast, forecast_rollout};
pub use history::{DATABASE, History, history};
pub use intent::{Intent, Phase, Record, RolloutIntent, Want};
pub use kms_key::{KeyVerdict, judge_kms_key};
pub use lint::{Refusal, lint};
pub use moving::{LostWithNodes, MoveOrder, has_nodes, lost_with_nodes};
pub use nodes::{for_new_facts, next_for_new_facts};
pub use observed::Observed;
pub use probing::{GreenProbe, ProbeOrder, ProbePlace, probe_order};
pub use spec::Spec;
pub use stack::{class_problem, launch_problems, network_problem};

use jiff::Timestamp;

use draft::Draft;
use view::View;

/// The next step: of a rollout that is under way, else of the stack.
pub fn plan(intent: &Intent, observed: &Observed, now: Timestamp) -> Decision {
    let view = View::new(intent, observed, now);
    let mut draft = Draft::new(&view);
    let phase = match (intent.want, view.live_rollout()) {
        (
            Want::Down {
                delete_database,
                delete_files,
            },
            _,
        ) => down::remove(&view, &mut draft, delete_database, delete_files),
        (Want::Up, Some(rollout)) => {
            let base = stack::base(&view, &mut draft);
            // What the stack waits for comes after what the rollout waits for; what it is stuck on is
            // its own affair until the rollout needs it.
            let beneath = std::mem::take(&mut draft.reasons);
            draft.stuck = None;
            let phase = rollout::advance(&view, &mut draft, rollout, base.as_ref());
            draft.reasons.extend(beneath);
            licence::decide(&view, &mut draft);
            phase
        }
        (Want::Up, None) => stack::converge(&view, &mut draft),
    };
    if intent.want == Want::Up {
        configuration::watch(&view, &mut draft);
    }
    draft.finish(&view, phase)
}
