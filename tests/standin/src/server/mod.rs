//! The server: start in the real one's order, serve, stop in the real one's ungentle way.
//!
//! ```text
//!  load and write configuration -> ping database (10 s apart) -> migrate -> statuses offline
//!    -> join cluster -> file store -> plugins -> page rewritten -> bind -> READY=1
//!
//!  SIGTERM: +0.1 s every WebSocket cut, bare EOF   +0.2 s port closed   +1.2 s HTTP cut   +3 s gone
//!           (the ping stays 200 until the port is closed)
//! ```

mod body;
mod channels;
mod cluster;
mod config;
mod discovery;
mod failure;
mod file_info;
mod files;
mod follow;
mod http;
mod hub;
mod licence;
mod listen;
mod local;
mod multipart;
mod node;
mod pace;
mod password;
mod pending;
mod plugins;
mod posts;
mod reach;
mod session;
mod start;
mod system;
mod teams;
mod users;
mod web;
mod websocket;

pub use cluster::Peer;
pub use pace::Pace;
pub use start::{Server, StartError};
