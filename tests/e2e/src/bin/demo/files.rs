//! The end of users' files: they stay when the stack goes, until somebody deletes them by the bucket's name.

use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::{Stage, Timeline, role};
use serde_json::Value;

/// Shows that the bucket outlived the stack with what is in it, then deletes it.
pub async fn end_files(timeline: &Timeline, stage: &Stage) -> anyhow::Result<()> {
    let buckets = stage.aws(&["s3api", "list-buckets"]).await?;
    let bucket = buckets["Buckets"][0]["Name"].as_str();
    let bucket = bucket.context("the stack left no bucket: users' files are gone")?;
    let list = ["s3api", "list-objects-v2", "--bucket", bucket];
    let objects = stage.aws(&list).await?["Contents"]
        .as_array()
        .map_or(0, Vec::len);
    ensure!(
        objects > 0,
        "bucket `{bucket}` is empty: users' files are gone"
    );
    timeline.proof(&format!("{objects} objects are still in {bucket}"));
    // A right of its own, which the control host's role does not have otherwise.
    let orchestrator = &stage.orchestrator;
    let policy = orchestrator
        .run(
            &["iam-policy", "--delete-files", "--output", "json"],
            Duration::from_secs(30),
        )
        .await?
        .expect(0)?
        .json()?;
    role::attach(
        &stage.region,
        role::ROLE,
        "delete-files",
        &policy.to_string(),
    )
    .await?;
    let delete = format!("--delete-files={bucket}");
    let down = orchestrator
        .run(&["down", &delete, "--yes"], Duration::from_secs(120))
        .await?
        .expect(0)?;
    timeline.note(&format!("orchestrator down {delete}"));
    timeline.note(&down.stderr);
    let buckets = stage.aws(&["s3api", "list-buckets"]).await?;
    let left = buckets["Buckets"].as_array().map_or(0, Vec::len);
    ensure!(
        left == 0,
        "a bucket is left: {}",
        Value::to_string(&buckets)
    );
    timeline.proof("every version of every file is deleted, and the bucket with them");
    Ok(())
}
