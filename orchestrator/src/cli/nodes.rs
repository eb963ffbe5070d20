//! `nodes`: where each is, what it runs, why it failed.

use fleet_proto::v1;
use serde_json::{Value, json};

use super::{Cli, Exit, output};
use crate::report::phase_name;

/// Runs it.
pub async fn run(cli: &Cli) -> anyhow::Result<Exit> {
    let spec = cli.load()?;
    let nodes = cli
        .client(&spec)
        .await?
        .nodes(v1::NodesRequest {})
        .await?
        .into_inner()
        .nodes;
    if cli.json() {
        output::json(&nodes.iter().map(as_json).collect::<Vec<_>>());
    } else {
        output::data(&as_text(&nodes));
    }
    Ok(Exit::Done)
}

/// For people.
pub fn as_text(nodes: &[v1::NodeState]) -> String {
    let rows = nodes
        .iter()
        .map(|node| {
            let report = node.report.clone().unwrap_or_default();
            let note = report.failure.as_ref().map_or(report.note, |failure| {
                format!("{}: {}", failure.code, failure.error)
            });
            vec![
                node.instance_id.clone(),
                node.colour.clone(),
                node.zone.clone(),
                node.address.clone(),
                node.lifecycle.clone(),
                node.target_health.clone(),
                if node.connected {
                    phase_name(report.phase).to_owned()
                } else {
                    format!("{} (no session)", phase_name(report.phase))
                },
                report.mattermost_version,
                note,
            ]
        })
        .collect();
    output::table(
        &[
            "INSTANCE",
            "COLOUR",
            "ZONE",
            "ADDRESS",
            "LIFECYCLE",
            "TARGET",
            "PHASE",
            "VERSION",
            "NOTE",
        ],
        rows,
    )
}

/// For programs.
pub fn as_json(node: &v1::NodeState) -> Value {
    let report = node.report.clone().unwrap_or_default();
    json!({
        "instance_id": node.instance_id,
        "group": node.group,
        "colour": node.colour,
        "zone": node.zone,
        "address": node.address,
        "lifecycle": node.lifecycle,
        "target_health": node.target_health,
        "connected": node.connected,
        "phase": phase_name(report.phase),
        "connections": report.connections,
        "mattermost_version": report.mattermost_version,
        "note": report.note,
        "failure": report.failure.map(|failure| json!({
            "code": failure.code, "error": failure.error, "hint": failure.hint, "journal": failure.journal,
        })),
        "reported_at": node.reported_at,
    })
}
