//! `make bench`: what the lab, the install and the agent cost, beside what was promised of them.
//!
//! It reports and never judges: a slow machine is no failure, only a measurement that could not be
//! made is. Everything runs on loopback; the installer's fixture is generated once and kept.

mod agent;
mod calls;
mod install;
mod lab;
mod proc;
mod table;
mod yardstick;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use table::Table;

/// Measure the lab, the install and the agent's footprint; prints a table
#[derive(Debug, Parser)]
struct Arguments {
    /// Folder of the built binaries
    #[arg(long)]
    bin: PathBuf,
    /// Measure only these
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// Where the installer's tarball is kept; made if absent
    #[arg(long, default_value_os_t = default_cache())]
    cache: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Start, answers, memory of the lab
    Lab,
    /// Size, memory, idle CPU, time to enrol of the agent on a served stack
    Agent,
    /// Calls to AWS: an hour of a quiet stack, with one control host and two; a rollout
    Calls,
    /// One pass against one tool after another
    Install,
}

fn default_cache() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/tmp".into())).join(".cache"),
        PathBuf::from,
    );
    cache.join("mattermost-ha/bench")
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    if arguments.parts.is_empty() {
        arguments.parts = Part::value_variants().to_vec();
    }
    let interrupted = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    tokio::select! {
        code = measure(&arguments) => code,
        () = interrupted => ExitCode::from(130),
    }
}

async fn measure(arguments: &Arguments) -> ExitCode {
    let mut table = Table::default();
    let mut failed = false;
    for part in &arguments.parts {
        let result = match part {
            Part::Lab => lab::measure(&arguments.bin, &mut table).await,
            Part::Agent => agent::measure(&arguments.bin, &arguments.cache, &mut table).await,
            Part::Calls => calls::measure(&arguments.bin, &mut table).await,
            Part::Install => install::measure(&arguments.cache, &mut table).await,
        };
        if let Err(error) = result {
            failed = true;
            table.note(format!("{part:?} was not measured to its end: {error:#}"));
        }
    }
    if cfg!(debug_assertions) {
        table.note("the installer is a debug build (our own code is not optimised)");
    }
    if arguments.parts.contains(&Part::Agent) {
        table.note(
            "the agent's lab and orchestrator are a debug build (hot libraries optimised, our own \
             code not): they answer slower than they could",
        );
    }
    if let Ok(load) = std::fs::read_to_string("/proc/loadavg") {
        let load: Vec<&str> = load.split_whitespace().take(2).collect();
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        table.note(format!(
            "{cores} cores; load of the last one and five minutes at the end: {}",
            load.join(", ")
        ));
    }
    table.print();
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
