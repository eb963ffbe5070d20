//! The death of a node: its instance is terminated behind everybody's back, and Auto Scaling makes another.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::{Stage, Timeline};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::look::{in_service, nodes_line};

/// A boot, an install and the load balancer's checks, on a machine that does other things beside them.
const REPLACED_WITHIN: Duration = Duration::from_secs(120);
/// A client waits some seconds between two tries, and tries again where it is refused.
const BACK_WITHIN: Duration = Duration::from_secs(60);

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

/// Waits until every client that was on the node is on another one: who comes back later would do so within
/// the rollout, and count there.
pub async fn all_are_back(running: &load::Running, clients: usize) -> anyhow::Result<()> {
    let until = Instant::now() + BACK_WITHIN;
    while running.snapshot().connected < clients {
        ensure!(
            Instant::now() < until,
            "{} of {clients} clients are connected {BACK_WITHIN:?} after the node's end",
            running.snapshot().connected
        );
        sleep(Duration::from_millis(50)).await;
    }
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
