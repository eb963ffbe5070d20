//! Calls to AWS: an hour of a quiet stack, and a rollout, counted by the lab, beside AWS's buckets of tokens.
//!
//! The hour takes two minutes: everything that the orchestrator does by the clock in a quiet stack is thirty times
//! as fast (its ages of 60 and 900 s are 2 and 30), and so is the lab. The rollout is at its own pace, on the wall's
//! clock; what a bucket lost at once is counted by the wall's clock, too.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use e2e::orchestrator::Orchestrator;
use e2e::{Options, Stage};
use serde_json::Value;

use super::table::{Table, progress};

/// How many times as fast as on AWS the hour passes.
const SPEED: u32 = 30;
/// Ages of the specification's default, seconds.
const AGES: (u32, u32) = (60, 900);
/// Calls an hour of everything together in a quiet stack.
const PROMISED: f64 = 1500.0;
/// Second octet of the lab's addresses: away from the demo's and the tests'.
const OCTET: u8 = 66;

pub async fn measure(bin: &Path, table: &mut Table) -> anyhow::Result<()> {
    progress("calls: bringing a stack up");
    let mut options = Options::new(bin);
    options.octet = OCTET;
    options.speed = f64::from(SPEED);
    // Nobody uses the stack: no data is no reason to wait.
    options.rollout.push_str("quiet_is_fine = true\n");
    options.ages = (AGES.0 / SPEED, AGES.1 / SPEED);
    let stage = Stage::set(options).await?;
    let result = measured(&stage, table).await;
    stage.strike().await?;
    result
}

async fn measured(stage: &Stage, table: &mut Table) -> anyhow::Result<()> {
    let first = &stage.orchestrator;
    first
        .run(&["up"], Duration::from_secs(600))
        .await?
        .expect(0)?;
    let mut leader = first.serve().await?;
    let result = served(stage, table).await;
    leader.stop(Duration::from_secs(30)).await?;
    result
}

async fn served(stage: &Stage, table: &mut Table) -> anyhow::Result<()> {
    let alone = hour(stage, "one control host").await?;
    for (service, count) in &alone.services {
        let what = format!("calls an hour, quiet, one control host: {service}");
        table.value(&what, "calls", *count);
    }
    let promised = ("promised <", PROMISED);
    let what = "calls an hour, quiet, one control host: all";
    table.compare(what, "calls", alone.total(), promised);
    bursts(table, "quiet", &alone, 0.25);

    let other = second(&stage.orchestrator)?;
    let mut follower = other.serve().await?;
    let both = hour(stage, "two control hosts").await;
    follower.stop(Duration::from_secs(30)).await?;
    let both = both?;
    let what = "calls an hour, quiet, two control hosts: all";
    table.compare(what, "calls", both.total(), promised);
    for (call, count) in &both.calls {
        progress(&format!("  {count:>6.0} an hour  {call}"));
    }

    progress("calls: a rollout");
    stage.region.uncontrol("calls").await?;
    let began = Instant::now();
    let to = stage.versions.get(1).context("a second version")?;
    let asked = ["rollout", "--mattermost", to, "--yes"];
    let ended = stage.orchestrator.run(&asked, Duration::from_secs(600));
    ended.await?.expect(0)?;
    let seconds = began.elapsed().as_secs_f64();
    let rollout = Counted::read(stage, 3600.0 / seconds).await?;
    let what = "calls an hour in a rollout (steps of seconds)";
    table.value(what, "calls", rollout.total());
    bursts(table, "rollout", &rollout, 0.5);
    Ok(())
}

/// Waits until all is quiet, then for an hour of the product's.
async fn hour(stage: &Stage, who: &str) -> anyhow::Result<Counted> {
    stage
        .orchestrator
        .until(
            "a stack that is ready",
            Duration::from_secs(300),
            |status| status["phase"] == "ready",
        )
        .await?;
    // What the beginning read is old once, and what it caused has calmed down.
    tokio::time::sleep(Duration::from_secs((2 * AGES.1 / SPEED).into())).await;
    progress(&format!("calls: an hour of a quiet stack, {who}"));
    stage.region.uncontrol("calls").await?;
    tokio::time::sleep(Duration::from_secs((3600 / SPEED).into())).await;
    Counted::read(stage, 1.0).await
}

/// The bursts that took most of a bucket, beside the share that is promised.
fn bursts(table: &mut Table, when: &str, counted: &Counted, share: f64) {
    for bucket in &counted.buckets {
        let words = if bucket.documented { "" } else { " (our size)" };
        let what = format!("burst, {when}: {}{words}", bucket.name);
        // One call is one call, however small the bucket.
        let most = (bucket.size * share).floor().max(1.0);
        table.compare(&what, "calls", bucket.deepest, ("promised <=", most));
    }
}

/// A second control host of the same stack.
fn second(first: &Orchestrator) -> anyhow::Result<Orchestrator> {
    let free = || {
        std::net::TcpListener::bind(("127.0.0.1", 0))
            .and_then(|listener| listener.local_addr())
            .map(|address| address.to_string())
    };
    let text = std::fs::read_to_string(&first.spec)?;
    let listen = free()?;
    let lines = text.lines().map(|line| {
        if line.starts_with("listen = ") {
            format!("listen = \"{listen}\"\n")
        } else {
            format!("{line}\n")
        }
    });
    let spec = first.spec.with_file_name("second.toml");
    std::fs::write(&spec, lines.collect::<String>())?;
    Ok(Orchestrator {
        spec,
        runtime: first.runtime.with_file_name("run-second"),
        log: first.log.with_file_name("second.log"),
        console: free()?,
        ..first.clone()
    })
}

struct Bucket {
    name: String,
    size: f64,
    deepest: f64,
    documented: bool,
}

/// What the orchestrators called.
struct Counted {
    calls: BTreeMap<String, f64>,
    services: BTreeMap<String, f64>,
    buckets: Vec<Bucket>,
}

impl Counted {
    fn total(&self) -> f64 {
        self.services.values().sum()
    }

    /// The lab's counts, times `factor`; without what the nodes themselves call.
    async fn read(stage: &Stage, factor: f64) -> anyhow::Result<Self> {
        let said = stage.region.read("calls").await?;
        let list = |key: &str| said[key].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let number = |value: &Value| value.as_f64().unwrap_or_default();
        let (mut calls, mut services) = (BTreeMap::new(), BTreeMap::new());
        for call in list("calls") {
            if !text(&call["caller"]).contains(e2e::role::ROLE) {
                continue;
            }
            let service = text(&call["service"]);
            let action = format!("{service} {}", text(&call["action"]));
            let count = number(&call["count"]) * factor;
            *calls.entry(action).or_default() += count;
            *services.entry(service).or_default() += count;
        }
        let mut buckets: Vec<Bucket> = list("buckets")
            .iter()
            .map(|bucket| Bucket {
                name: text(&bucket["name"]),
                size: number(&bucket["size"]),
                deepest: number(&bucket["deepest"]),
                documented: bucket["documented"] == true,
            })
            .collect();
        buckets.sort_by(|left, right| {
            (right.deepest / right.size).total_cmp(&(left.deepest / left.size))
        });
        buckets.truncate(6);
        Ok(Self {
            calls,
            services,
            buckets,
        })
    }
}
