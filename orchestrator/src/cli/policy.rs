//! `iam-policy`: the exact policies of orchestrator and node.

use anyhow::Context;
use clap::Args as ClapArgs;
use serde_json::json;

use super::{Cli, Exit, output};

/// Flags of `iam-policy`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Only what `down --delete-files` needs besides: for whoever runs it, as long as it runs
    #[arg(long)]
    delete_files: bool,
}

/// Runs it.
pub async fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let spec = cli.load()?;
    let core = crate::host::core(spec, plan::Want::Up).await?;
    let account = core
        .account()
        .await
        .context("the policies name the account; asking which it is")?;
    let policies = cloud::iam_policies(&core.spec, &account);
    if args.delete_files {
        let Some(policy) = &policies.delete_files else {
            output::talk(
                "the stack has no bucket of its own: a bucket that the specification names is never deleted",
            );
            return Ok(Exit::Refused);
        };
        output::talk("# for whoever runs `down --delete-files`, besides the orchestrator's policy");
        output::json(policy);
        return Ok(Exit::Done);
    }
    if cli.json() {
        output::json(&json!({ "orchestrator": policies.orchestrator, "node": policies.node }));
    } else {
        output::talk("# role of the orchestrator's control host");
        output::json(&policies.orchestrator);
        output::talk("# role of the nodes' instance profile");
        output::json(&policies.node);
    }
    Ok(Exit::Done)
}
