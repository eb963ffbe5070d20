//! The death of a node: its instance is terminated behind everybody's back, and Auto Scaling makes another.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context;
use e2e::{Stage, Timeline};
use serde_json::Value;

use crate::look::{in_service, nodes_line};

/// A boot, an install and the load balancer's checks, on a machine that does other things beside them.
const REPLACED_WITHIN: Duration = Duration::from_secs(120);

/// Terminates the instance of one serving node, and waits until as many serve as before, without it.
pub async fn lose_a_node(timeline: &Timeline, stage: &Stage) -> anyhow::Result<()> {
    let ended = stage
        .orchestrator
        .run(&["status", "--output", "json"], Duration::from_secs(20))
        .await?;
    let before = ended.expect(0)?.json()?;
    let serving = in_service(&before);
    let victim = instances(&before)
        .into_iter()
        .next()
        .context("no node to kill")?;
    stage
        .aws(&["ec2", "terminate-instances", "--instance-ids", &victim])
        .await?;
    timeline.note(&format!(
        "aws ec2 terminate-instances --instance-ids {victim}"
    ));
    let after = stage
        .orchestrator
        .until("another node serves instead", REPLACED_WITHIN, |status| {
            in_service(status) == serving && !instances(status).contains(&victim)
        })
        .await?;
    timeline.note(&nodes_line(&after));
    timeline.proof(&format!(
        "{serving} nodes serve again, none of them {victim}"
    ));
    Ok(())
}

/// Ids of the nodes that `status` names.
fn instances(status: &Value) -> BTreeSet<String> {
    let nodes = status["nodes"].as_array();
    nodes
        .into_iter()
        .flatten()
        .filter_map(|node| node["instance_id"].as_str().map(str::to_owned))
        .collect()
}
