//! A stand-in for the Mattermost server.
//!
//! Where the real release cannot be had (no internet), this one is installed instead. It is packed
//! like the real tarball, speaks the part of the real API that clients, probes and installers use,
//! and behaves badly exactly where the real one does: it migrates at every start, two of them race
//! on an empty database, unlicensed nodes do not share messages, and SIGTERM cuts every WebSocket.
//!
//! ```text
//!   bin/mattermost ── commands ── schema (lock, migrations) ──┐
//!                        │                                    ├── database ── Postgres
//!                     server ── users teams channels posts ───┤
//!                        ├── config (file or tables) ─────────┘
//!                        ├── files (folder or bucket) ── plugins
//!                        ├── hub ── websocket (one task a client)
//!                        └── cluster ── other nodes, TCP 8074 (licensed only)
//!
//!   bin/standin-release ── release: pack tarballs, serve them over HTTPS
//! ```
//!
//! Which version a binary is stands in `manifest.txt` of the tree it lies in, so that one binary is
//! packed as many versions, the bad ones ([`release::Behaviour`]) included.

pub mod clock;
pub mod commands;
pub(crate) mod config;
pub mod database;
pub mod dsn;
pub(crate) mod files;
pub mod ids;
pub mod licence;
pub mod logging;
pub(crate) mod plugins;
pub mod release;
pub mod schema;
pub mod scratch_postgres;
pub mod server;
pub mod settings;
