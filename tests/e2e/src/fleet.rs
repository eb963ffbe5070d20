//! What the tests ask of a stage's nodes.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use crate::stage::Stage;

/// Nodes of a status that serve users and have a session: address by instance.
pub fn serving(status: &Value) -> BTreeMap<String, String> {
    let nodes = status["nodes"].as_array();
    let serving = nodes.into_iter().flatten().filter(|node| {
        node["phase"] == "serving"
            && node["connected"] == true
            && node["lifecycle"] == "InService"
            && node["target_health"] == "healthy"
    });
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    serving
        .map(|node| (text(&node["instance_id"]), text(&node["address"])))
        .collect()
}

/// From now on a slow answer to a health check is no sickness: this machine may be busy with other things
/// than this test.
pub async fn be_patient(stage: &Stage) -> anyhow::Result<()> {
    let groups = stage.aws(&["elbv2", "describe-target-groups"]).await?;
    for group in groups["TargetGroups"].as_array().into_iter().flatten() {
        let arn = group["TargetGroupArn"].as_str().context("no ARN")?;
        let patience = [
            "--health-check-interval-seconds=60",
            "--health-check-timeout-seconds=50",
            "--unhealthy-threshold-count=10",
        ];
        let modify = ["elbv2", "modify-target-group", "--target-group-arn", arn];
        stage.aws(&[&modify[..], &patience[..]].concat()).await?;
    }
    Ok(())
}

/// The pid of an instance's program, while it runs. By its arguments: who its executable is the agent
/// tells nobody but root.
#[must_use]
pub fn program(instance: &str, name: &str) -> Option<u32> {
    let below = format!("/{instance}/root/");
    let entries = std::fs::read_dir("/proc").ok()?;
    entries.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let arguments = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
        let program = Path::new(arguments.split('\0').next()?);
        let ours = program.to_str()?.contains(&below) && program.file_name()? == name;
        ours.then_some(pid)
    })
}
