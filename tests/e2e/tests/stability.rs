//! Static stability: with every orchestrator gone nodes serve on, one that is booted anew brings its
//! Mattermost back from what it has on disk, and when an orchestrator returns all are back within
//! seconds, without a storm. Then the same stack is searched for its secrets.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::fleet::{be_patient, program, serving};
use e2e::search::nothing_leaks;
use e2e::{Options, Stage, binaries};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;

/// As many as the stage's specification allows.
const NODES: usize = 3;
/// The lab's speed once the stack is up: nobody is in a hurry any more, and a health check's 5 seconds are to be
/// more than a busy machine keeps a server from answering.
const SPEED: f64 = 3.0;
/// How long users are watched without an orchestrator, and how long the door is then.
const ALONE: Duration = Duration::from_secs(6);
/// Waits of a node grow to 15 s; then a handshake, on a machine that is busy with other things.
const BACK_WITHIN: Duration = Duration::from_secs(30);

/// When the nodes reported last.
fn reports(status: &Value) -> impl Iterator<Item = i64> {
    let nodes = status["nodes"].as_array().into_iter().flatten();
    nodes.filter_map(|node| node["reported_at"].as_i64())
}

async fn wait_for(
    what: &str,
    within: Duration,
    mut seen: impl AsyncFnMut() -> bool,
) -> anyhow::Result<()> {
    let until = Instant::now() + within;
    while !seen().await {
        ensure!(Instant::now() < until, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_need_no_orchestrator_and_keep_their_secrets() -> anyhow::Result<()> {
    let mut options = Options::new(binaries());
    options.octet = 204;
    let stage = Stage::set(options).await?;
    let orchestrator = &stage.orchestrator;
    let up = orchestrator
        .run(&["-v", "up", "--output", "json"], Duration::from_secs(180))
        .await?
        .expect(0)?;
    let mut serve = orchestrator.serve().await?;
    let first = orchestrator
        .until("one node serves", Duration::from_secs(60), |status| {
            serving(status).len() == 1
        })
        .await?;
    let group = first["nodes"][0]["group"].as_str().context("no group")?;
    let desired = NODES.to_string();
    let mut scale = vec!["autoscaling", "set-desired-capacity", "--desired-capacity"];
    scale.extend([&desired, "--auto-scaling-group-name", group]);
    stage.aws(&scale).await?;
    let all = |status: &Value| serving(status).len() == NODES;
    orchestrator
        .until("all nodes serve", Duration::from_secs(90), all)
        .await?;
    // At the stage's speed a tenth of a second without an answer has a node replaced: from here on these are to stay.
    stage.control("speed", json!({ "speed": SPEED })).await?;
    let status = orchestrator
        .until("they still do", Duration::from_secs(90), all)
        .await?;
    let nodes = serving(&status);
    nothing_is_told_for_want_of_answers(&stage).await?;
    let last_report = reports(&status).max();
    be_patient(&stage).await?;

    serve.kill().await?;
    users_notice_nothing(status["url"].as_str().context("no address")?).await?;
    comes_back_alone(&stage, &nodes).await?;
    let busiest = calm_at_the_door(&orchestrator.spec).await?;

    let began = Instant::now();
    let mut serve = orchestrator.serve().await?;
    orchestrator
        .until("the same nodes are back", BACK_WITHIN, |status| {
            // Not what the store remembers of them: their word of now.
            serving(status) == nodes && reports(status).min() > last_report
        })
        .await?;
    // Past the test harness, which keeps what tests print that pass.
    let _ = writeln!(
        std::io::stderr(),
        "{NODES} nodes were back {:.1} s after the orchestrator was started again; before that, \
         at most {busiest} of their attempts fell into a second",
        began.elapsed().as_secs_f64()
    );
    let secrets = nothing_leaks(&stage, &nodes, &[&up.stdout, &up.stderr], &[]).await?;
    let _ = writeln!(
        std::io::stderr(),
        "{secrets} secrets were looked for and not found"
    );

    serve.stop(Duration::from_secs(20)).await?;
    let behind = stage.strike().await?;
    ensure!(behind.is_empty(), "processes were left behind: {behind:?}");
    Ok(())
}

/// AWS refuses the calls that nodes' configurations are made of. What is not seen has not changed: no node
/// is given another configuration, with less in it, or the same one again.
async fn nothing_is_told_for_want_of_answers(stage: &Stage) -> anyhow::Result<()> {
    let sees = |status: &Value| {
        let resources = status["resources"].as_array();
        let mut kinds = resources.into_iter().flatten().map(|it| &it["kind"]);
        kinds.any(|kind| kind == "DB primary") && status["url"] != ""
    };
    let store = stage.database("orchestrator").await?;
    let told = "SELECT instance_id, generation, digest FROM node ORDER BY instance_id";
    let before = store.ask(told).await?;
    ensure!(before.lines().count() == NODES, "told: {before}");
    for action in [
        "DescribeDBInstances",
        "DescribeLoadBalancers",
        "ListSecrets",
    ] {
        let fault = json!({ "action": action, "effect": "internal", "times": 10_000 });
        stage.control("faults", fault).await?;
    }
    let (orchestrator, within) = (&stage.orchestrator, Duration::from_secs(60));
    orchestrator
        .until("a look that failed", within, |status| !sees(status))
        .await?;
    stage.region.uncontrol("faults").await?;
    orchestrator
        .until("a look that saw all", within, |status| {
            sees(status) && status["phase"] == "ready"
        })
        .await?;
    let after = store.ask(told).await?;
    ensure!(after == before, "told:\n{before}and then:\n{after}");
    Ok(())
}

async fn users_notice_nothing(url: &str) -> anyhow::Result<()> {
    let mut options = load::Options::new(url);
    options.get_rate = 20.0;
    let load = load::start(options).await?;
    load.mark("alone");
    tokio::time::sleep(ALONE).await;
    let report = load.finish().await;
    ensure!(
        report.is_clean() && report.sockets.reconnects == 0,
        "without an orchestrator:\n{report}"
    );
    ensure!(report.requests.completed > 50, "nobody asked:\n{report}");
    Ok(())
}

/// A reboot: agent and Mattermost end, and only what is on disk can start them again.
async fn comes_back_alone(stage: &Stage, nodes: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let (instance, address) = nodes.first_key_value().context("no node")?;
    let running = || ["mattermost-agent", "mattermost"].map(|name| program(instance, name));
    let before = running();
    ensure!(
        before.iter().all(Option::is_some),
        "not running: {before:?}"
    );
    stage
        .aws(&["ec2", "reboot-instances", "--instance-ids", instance])
        .await?;
    let ping = format!("http://{address}:8065/api/v4/system/ping?get_server_status=true");
    wait_for(
        "a rebooted node that serves again",
        Duration::from_secs(60),
        async || {
            let after = running();
            let anew = before
                .iter()
                .zip(&after)
                .all(|(one, other)| other.is_some() && one != other);
            anew && reqwest::get(&ping)
                .await
                .is_ok_and(|answer| answer.status() == 200)
        },
    )
    .await
}

/// In the orchestrator's place somebody counts who knocks, and lets nobody in.
async fn calm_at_the_door(spec: &Path) -> anyhow::Result<usize> {
    let text = std::fs::read_to_string(spec)?;
    let listen = text.lines().find_map(|line| line.strip_prefix("listen = "));
    let listen = listen.context("no address to listen at")?.trim_matches('"');
    let door = TcpListener::bind(listen).await?;
    let began = Instant::now();
    let mut knocks = Vec::new();
    while let Ok(knock) = tokio::time::timeout_at(began + ALONE, door.accept()).await {
        drop(knock?);
        knocks.push(began.elapsed().as_millis());
    }
    let within_a_second = |from: &u128| {
        let second = *from..from + 1000;
        knocks.iter().filter(|at| second.contains(at)).count()
    };
    let busiest = knocks.iter().map(within_a_second).max().unwrap_or(0);
    // A node that was booted a moment ago may still be at its first, short waits.
    ensure!(busiest <= NODES + 4, "a storm: attempts at {knocks:?} ms");
    ensure!(!knocks.is_empty(), "nobody knocked");
    Ok(busiest)
}
