//! The bucket's policy refuses the nodes, and then everybody.

use anyhow::{Context, ensure};
use e2e::{Stage, role};
use serde_json::{Value, json};

use super::{doctor, nothing_to_do, serves, serves_and_says, verb, well_again};

/// The statement that refuses.
const REFUSES: &str = "Refuses";

/// The bucket's policy, without what [`deny`] added.
async fn policy(stage: &Stage, own: &str) -> anyhow::Result<Value> {
    let get = ["s3api", "get-bucket-policy", "--bucket", own];
    let answer = stage.aws(&get).await?;
    let text = answer["Policy"].as_str().context("no policy")?;
    let mut policy: Value = serde_json::from_str(text)?;
    let statements = policy["Statement"].as_array_mut();
    let statements = statements.context("no statements")?;
    statements.retain(|statement| statement["Sid"] != REFUSES);
    Ok(policy)
}

async fn put_policy(stage: &Stage, own: &str, policy: &Value) -> anyhow::Result<()> {
    let put = ["s3api", "put-bucket-policy", "--bucket", own];
    let policy = policy.to_string();
    let put = [&put[..], &["--policy", &policy]].concat();
    stage.aws(&put).await.map(drop)
}

/// The bucket's policy denies these actions to these roles, too.
async fn deny(stage: &Stage, own: &str, roles: &[&str], actions: &[&str]) -> anyhow::Result<()> {
    let identity = stage.aws(&["sts", "get-caller-identity"]).await?;
    let account = identity["Account"].as_str().context("no account")?;
    let roles: Vec<String> = roles
        .iter()
        .map(|role| format!("arn:aws:iam::{account}:role/{role}"))
        .collect();
    let mut policy = policy(stage, own).await?;
    let bucket = format!("arn:aws:s3:::{own}");
    let statements = policy["Statement"].as_array_mut();
    statements.context("no statements")?.push(json!({
        "Sid": REFUSES,
        "Effect": "Deny",
        "Principal": { "AWS": roles },
        "Action": actions,
        "Resource": [bucket, format!("{bucket}/*")],
    }));
    put_policy(stage, own, &policy).await
}

/// The nodes' role may not write: a rollout is turned back before anybody is sent away.
pub async fn refuse_the_nodes(stage: &Stage, own: &str) -> anyhow::Result<()> {
    deny(stage, own, &[role::NODE_ROLE], &["s3:PutObject"]).await?;
    let rollout = ["rollout", "--mattermost", "11.9.0", "--yes"];
    let rollout = [&rollout[..], &["--output", "json"]].concat();
    let ended = verb(stage, &rollout, 4).await?.json()?;
    let told = ended["failure"].to_string();
    for part in ["file_store_denied", own, "AccessDenied", "s3:PutObject"] {
        ensure!(told.contains(part), "{part} is not told: {told}");
    }
    let phases = ended["phases"].to_string();
    ensure!(
        phases.contains("Prepared") && !phases.contains("Closed"),
        "users were sent away: {phases}"
    );
    serves(&stage.orchestrator).await.map(drop)
}

/// Nobody may look into it: whatever a person reads names the bucket, and the server serves on.
pub async fn refuse_everybody(stage: &Stage, own: &str) -> anyhow::Result<()> {
    let roles = [role::NODE_ROLE, role::ROLE];
    deny(stage, own, &roles, &["s3:PutObject", "s3:ListBucket"]).await?;
    serves_and_says(stage, &[own, "AccessDenied"]).await?;
    let doctor = doctor(stage, 3).await?;
    let failed: Vec<&Value> = doctor
        .iter()
        .filter(|row| row["result"] == "fail")
        .collect();
    let names = |row: &&Value| {
        let detail = row["detail"].as_str().unwrap_or_default();
        detail.contains(own) && (detail.contains("403") || detail.contains("AccessDenied"))
    };
    ensure!(
        !failed.is_empty() && failed.iter().all(names),
        "{failed:#?}"
    );
    let plan = verb(stage, &["plan"], 5).await?.stdout;
    ensure!(
        plan.contains(&format!("bucket `{own}` answers 403")),
        "{plan}"
    );
    Ok(())
}

/// The policy is as it was before.
pub async fn forgive(stage: &Stage, own: &str) -> anyhow::Result<()> {
    let without = policy(stage, own).await?;
    put_policy(stage, own, &without).await?;
    well_again(stage).await?;
    nothing_to_do(stage).await
}
