//! A node under its own systemd: the agent dies or hangs and Mattermost does not notice; the machine reboots while
//! there is no orchestrator and serves again from what it has; an orchestrator that returns finds it. In the
//! end the node is one that an earlier build made, and its agent moves what lies on it.
//! Skipped, loudly, where there can be no machines.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::processes::Program;
use e2e::{Options, Runtime, Stage, binaries, packer};
use lab::runtime::Boot;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

/// For one thing that a node does; all take seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// For one script in an instance, which takes a second or two.
const SCRIPT: Duration = Duration::from_secs(30);

/// What a script prints in an instance; nothing when it fails or the instance does not run.
async fn inside(instance: &str, script: &str) -> String {
    let Some(boot) = Boot::of(instance) else {
        return String::new();
    };
    match Command::from(boot.script(script, SCRIPT)).output().await {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => String::new(),
    }
}

/// Waits until a script prints something that is wanted; gives it.
async fn until(
    instance: &str,
    what: &str,
    script: &str,
    wanted: impl Fn(&str) -> bool,
) -> anyhow::Result<String> {
    let until = Instant::now() + PATIENCE;
    loop {
        let said = inside(instance, script).await;
        if wanted(&said) {
            return Ok(said);
        }
        ensure!(
            Instant::now() < until,
            "not within {PATIENCE:?}: {what}; `{script}` said `{said}`\n{}",
            inside(instance, "journalctl --no-pager --lines 40").await
        );
        sleep(Duration::from_millis(200)).await;
    }
}

fn serves(status: &Value) -> bool {
    let node = &status["nodes"][0];
    node["phase"] == "serving" && node["connected"] == true && node["target_health"] == "healthy"
}

const SERVER: &str = "systemctl show --property InvocationID --value mattermost.service";
const AGENT: &str = "systemctl is-active --quiet mattermost-agent.service && \
                     systemctl show --property MainPID --value mattermost-agent.service";

const FED: &str =
    "systemctl show --property WatchdogTimestampMonotonic --value mattermost-agent.service";
/// So that the test need not wait for the unit's own minute.
const SHORT_WATCHDOG: &str = "mkdir -p /run/systemd/system/mattermost-agent.service.d && \
     printf '[Service]\\nWatchdogSec=6\\n' > /run/systemd/system/mattermost-agent.service.d/short.conf && \
     systemctl daemon-reload";

/// A file of a server's, which nobody else may read, not even in its folder. Says whose and how.
const UPLOAD: &str = "cd /opt/mattermost/shared/data && umask 077 && mkdir -p 20260801/teams && \
     printf kept > 20260801/teams/file.txt && chown -R --reference=. 20260801 2>&1 && \
     stat --format '%U %a' 20260801 2>&1 || true";

/// The same node as one that an earlier build made: its agent moves all of it, with what its unit allows.
async fn moved_by_its_agent(stage: &Stage) -> anyhow::Result<Program> {
    let orchestrator = &stage.orchestrator;
    stage.make_earlier().await?;
    let serve = orchestrator.serve().await?;
    let (status, node) = stage.earlier_serves(2 * PATIENCE, PATIENCE, serves).await?;
    let id = status["nodes"][0]["instance_id"].as_str();
    let id = id.context("the node has no id")?.to_owned();
    let salt = node.setting("FileSettings", "PublicLinkSalt")?;
    let made = inside(&id, UPLOAD).await;
    ensure!(made == "mattermost 700", "the file's folder is `{made}`");
    stage.control("speed", json!({ "speed": 30.0 })).await?;
    let moved = orchestrator.run(&["move", "--yes"], 3 * PATIENCE).await?;
    if moved.code != 0 {
        let journal = inside(&id, "journalctl --no-pager --lines 60").await;
        anyhow::bail!("{}{}{journal}", moved.stdout, moved.stderr);
    }
    let bucket = stage.own_bucket().await?;
    let object = format!("s3://{bucket}/20260801/teams/file.txt");
    let copy = stage.directory.path().join("moved.txt");
    let copy = copy.to_str().context("a folder without a name")?;
    let get = ["s3", "cp", "--quiet", &object, copy];
    stage.aws(&get).await?;
    ensure!(std::fs::read(copy)? == b"kept", "the file is another one");
    let database = stage.database("mattermost").await?;
    let value = "SELECT value::json #>> '{FileSettings,PublicLinkSalt}' FROM configurations \
                 WHERE active";
    ensure!(
        database.ask(value).await?.trim() == salt,
        "the settings in the database are not the ones of config.json"
    );
    let status = orchestrator
        .until("it serves what was moved", PATIENCE, serves)
        .await?;
    ensure!(
        status["nodes"][0]["instance_id"] == id.as_str() && !node.is_earlier()?,
        "it is not the node that was moved, or still on its disk: {status:#}"
    );
    Ok(serve)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_outlives_its_agent_and_a_reboot_without_orchestrators() -> anyhow::Result<()> {
    if let Err(why) = packer::possible() {
        let _ = writeln!(std::io::stderr(), "SKIPPED: no machines: {why:#}");
        return Ok(());
    }
    let mut options = Options::new(binaries());
    options.octet = 110;
    options.speed = 30.0;
    options.runtime = Runtime::Machine(packer::base_tree().await?);
    let stage = Stage::set(options).await?;
    let orchestrator = &stage.orchestrator;
    orchestrator
        .run(&["up"], Duration::from_secs(300))
        .await?
        .expect(0)?;
    let mut serve = orchestrator.serve().await?;
    let status = orchestrator
        .until("a node serves", PATIENCE, serves)
        .await?;
    let node = status["nodes"][0]["instance_id"]
        .as_str()
        .context("the node has no id")?
        .to_owned();
    // A reboot is an outage of seconds: at this pace Auto Scaling would replace the instance meanwhile.
    stage.control("speed", json!({ "speed": 1.0 })).await?;

    let server = inside(&node, SERVER).await;
    ensure!(server.len() == 32, "the server's invocation is `{server}`");
    inside(&node, SHORT_WATCHDOG).await;
    // Killed; started with a shorter watchdog; hanging until that bites.
    for order in [
        "systemctl kill --signal KILL",
        "systemctl restart",
        "systemctl kill --signal STOP",
    ] {
        if order.ends_with("STOP") {
            for _ in 0..2 {
                let fed = inside(&node, FED).await;
                until(&node, "the watchdog is fed", FED, |now| now != fed).await?;
            }
        }
        let agent = inside(&node, AGENT).await;
        inside(&node, &format!("{order} mattermost-agent.service")).await;
        until(&node, "another agent runs", AGENT, |now| {
            !now.is_empty() && now != agent
        })
        .await?;
        orchestrator
            .until(
                &format!("the node is back after `{order}`"),
                PATIENCE,
                serves,
            )
            .await?;
        let now = inside(&node, SERVER).await;
        ensure!(server == now, "`{order}` of the agent restarted the server");
    }

    let hung = "journalctl --no-pager --unit mattermost-agent.service --grep 'Watchdog timeout'";
    until(&node, "systemd tells of the hang", hung, |said| {
        !said.is_empty()
    })
    .await?;

    serve.kill().await?;
    let before = Boot::of(&node).context("the node's machine does not run")?;
    stage
        .aws(&["ec2", "reboot-instances", "--instance-ids", &node])
        .await?;
    let again = Instant::now() + PATIENCE;
    while Boot::of(&node).is_none_or(|now| now == before) {
        ensure!(Instant::now() < again, "the machine does not boot again");
        sleep(Duration::from_millis(200)).await;
    }
    let ping = "systemctl is-active --quiet mattermost.service && \
                curl --silent --fail http://$(hostname --all-ip-addresses | cut -d' ' -f1):8065/api/v4/system/ping";
    until(
        &node,
        "it serves again with no orchestrator",
        ping,
        |said| said.contains("OK"),
    )
    .await?;
    let now = inside(&node, SERVER).await;
    ensure!(server != now, "the machine did not reboot");

    let mut serve = orchestrator.serve().await?;
    let began = Instant::now();
    let status = orchestrator
        .until("the node is back", PATIENCE, serves)
        .await?;
    ensure!(
        status["nodes"][0]["instance_id"] == node.as_str(),
        "another node serves: {status:#}"
    );
    let _ = writeln!(
        std::io::stderr(),
        "the node was back {:.1} s after the orchestrator was",
        began.elapsed().as_secs_f64()
    );
    ensure!(
        inside(&node, SERVER).await == now,
        "the returning orchestrator restarted the server"
    );
    let state = "systemctl is-system-running";
    until(&node, "no unit failed", state, |said| said == "running").await?;
    serve.stop(Duration::from_secs(20)).await?;
    let mut serve = moved_by_its_agent(&stage).await?;
    serve.stop(Duration::from_secs(20)).await?;
    let left = stage.strike().await?;
    ensure!(left.is_empty(), "left behind:\n{}", left.join("\n"));
    Ok(())
}
