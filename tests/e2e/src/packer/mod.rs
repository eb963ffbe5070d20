//! The image as Packer makes it: `packer build packer/`, with Debian's Packer and the lab for a region.
//!
//! ```text
//! build  ──> packer ──EC2 calls──> lab ──boots──> machine from tests/base-image.sh
//!              └───────────SSH────────────────────────┘  packer/provision.sh
//! ```
//!
//! What it made is compared with an exact list in [`contents`].

pub mod contents;
pub mod tree;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::region::Region;

/// The top of the repository: the template names its files from there.
const TOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// The longest that a build on a busy machine may take.
const LIMIT: Duration = Duration::from_secs(300);
/// The longest that it may take to undo one that was interrupted.
const CLEANING: Duration = Duration::from_secs(60);
/// Whether images can be built here: machines boot, and Packer is on the path. The error says what is missing.
pub fn possible() -> anyhow::Result<()> {
    lab::runtime::possible()?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    ensure!(
        std::env::split_paths(&path).any(|folder| folder.join("packer").is_file()),
        "`packer` is not installed; hint: Debian 12 has a package, for Debian 13 take HashiCorp's: https://developer.hashicorp.com/packer/install"
    );
    Ok(())
}

/// The name under which a lab publishes a base tree, in Debian's own form, so that the template's filter
/// finds it: the release is the one in the tree's `os-release`.
pub fn published_name(tree: &Path) -> anyhow::Result<String> {
    Ok(format!("{}-20260101-0000", system(tree)?))
}

/// `debian-<release>-amd64`, as Debian names its images.
fn system(tree: &Path) -> anyhow::Result<String> {
    let file = tree.join("usr/lib/os-release");
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("the base tree's `{}`", file.display()))?;
    let release = contents::release(&text)
        .with_context(|| format!("`{}` has no VERSION_ID", file.display()))?;
    Ok(format!("debian-{release}-amd64"))
}

/// What is to be built, and where.
#[derive(Clone, Copy, Debug)]
pub struct Build<'a> {
    /// The lab. Packer's log and home lie in its directory.
    pub region: &'a Region,
    /// The tree that the lab publishes as Debian's image.
    pub base: &'a Path,
    /// The agent's binary.
    pub agent: &'a Path,
    /// What the image is named after.
    pub mattermost_version: &'a str,
    /// Where it is built.
    pub home: &'a str,
    /// Where it is copied to.
    pub copy_to: &'a [&'a str],
}

/// What was built.
#[derive(Clone, Debug)]
pub struct Built {
    /// Image by region.
    pub images: BTreeMap<String, String>,
    /// How long Packer ran.
    pub took: Duration,
    /// The address by which Packer reached the machine that became the image.
    pub builder: String,
    /// All that Packer said, in its machine-readable form.
    pub log: PathBuf,
}

/// The tree of Debian that machines boot from; made when it is not there yet, which takes a minute or two.
pub async fn base_tree() -> anyhow::Result<PathBuf> {
    let output = Command::new("tests/base-image.sh")
        .current_dir(TOP)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await
        .context("running `tests/base-image.sh`")?;
    ensure!(
        output.status.success(),
        "`tests/base-image.sh` made no base image"
    );
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

/// Runs `packer build packer/`; `tell` gets what Packer tells its user, as it does.
pub async fn build(build: &Build<'_>, tell: impl Fn(&str)) -> anyhow::Result<Built> {
    let agent = build
        .agent
        .canonicalize()
        .with_context(|| format!("the agent `{}`; hint: `make build`", build.agent.display()))?;
    let copy_to = serde_json::to_string(build.copy_to)?;
    let source_name = format!("{}-*", system(build.base)?);
    let mut command = Command::new("packer");
    command.args(["build", "-machine-readable"]);
    for (name, value) in [
        ("endpoint", build.region.endpoint.as_str()),
        ("region", build.home),
        ("copy_to", &copy_to),
        ("source_name", &source_name),
        ("mattermost_version", build.mattermost_version),
        ("agent_version", env!("CARGO_PKG_VERSION")),
        ("agent_binary", &agent.display().to_string()),
        // Everything of the lab is here: an address outside it is never asked for.
        ("ssh_interface", "private_ip"),
    ] {
        command.arg("-var").arg(format!("{name}={value}"));
    }
    let log = build.region.directory.join("packer.log");
    let began = Instant::now();
    command
        .arg("packer/")
        .current_dir(TOP)
        .env_clear()
        .envs(build.region.environment.iter().cloned())
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", &build.region.directory)
        // Seconds between two looks at an image's state; AWS takes minutes, the lab does not.
        .env("AWS_POLL_DELAY_SECONDS", "1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("CHECKPOINT_DISABLE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0);
    let mut packer = command
        .spawn()
        .context("running `packer`; hint: `make setup` installs it")?;
    let group = Group::of(&packer);
    let mut text = String::new();
    let followed = tokio::time::timeout(LIMIT, follow(&mut packer, &mut text, tell)).await;
    std::fs::write(&log, &text)?;
    let Ok(status) = followed else {
        group.interrupt();
        let _ = tokio::time::timeout(CLEANING, packer.wait()).await;
        bail!("`packer build` did not end within {LIMIT:?}");
    };
    let status = status?;
    if !status.success() {
        let errors: Vec<_> = text
            .lines()
            .filter_map(|line| said(line, &["error"]))
            .collect();
        bail!("`packer build`: {status}\n{}", errors.join("\n"));
    }
    let images = artefacts(&text);
    ensure!(
        images.len() == 1 + build.copy_to.len(),
        "Packer made images in {:?}, and should in {} and {:?}",
        images.keys(),
        build.home,
        build.copy_to
    );
    let builder = text
        .lines()
        .filter_map(|line| said(line, &["say"]))
        .find_map(|line| {
            line.split_once("communicator to connect: ")
                .map(|(_, to)| to.to_owned())
        })
        .context("Packer did not say where it connects to")?;
    Ok(Built {
        images,
        took: began.elapsed(),
        builder,
        log,
    })
}

/// Reads what Packer says until it ends.
async fn follow(
    packer: &mut Child,
    text: &mut String,
    tell: impl Fn(&str),
) -> anyhow::Result<ExitStatus> {
    let stdout = packer.stdout.take().context("stdout was asked for above")?;
    let mut lines = BufReader::new(stdout).lines();
    while let Some(line) = lines.next_line().await? {
        if let Some(told) = said(&line, &["say", "message", "error"]) {
            tell(told.trim_end());
        }
        text.push_str(&line);
        text.push('\n');
    }
    Ok(packer.wait().await?)
}

/// Packer and its plugins, which are processes of their own and may outlive it. Dropped, they are killed.
struct Group(Option<Pid>);

impl Group {
    fn of(packer: &Child) -> Self {
        let pid = packer.id().and_then(|pid| i32::try_from(pid).ok());
        Self(pid.and_then(Pid::from_raw))
    }

    /// Packer then ends what it started in the region.
    fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    fn signal(&self, signal: Signal) {
        // Nobody is left: nothing to do.
        let _ = self.0.map(|pid| kill_process_group(pid, signal));
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// What a line of machine-readable output tells its user: `time,target,ui,KIND,TEXT`.
fn said(line: &str, kinds: &[&str]) -> Option<String> {
    let mut parts = line.splitn(5, ',').skip(2);
    let (topic, kind, text) = (parts.next()?, parts.next()?, parts.next()?);
    (topic == "ui" && kinds.contains(&kind)).then(|| unescaped(text))
}

/// The images of the build: `time,target,artifact,0,id,REGION:AMI,REGION:AMI`.
fn artefacts(log: &str) -> BTreeMap<String, String> {
    log.lines()
        .filter_map(|line| line.split_once(",artifact,0,id,"))
        .flat_map(|(_, images)| {
            unescaped(images)
                .split(',')
                .filter_map(|image| image.split_once(':'))
                .map(|(region, id)| (region.to_owned(), id.to_owned()))
                .collect::<Vec<_>>()
        })
        .collect()
}

fn unescaped(text: &str) -> String {
    text.replace("%!(PACKER_COMMA)", ",").replace("\\n", "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packers_own_form_is_read() {
        let log = "1,,ui,say,==> amazon-ebs.base: Stopping%!(PACKER_COMMA) now\n\
                   2,amazon-ebs.base,artifact,0,builder-id,mitchellh.amazonebs\n\
                   3,amazon-ebs.base,artifact,0,id,us-east-1:ami-1%!(PACKER_COMMA)us-west-2:ami-2\n";
        let images = artefacts(log);
        assert_eq!(images["us-east-1"], "ami-1");
        assert_eq!(images["us-west-2"], "ami-2");
        let told: Vec<String> = log
            .lines()
            .filter_map(|line| said(line, &["say"]))
            .collect();
        assert_eq!(told, ["==> amazon-ebs.base: Stopping, now"]);
    }
}
