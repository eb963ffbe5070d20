//! The agent's binary against an orchestrator, a metadata service, a release server and a database,
//! all on loopback; the server it runs is this very binary (see `mattermost.rs`).

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "all of this is test code, also where no `#[test]` stands above it"
)]

mod imds;
mod mattermost;
mod orchestrator;
mod postgres;
mod releases;
mod s3;
mod scenario;

mod configuration;
mod database;
mod disk;
mod files;
mod kills;
mod lasting;
mod licence;
mod life;
mod moving;
mod proxy;
mod systemd;
