//! A stack of an earlier build, which keeps settings and files on its node. Users work in it; whatever would
//! end the node is refused. A first `orchestrator move` meets a bucket that takes nothing and goes back; a
//! second one ends. Both are killed in the middle. What users made is there at each end, and on the node
//! that replaces this one.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::database::Database;
use e2e::earlier::EarlierNode;
use e2e::fleet::serving;
use e2e::processes::Program;
use e2e::users::{self, Pace, Users};
use e2e::{Ended, Options, Orchestrator, Stage, binaries};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// For one thing; all take seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(120);
const BRIEF: Duration = Duration::from_secs(60);
/// What the agent asks of the bucket for every file.
const ASKED: [&str; 2] = ["HeadObject", "PutObject"];

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_of_an_earlier_build_is_moved() -> anyhow::Result<()> {
    let mut options = Options::new(binaries());
    options.octet = 208;
    options.speed = 120.0;
    options.licence = None;
    let stage = Stage::set(options).await?;
    let orchestrator = &stage.orchestrator;
    orchestrator.run(&["up"], PATIENCE).await?.expect(0)?;
    stage.make_earlier().await?;
    let mut serve = orchestrator.serve().await?;
    let (status, node) = stage
        .earlier_serves(PATIENCE, PATIENCE, |status| {
            let nodes = status["nodes"].as_array().map_or(0, Vec::len);
            nodes == 1 && serving(status).len() == 1 && says(status, "orchestrator move")
        })
        .await?;
    let first = instance(&status)?;
    let url = status["url"].as_str().context("no address")?.to_owned();
    let users = users(&stage, &url).await?;
    users.kept("before").await?;
    let site_name = node.setting("TeamSettings", "SiteName")?;
    ensure!(site_name.starts_with("Load "), "SiteName is {site_name}");
    ensure!(node.files()? > 0, "no file of users' is on the node");

    refuses(
        orchestrator,
        &["rollout", "--mattermost", "11.9.0", "--yes"],
    )
    .await?;
    let store = stage.database("orchestrator").await?;
    going_back(&stage, &store, &mut serve).await?;
    users.kept("after the way back").await?;
    node.serves(BRIEF).await?;

    moved(&stage, &store, &mut serve).await?;
    users.kept("after the move").await?;
    settings_are_the_files(&stage, &node).await?;
    let status = orchestrator.status().await?;
    ensure!(
        instance(&status)? == first && !says(&status, "orchestrator move"),
        "the same node, and nothing is left to move: {status:#}"
    );

    let gone = ["ec2", "terminate-instances", "--instance-ids", &first];
    stage.aws(&gone).await?;
    orchestrator
        .until("another node serves", PATIENCE, |status| {
            let nodes = serving(status);
            nodes.len() == 1 && !nodes.contains_key(&first)
        })
        .await?;
    users.kept("on another node").await?;
    users.finish().await.context("in the end")?;
    serve.stop(Duration::from_secs(20)).await?;
    let behind = stage.strike().await?;
    ensure!(behind.is_empty(), "processes were left behind: {behind:?}");
    Ok(())
}

/// Whatever would end the node names the way out, and nothing begins.
async fn refuses(orchestrator: &Orchestrator, rollout: &[&str]) -> anyhow::Result<()> {
    let refused = orchestrator.run(rollout, BRIEF).await?.expect(3)?;
    ensure!(
        refused.stderr.contains("`orchestrator move`"),
        "{}",
        refused.stderr
    );
    let plan = orchestrator.run(&["plan"], BRIEF).await?.expect(0)?;
    ensure!(
        plan.stdout.contains("`orchestrator move`"),
        "{}",
        plan.stdout
    );
    let plan = orchestrator
        .run(&["move", "--plan"], BRIEF)
        .await?
        .expect(0)?;
    for word in ["config.json", "maintenance page", "chat-files-"] {
        ensure!(plan.stdout.contains(word), "no {word}: {}", plan.stdout);
    }
    let asks = orchestrator.run(&["move"], BRIEF).await?.expect(3)?;
    ensure!(asks.stderr.contains("--yes answers"), "{}", asks.stderr);
    Ok(())
}

/// The first move: the orchestrator is killed once files are copied; then the bucket takes nothing. The old
/// server serves again, from its own disk.
async fn going_back(stage: &Stage, store: &Database, serve: &mut Program) -> anyhow::Result<()> {
    let orchestrator = &stage.orchestrator;
    let first = follow(orchestrator, "first");
    until_phase(store, &["pinned", "closed", "moving"]).await?;
    for action in ASKED {
        let error = json!({ "code": "AccessDenied", "message": "Access Denied" });
        let fault = json!({
            "service": "s3", "action": action, "effect": { "error": error }, "times": 1_000_000
        });
        stage.control("faults", fault).await?;
    }
    killed_in(store, serve, &["pinned", "closed", "moving"]).await?;
    // Nobody keeps the stack up now: its end would take what lies on the node.
    let down = orchestrator
        .run(&["down", "--yes"], BRIEF)
        .await?
        .expect(3)?;
    ensure!(
        down.stderr.contains("users' files") && down.stderr.contains("--lose-files"),
        "{}",
        down.stderr
    );
    *serve = orchestrator.serve().await?;
    let ended = first.await??.expect(4)?.json()?;
    let failure = ended["failure"].to_string();
    ensure!(
        failure.contains("failed in `moving` (file_store_denied)"),
        "the reason is not told: {failure}"
    );
    stage.region.uncontrol("faults").await?;
    orchestrator
        .until("the old server serves", PATIENCE, |status| {
            serving(status).len() == 1 && says(status, "orchestrator move")
        })
        .await
        .map(drop)
}

/// The second move, killed while files are copied and while no server runs.
async fn moved(stage: &Stage, store: &Database, serve: &mut Program) -> anyhow::Result<()> {
    let orchestrator = &stage.orchestrator;
    let second = follow(orchestrator, "second");
    let mut killed = Vec::new();
    for phases in [
        &["preflight", "copying", "pinned", "closed"][..],
        &["moving", "moved"][..],
        &["reopened", "done"][..],
    ] {
        until_phase(store, phases).await?;
        killed.push(killed_in(store, serve, phases).await?);
        // Not waited for until it answers: it may be in the next phase by then.
        let again = ["-v", "serve", "--console", &orchestrator.console];
        let again = orchestrator.command(&again);
        *serve = Program::start("orchestrator serve", &again, &orchestrator.log)?;
    }
    let ended = second.await??.expect(0)?;
    ensure!(
        ended.json()?["outcome"] == "done",
        "killed in {killed:?}: {}{}",
        ended.stdout,
        ended.stderr
    );
    Ok(())
}

/// A move, followed to its end.
fn follow(orchestrator: &Orchestrator, key: &'static str) -> JoinHandle<anyhow::Result<Ended>> {
    let orchestrator = Arc::new(orchestrator.clone());
    tokio::spawn(async move {
        let ask = ["move", "--yes", "--request-key", key, "--output", "json"];
        orchestrator.run(&ask, 2 * PATIENCE).await
    })
}

/// Kills the orchestrator; the phase that it leaves behind.
async fn killed_in(
    store: &Database,
    serve: &mut Program,
    phases: &[&str],
) -> anyhow::Result<String> {
    serve.kill().await?;
    let phase = phase(store).await?;
    ensure!(
        phases.contains(&phase.as_str()),
        "killed in `{phase}`, not in one of {phases:?}"
    );
    Ok(phase)
}

/// Waits until the newest rollout's row is in one of these phases.
async fn until_phase(store: &Database, phases: &[&str]) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        let phase = phase(store).await?;
        if phases.contains(&phase.as_str()) {
            return Ok(());
        }
        ensure!(Instant::now() < until, "in `{phase}`, not in {phases:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn phase(store: &Database) -> anyhow::Result<String> {
    let newest = "SELECT intent #>> '{phase,phase}' FROM rollout ORDER BY created DESC LIMIT 1";
    Ok(store.ask(newest).await?.trim().to_owned())
}

/// Salts, keys and site name of the active row are those of the node's `config.json`.
async fn settings_are_the_files(stage: &Stage, node: &EarlierNode) -> anyhow::Result<()> {
    let database = stage.database("mattermost").await?;
    for (section, name) in [
        ("FileSettings", "PublicLinkSalt"),
        ("SqlSettings", "AtRestEncryptKey"),
        ("EmailSettings", "InviteSalt"),
        ("TeamSettings", "SiteName"),
    ] {
        let value = format!(
            "SELECT value::json #>> '{{{section},{name}}}' FROM configurations WHERE active"
        );
        let same = database.ask(&value).await?.trim() == node.setting(section, name)?;
        ensure!(same, "{section}.{name} is not the one of config.json");
    }
    Ok(())
}

/// Whether a reason of the status says this.
fn says(status: &Value, words: &str) -> bool {
    status["reasons"].to_string().contains(words)
}

fn instance(status: &Value) -> anyhow::Result<String> {
    let id = status["nodes"][0]["instance_id"].as_str();
    id.map(str::to_owned).context("no node")
}

/// Users who upload and read all the time, and an administrator who made what must last.
async fn users(stage: &Stage, url: &str) -> anyhow::Result<Users> {
    let files = load::FileOptions {
        rate: 0.5,
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
