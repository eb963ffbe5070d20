//! Without a cluster licence: one node, and a rollout with a short announced pause, asked for twice under one
//! key. Before it the fleet's CA is replaced, after it another instance type alone is rolled out. What users
//! made before it is there after both: files, settings, a plugin, a public link. At its end a third one is
//! undone by bringing the database back to the restore point.

#[path = "cutover/restore.rs"]
mod restore;

use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::processes::Program;
use e2e::users::{self, Pace, Users};
use e2e::{Options, Orchestrator, Stage, binaries};

#[tokio::test(flavor = "multi_thread")]
async fn an_unlicensed_stack_is_upgraded_by_cutover() -> anyhow::Result<()> {
    let mut options = Options::new(binaries());
    options.octet = 212;
    options.speed = 120.0;
    options.licence = None;
    options.rollout =
        "step_seconds = 3\nbake_seconds = 3\nretention_seconds = 1\nquiet_is_fine = true\n"
            .to_owned();
    let stage = Stage::set(options).await?;
    let orchestrator = &stage.orchestrator;
    orchestrator
        .run(&["up"], Duration::from_secs(120))
        .await?
        .expect(0)?;
    let serve = orchestrator.serve().await?;
    let status = orchestrator
        .until("the node is back", Duration::from_secs(60), |status| {
            status["nodes"][0]["phase"] == "serving" && status["nodes"][0]["connected"] == true
        })
        .await?;
    let url = status["url"].as_str().context("no address")?.to_owned();

    let mut serve = rotate(orchestrator, serve).await?;
    let users = users(&stage, &url).await?;

    let plan = orchestrator
        .run(
            &["rollout", "--mattermost", "11.9.0", "--plan"],
            Duration::from_secs(60),
        )
        .await?
        .expect(0)?;
    ensure!(
        plan.stdout.contains("cutover"),
        "the plan does not announce the pause:\n{}",
        plan.stdout
    );
    // Whoever asked did not get the answer, and asks again.
    let ask = |more: &[&'static str]| {
        let ask = ["rollout", "--yes", "--request-key", "tonight"];
        let arguments = [&ask, more].concat();
        async move { orchestrator.run(&arguments, Duration::from_secs(240)).await }
    };
    ask(&["--mattermost", "11.9.0", "--detach"])
        .await?
        .expect(0)?;
    let ended = ask(&["--mattermost", "11.9.0", "--output", "json"])
        .await?
        .expect(0)?;
    let other = ask(&["--mattermost", "11.8.0"]).await?.expect(3)?;
    ensure!(
        other.stderr.contains("needs another key"),
        "{}",
        other.stderr
    );
    let rollout = ended.json()?;
    let phases: Vec<&str> = rollout["phases"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|phase| phase["phase"].as_str())
        .collect();
    ensure!(
        phases.contains(&"Closed"),
        "the service was never closed: {phases:?}"
    );

    let answer = reqwest::get(format!("{url}/api/v4/system/ping")).await?;
    ensure!(
        answer.status() == 200,
        "after the cutover: {}",
        answer.status()
    );
    let version = answer
        .headers()
        .get("x-version-id")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    ensure!(version.starts_with("11.9.0"), "X-Version-Id is `{version}`");
    users.kept("after the cutover").await?;
    serve.stop(Duration::from_secs(20)).await?;
    let serve = other_instances(&stage).await?;
    users.finish().await.context("after two cutovers")?;
    let mut serve = restore::go_back(&stage, serve).await?;
    serve.stop(Duration::from_secs(20)).await?;
    let behind = stage.strike().await?;
    ensure!(behind.is_empty(), "processes were left behind: {behind:?}");
    Ok(())
}

/// Users who upload and read all the time, and an administrator who made what must last.
async fn users(stage: &Stage, url: &str) -> anyhow::Result<Users> {
    let files = load::FileOptions {
        rate: 0.25,
        read_rate: 0.5,
        ..users::small_files()
    };
    let pace = Pace {
        rate: 1.0,
        get_rate: 1.0,
        files,
    };
    users::start(stage, url, pace).await
}

/// The fleet's CA is replaced as far as that the new one signs; the node, which knows the old one alone,
/// finds back to an orchestrator that shows the new one.
async fn rotate(orchestrator: &Orchestrator, mut serve: Program) -> anyhow::Result<Program> {
    let brief = Duration::from_secs(20);
    let ca = |arguments: &'static [&'static str]| async move {
        let ended = orchestrator.run(arguments, brief).await?;
        ended.expect(0)?.json()
    };
    let before = ca(&["ca", "--output", "json"]).await?;
    ensure!(before["step"] == "steady", "{before}");
    let begun = ca(&["ca", "rotate", "--output", "json"]).await?;
    ensure!(
        begun["step"] == "announced" && begun["sha256"] == before["sha256"],
        "{begun}"
    );
    let again = orchestrator
        .run(&["ca", "rotate"], brief)
        .await?
        .expect(1)?;
    ensure!(again.stderr.contains("under way"), "{}", again.stderr);
    let signing = ca(&["ca", "rotate", "--force", "--output", "json"]).await?;
    ensure!(
        signing["step"] == "signing"
            && signing["sha256"] == begun["other_sha256"]
            && signing["other_sha256"] == before["sha256"],
        "{signing}"
    );
    serve.stop(brief).await?;
    let serve = orchestrator.serve().await?;
    orchestrator
        .until("the node is back", Duration::from_secs(60), |status| {
            status["nodes"][0]["phase"] == "serving" && status["nodes"][0]["connected"] == true
        })
        .await?;
    let after = ca(&["ca", "--output", "json"]).await?;
    ensure!(after["sha256"] == signing["sha256"], "{after}");
    Ok(serve)
}

/// Another instance type in the specification, and nothing else: `plan` says what brings it, and a rollout
/// that names neither version nor image does.
async fn other_instances(stage: &Stage) -> anyhow::Result<Program> {
    let orchestrator = &stage.orchestrator;
    let spec = std::fs::read_to_string(&orchestrator.spec)?;
    ensure!(spec.contains("\"t3.medium\""));
    std::fs::write(&orchestrator.spec, spec.replace("t3.medium", "t3.large"))?;
    let plan = orchestrator
        .run(&["plan"], Duration::from_secs(60))
        .await?
        .expect(0)?;
    ensure!(
        plan.stdout.contains("instance type t3.medium → t3.large")
            && plan.stdout.contains("`orchestrator rollout"),
        "{}",
        plan.stdout
    );
    let serve = orchestrator.serve().await?;
    // It has only just begun to look for its store.
    let report = orchestrator
        .run(&["rollout", "report", "r-2"], Duration::from_secs(20))
        .await?
        .expect(0)?;
    ensure!(report.stdout.contains("11.9.0"), "{}", report.stdout);
    orchestrator
        .until("the node is back", Duration::from_secs(60), |status| {
            status["nodes"][0]["phase"] == "serving" && status["nodes"][0]["connected"] == true
        })
        .await?;
    orchestrator
        .run(&["rollout", "--yes"], Duration::from_secs(240))
        .await?
        .expect(0)?;
    let running = stage
        .aws(&[
            "ec2",
            "describe-instances",
            "--filters",
            "Name=instance-state-name,Values=running",
            "--query",
            "Reservations[].Instances[].InstanceType",
        ])
        .await?;
    ensure!(running == serde_json::json!(["t3.large"]), "{running}");
    Ok(serve)
}
