//! Decisions, and nothing else: what a stack should become next, from what is wanted and what was seen.
//!
//! ```text
//!   Intent (specification, rollout, record)     Observed (AWS reads, node reports, SQL reads)
//!                         \                     /
//!                          plan(intent, observed, now) -> Decision
//!                                     |
//!                          lint(decision, observed)   knows nothing of the planner, may refuse
//! ```
//!
//! Pure and total: no I/O, clock, randomness, environment or unordered maps; no `Result`, no panic.
//! The same input gives the byte-identical decision. A bad input is a phase (`Stuck`), not an error.

pub mod action;
pub mod decision;
pub mod intent;
pub mod observed;
pub mod spec;

pub use action::Action;
pub use decision::{Decision, NodeGoal, Reason, Requeue};
pub use intent::{Intent, Phase, Record, RolloutIntent, Want};
pub use observed::Observed;
pub use spec::Spec;
