//! `up`: until the stack is as specified. With an orchestrator running on this host it follows that
//! one; without, it is one itself until the work is done.

use std::net::SocketAddr;

use clap::Args as ClapArgs;
use plan::Want;
use plan::intent::Phase;

use super::{Cli, Exit, follow, output};
use crate::core::Look;
use crate::host::{Host, Options};
use crate::status;

/// Flags of `up`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Address of console and metrics while it runs
    #[arg(long)]
    console: Option<SocketAddr>,
}

/// Runs it.
pub async fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let spec = cli.load()?;
    if let Ok(mut client) = cli.client(&spec).await {
        output::talk("an orchestrator runs already; following it");
        return super::status_verb::until_ready(cli, &mut client).await;
    }
    let options = Options {
        runtime: cli.runtime_dir.clone(),
        console: args.console,
        console_names: Vec::new(),
    };
    let host = Host::start(spec, Want::Up, &options).await?;
    let core = host.core.clone();
    let exit = follow::follow(cli, &core, "up", ended).await;
    if matches!(exit, Ok(Exit::Done)) {
        let look = core.looks.borrow().clone();
        let summary = status::summary(&core.spec, &look);
        if cli.json() {
            output::json(&super::status_verb::as_json(&summary));
        } else {
            output::data(&format!(
                "stack `{}` is ready: {}",
                summary.stack, summary.url
            ));
        }
    }
    host.stop().await;
    exit
}

/// `up` ends when everything was observed as wanted, or when only a person can go on.
fn ended(look: &Look) -> Option<Exit> {
    match &look.decision.as_ref()?.next {
        Phase::Ready if look.trouble.is_empty() => Some(Exit::Done),
        Phase::Stuck { .. } => Some(Exit::Stuck),
        _ => None,
    }
}
