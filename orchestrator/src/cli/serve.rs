//! `serve`: the orchestrator, until it is told to stop.

use std::net::SocketAddr;

use clap::Args as ClapArgs;
use plan::Want;

use super::{Cli, Exit, follow};
use crate::host::{Host, Options};

/// Flags of `serve`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Address of console and metrics; they need no login, so keep it on loopback
    #[arg(long, default_value = "127.0.0.1:7480")]
    console: SocketAddr,
    /// A name under which the console is asked for, beside addresses and `localhost`; more than one may be
    /// given
    #[arg(long, value_name = "NAME", conflicts_with = "no_console")]
    console_name: Vec<String>,
    /// Neither console nor metrics
    #[arg(long, conflicts_with = "console")]
    no_console: bool,
}

/// Runs it.
pub async fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let spec = cli.load()?;
    let options = Options {
        runtime: cli.runtime_dir.clone(),
        console: (!args.no_console).then_some(args.console),
        console_names: args.console_name.clone(),
    };
    let host = Host::start(spec, Want::Up, &options).await?;
    log::info!(
        "serving stack `{}` as {}",
        host.core.spec.stack,
        host.core.holder
    );
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        log::debug!("no service manager to tell: {error}");
    }
    let watchdog = host.core.clone();
    host.core.tasks.spawn(async move { feed(&watchdog).await });
    let shutdown = host.core.shutdown.clone();
    let asked = tokio::select! {
        () = follow::interrupted() => true,
        () = shutdown.cancelled() => false,
    };
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    host.stop().await;
    Ok(if asked { Exit::Done } else { Exit::Failed })
}

/// Feeds systemd's watchdog once for every turn of the loop: a loop that hangs is restarted.
async fn feed(core: &crate::core::Core) {
    let mut looks = core.looks.subscribe();
    loop {
        tokio::select! {
            changed = looks.changed() => if changed.is_err() { return },
            () = core.shutdown.cancelled() => return,
        }
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
    }
}
