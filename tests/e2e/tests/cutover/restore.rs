//! Going back to a restore point, with the commands of the runbook's section of that name.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::processes::Program;
use e2e::{Database, Stage};
use serde_json::Value;

/// Longer than RDS' uploads of the log, renames and restores at the stage's speed.
const LONG: Duration = Duration::from_secs(120);
const OLD: &str = "chat-db-before";

/// A cutover, and all the way back to the second before its migration.
pub async fn go_back(stage: &Stage, mut serve: Program) -> anyhow::Result<Program> {
    let orchestrator = &stage.orchestrator;
    let spec = std::fs::read_to_string(&orchestrator.spec)?;
    let by_hand = spec.replace("[rollout]\n", "[rollout]\nmanual_promote = true\n");
    std::fs::write(&orchestrator.spec, by_hand)?;
    serve.stop(Duration::from_secs(20)).await?;
    let mut serve = orchestrator.serve().await?;
    orchestrator
        .until("the stack is ready", LONG, |status| {
            status["phase"] == "ready"
        })
        .await?;
    let before = posts(stage).await?;
    ensure!(!before.is_empty(), "nobody wrote anything");

    let ask = ["rollout", "--mattermost", "11.10.0", "--yes", "--detach"];
    orchestrator.run(&ask, LONG).await?.expect(0)?;
    let report = baking(stage).await?;
    let second = report["restore_point"].as_str().context("no second")?;
    // Whatever is written after the point is lost by going back to it.
    let mattermost = stage.database("mattermost").await?;
    mattermost.ask("CREATE TABLE written_later ()").await?;
    let record = stage.database("orchestrator").await?;
    serve.stop(Duration::from_secs(20)).await?;

    exchange(stage, second).await?;

    let file = stage.directory.path().join("record.sql");
    carry(&record, &stage.database("orchestrator").await?, &file).await?;
    let serve = orchestrator.serve().await?;
    orchestrator
        .run(&["rollout", "abort"], LONG)
        .await?
        .expect(0)?;
    orchestrator
        .run(&["rollout", "follow"], Duration::from_secs(240))
        .await?
        .expect(4)?;

    let restored = stage.database("mattermost").await?;
    let found = restored.ask("SELECT to_regclass('written_later') IS NULL");
    ensure!(found.await?.trim() == "t", "what came later is still there");
    ensure!(posts(stage).await? == before, "messages were lost");
    let status = orchestrator
        .until("the stack is ready", LONG, |status| {
            status["phase"] == "ready"
        })
        .await?;
    let replica = ["rds", "describe-db-instances", "--db-instance-identifier"];
    let replica = [&replica[..], &["chat-db-replica-1"]].concat();
    let replica = stage.aws(&replica).await?;
    let source = &replica["DBInstances"][0]["ReadReplicaSourceDBInstanceIdentifier"];
    ensure!(source == "chat-db", "the replica follows {source}");
    let url = status["url"].as_str().context("no address")?;
    let answer = reqwest::get(format!("{url}/api/v4/system/ping")).await?;
    ensure!(answer.status() == 200, "{}", answer.status());
    Ok(serve)
}

/// Ids of all messages.
async fn posts(stage: &Stage) -> anyhow::Result<String> {
    let database = stage.database("mattermost").await?;
    database.ask("SELECT id FROM posts ORDER BY id").await
}

/// Until green serves all, and RDS' backups have the point.
async fn baking(stage: &Stage) -> anyhow::Result<Value> {
    let until = tokio::time::Instant::now() + LONG;
    loop {
        let report = ["rollout", "report", "--output", "json"];
        let report = stage.orchestrator.run(&report, LONG).await?.json()?;
        let waits = report["reasons"].to_string();
        if report["phase"] == "Baking" && waits.contains("rollout promote") {
            return Ok(report);
        }
        ensure!(tokio::time::Instant::now() < until, "{report}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// The old instance gets another name, and one as of `second` takes its place.
async fn exchange(stage: &Stage, second: &str) -> anyhow::Result<()> {
    let describe = ["rds", "describe-db-instances", "--db-instance-identifier"];
    let seen = stage.aws(&[&describe[..], &["chat-db"]].concat()).await?;
    let seen = &seen["DBInstances"][0];
    let text = |value: &Value| value.as_str().map(str::to_owned).context("not a text");
    let parameters = text(&seen["DBParameterGroups"][0]["DBParameterGroupName"])?;
    let group = text(&seen["VpcSecurityGroups"][0]["VpcSecurityGroupId"])?;
    let rename = ["rds", "modify-db-instance", "--db-instance-identifier"];
    let to = ["chat-db", "--new-db-instance-identifier", OLD];
    let now = ["--apply-immediately"];
    stage.aws(&[&rename[..], &to, &now].concat()).await?;
    available(stage, OLD).await?;
    let restore = [
        "rds",
        "restore-db-instance-to-point-in-time",
        "--source-db-instance-identifier",
        OLD,
        "--target-db-instance-identifier",
        "chat-db",
        "--restore-time",
        second,
        "--no-publicly-accessible",
        "--copy-tags-to-snapshot",
        "--deletion-protection",
        "--db-subnet-group-name",
        "chat-db",
        "--db-parameter-group-name",
        &parameters,
        "--vpc-security-group-ids",
        &group,
        "--tags",
        "Key=mattermost:stack,Value=chat",
        "Key=mattermost:part,Value=database",
    ];
    stage.aws(&restore).await?;
    available(stage, "chat-db").await
}

async fn available(stage: &Stage, id: &str) -> anyhow::Result<()> {
    let describe = ["rds", "describe-db-instances"];
    let status = [
        "--query",
        "DBInstances[].[DBInstanceIdentifier,DBInstanceStatus]",
    ];
    let until = tokio::time::Instant::now() + LONG;
    loop {
        let seen = stage.aws(&[describe, status].concat()).await?;
        let rows = seen.as_array().into_iter().flatten();
        if rows
            .into_iter()
            .any(|row| row[0] == id && row[1] == "available")
        {
            return Ok(());
        }
        ensure!(tokio::time::Instant::now() < until, "{id}: {seen}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// The orchestrator's record as it is now, into the restored instance.
async fn carry(from: &Database, to: &Database, file: &PathBuf) -> anyhow::Result<()> {
    let dumped = from
        .client("pg_dump")
        .args(["--clean", "--if-exists", "--file"])
        .arg(file)
        .output()
        .await
        .context("running `pg_dump`")?;
    let said = String::from_utf8_lossy(&dumped.stderr);
    ensure!(dumped.status.success(), "pg_dump: {said}");
    let read = to
        .client("psql")
        .args(["--no-psqlrc", "--quiet", "--single-transaction"])
        .args(["--set", "ON_ERROR_STOP=1", "--file"])
        .arg(file)
        .output()
        .await
        .context("running `psql`")?;
    let said = String::from_utf8_lossy(&read.stderr);
    ensure!(read.status.success(), "psql: {said}");
    Ok(())
}
