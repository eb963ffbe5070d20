//! `iam-policy`: the exact policies of orchestrator and node.

use anyhow::Context;
use serde_json::json;

use super::{Cli, Exit, output};

/// Runs it.
pub async fn run(cli: &Cli) -> anyhow::Result<Exit> {
    let spec = cli.load()?;
    let core = crate::host::core(spec, plan::Want::Up).await?;
    let account = core
        .account()
        .await
        .context("the policies name the account; asking which it is")?;
    let policies = cloud::iam_policies(&core.spec, &account);
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
