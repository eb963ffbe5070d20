//! The bucket is deleted while nodes serve from it.

use anyhow::{Context, ensure};
use e2e::Stage;
use e2e::processes::Program;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{PATIENCE, ROLLOUT, doctor, nothing_to_do, serves_and_says, verb, well_again};

/// Lab seconds, more than the test lasts: for so long nobody can take the name again.
const HELD: u64 = 1_000_000;

/// An administrator empties the bucket and deletes it: nodes serve on, and whatever a person reads names it.
pub async fn deleted(stage: &Stage, own: &str) -> anyhow::Result<()> {
    stage
        .control("s3/names", json!({ "held_for": HELD }))
        .await?;
    delete(stage, own).await?;
    let gone = format!("bucket `{own}` is gone although nodes serve from it");
    let says = |status: &Value| status["reasons"].to_string().contains(&gone);
    let orchestrator = &stage.orchestrator;
    orchestrator
        .until("it says that the bucket is gone", PATIENCE, says)
        .await?;
    serves_and_says(stage, &[own, "NoSuchBucket", "`orchestrator up`"]).await?;
    let plan = orchestrator.run(&["plan"], ROLLOUT).await?;
    ensure!(
        plan.stdout.contains(&gone),
        "{}: {}",
        plan.code,
        plan.stdout
    );
    let doctor = doctor(stage, 0).await?;
    let row = doctor.iter().find(|row| row["check"] == "files bucket");
    let row = row.context("no check of the bucket")?;
    let detail = row["detail"].as_str().unwrap_or_default();
    ensure!(row["result"] == "warn" && detail.contains(own), "{row}");
    Ok(())
}

/// `up` makes it again, as the stack's own buckets are, once S3 lets its name go.
pub async fn made_anew(stage: &Stage, own: &str, key: &str) -> anyhow::Result<Program> {
    stage.control("s3/names", json!({ "held_for": 0 })).await?;
    verb(stage, &["up"], 0).await?;
    let get = ["s3api", "get-bucket-encryption", "--bucket", own];
    let encryption = stage.aws(&get).await?.to_string();
    ensure!(encryption.contains(key), "{encryption}");
    let serve = stage.orchestrator.serve().await?;
    let anew = format!("bucket `{own}` was deleted and made anew at");
    let says = |status: &Value| status["reasons"].to_string().contains(&anew);
    stage
        .orchestrator
        .until("it says that files are gone", PATIENCE, says)
        .await?;
    well_again(stage).await?;
    nothing_to_do(stage).await?;
    Ok(serve)
}

/// As a person must: every version and marker, then the bucket. A node that tries the store meanwhile may put one
/// more into it.
async fn delete(stage: &Stage, own: &str) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        let list = ["s3api", "list-object-versions", "--bucket", own];
        let list = stage.aws(&list).await?;
        let entries = ["Versions", "DeleteMarkers"];
        let entries = entries.iter().filter_map(|kind| list[kind].as_array());
        let all: Vec<Value> = entries
            .flatten()
            .map(|one| json!({ "Key": one["Key"], "VersionId": one["VersionId"] }))
            .collect();
        // S3 takes a thousand at once.
        for some in all.chunks(1000) {
            let some = json!({ "Objects": some, "Quiet": true }).to_string();
            let delete = ["s3api", "delete-objects", "--bucket", own];
            stage
                .aws(&[&delete[..], &["--delete", &some]].concat())
                .await?;
        }
        let delete = ["s3api", "delete-bucket", "--bucket", own];
        match stage.aws(&delete).await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > until => return Err(error),
            Err(_) => sleep(std::time::Duration::from_millis(100)).await,
        }
    }
}
