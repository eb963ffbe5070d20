//! Users' files in other places than the stack's own bucket: first in a bucket of another region, below a
//! prefix, with keys of its own; then moved to the stack's own with the AWS CLI, as docs/operate.md says; then
//! that bucket refuses the nodes, and everybody. What users made is there all the time.

use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::processes::{Program, left_behind};
use e2e::users::{self, Pace};
use e2e::{Ended, Options, Orchestrator, Stage, binaries, role};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

const BUCKET: &str = "chat-files-in-the-west";
const WEST: &str = "us-west-2";
const PREFIX: &str = "chat/files";
const KEYS: &str = "demo/files";
/// The statement that refuses.
const REFUSES: &str = "Refuses";
/// So many files are uploaded, then only read: what is written during a move is copied a third time.
const FILES: usize = 12;
/// For one verb, or one thing that a node does; all take seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(90);
const ROLLOUT: Duration = Duration::from_secs(240);

#[tokio::test(flavor = "multi_thread")]
async fn files_move_between_regions_and_outlive_a_bucket_that_refuses() -> anyhow::Result<()> {
    let mut options = Options::new(binaries());
    options.octet = 220;
    options.speed = 120.0;
    options.licence = None;
    options.rollout =
        "step_seconds = 3\nbake_seconds = 3\nretention_seconds = 1\nquiet_is_fine = true\n"
            .to_owned();
    let stage = Stage::set(options).await?;
    let orchestrator = &stage.orchestrator;
    let plain = std::fs::read_to_string(&orchestrator.spec)?;
    name_the_west(&stage, &plain).await?;
    orchestrator.run(&["up"], ROLLOUT).await?.expect(0)?;
    let mut serve = orchestrator.serve().await?;
    let url = serves(orchestrator).await?;
    let users = users(&stage, &url).await?;
    all_uploaded(&users).await?;
    looks_well(&stage).await?;

    serve.stop(PATIENCE).await?;
    std::fs::write(&orchestrator.spec, plain)?;
    let (mut serve, own) = move_home(&stage).await?;
    kept(&users, "after the move").await?;

    refuse_the_nodes(&stage, &own).await?;
    refuse_everybody(&stage, &own).await?;
    forgive(&stage, &own).await?;
    kept(&users, "after the bucket refused").await?;
    let report = users.finish().await;
    ensure!(
        report.not_kept().is_empty()
            && report
                .files
                .as_ref()
                .is_some_and(|it| it.uploaded == FILES as u64),
        "in the end: {:?} {:?}",
        report.kept(),
        report.not_kept()
    );
    serve.stop(PATIENCE).await?;
    strike(stage, &own).await
}

/// Waits until the one node serves; gives the address.
async fn serves(orchestrator: &Orchestrator) -> anyhow::Result<String> {
    let status = orchestrator
        .until("the node serves", PATIENCE, |status| {
            let node = &status["nodes"][0];
            node["phase"] == "serving"
                && node["connected"] == true
                && node["target_health"] == "healthy"
        })
        .await?;
    Ok(status["url"].as_str().context("no address")?.to_owned())
}

async fn users(stage: &Stage, url: &str) -> anyhow::Result<load::Running> {
    let files = load::FileOptions {
        rate: 4.0,
        read_rate: 1.0,
        limit: FILES,
        ..load::FileOptions::default()
    };
    let pace = Pace {
        rate: 0.5,
        get_rate: 0.5,
        files,
    };
    users::start(stage, url, pace).await
}

async fn all_uploaded(users: &load::Running) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    while users.snapshot().files < FILES as u64 {
        ensure!(
            Instant::now() < until,
            "{} of {FILES} files are uploaded",
            users.snapshot().files
        );
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

async fn kept(users: &load::Running, when: &str) -> anyhow::Result<()> {
    let found = users.verify_kept().await;
    ensure!(found.is_kept(), "{when}: {found}");
    let troubled = users.snapshot().files_troubled;
    ensure!(troubled == 0, "{when}: {troubled} files were missing");
    Ok(())
}

/// A bucket in the west, below a prefix, with keys of its own: the nodes' role has no right in it.
async fn name_the_west(stage: &Stage, plain: &str) -> anyhow::Result<()> {
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
    ensure!(plain.contains("\n[files]\n"));
    let files = format!(
        "\n[files]\nbucket = \"{BUCKET}\"\nregion = \"{WEST}\"\nprefix = \"{PREFIX}\"\n\
         access_key = \"{KEYS}#key\"\nsecret_key = \"{KEYS}#secret\"\n"
    );
    std::fs::write(
        &stage.orchestrator.spec,
        plain.replace("\n[files]\n", &files),
    )?;
    put_policies(stage, "data-west").await
}

/// The policies that the present specification needs: `data` for the control host, as one more document, and
/// the nodes' instead of what they had.
async fn put_policies(stage: &Stage, name: &str) -> anyhow::Result<()> {
    let policies = verb(stage, &["iam-policy", "--output", "json"], 0).await?;
    let policies = policies.json()?;
    let data = policies["orchestrator"]["data"].to_string();
    role::attach(&stage.region, role::ROLE, name, &data).await?;
    let put = ["iam", "put-role-policy", "--role-name", role::NODE_ROLE];
    let node = policies["node"].to_string();
    let more = ["--policy-name", "stack", "--policy-document", &node];
    stage.aws(&[&put[..], &more[..]].concat()).await.map(drop)
}

async fn verb(stage: &Stage, arguments: &[&str], code: i32) -> anyhow::Result<Ended> {
    let ended = stage.orchestrator.run(arguments, ROLLOUT).await?;
    ended.expect(code)
}

/// Waits until `plan` has nothing to do: what a rollout kept for a while may still be on its way out.
async fn nothing_to_do(stage: &Stage) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        let plan = verb(stage, &["plan"], 0).await?.stdout;
        if plan.contains("nothing to do") {
            return Ok(());
        }
        ensure!(Instant::now() < until, "{plan}");
        sleep(Duration::from_millis(500)).await;
    }
}

/// Every key lies below the prefix; `doctor` tried the store with its keys, and `plan` has nothing to do.
async fn looks_well(stage: &Stage) -> anyhow::Result<()> {
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
    let doctor = doctor(stage, 0).await?;
    for (name, result) in [("files endpoint", "ok"), ("files rights", "skip")] {
        let found = |row: &Value| row["check"] == name && row["result"] == result;
        ensure!(doctor.iter().any(found), "{name}: {doctor:#?}");
    }
    nothing_to_do(stage).await?;
    Ok(())
}

/// As docs/operate.md says, "To another place": to the stack's own bucket, which the nodes' role opens.
async fn move_home(stage: &Stage) -> anyhow::Result<(Program, String)> {
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
    let (from, to) = (format!("s3://{BUCKET}/{PREFIX}"), format!("s3://{own}"));
    let sync = ["s3", "sync", &from, &to, "--source-region", WEST];
    let sync = [&sync[..], &["--only-show-errors"]].concat();
    stage.aws(&sync).await?;
    let moved = ["rollout", "--files-moved", "--yes", "--output", "json"];
    let moved = verb(stage, &moved, 0).await?.json()?;
    ensure!(moved["outcome"] == "done", "{moved:#}");
    stage.aws(&sync).await?;
    serves(&stage.orchestrator).await?;
    nothing_to_do(stage).await?;
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

async fn doctor(stage: &Stage, code: i32) -> anyhow::Result<Vec<Value>> {
    let said = verb(stage, &["doctor", "--output", "json"], code).await?;
    Ok(serde_json::from_value(said.json()?)?)
}

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
async fn refuse_the_nodes(stage: &Stage, own: &str) -> anyhow::Result<()> {
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
async fn refuse_everybody(stage: &Stage, own: &str) -> anyhow::Result<()> {
    let roles = [role::NODE_ROLE, role::ROLE];
    deny(stage, own, &roles, &["s3:PutObject", "s3:ListBucket"]).await?;
    let status = stage
        .orchestrator
        .until("the node says why", PATIENCE, |status| {
            let note = status["nodes"][0]["note"].as_str().unwrap_or_default();
            note.contains(own) && note.contains("AccessDenied")
        })
        .await?;
    ensure!(status["nodes"][0]["phase"] == "serving", "{status:#}");
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

async fn forgive(stage: &Stage, own: &str) -> anyhow::Result<()> {
    let without = policy(stage, own).await?;
    put_policy(stage, own, &without).await?;
    stage
        .orchestrator
        .until("the node is well again", PATIENCE, |status| {
            status["nodes"][0]["note"] == ""
        })
        .await?;
    serves(&stage.orchestrator).await?;
    nothing_to_do(stage).await?;
    Ok(())
}

/// As [`Stage::strike`]; only the bucket may have refused the product's roles anything.
async fn strike(stage: Stage, own: &str) -> anyhow::Result<()> {
    let refused = role::refused(&stage.region).await?;
    let strange: Vec<&String> = refused.iter().filter(|what| !what.contains(own)).collect();
    ensure!(
        strange.is_empty(),
        "the policies do not suffice: {strange:?}"
    );
    let (directory, region, releases) = stage.keep();
    region.stop(Duration::from_secs(30)).await?;
    drop(releases);
    let needle = directory.display().to_string();
    let until = Instant::now() + Duration::from_secs(10);
    while !left_behind(&needle).is_empty() && Instant::now() < until {
        sleep(Duration::from_millis(100)).await;
    }
    let behind = left_behind(&needle);
    ensure!(behind.is_empty(), "processes were left behind: {behind:?}");
    Ok(std::fs::remove_dir_all(directory)?)
}
