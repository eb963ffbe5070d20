//! The agent's binary against an orchestrator, a metadata service and a release server, all in this
//! process and on loopback; the server it runs is this very binary (see `mattermost.rs`).

mod imds;
mod mattermost;
mod orchestrator;
mod releases;
mod scenario;

mod life;
