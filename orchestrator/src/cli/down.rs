//! `down`: the stack goes; the database stays unless asked.

use std::io::IsTerminal;

use anyhow::bail;
use clap::Args as ClapArgs;
use plan::Want;
use plan::intent::Phase;

use super::{Cli, Exit, follow, output};
use crate::host::{Host, Options};

/// Flags of `down`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Delete the database too: a final snapshot is taken, deletion protection is lifted
    #[arg(long)]
    delete_database: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// Runs it.
pub async fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let spec = cli.load()?;
    if cli.client(&spec).await.is_ok() {
        bail!(
            "an orchestrator of this host keeps stack `{}` up\nhint: stop `orchestrator serve` first, on every control host",
            spec.stack
        );
    }
    if !args.yes {
        let what = if args.delete_database {
            "and its database (a final snapshot is kept)"
        } else {
            "(the database stays)"
        };
        if !std::io::stdin().is_terminal() {
            output::talk("`down` asks before it acts\nhint: --yes answers");
            return Ok(Exit::Refused);
        }
        output::talk(&format!(
            "This removes stack `{}` {what}. Type its name to go on:",
            spec.stack
        ));
        let mut line = String::new();
        std::io::stdin().read_line(&mut line)?;
        if line.trim() != spec.stack {
            output::talk("not the stack's name; nothing was touched");
            return Ok(Exit::Refused);
        }
    }
    let stack = spec.stack.clone();
    let options = Options {
        runtime: cli.runtime_dir.clone(),
        console: None,
    };
    let host = Host::start(
        spec,
        Want::Down {
            delete_database: args.delete_database,
        },
        &options,
    )
    .await?;
    let core = host.core.clone();
    let exit = follow::follow(cli, &core, |look| match &look.decision.as_ref()?.next {
        Phase::Gone => Some(Exit::Done),
        Phase::Stuck { .. } => Some(Exit::Stuck),
        _ => None,
    })
    .await;
    if matches!(exit, Ok(Exit::Done)) {
        if cli.json() {
            output::json(&serde_json::json!({ "stack": stack, "phase": "gone" }));
        } else {
            output::data(&format!("stack `{stack}` is gone"));
        }
    }
    host.stop().await;
    exit
}
