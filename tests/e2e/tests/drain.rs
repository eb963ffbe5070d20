//! A node with 2,000 WebSocket clients leaves: first the load balancer, then its connections batch by
//! batch, then the server. No second brings back more clients than the specification allows, no request
//! fails, no message is lost.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::fleet::{be_patient, serving};
use e2e::{Options, Stage, binaries};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};

/// On one node, all of them.
const CLIENTS: usize = 2000;
/// `fleet.reconnects_per_second`: at three fifths of it, they are back in fourteen seconds.
const LIMIT: u64 = 250;
/// The lab's speed while clients are there: its health checks are then a few real seconds apart.
const SPEED: f64 = 10.0;
/// Lab seconds, forty real ones: longer than the batches take. At its end the load balancer would cut
/// what is left, all at once.
const DELAY: &str = "deregistration_delay_seconds = 400";
/// Two ends of each client in the lab's load balancer, and room for everything else.
const DESCRIPTORS: u64 = 3 * CLIENTS as u64;

/// For this process and what it starts.
fn allow_descriptors() -> anyhow::Result<()> {
    let limits = getrlimit(Resource::Nofile);
    if limits.current.is_none_or(|soft| soft >= DESCRIPTORS) {
        return Ok(());
    }
    ensure!(
        limits.maximum.is_none_or(|hard| hard >= DESCRIPTORS),
        "at most {:?} open files are allowed here, {DESCRIPTORS} are needed; hint: `ulimit -Hn`",
        limits.maximum
    );
    let current = Some(DESCRIPTORS);
    setrlimit(Resource::Nofile, Rlimit { current, ..limits })?;
    Ok(())
}

fn node<'a>(status: &'a Value, instance: &str) -> Option<&'a Value> {
    let nodes = status["nodes"].as_array()?;
    nodes.iter().find(|node| node["instance_id"] == instance)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_two_thousand_clients_leaves_in_paced_batches() -> anyhow::Result<()> {
    allow_descriptors()?;
    let mut options = Options::new(binaries());
    options.octet = 224;
    let stage = Stage::set(options).await?;
    let orchestrator = &stage.orchestrator;
    let spec = std::fs::read_to_string(&orchestrator.spec)?;
    let spec = spec
        .replace("deregistration_delay_seconds = 60", DELAY)
        .replace(
            "\n[fleet]\n",
            &format!("\n[fleet]\nreconnects_per_second = {LIMIT}\n"),
        );
    ensure!(spec.contains(DELAY) && spec.contains("reconnects_per_second"));
    std::fs::write(&orchestrator.spec, spec)?;
    orchestrator
        .run(&["up"], Duration::from_secs(180))
        .await?
        .expect(0)?;
    let mut serve = orchestrator.serve().await?;
    let status = orchestrator
        .until("one node serves", Duration::from_secs(60), |status| {
            serving(status).len() == 1
        })
        .await?;
    let url = status["url"].as_str().context("no address")?.to_owned();
    let text = |key: &str| status["nodes"][0][key].as_str().map(str::to_owned);
    let leaving = text("instance_id").context("no instance")?;
    let group = text("group").context("no group")?;

    stage.control("speed", json!({ "speed": SPEED })).await?;
    be_patient(&stage).await?;
    let mut load = load::Options::new(url);
    load.clients = CLIENTS;
    // Each message goes to all of them: half a thousand pushes a second.
    load.rate = 0.25;
    load.get_rate = 10.0;
    let load = load::start(load).await?;
    stage
        .aws(&[
            "autoscaling",
            "set-desired-capacity",
            "--auto-scaling-group-name",
            &group,
            "--desired-capacity",
            "2",
        ])
        .await?;
    let full = |status: &Value| {
        let connections = node(status, &leaving).and_then(|node| node["connections"].as_u64());
        serving(status).len() == 2
            && connections.is_some_and(|held| held as usize >= CLIENTS * 4 / 5)
    };
    orchestrator
        .until(
            "a second node, and all clients on the first",
            Duration::from_secs(90),
            full,
        )
        .await?;

    load.mark("leaving");
    stage
        .aws(&[
            "autoscaling",
            "terminate-instance-in-auto-scaling-group",
            "--instance-id",
            &leaving,
            "--should-decrement-desired-capacity",
        ])
        .await?;
    let mut phases = Vec::new();
    let drained = |status: &Value| {
        let node = node(status, &leaving).context("it is gone and never was drained")?;
        let word = |key: &str| node[key].as_str().unwrap_or_default().to_owned();
        if phases.last() != Some(&word("phase")) {
            phases.push(word("phase"));
        }
        // Never before the load balancer has stopped to send to it.
        ensure!(
            word("phase") == "serving" || word("target_health") != "healthy",
            "it closes connections while it is a healthy target: {node}"
        );
        Ok(word("phase") == "drained")
    };
    follow(&stage, "drained", drained).await?;
    ensure!(
        phases == ["serving", "draining", "drained"] || phases == ["draining", "drained"],
        "the phases of the leaving node were {phases:?}"
    );
    // Patience, not a promise: on two busy cores two thousand hand-shakes take their time.
    let until = tokio::time::Instant::now() + Duration::from_secs(90);
    while load.snapshot().connected < CLIENTS {
        ensure!(
            tokio::time::Instant::now() < until,
            "{} of {CLIENTS} clients are connected again",
            load.snapshot().connected
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // The rest of the deregistration delay, and the hook's end.
    stage.control("speed", json!({ "speed": 120.0 })).await?;
    follow(
        &stage,
        "gone",
        |status| Ok(node(status, &leaving).is_none()),
    )
    .await?;
    let report = load.finish().await;
    let leaving = report.phases.last().context("no phases")?;
    ensure!(report.is_clean(), "{report}");
    ensure!(
        leaving.reconnects as usize == CLIENTS && leaving.reconnects_per_client_max == 1,
        "{} reconnects, at most {} of one client:\n{report}",
        leaving.reconnects,
        leaving.reconnects_per_client_max
    );
    ensure!(
        leaving.reconnects_per_second_max <= LIMIT,
        "{} clients came back in one second, {LIMIT} are allowed:\n{report}",
        leaving.reconnects_per_second_max
    );
    ensure!(leaving.refused_connects == 0, "{report}");
    // Past the test harness, which keeps what tests print that pass.
    let _ = writeln!(
        std::io::stderr(),
        "{CLIENTS} clients: at most {} came back in one second, {LIMIT} are allowed",
        leaving.reconnects_per_second_max
    );
    serve.stop(Duration::from_secs(20)).await?;
    let behind = stage.strike().await?;
    ensure!(behind.is_empty(), "processes were left behind: {behind:?}");
    Ok(())
}

/// Looks at the status until `wanted` says so, or finds what must not be.
async fn follow(
    stage: &Stage,
    what: &str,
    mut wanted: impl FnMut(&Value) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let until = tokio::time::Instant::now() + Duration::from_secs(90);
    loop {
        let status = stage.orchestrator.status().await?;
        if wanted(&status)? {
            return Ok(());
        }
        ensure!(
            tokio::time::Instant::now() < until,
            "the leaving node is not {what}: {status:#}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
