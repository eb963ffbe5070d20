//! On machines: what a node's journal says and what it never says, no core files, and a failed start whose
//! reason is still there when its instance is gone. The image is the one that Packer makes.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::secrets::Secrets;
use e2e::stage::BAD;
use e2e::{Options, Release, Runtime, Stage, binaries, packer};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

/// What the bad release says when it crashes.
const LAST_WORDS: &str = "panic: runtime error: invalid memory address";

/// What every agent says, once.
const ENROLLED: &str = "enrolled with";

/// The tree to boot; none, said loudly, where there can be no machines.
async fn base_tree() -> Option<PathBuf> {
    let tree = match packer::possible() {
        Ok(()) => packer::base_tree().await,
        Err(why) => Err(why),
    };
    let said = |why: &anyhow::Error| {
        // Past the test harness, which keeps what tests print that pass.
        let _ = writeln!(std::io::stderr(), "SKIPPED: no machines: {why:#}");
    };
    tree.inspect_err(said).ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_tells_and_a_failed_start_is_remembered() -> anyhow::Result<()> {
    let Some(tree) = base_tree().await else {
        return Ok(());
    };
    let mut options = Options::new(binaries());
    options.octet = 100;
    options.speed = 30.0;
    options.runtime = Runtime::Machine(tree);
    let stage = Stage::set(options).await?;
    // The bad release comes next after the newest good one.
    begin_with(&stage, "11.10.0")?;
    let orchestrator = &stage.orchestrator;
    orchestrator
        .run(&["up"], Duration::from_secs(300))
        .await?
        .expect(0)?;
    let mut serve = orchestrator.serve().await?;
    let status = orchestrator
        .until("a node serves", Duration::from_secs(60), |status| {
            status["nodes"][0]["phase"] == "serving" && status["nodes"][0]["connected"] == true
        })
        .await?;
    let node = status["nodes"][0]["instance_id"]
        .as_str()
        .context("the node has no id")?
        .to_owned();
    let folder = folder_of(&stage, &node)
        .await?
        .with_context(|| format!("the lab does not know {node}"))?;
    journal_says_who_and_where(&folder, &node).await?;
    journal_holds_no_secret(&stage, &folder).await?;
    nothing_dumps_core(&node)?;

    let verb = ["rollout", "--mattermost", BAD, "--yes", "--output", "json"];
    let turned_back = async {
        orchestrator
            .run(&verb, Duration::from_secs(300))
            .await?
            .expect(4)?
            .json()
    };
    let (rollout, (failed, told)) =
        tokio::try_join!(turned_back, rollout_in_a_journal(&stage, &node))?;
    ensure!(
        rollout["id"].as_str() == Some(told.as_str()),
        "the journal of {failed} names rollout `{told}`: {rollout}"
    );

    // The instance is gone, and who asks learns why: also of an orchestrator that was started since.
    gone(&stage, &failed).await?;
    serve.stop(Duration::from_secs(20)).await?;
    serve = orchestrator.serve().await?;
    let status = orchestrator
        .until("it knows its rollouts", Duration::from_secs(60), |status| {
            status["rollout"]["id"] == told.as_str()
        })
        .await?;
    let failure = status["rollout"]["failure"].to_string();
    ensure!(
        failure.contains(LAST_WORDS) && failure.contains(&failed),
        "the reason did not outlive {failed}: {failure}"
    );
    serve.stop(Duration::from_secs(20)).await?;
    let behind = stage.strike().await?;
    ensure!(behind.is_empty(), "processes were left behind: {behind:?}");
    Ok(())
}

/// Lets the specification begin with another version than the stage's first.
fn begin_with(stage: &Stage, version: &str) -> anyhow::Result<()> {
    let spec = &stage.orchestrator.spec;
    let all = &stage.releases.all;
    let (first, wanted) = (&all[&stage.versions[0]], &all[version]);
    let lines = |of: &Release| format!("version = \"{}\"\nsha256 = \"{}\"", of.version, of.sha256);
    let text = std::fs::read_to_string(spec)?;
    let changed = text.replacen(&lines(first), &lines(wanted), 1);
    ensure!(changed != text, "the specification has no version: {text}");
    Ok(std::fs::write(spec, changed)?)
}

/// The folder of an instance in the lab, while it is not terminated.
async fn folder_of(stage: &Stage, id: &str) -> anyhow::Result<Option<PathBuf>> {
    Ok(instances(stage)
        .await?
        .into_iter()
        .find(|instance| instance["id"] == id && instance["state"] != "terminated")
        .and_then(|instance| instance["directory"].as_str().map(PathBuf::from)))
}

async fn instances(stage: &Stage) -> anyhow::Result<Vec<Value>> {
    let all = stage.region.read("ec2/instances").await?;
    Ok(serde_json::from_value(all)?)
}

/// Records of a machine's journal, read from outside it.
async fn journal(folder: &Path, matches: &[&str]) -> anyhow::Result<Vec<Value>> {
    let directory = folder.join("upper/var/log/journal");
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let output = Command::new("journalctl")
        .arg("--directory")
        .arg(directory)
        .args(["--quiet", "--output", "json"])
        .args(matches)
        .kill_on_drop(true)
        .output()
        .await
        .context("running `journalctl`")?;
    output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| Ok(serde_json::from_slice(line)?))
        .collect()
}

/// `journalctl -u mattermost-agent -o json` names the node, and the phases that it went through in order.
async fn journal_says_who_and_where(folder: &Path, node: &str) -> anyhow::Result<()> {
    let records = journal(folder, &["--unit", "mattermost-agent"]).await?;
    let named: Vec<&Value> = records
        .iter()
        .filter(|record| !record["NODE"].is_null())
        .collect();
    ensure!(
        !named.is_empty() && named.iter().all(|record| record["NODE"] == node),
        "not every record is of {node}: {records:?}"
    );
    let mut phases: Vec<&str> = named
        .iter()
        .filter_map(|record| record["PHASE"].as_str())
        .collect();
    phases.dedup();
    let mut rest = phases.iter();
    for phase in ["enrolled", "configured", "verified", "installed", "serving"] {
        ensure!(
            rest.any(|seen| *seen == phase),
            "the journal does not come to `{phase}`: {phases:?}"
        );
    }
    Ok(())
}

/// No secret of the stack, nor of the node, is in any record of the machine.
async fn journal_holds_no_secret(stage: &Stage, folder: &Path) -> anyhow::Result<()> {
    let mut secrets = Secrets::default();
    secrets.add_account(stage).await?;
    let key = folder.join("upper/var/lib/mattermost-agent/node.key");
    secrets.add("the node's key", &std::fs::read_to_string(key)?)?;
    // Every setting that is one: the environment file is what the server is told in secret.
    let environment = std::fs::read(folder.join("upper/etc/mattermost/mattermost.env"))?;
    ensure!(
        !secrets.found_in(&environment).is_empty(),
        "the environment file holds none of {} secrets: they are not the ones in use",
        secrets.len()
    );
    // Found, it proves that the search can find.
    secrets.add("canary", ENROLLED)?;
    let all = journal(folder, &["--all"]).await?;
    let mut found = BTreeSet::new();
    for record in &all {
        found.extend(secrets.found_in(record.to_string().as_bytes()));
    }
    ensure!(
        found == BTreeSet::from(["canary".to_owned()]),
        "of {} secrets, {} records of the journal hold {found:?}",
        secrets.len(),
        all.len()
    );
    Ok(())
}

/// Agent and server may leave no core file, and nothing of their memory would be in one.
fn nothing_dumps_core(node: &str) -> anyhow::Result<()> {
    let mut seen = BTreeSet::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let read =
            |file: &str| std::fs::read_to_string(entry.path().join(file)).unwrap_or_default();
        let unit = read("cgroup");
        let unit = unit.lines().find_map(|line| {
            line.contains(node)
                .then(|| line.rsplit('/').next().unwrap_or_default().to_owned())
        });
        let Some(unit) = unit.filter(|unit| unit.starts_with("mattermost")) else {
            continue;
        };
        let limits = read("limits");
        let core: Vec<&str> = limits
            .lines()
            .find_map(|line| line.strip_prefix("Max core file size"))
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        ensure!(
            core.starts_with(&["0", "0"]),
            "{unit} may write a core file: {core:?}"
        );
        let filter = read("coredump_filter");
        ensure!(
            u32::from_str_radix(filter.trim(), 16).ok() == Some(0),
            "{unit} would have memory in a core file: {filter}"
        );
        seen.insert(unit);
    }
    let expected = ["mattermost-agent.service", "mattermost.service"];
    ensure!(
        seen.iter().map(String::as_str).eq(expected),
        "units with processes: {seen:?}"
    );
    Ok(())
}

/// Waits for a record with a rollout on another machine than `known`; the machine and the rollout.
async fn rollout_in_a_journal(stage: &Stage, known: &str) -> anyhow::Result<(String, String)> {
    let until = Instant::now() + Duration::from_secs(240);
    loop {
        for instance in instances(stage).await? {
            let id = instance["id"].as_str().unwrap_or_default();
            let folder = instance["directory"].as_str().unwrap_or_default();
            if id == known || folder.is_empty() {
                continue;
            }
            let records = journal(Path::new(folder), &["--unit", "mattermost-agent"]).await?;
            let told = records.iter().find_map(|record| record["ROLLOUT"].as_str());
            if let Some(told) = told {
                return Ok((id.to_owned(), told.to_owned()));
            }
        }
        ensure!(
            Instant::now() < until,
            "no journal of another machine names a rollout"
        );
        sleep(Duration::from_millis(500)).await;
    }
}

/// Waits until an instance is terminated.
async fn gone(stage: &Stage, id: &str) -> anyhow::Result<()> {
    let until = Instant::now() + Duration::from_secs(180);
    while folder_of(stage, id).await?.is_some() {
        ensure!(Instant::now() < until, "{id} is still there");
        sleep(Duration::from_millis(300)).await;
    }
    Ok(())
}
