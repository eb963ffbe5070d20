//! Users' files in every place that may hold them, and what becomes of them there.
//!
//! ```text
//!   west       a store of another region, below a prefix, with keys of its own, at an endpoint of its own
//!     │ moved with the AWS CLI, as docs/operate.md says
//!   key        the stack's own bucket, with a KMS key
//!   refusals   its policy refuses the nodes, then everybody
//!   key        somebody disables the key: files are not to be read, and are there again afterwards
//!   gone       somebody deletes the bucket, and `up` makes it anew
//! ```
//!
//! What users made is there all the time, until the key is disabled.

mod endpoint;
mod gone;
mod key;
mod refusals;
mod west;

use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::processes::left_behind;
use e2e::users::{self, Pace, Users};
use e2e::{Ended, Options, Orchestrator, Stage, binaries, role};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use endpoint::Endpoint;

/// So many files are uploaded, then only read: what is written during a move is copied a third time.
const FILES: usize = 12;
/// One of them, and one of any that come later: four parts of at most 5 MiB.
const LARGE: usize = 17 * 1024 * 1024;
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
        "step_seconds = 2\nbake_seconds = 2\nretention_seconds = 1\nquiet_is_fine = true\n"
            .to_owned();
    // A node tries the store so often while it serves: what it finds is awaited here.
    options.agent_arguments = ["--file-store-every", "4"].map(str::to_owned).to_vec();
    let stage = Stage::set(options).await?;
    let orchestrator = &stage.orchestrator;
    let plain = std::fs::read_to_string(&orchestrator.spec)?;
    let other = Endpoint::of(&stage.region).await?;
    west::name(&stage, &plain, &other).await?;
    orchestrator.run(&["up"], ROLLOUT).await?.expect(0)?;
    let mut serve = orchestrator.serve().await?;
    let url = serves(orchestrator).await?;
    let users = users(&stage, &url).await?;
    until_uploaded(|| users.snapshot(), FILES).await?;
    west::looks_well(&stage, &other).await?;

    serve.stop(PATIENCE).await?;
    let key = key::name(&stage, &plain).await?;
    let (mut serve, own) = west::move_home(&stage).await?;
    users.kept("after the move").await?;
    key::encrypts(&stage, &own, &key, &url).await?;

    refusals::refuse_the_nodes(&stage, &own).await?;
    refusals::refuse_everybody(&stage, &own).await?;
    refusals::forgive(&stage, &own).await?;
    users.kept("after the bucket refused").await?;
    let report = users.finish().await.context("in the end")?;
    let files = report.files.map(|files| files.uploaded);
    ensure!(files == Some(FILES as u64), "{files:?} of {FILES} files");

    key::disabled(&stage, &own, &key, &url).await?;
    gone::deleted(&stage, &own).await?;
    serve.stop(PATIENCE).await?;
    let mut serve = gone::made_anew(&stage, &own, &key).await?;
    upload_more(&url).await?;
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

async fn users(stage: &Stage, url: &str) -> anyhow::Result<Users> {
    let files = load::FileOptions {
        rate: 4.0,
        read_rate: 1.0,
        large: LARGE,
        large_every: FILES as u64,
        limit: FILES,
        ..users::small_files()
    };
    let pace = Pace {
        rate: 0.5,
        get_rate: 0.5,
        files,
    };
    users::start(stage, url, pace).await
}

async fn until_uploaded(
    snapshot: impl Fn() -> load::Snapshot,
    wanted: usize,
) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    while snapshot().files < wanted as u64 {
        ensure!(
            Instant::now() < until,
            "{} of {wanted} files are uploaded",
            snapshot().files
        );
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Other users, who have uploaded three files, a large one among them.
async fn more_users(url: &str) -> anyhow::Result<load::Running> {
    let mut options = load::Options::new(url);
    (options.clients, options.users) = (2, 2);
    (options.rate, options.get_rate) = (0.5, 0.5);
    options.files = Some(load::FileOptions {
        rate: 4.0,
        read_rate: 1.0,
        large: LARGE,
        large_every: 3,
        limit: 3,
        ..users::small_files()
    });
    let users = load::start(options).await?;
    until_uploaded(|| users.snapshot(), 3).await?;
    Ok(users)
}

/// Other users upload, and read each file back.
async fn upload_more(url: &str) -> anyhow::Result<()> {
    let report = more_users(url).await?.finish().await;
    let files = report.files.as_ref().context("no files")?;
    ensure!(
        files.is_clean() && files.bytes > LARGE as u64,
        "{files}: {:?}",
        report.not_kept()
    );
    Ok(())
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

/// Waits until the node's probe of the store says nothing more.
async fn well_again(stage: &Stage) -> anyhow::Result<()> {
    let quiet = |status: &Value| status["nodes"][0]["note"] == "";
    let orchestrator = &stage.orchestrator;
    orchestrator
        .until("the node is well again", PATIENCE, quiet)
        .await?;
    serves(orchestrator).await.map(drop)
}

/// Waits until the node's note has all of these; it must serve on meanwhile, as users see it too.
async fn serves_and_says(stage: &Stage, words: &[&str]) -> anyhow::Result<Value> {
    let status = stage
        .orchestrator
        .until("the node says why", PATIENCE, |status| {
            let note = status["nodes"][0]["note"].as_str().unwrap_or_default();
            words.iter().all(|word| note.contains(word))
        })
        .await?;
    ensure!(status["nodes"][0]["phase"] == "serving", "{status:#}");
    let url = status["url"].as_str().context("no address")?;
    let answer = reqwest::get(format!("{url}/api/v4/system/ping")).await?;
    ensure!(answer.status() == 200, "the server: {}", answer.status());
    Ok(status)
}

async fn doctor(stage: &Stage, code: i32) -> anyhow::Result<Vec<Value>> {
    let said = verb(stage, &["doctor", "--output", "json"], code).await?;
    Ok(serde_json::from_value(said.json()?)?)
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
