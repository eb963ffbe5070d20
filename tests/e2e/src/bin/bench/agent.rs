//! The agent on a node that serves: its size, its memory, its idle CPU.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use e2e::{Options, Stage};

use super::proc::{MB, cpu_seconds, memory_mb, running_below};
use super::table::{Table, progress};

/// Promises of the node (docs): MB of binary, MB resident.
const PROMISED: (f64, f64) = (8.0, 10.0);
/// How long nothing happens.
const IDLE: Duration = Duration::from_secs(10);
/// After the start, until what it caused has calmed down.
const SETTLE: Duration = Duration::from_secs(5);
/// Second octet of the lab's addresses: away from the demo's and the tests'.
const OCTET: u8 = 62;

pub async fn measure(bin: &Path, table: &mut Table) -> anyhow::Result<()> {
    let size = |path: &Path| std::fs::metadata(path).map(|file| file.len() as f64 / MB);
    let binary = bin.join("mattermost-agent");
    let promised = ("promised <=", PROMISED.0);
    let megabytes = size(&binary).with_context(|| binary.display().to_string())?;
    let built = bin.file_name().unwrap_or_default().to_string_lossy();
    table.compare(
        &format!("agent: binary, {built} build"),
        "MB",
        megabytes,
        promised,
    );
    let release = bin.join("../release/mattermost-agent");
    match size(&release) {
        Ok(megabytes) if built != "release" => {
            table.compare("agent: binary, release build", "MB", megabytes, promised);
        }
        Ok(_) => {}
        Err(_) => table.note(
            "no release build of the agent beside it: `cargo build --release -p mattermost-agent`",
        ),
    }

    progress("agent: bringing a stack up");
    let mut options = Options::new(bin);
    options.octet = OCTET;
    options.licence = None;
    let stage = Stage::set(options).await?;
    let result = serving(&stage, table).await;
    stage.strike().await?;
    result
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
    let tree = stage.directory.path().canonicalize()?;
    let pid = match running_below(&tree, "mattermost-agent").as_slice() {
        [pid] => *pid,
        other => bail!("one agent was expected, found processes {other:?}"),
    };
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
    table.value(
        "agent: CPU while serving idly, over 10 s",
        "% of a core",
        cpu / IDLE.as_secs_f64() * 100.0,
    );
    Ok(())
}
