//! The image that the stage's nodes start from: for processes the agent alone, where the package puts it;
//! for machines what `packer build packer/` makes of Debian.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;

use crate::packer::{self, Build};
use crate::region::Region;
use crate::stage::{Options, Runtime, Stage};

const HOME: &str = "us-east-1";
const AGENT: &str = "usr/bin/mattermost-agent";
/// Folder of the image's files, for processes.
const TREE: &str = "image";

/// Makes the image; its id.
pub async fn make(options: &Options, region: &Region, version: &str) -> anyhow::Result<String> {
    let agent = options.bin.join("mattermost-agent");
    match &options.runtime {
        Runtime::Process => {
            let tree = region.directory.join(TREE);
            install_agent(&agent, &tree.join(AGENT), &options.agent_arguments)
                .with_context(|| format!("`{}`; hint: `make build`", agent.display()))?;
            let name = format!("mattermost-base-{version}-20260101000000");
            register(region, &name, &tree).await
        }
        Runtime::Machine(base) => {
            register(region, &packer::published_name(base)?, base).await?;
            let request = Build {
                region,
                base,
                agent: &agent,
                mattermost_version: version,
                home: HOME,
                copy_to: &[],
            };
            let built = packer::build(&request, |_| ()).await?;
            built
                .images
                .get(HOME)
                .cloned()
                .context("Packer made no image in the home region")
        }
    }
}

/// Another image with the same in it; its id.
pub async fn again(stage: &Stage) -> anyhow::Result<String> {
    let name = format!("mattermost-base-{}-20270101000000", stage.versions[0]);
    let tree = stage.directory.path().join(TREE);
    if tree.is_dir() {
        return register(&stage.region, &name, &tree).await;
    }
    let arguments = ["ec2", "copy-image", "--source-region", HOME];
    let more = ["--source-image-id", &stage.image, "--name", &name];
    let copied = stage.aws(&[&arguments[..], &more[..]].concat()).await?;
    let id = copied["ImageId"].as_str().context("no copy")?.to_owned();
    let until = tokio::time::Instant::now() + Duration::from_secs(120);
    loop {
        let shown = stage
            .aws(&["ec2", "describe-images", "--image-ids", &id])
            .await?;
        let state = &shown["Images"][0]["State"];
        if state == "available" {
            return Ok(id);
        }
        ensure!(
            state == "pending" && tokio::time::Instant::now() < until,
            "the copy of the image is {state}"
        );
    }
}

/// Gives the lab an image; its id.
async fn register(region: &Region, name: &str, tree: &Path) -> anyhow::Result<String> {
    let image = json!({ "name": name, "tree": tree, "region": HOME });
    let made = region.control("ec2/images", image).await?;
    made["image_id"]
        .as_str()
        .map(str::to_owned)
        .context("the lab did not register the image")
}

/// The agent, or a script in its place that starts it with these arguments besides.
fn install_agent(from: &Path, to: &Path, arguments: &[String]) -> anyhow::Result<()> {
    if arguments.is_empty() {
        return install(from, to);
    }
    install(from, &to.with_extension("real"))?;
    let arguments = arguments.join(" ");
    fs::write(
        to,
        format!("#!/bin/sh\nexec \"$0.real\" {arguments} \"$@\"\n"),
    )?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn install(from: &Path, to: &Path) -> anyhow::Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::copy(from, to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
    Ok(())
}
