//! The node's side: everything between an instance's first boot and a verified Mattermost, and the
//! way out again.
//!
//! ```text
//!                 Desired (newest accepted, also on disk)
//!    +---------+ ---------------------------------------> +----------+      +----------------+
//!    | session |                                          |  worker  | ---> | service        |
//!    |         | <--------------------------------------- |          |      | (systemd/child)|
//!    +---------+   NodeReport (latest wins)               +----------+      +----------------+
//!      |     ^                                              |      ^
//!      v     | enrol, renew                                 v      | terminating
//!   orchestrator                               install, database, verify, file store, drain
//! ```
//!
//! Invariants:
//! * The worker never needs the session to keep a node running: what was accepted is on disk.
//! * Generations only rise; an older one is refused.
//! * Nothing that was not verified is ever visible under `releases/` or run.
//! * Secrets are in two root-only files and in the server's environment, nowhere else.

pub mod boot;
pub mod clock;
pub mod coded;
pub mod connections;
pub mod database;
pub mod disk;
pub mod enrol;
pub mod environment;
pub mod file_store;
pub mod identity;
pub mod imds;
pub mod install;
pub mod layout;
pub mod lifecycle;
pub mod logging;
pub mod moving;
pub mod notify;
pub mod progress;
pub mod report;
pub mod run;
pub mod service;
pub mod session;
pub mod steps;
pub mod verify;
pub mod wanted;
pub mod worker;

/// What this build calls itself towards the orchestrator.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
