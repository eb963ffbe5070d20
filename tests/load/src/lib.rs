//! A load generator and a chat probe that speak the Mattermost API, the real one's as the stand-in's.
//!
//! ```text
//!   setup ── users, team, channel
//!     ├── poster ── posts with pending_post_id, retried as a client retries ──┐
//!     ├── getter ── plain requests                                            ├── meter (requests, phases)
//!     ├── files ── uploads, reads, digests ── book (what became of each) ─────┤
//!     └── chat client × N ── WebSocket, reconnect with jitter, posts?since ───┴── ledger (who saw what)
//!                                                                                    │
//!   finish: stop sending, let the last messages arrive, read every file, compare with the database ── Report
//! ```
//!
//! What counts: a request that its client could not complete is a *failure*; a message that was
//! acknowledged and did not reach every client is *lost*; one that exists twice is *duplicated*.
//! A file that was acknowledged and is not there with the same bytes is *lost* or *corrupt*.
//! What an administrator makes (a setting, a plugin, a public link) is checked whenever
//! [`Running::verify_kept`] is called, and at the end.

mod api;
mod chat;
mod database;
mod endpoint;
mod files;
mod form;
mod getter;
mod lasting;
mod ledger;
mod meter;
mod options;
mod poster;
mod probe;
mod report;
mod run;
mod setup;

pub use api::{ApiError, LoadError};
pub use lasting::{Bundle, BundleError, smallest_bundle};
pub use options::{Backoff, FileOptions, LastingOptions, Options, Plugin};
pub use probe::{Arrival, ProbeOptions, ProbeReport, chat_probe};
pub use report::{
    Checkpoint, DatabaseReport, FailureReport, FileTrouble, FilesReport, LastingReport, Latency,
    MessageReport, PhaseReport, Report, RequestReport, Snapshot, SocketReport, Verdict,
};
pub use run::{Running, start};
