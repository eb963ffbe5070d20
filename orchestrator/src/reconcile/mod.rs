//! The one loop: look, decide, write down, act; then look again.
//!
//! ```text
//!          timer, node report, NOTIFY, operator        (activation carries no data)
//!                        |
//!     driver: observe -> plan -> lint -> commit (fenced, effects "intended") -> apply -> journal
//! ```
//!
//! First creation, rollout, rollback, repair after a crash and `down` are all this loop.

mod apply;
mod cadence;
mod carry_out;
pub mod driver;
mod login;
mod observe;
pub mod rotation;
mod timeline;
pub mod upkeep;

pub use cadence::Asks;
pub use driver::{decide_once, intent, now, read, run};
