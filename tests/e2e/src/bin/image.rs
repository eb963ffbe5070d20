//! `make image`: builds the node's image by Packer in a lab of machines, and looks at what it holds.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use e2e::packer::{self, Build, Built, contents, tree};
use e2e::region::Region;
use e2e::{Timeline, processes};
use serde_json::Value;

const HOME: &str = "us-east-1";
const COPY: &str = "us-west-2";

/// The image of a node, made by Packer in a local AWS region and looked through
#[derive(Debug, Parser)]
struct Arguments {
    /// Folder of the built binaries
    #[arg(long)]
    bin: PathBuf,
    /// The agent to put into the image; default: the one in the folder of binaries
    #[arg(long)]
    agent: Option<PathBuf>,
    /// What the image is named after
    #[arg(long, default_value = "11.10.0")]
    mattermost_version: String,
    /// Lab seconds per real second
    #[arg(long, default_value_t = 60.0)]
    speed: f64,
    /// Second octet of the lab's addresses, the next one is taken too
    #[arg(long, default_value_t = 60)]
    octet: u8,
    /// Say so and succeed where this machine cannot run machines, instead of failing
    #[arg(long)]
    skip: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let timeline = Timeline::default();
    if let Err(why) = packer::possible() {
        timeline.note(&format!("SKIPPED  no image is built: {why:#}"));
        return if arguments.skip {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        };
    }
    match image(&arguments, &timeline).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            timeline.note(&format!("FAILED  {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn image(arguments: &Arguments, timeline: &Timeline) -> anyhow::Result<()> {
    let agent = arguments
        .agent
        .clone()
        .unwrap_or_else(|| arguments.bin.join("mattermost-agent"));
    let directory = tempfile::Builder::new()
        .prefix("mattermost-ha-")
        .tempdir()?;
    timeline.step("1. Debian, as a tree to boot");
    let base = packer::base_tree().await?;
    timeline.note(&base.display().to_string());

    timeline.step("2. A local AWS region that boots it");
    let name = packer::published_name(&base)?;
    let published = format!("{name}={}", base.display());
    let region = Region::start(
        &arguments.bin,
        directory.path(),
        &[
            "--runtime",
            "machine",
            "--speed",
            &arguments.speed.to_string(),
            "--octet",
            &arguments.octet.to_string(),
            "--image",
            &published,
        ],
    )
    .await?;
    timeline.note(&format!(
        "lab at {}, Debian's image {name} is {}",
        region.endpoint,
        region.ready()["images"][&name]
    ));
    let result = build(arguments, timeline, &region, &base, &agent).await;
    region.stop(Duration::from_secs(60)).await?;
    result?;
    let left = processes::left_behind(&directory.path().display().to_string());
    ensure!(
        left.is_empty(),
        "processes were left behind:\n{}",
        left.join("\n")
    );
    Ok(())
}

async fn build(
    arguments: &Arguments,
    timeline: &Timeline,
    region: &Region,
    base: &Path,
    agent: &Path,
) -> anyhow::Result<()> {
    timeline.step("3. packer build packer/");
    let request = Build {
        region,
        base,
        agent,
        mattermost_version: &arguments.mattermost_version,
        home: HOME,
        copy_to: &[COPY],
    };
    let built = packer::build(&request, |line| timeline.note(line)).await?;
    ensure!(
        built
            .builder
            .starts_with(&format!("10.{}.", arguments.octet)),
        "Packer connects to {}, which is not in the lab",
        built.builder
    );
    timeline.proof(&format!(
        "built in {:.1} s, and nothing outside the lab was asked for",
        built.took.as_secs_f64()
    ));

    timeline.step("4. What was made");
    described(arguments, region, &built).await?;
    timeline.proof("available in both regions under its name, with its tags; nothing else is left");
    let layers = layers(region, &built.images[HOME]).await?;
    let found = contents::check(
        &tree::read(&[base.to_owned()])?,
        &tree::read(&layers)?,
        agent,
    )?;
    ensure!(
        found.wrong.is_empty(),
        "the image is not as docs/image.md has it:\n  {}",
        found.wrong.join("\n  ")
    );
    timeline.proof(&format!(
        "beyond Debian it holds {} files ({} MB) of {} packages and ours, {} files differ, nothing is left of its builder",
        found.added.0,
        found.added.1 / 1_000_000,
        found.packages.len(),
        found.changed
    ));

    timeline.step("5. Two instances of it");
    two_instances(region, &built.images[HOME]).await?;
    timeline.proof("each has a machine id and host keys of its own, and its agent started");
    Ok(())
}

/// The image by the AWS CLI: names, states and tags; and that the builder is gone.
async fn described(arguments: &Arguments, region: &Region, built: &Built) -> anyhow::Result<()> {
    let mut names = BTreeSet::new();
    for (place, id) in &built.images {
        let answer = region
            .aws(place, &["ec2", "describe-images", "--image-ids", id])
            .await?;
        let image = &answer["Images"][0];
        ensure!(image["State"] == "available", "{place}: {image}");
        let tag = |key: &str| {
            image["Tags"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|tag| tag["Key"] == key)
                .and_then(|tag| tag["Value"].as_str())
                .unwrap_or_default()
                .to_owned()
        };
        let name = image["Name"].as_str().unwrap_or_default().to_owned();
        let expected = format!("mattermost-base-{}-", arguments.mattermost_version);
        let stamp = name.strip_prefix(&expected).unwrap_or_default();
        ensure!(
            stamp.len() == 14 && stamp.bytes().all(|digit| digit.is_ascii_digit()),
            "{place}: the image is called `{name}`"
        );
        let disk = &image["BlockDeviceMappings"][0]["Ebs"];
        ensure!(
            disk["VolumeType"] == "gp3" && disk["Encrypted"] == true,
            "{place}: the disk is {disk}"
        );
        ensure!(tag("Name") == name, "{place}: tag `Name` of {image}");
        ensure!(
            tag("mattermost:mattermost") == arguments.mattermost_version
                && tag("mattermost:agent") == env!("CARGO_PKG_VERSION"),
            "{place}: tags of {image}"
        );
        names.insert(name);
    }
    ensure!(names.len() == 1, "two names: {names:?}");
    for (call, list) in [
        ("describe-key-pairs", "KeyPairs"),
        ("describe-security-groups", "SecurityGroups"),
    ] {
        let left = region.aws(HOME, &["ec2", call]).await?;
        ensure!(!left[list].to_string().contains("packer_"), "left: {left}");
    }
    for instance in instances(region).await? {
        let state = instance["state"].as_str().unwrap_or_default();
        ensure!(
            ["shutting-down", "terminated"].contains(&state),
            "the builder is {state}"
        );
    }
    Ok(())
}

async fn instances(region: &Region) -> anyhow::Result<Vec<Value>> {
    match region.read("ec2/instances").await? {
        Value::Array(all) => Ok(all),
        other => bail!("the lab's instances: {other}"),
    }
}

async fn layers(region: &Region, image: &str) -> anyhow::Result<Vec<PathBuf>> {
    let images = region.read("ec2/images").await?;
    let shown = images
        .as_array()
        .into_iter()
        .flatten()
        .find(|shown| shown["id"] == image)
        .with_context(|| format!("the lab does not know {image}"))?;
    serde_json::from_value(shown["layers"].clone())
        .with_context(|| format!("{image} has no files: {shown}"))
}

/// Starts two, and waits until each has told who it is.
async fn two_instances(region: &Region, image: &str) -> anyhow::Result<()> {
    let launched = region
        .aws(
            HOME,
            &["ec2", "run-instances", "--image-id", image, "--count", "2"],
        )
        .await?;
    let ids: Vec<&str> = launched["Instances"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|instance| instance["InstanceId"].as_str())
        .collect();
    let until = Instant::now() + Duration::from_secs(90);
    let mut known = BTreeSet::new();
    for id in &ids {
        let folder = instances(region)
            .await?
            .into_iter()
            .find(|instance| instance["id"] == *id)
            .and_then(|instance| instance["directory"].as_str().map(PathBuf::from))
            .with_context(|| format!("the lab does not know {id}"))?;
        let upper = folder.join("upper");
        loop {
            let own = ["etc/machine-id", "etc/ssh/ssh_host_ed25519_key.pub"]
                .map(|file| std::fs::read_to_string(upper.join(file)).unwrap_or_default());
            if own.iter().all(|text| text.len() > 32)
                && agent_spoke(&upper).await?
                && console_tells(region, id).await?
            {
                known.extend(own);
                break;
            }
            ensure!(
                Instant::now() < until,
                "{id} does not start:\n{}",
                std::fs::read_to_string(folder.join("console.log")).unwrap_or_default()
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    ensure!(
        known.len() == 2 * ids.len() && ids.len() == 2,
        "two instances share an identity: {known:?}"
    );
    Ok(())
}

/// Whether EC2 shows what the agent of an instance says: all that is to be had of one that never called.
async fn console_tells(region: &Region, id: &str) -> anyhow::Result<bool> {
    let asked = ["ec2", "get-console-output", "--instance-id", id];
    let answer = region.aws(HOME, &asked).await?;
    let text = answer["Output"].as_str().unwrap_or_default();
    Ok(text.contains("mattermost-agent: "))
}

/// Whether the agent of an instance has written to its journal.
async fn agent_spoke(upper: &Path) -> anyhow::Result<bool> {
    let folder = upper.join("var/log/journal");
    if !folder.is_dir() {
        return Ok(false);
    }
    let output = tokio::process::Command::new("journalctl")
        .arg("--directory")
        .arg(folder)
        .args(["--unit", "mattermost-agent", "--output", "json", "--quiet"])
        .arg("_COMM=mattermost-agen")
        .output()
        .await
        .context("running `journalctl`")?;
    Ok(!output.stdout.is_empty())
}
