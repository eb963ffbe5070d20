//! `make demo`: from nothing to a served, upgraded Mattermost, and back to nothing.

mod chapters;
mod look;
mod loss;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, ensure};
use clap::Parser;
use e2e::{Options, Runtime, Stage, Timeline, role};

use chapters::show;
use look::{tell_logs, what_to_try};

/// A machine boots, and a system goes down, in real seconds: the lab's time-outs must leave room.
const MACHINE_SPEED: f64 = 30.0;

/// From nothing to a served, upgraded Mattermost on a local AWS region, and back to nothing
#[derive(Debug, Parser)]
struct Arguments {
    /// Folder of the built binaries
    #[arg(long)]
    bin: PathBuf,
    /// A real Mattermost tarball instead of the stand-in
    #[arg(long)]
    tarball: Option<PathBuf>,
    /// The tarball to upgrade to; default: the same again
    #[arg(long, requires = "tarball")]
    tarball2: Option<PathBuf>,
    /// The cluster licence that the real Mattermost takes; without one: one node, and a rollout is a cutover
    #[arg(long, requires = "tarball")]
    licence: Option<PathBuf>,
    /// Lab seconds per real second; default: 60, with machines 30
    #[arg(long)]
    speed: Option<f64>,
    /// Run the nodes as machines, booted from this tree of Debian; needs root
    #[arg(long, value_name = "TREE")]
    machines: Option<PathBuf>,
    /// Chat clients that the load generator holds
    #[arg(long, default_value_t = 20)]
    clients: usize,
    /// Leave everything running at the end, and say what to try
    #[arg(long)]
    keep: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let timeline = Arc::new(Timeline::default());
    let interrupted = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    let result = tokio::select! {
        result = demo(&arguments, &timeline) => result,
        () = interrupted => Err(anyhow::anyhow!("interrupted")),
    };
    match result {
        Ok(violations) if violations.is_empty() => {
            timeline.note(&format!("done in {:.0} s", timeline.seconds()));
            ExitCode::SUCCESS
        }
        Ok(violations) => {
            for violation in violations {
                timeline.note(&format!("BROKEN PROMISE  {violation}"));
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            timeline.note(&format!("FAILED  {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn demo(arguments: &Arguments, timeline: &Arc<Timeline>) -> anyhow::Result<Vec<String>> {
    timeline.step(
        "1. A local AWS region: two regions of three zones, real Postgres, a real load balancer",
    );
    let mut options = Options::new(&arguments.bin);
    if let Some(tree) = &arguments.machines {
        options.runtime = Runtime::Machine(tree.clone());
        options.speed = MACHINE_SPEED;
    }
    options.speed = arguments.speed.unwrap_or(options.speed);
    if let Some(first) = &arguments.tarball {
        options.tarballs = vec![first.clone()];
        options.tarballs.extend(arguments.tarball2.clone());
        // The stand-in's test licence is nothing that a real server takes.
        options.licence = match &arguments.licence {
            Some(file) => Some(
                std::fs::read_to_string(file)
                    .with_context(|| format!("the licence `{}`", file.display()))?
                    .trim()
                    .to_owned(),
            ),
            None => None,
        };
    }
    let speed = options.speed;
    let stage = Stage::set(options).await?;
    timeline.note(&format!(
        "lab at {} (its clock runs {speed} times as fast as AWS)",
        stage.region.endpoint
    ));
    timeline.note(&format!(
        "image {} with the agent in it; releases {} over HTTPS",
        stage.image,
        stage.versions.join(", ")
    ));
    timeline.note(&format!(
        "everything lies in {}",
        stage.directory.path().display()
    ));
    let result = show(arguments, timeline, &stage).await;
    if result.is_err() {
        tell_logs(timeline, &stage);
    }
    let violations = result?;
    if arguments.keep {
        what_to_try(timeline, &stage);
        let (directory, lab, releases) = stage.keep();
        timeline.note("press Ctrl-C to end it all");
        let _ = tokio::signal::ctrl_c().await;
        drop((lab, releases));
        std::fs::remove_dir_all(directory)?;
        return Ok(violations);
    }
    timeline.step("End of the lab");
    let unused = role::unused(&stage.region).await?;
    timeline.note(&format!(
        "allowed by the orchestrator's policy and not needed this time: {}",
        unused.join(", ")
    ));
    let left = stage.strike().await?;
    ensure!(
        left.is_empty(),
        "processes were left behind:\n{}",
        left.join("\n")
    );
    timeline.proof("no process is left");
    Ok(violations)
}
