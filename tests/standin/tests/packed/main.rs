//! The packed binary, driven from outside: what an installer, a probe and a chat client see.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on ends there, helpers included"
)]

mod bucket;
mod chat;
mod cluster;
mod downloads;
mod files;
mod health;
mod lasting;
mod life;
mod plugins;
mod support;
mod upgrades;
