//! The place in the west, with keys of its own and at an endpoint of its own; and the move to the stack's own bucket.

use anyhow::{Context, ensure};
use e2e::Stage;
use e2e::processes::Program;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};

use super::endpoint::Endpoint;
use super::{FILES, LARGE, PATIENCE, doctor, nothing_to_do, put_policies, serves, verb};

/// The bucket.
pub const BUCKET: &str = "chat-files-in-the-west";
const WEST: &str = "us-west-2";
const PREFIX: &str = "chat/files";
const KEYS: &str = "demo/files";

/// A bucket in the west, below a prefix, with keys of its own: the nodes' role has no right in it. Asked for
/// by path and without TLS at an endpoint that nothing but the specification names.
pub async fn name(stage: &Stage, plain: &str, other: &Endpoint) -> anyhow::Result<()> {
    let place = format!("LocationConstraint={WEST}");
    let create = ["s3api", "create-bucket", "--bucket", BUCKET];
    let create = [&create[..], &["--create-bucket-configuration", &place]].concat();
    stage.aws_in(WEST, &create).await?;
    let given = |name: &str| {
        let mut environment = stage.region.environment.iter();
        let found = environment.find(|(key, _)| key == name);
        found.map(|(_, value)| value.clone()).context("no keys")
    };
    let keys = json!({
        "key": given("AWS_ACCESS_KEY_ID")?, "secret": given("AWS_SECRET_ACCESS_KEY")?,
    });
    let create = ["secretsmanager", "create-secret", "--name", KEYS];
    let keys = keys.to_string();
    let create = [&create[..], &["--secret-string", &keys]].concat();
    stage.aws(&create).await?;
    let first = format!("\n[files]\nendpoint = \"{}\"\n", stage.region.endpoint);
    ensure!(plain.contains(&first), "{plain}");
    let files = format!(
        "\n[files]\nendpoint = \"{other}\"\nbucket = \"{BUCKET}\"\nregion = \"{WEST}\"\nprefix = \"{PREFIX}\"\n\
         access_key = \"{KEYS}#key\"\nsecret_key = \"{KEYS}#secret\"\n"
    );
    std::fs::write(&stage.orchestrator.spec, plain.replace(&first, &files))?;
    put_policies(stage, "data-west").await
}

/// Every key lies below the prefix, the large file in parts, and what users uploaded came through the endpoint;
/// `doctor` tried the store with its keys there, and `plan` has nothing to do.
pub async fn looks_well(stage: &Stage, other: &Endpoint) -> anyhow::Result<()> {
    let list = ["s3api", "list-objects-v2", "--bucket", BUCKET];
    let list = stage.aws_in(WEST, &list).await?;
    let keys = list["Contents"].as_array().context("no object")?;
    let below = format!("{PREFIX}/");
    let is_below = |key: &Value| {
        key["Key"]
            .as_str()
            .is_some_and(|key| key.starts_with(&below))
    };
    ensure!(keys.len() >= FILES && keys.iter().all(is_below), "{list:#}");
    let large = keys.iter().find(|key| key["Size"] == LARGE);
    let tag = large.and_then(|key| key["ETag"].as_str());
    let tag = tag.context("the large file is not there")?;
    ensure!(tag.trim_matches('"').ends_with("-4"), "not in parts: {tag}");
    let sizes = keys.iter().filter_map(|key| key["Size"].as_u64());
    let (came, stored) = (other.taken(), sizes.sum());
    ensure!(came > stored, "{came} of {stored} bytes came by `{other}`");
    let doctor = doctor(stage, 0).await?;
    ensure!(other.taken() > came, "`doctor` asked somewhere else");
    for (name, result) in [("files endpoint", "ok"), ("files rights", "skip")] {
        let found = |row: &Value| row["check"] == name && row["result"] == result;
        ensure!(doctor.iter().any(found), "{name}: {doctor:#?}");
    }
    nothing_to_do(stage).await?;
    Ok(())
}

/// As docs/operate.md says, "To another place": to the stack's own bucket, which the nodes' role opens.
pub async fn move_home(stage: &Stage) -> anyhow::Result<(Program, String)> {
    put_policies(stage, "data-home").await?;
    let serve = stage.orchestrator.serve().await?;
    serves(&stage.orchestrator).await?;
    let own = own_bucket(stage).await?;
    let plan = verb(stage, &["plan"], 0).await?.stdout;
    ensure!(
        plan.contains("orchestrator rollout --files-moved"),
        "{plan}"
    );
    let refused = verb(stage, &["rollout", "--yes"], 3).await?.stderr;
    ensure!(
        refused.contains(&format!("bucket `{BUCKET}` below `{PREFIX}/`"))
            && refused.contains("--files-moved"),
        "{refused}"
    );
    // Nothing was copied yet.
    let too_early = ["rollout", "--files-moved", "--yes"];
    let refused = verb(stage, &too_early, 3).await?.stderr;
    ensure!(
        refused.contains(&format!("there are 0 objects in bucket `{own}`"))
            && refused.contains("--files-moved --lose-files"),
        "{refused}"
    );
    let (from, to) = (format!("s3://{BUCKET}/{PREFIX}"), format!("s3://{own}"));
    let sync = ["s3", "sync", &from, &to, "--source-region", WEST];
    let sync = [&sync[..], &["--only-show-errors"]].concat();
    stage.aws(&sync).await?;
    let moved = ["rollout", "--files-moved", "--yes", "--output", "json"];
    let moved = verb(stage, &moved, 0).await?.json()?;
    ensure!(moved["outcome"] == "done", "{moved:#}");
    stage.aws(&sync).await?;
    serves(&stage.orchestrator).await?;
    Ok((serve, own))
}

/// Waits until the stack has made its own bucket.
async fn own_bucket(stage: &Stage) -> anyhow::Result<String> {
    let until = Instant::now() + PATIENCE;
    loop {
        let all = stage.aws(&["s3api", "list-buckets"]).await?;
        let names = all["Buckets"].as_array().into_iter().flatten();
        let mut names = names.filter_map(|bucket| bucket["Name"].as_str());
        if let Some(own) = names.find(|name| *name != BUCKET) {
            return Ok(own.to_owned());
        }
        ensure!(Instant::now() < until, "the stack makes no bucket: {all}");
        sleep(Duration::from_millis(200)).await;
    }
}
