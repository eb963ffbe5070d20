//! The stand-in server, `bin/mattermost` of a packed release.

use std::process::ExitCode;

use clap::Parser as _;
use standin::commands::{self, Cli};

fn main() -> anyhow::Result<ExitCode> {
    standin::logging::start();
    let cli = Cli::parse();
    // Two workers: many of these run on one machine.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    Ok(runtime.block_on(commands::run(cli)))
}
