//! `ca`: the fleet's certificate authority, and its rotation.

use std::fmt::Write as _;

use clap::{Args as ClapArgs, Subcommand};
use fleet_proto::v1;
use serde_json::{Value, json};

use super::{Cli, Exit, output};

/// Flags of `ca`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Which CA signs, and what its rotation waits for (the default)
    Status,
    /// Begin to replace the CA; the running orchestrator leads through the steps, in about two hours
    Rotate {
        /// Take the next step of a rotation now: nodes that know only the old CA are cut off by the last
        #[arg(long)]
        force: bool,
    },
}

/// Runs it.
pub async fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let spec = cli.load()?;
    let mut client = cli.client(&spec).await?;
    let state = match &args.verb {
        None | Some(Verb::Status) => client.get_ca(v1::GetCaRequest {}).await?,
        Some(Verb::Rotate { force }) => {
            let request = v1::RotateCaRequest {
                force: *force,
                operator: super::operator(),
            };
            client.rotate_ca(request).await?
        }
    }
    .into_inner();
    if cli.json() {
        output::json(&as_json(&state));
    } else {
        output::data(&as_text(&state));
    }
    Ok(Exit::Done)
}

fn as_text(state: &v1::CaState) -> String {
    let mut text = format!("step     {}\nsigns    {}\n", state.step, state.sha256);
    if !state.other_sha256.is_empty() {
        let _ = writeln!(text, "trusted  {}", state.other_sha256);
    }
    for reason in &state.waits {
        let _ = writeln!(text, "waits    {reason}");
    }
    text.trim_end().to_owned()
}

fn as_json(state: &v1::CaState) -> Value {
    json!({
        "step": state.step,
        "sha256": state.sha256,
        "other_sha256": state.other_sha256,
        "waits": state.waits,
    })
}
