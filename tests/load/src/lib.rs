//! A load generator and a chat probe that speak the Mattermost API, the real one's as the stand-in's.
//!
//! ```text
//!   setup ── users, team, channel
//!     ├── poster ── posts with pending_post_id, retried as a client retries ──┐
//!     ├── getter ── plain requests                                            ├── meter (requests, phases)
//!     └── chat client × N ── WebSocket, reconnect with jitter, posts?since ───┴── ledger (who saw what)
//!                                                                                    │
//!   finish: stop sending, let the last messages arrive, compare with the database ── Report
//! ```
//!
//! What counts: a request that its client could not complete is a *failure*; a message that was
//! acknowledged and did not reach every client is *lost*; one that exists twice is *duplicated*.

mod api;
mod chat;
mod database;
mod endpoint;
mod getter;
mod ledger;
mod meter;
mod options;
mod poster;
mod probe;
mod report;
mod run;
mod setup;

pub use api::{ApiError, LoadError};
pub use options::{Backoff, Options};
pub use probe::{Arrival, ProbeOptions, ProbeReport, chat_probe};
pub use report::{
    DatabaseReport, FailureReport, Latency, MessageReport, PhaseReport, Report, RequestReport,
    Snapshot, SocketReport,
};
pub use run::{Running, start};
