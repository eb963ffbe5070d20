//! The agent as nodes run it (profile `node`): its size, its memory, its idle CPU, how soon it is
//! enrolled; beside them what everybody knows from every server, Debian's `prometheus-node-exporter`.

use std::fmt::Write as _;
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use e2e::fleet::be_patient;
use e2e::{Options, Stage};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::proc::{MB, age_seconds, cpu_seconds, memory_mb, running_below};
use super::table::{Table, median, progress};
use super::yardstick;

/// Promises of the node: MB of binary, MB resident, percent of a core, milliseconds to be enrolled.
const PROMISED: (f64, f64, f64, f64) = (8.0, 10.0, 0.1, 100.0);
/// How long nothing happens.
pub const IDLE: Duration = Duration::from_secs(60);
/// After the start, until what it caused has calmed down.
const SETTLE: Duration = Duration::from_secs(5);
/// Second octet of the lab's addresses: away from the demo's and the tests'.
const OCTET: u8 = 62;
/// Starts that are measured; the middle one counts.
const STARTS: usize = 5;
/// How systemd starts the agent.
const UNIT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../systemd/mattermost-agent.service"
);
/// What the agent says when it has its certificate.
const ENROLLED: &str = "enrolled with";

pub async fn measure(bin: &Path, cache: &Path, table: &mut Table) -> anyhow::Result<()> {
    let binary = bin.join("../node/mattermost-agent");
    let size = std::fs::metadata(&binary).with_context(|| {
        format!(
            "`{}`; hint: `cargo build --profile node -p mattermost-agent`",
            binary.display()
        )
    })?;
    let promised = |value: f64| ("promised <=", value);
    let megabytes = size.len() as f64 / MB;
    table.compare("agent: binary", "MB", megabytes, promised(PROMISED.0));

    progress("agent: bringing a stack up");
    let programs = with_agent(bin, &binary)?;
    let mut options = Options::new(programs.path());
    options.octet = OCTET;
    options.licence = None;
    let stage = Stage::set(options).await?;
    let result = serving(&stage, table).await;
    stage.strike().await?;
    if let Err(error) = yardstick::measure(cache, table).await {
        table.note(format!("SKIPPED, prometheus-node-exporter: {error:#}"));
    }
    result
}

/// A folder of programs as `bin`, with another agent, that runs in the environment its unit gives it.
fn with_agent(bin: &Path, agent: &Path) -> anyhow::Result<TempDir> {
    let folder = tempfile::tempdir()?;
    for name in ["lab", "orchestrator", "mattermost"] {
        symlink(bin.join(name).canonicalize()?, folder.path().join(name))?;
    }
    let unit = std::fs::read_to_string(UNIT).context(UNIT)?;
    let environment = unit
        .lines()
        .filter_map(|line| line.strip_prefix("Environment="));
    let mut script = "#!/bin/bash\n".to_owned();
    for assignment in environment {
        let _ = writeln!(script, "export {assignment}");
    }
    // By the name that it is started with: the image's.
    let agent = agent.canonicalize()?;
    let _ = writeln!(script, r#"exec -a "$0" {} "$@""#, agent.display());
    let path = folder.path().join("mattermost-agent");
    std::fs::write(&path, script)?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o755))?;
    Ok(folder)
}

async fn serving(stage: &Stage, table: &mut Table) -> anyhow::Result<()> {
    let orchestrator = &stage.orchestrator;
    let began = Instant::now();
    orchestrator
        .run(&["up"], Duration::from_secs(300))
        .await?
        .expect(0)?;
    table.value(
        "stack: `orchestrator up` from nothing, lab 60 times as fast as AWS",
        "s",
        began.elapsed().as_secs_f64(),
    );
    let mut serve = orchestrator.serve().await?;
    let result = idle(stage, table).await;
    serve.stop(Duration::from_secs(30)).await?;
    result
}

async fn idle(stage: &Stage, table: &mut Table) -> anyhow::Result<()> {
    stage
        .orchestrator
        .until("one node that serves", Duration::from_secs(120), |status| {
            status["nodes"].as_array().is_some_and(|nodes| {
                nodes
                    .iter()
                    .any(|node| node["phase"] == "serving" && node["connected"] == true)
            })
        })
        .await?;
    tokio::time::sleep(SETTLE).await;
    let (pid, root) = agent(stage)?;
    let cpu = cpu_seconds(pid)?;
    tokio::time::sleep(IDLE).await;
    let cpu = cpu_seconds(pid)? - cpu;
    table.compare(
        "agent: resident memory while serving",
        "MB",
        memory_mb(pid, "VmRSS")?,
        ("promised <=", PROMISED.1),
    );
    table.value(
        "agent: of it not backed by the binary's file",
        "MB",
        memory_mb(pid, "RssAnon")?,
    );
    table.compare(
        "agent: CPU while serving idly, over a minute",
        "% of a core",
        cpu / IDLE.as_secs_f64() * 100.0,
        ("promised <=", PROMISED.2),
    );
    // Mattermost ends and starts with the agent here: no reason to replace the node.
    be_patient(stage).await?;
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        starts.push(enrolled(stage, &root).await?);
    }
    table.compare(
        "agent: from its start until it is enrolled, middle of 5",
        "ms",
        median(starts) * 1000.0,
        ("promised <", PROMISED.3),
    );
    Ok(())
}

/// The one agent of the stage, and its root.
fn agent(stage: &Stage) -> anyhow::Result<(u32, PathBuf)> {
    let instances = stage.directory.path().join("lab/instances");
    let age = |pid: &u32| age_seconds(*pid).unwrap_or(0.0);
    // A process that it starts is called like it until its program is loaded.
    let found = running_below(&instances, "mattermost-agent");
    let oldest = found
        .into_iter()
        .max_by(|one, other| age(one).total_cmp(&age(other)));
    let pid = oldest.context("no agent runs")?;
    let mut folders = std::fs::read_dir(&instances)?.flatten();
    let root = folders.find_map(|folder| {
        let root = folder.path().join("root");
        running_below(&root, "mattermost-agent")
            .contains(&pid)
            .then_some(root)
    });
    Ok((pid, root.context("the agent has no root")?))
}

/// Ends the agent and takes its certificate away. Seconds from the start of the next one until it has
/// another: what STS, EC2 and Auto Scaling are asked in between included, on loopback.
async fn enrolled(stage: &Stage, root: &Path) -> anyhow::Result<f64> {
    let (old, _) = agent(stage)?;
    let console = root.with_file_name("console.log");
    let before = count(&console)?;
    std::fs::remove_file(root.join("var/lib/mattermost-agent/certificate.json"))?;
    let pid = Pid::from_raw(old.try_into()?).context("no process id")?;
    kill_process(pid, Signal::KILL)?;
    let until = Instant::now() + Duration::from_secs(60);
    while count(&console)? == before {
        ensure!(Instant::now() < until, "the agent did not enrol again");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (new, _) = agent(stage)?;
    ensure!(new != old, "the killed agent goes on");
    age_seconds(new)
}

fn count(console: &Path) -> anyhow::Result<usize> {
    Ok(std::fs::read_to_string(console)?.matches(ENROLLED).count())
}
