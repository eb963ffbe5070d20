//! The agent's process: flags, logging, one thread.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use log::LevelFilter;
use mattermost_agent::run::{Manager, run};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Installs and runs Mattermost on this instance as the orchestrator wants it
#[derive(Debug, Parser)]
#[command(name = "mattermost-agent", version)]
struct Flags {
    /// Directory that all paths lie below
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,

    /// Who supervises Mattermost: default is `systemd` where the system was booted with it
    #[arg(long, value_enum, value_name = "MANAGER")]
    service_manager: Option<Manager>,

    /// Seconds between two tries of the bucket of users' files while Mattermost serves: each writes, reads and
    /// deletes one small object
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
    file_store_every: u64,

    /// Least important messages to log: `error`, `warn`, `info`, `debug` or `trace`
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: LevelFilter,
}

/// One thread: a node's agent waits most of the time. Hashing and unpacking have threads of their own.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let flags = Flags::parse();
    mattermost_agent::logging::install(flags.log_level);
    if let Err(error) = keep_memory_private() {
        log::warn!("a core file could show secrets: {error}");
    }
    let manager = flags.service_manager.unwrap_or_else(Manager::detect);
    let file_store_every = Duration::from_secs(flags.file_store_every);
    match run(flags.root, manager, file_store_every).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Secrets are in this process for moments, its key always: no core file, and no other user's debugger.
/// The first also holds for a server that it supervises; the second where a program takes core files.
fn keep_memory_private() -> rustix::io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}
