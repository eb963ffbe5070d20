//! Setting the stage, and striking it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use standin::release::Behaviour;
use tempfile::TempDir;
use tokio::process::Command;

use crate::image::{self, Place};
use crate::orchestrator::Orchestrator;
use crate::processes::{Program, left_behind};
use crate::releases::Releases;

/// What the lab's instances are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// The agent as a process on loopback.
    Process,
    /// Booted systems, with the agent and its units in this tree of Debian.
    Machine(PathBuf),
}

/// How the stage is set.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of the built binaries.
    pub bin: PathBuf,
    /// Lab seconds per real second.
    pub speed: f64,
    /// For ids and jitter.
    pub seed: u64,
    /// Second octet of the lab's addresses; two labs on one machine need different ones.
    pub octet: u8,
    /// Real tarballs instead of the stand-in.
    pub tarballs: Vec<PathBuf>,
    /// Text of a cluster licence; without one there is one node, and a rollout is a cutover.
    pub licence: Option<String>,
    /// What instances are.
    pub runtime: Runtime,
    /// Lines appended to the specification's `[rollout]` table.
    pub rollout: String,
}

impl Options {
    /// The demo's: sixty times as fast as AWS, with a test licence for a cluster.
    pub fn new(bin: impl Into<PathBuf>) -> Self {
        Self {
            bin: bin.into(),
            speed: 60.0,
            seed: 1,
            octet: 40,
            tarballs: Vec::new(),
            licence: Some(TEST_LICENCE.to_owned()),
            rollout:
                "weights = [10, 100]\nstep_seconds = 4\nbake_seconds = 3\nretention_seconds = 1\n"
                    .to_owned(),
            runtime: Runtime::Process,
        }
    }
}

impl Options {
    /// Where everything of the stage listens that instances speak to.
    pub fn address(&self) -> Ipv4Addr {
        match self.runtime {
            Runtime::Process => Ipv4Addr::LOCALHOST,
            // The VPC's second address, which no subnet gives out.
            Runtime::Machine(_) => Ipv4Addr::new(10, self.octet, 0, 2),
        }
    }
}

/// Versions that the stand-in is packed as.
pub const GOOD: [&str; 3] = ["11.8.0", "11.9.0", "11.10.0"];
/// A release that never becomes healthy.
pub const BAD: &str = "11.10.1";

/// Everything that runs around the product.
#[derive(Debug)]
pub struct Stage {
    /// Where everything lies.
    pub directory: TempDir,
    /// The API endpoint.
    pub endpoint: String,
    /// Releases.
    pub releases: Releases,
    /// Versions to go through, in order.
    pub versions: Vec<String>,
    /// The image that the specification names, by id.
    pub image: String,
    /// The command line.
    pub orchestrator: Orchestrator,
    options: Options,
    lab: Program,
}

/// Licence text that the stand-in takes for a cluster licence.
pub const TEST_LICENCE: &str = "LAB-CLUSTER-LICENCE for the demo";
/// Name of the secret that holds it.
pub const LICENCE_SECRET: &str = "demo/licence";

impl Stage {
    /// Starts lab and release server, registers an image with the agent in it, writes a specification.
    /// Fails where the runtime cannot work, with the reason.
    pub async fn set(options: Options) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("mattermost-ha-")
            .tempdir()?;
        let base = directory.path();
        // The lab's Postgres runs as a user of its own and must get to its folder.
        make_traversable(base)?;
        let address = options.address();
        let mut command = Command::new(options.bin.join("lab"));
        command
            .arg("run")
            .args(["--listen", &format!("{address}:0")])
            .arg("--directory")
            .arg(base.join("lab"))
            .args(["--speed", &options.speed.to_string()])
            .args(["--seed", &options.seed.to_string()])
            .args(["--octet", &options.octet.to_string()])
            .args(["--instance-profile", "mattermost-node"]);
        if let Runtime::Machine(_) = options.runtime {
            command.args(["--runtime", "machine"]);
        }
        let log = base.join("lab.log");
        let mut lab = Program::start("lab", &command, &log)?;
        let first = lab.first_line(Duration::from_secs(20)).await;
        let first = first.with_context(|| {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            format!("the lab does not start: {}", said.trim())
        })?;
        let ready: Value = serde_json::from_str(&first)?;
        let text = |key: &str| {
            ready[key]
                .as_str()
                .map(str::to_owned)
                .with_context(|| format!("the lab did not say `{key}`"))
        };
        let endpoint = text("endpoint")?;
        // After the lab: with machines the address is the lab's network's.
        let releases = if options.tarballs.is_empty() {
            let mut versions: Vec<(&str, Behaviour)> =
                GOOD.map(|version| (version, Behaviour::Good)).to_vec();
            versions.push((BAD, Behaviour::CrashAtStart));
            let binary = options.bin.join("mattermost");
            Releases::stand_in(&binary, &versions, base, address).await?
        } else {
            Releases::from_files(&options.tarballs, base, address).await?
        };
        let versions: Vec<String> = if options.tarballs.is_empty() {
            GOOD.map(str::to_owned).to_vec()
        } else {
            releases.in_order()
        };
        let environment = vec![
            ("AWS_ENDPOINT_URL".to_owned(), endpoint.clone()),
            ("AWS_REGION".to_owned(), "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID".to_owned(), text("access_key_id")?),
            (
                "AWS_SECRET_ACCESS_KEY".to_owned(),
                text("secret_access_key")?,
            ),
        ];
        let place = Place {
            endpoint: &endpoint,
            environment: &environment,
            directory: base,
        };
        let image = image::make(&options, &place, &versions[0]).await?;
        let orchestrator = SocketAddr::from((address, free_port(address)?));
        let spec = base.join("mattermost.toml");
        std::fs::write(
            &spec,
            specification(
                &options,
                &releases,
                &versions,
                &image,
                &text("ca")?,
                orchestrator,
            ),
        )?;
        let orchestrator = Orchestrator {
            binary: options.bin.join("orchestrator"),
            spec,
            runtime: base.join("run"),
            environment,
            log: base.join("orchestrator.log"),
            console: format!("127.0.0.1:{}", free_port(Ipv4Addr::LOCALHOST)?),
        };
        let stage = Self {
            directory,
            endpoint,
            releases,
            versions,
            image,
            orchestrator,
            options,
            lab,
        };
        if let Some(licence) = &stage.options.licence {
            stage
                .aws(&[
                    "secretsmanager",
                    "create-secret",
                    "--name",
                    LICENCE_SECRET,
                    "--secret-string",
                    licence,
                ])
                .await?;
        }
        Ok(stage)
    }

    /// The AWS CLI against the lab: a client that nobody here wrote.
    pub async fn aws(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        self.aws_in("us-east-1", arguments).await
    }

    /// As [`Stage::aws`], in another region.
    pub async fn aws_in(&self, region: &str, arguments: &[&str]) -> anyhow::Result<Value> {
        let binary = std::env::var_os("VENV").map_or_else(
            || PathBuf::from("aws"),
            |venv| Path::new(&venv).join("bin/aws"),
        );
        let output = Command::new(&binary)
            .args(arguments)
            .args([
                "--output",
                "json",
                "--region",
                region,
                "--endpoint-url",
                &self.endpoint,
            ])
            .env_clear()
            .envs(self.orchestrator.environment.iter().cloned())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.directory.path())
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| {
                format!(
                    "running `{}`; hint: `make setup` installs it",
                    binary.display()
                )
            })?;
        if !output.status.success() {
            bail!(
                "aws {}: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        if output.stdout.is_empty() {
            return Ok(Value::Null);
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Asks the lab itself for something (docs/lab.md, control endpoint).
    pub async fn control(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        control(&self.endpoint, path, body).await
    }

    /// A second image with the same agent in it, by id: for a rollout of the image alone.
    pub async fn second_image(&self) -> anyhow::Result<String> {
        image::again(self).await
    }

    /// CPU of every instance of a group; none gives it back to what is measured.
    pub async fn set_cpu(&self, group: &str, percent: Option<f64>) -> anyhow::Result<()> {
        self.control(
            "cloudwatch/cpu",
            json!({ "group": group, "percent": percent }),
        )
        .await
        .map(drop)
    }

    /// Whether the licence allows more than one node.
    pub fn is_cluster(&self) -> bool {
        self.options.licence.is_some()
    }

    /// The lab's process id, for measurements.
    pub fn lab_pid(&self) -> Option<u32> {
        self.lab.pid()
    }

    /// Ends the lab, and says what was left behind.
    pub async fn strike(mut self) -> anyhow::Result<Vec<String>> {
        self.lab.stop(Duration::from_secs(30)).await?;
        let needle = self.directory.path().display().to_string();
        // A killed process is gone once the kernel has taken its memory back.
        let until = tokio::time::Instant::now() + Duration::from_secs(10);
        loop {
            let left = left_behind(&needle);
            if left.is_empty() || tokio::time::Instant::now() > until {
                return Ok(left);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Leaves everything where it is; returns the directory.
    pub fn keep(self) -> (PathBuf, Program, Releases) {
        (self.directory.keep(), self.lab, self.releases)
    }
}

fn make_traversable(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Asks a lab for something by its control endpoint.
pub(crate) async fn control(endpoint: &str, path: &str, body: Value) -> anyhow::Result<Value> {
    let reply = reqwest::Client::new()
        .post(format!("{endpoint}/lab/{path}"))
        .header("content-type", "application/json")
        .body(body.to_string())
        .send()
        .await?;
    let status = reply.status();
    let value: Value = serde_json::from_slice(&reply.bytes().await?)?;
    if !status.is_success() {
        bail!("/lab/{path}: {value}");
    }
    Ok(value)
}

fn free_port(address: Ipv4Addr) -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind((address, 0))?
        .local_addr()?
        .port())
}

fn specification(
    options: &Options,
    releases: &Releases,
    versions: &[String],
    image: &str,
    ca: &str,
    orchestrator: SocketAddr,
) -> String {
    let first = &releases.all[&versions[0]];
    let lines: Vec<String> = releases
        .all
        .values()
        .map(|release| format!("\"{}\" = \"{}\"\n", release.version, release.sha256))
        .collect();
    let others = lines.concat();
    let licence = if options.licence.is_some() {
        format!("licence_secret = \"{LICENCE_SECRET}\"\ncluster = true\n")
    } else {
        String::new()
    };
    let max = if options.licence.is_some() { 3 } else { 1 };
    format!(
        "stack = \"chat\"\nzones = [\"us-east-1a\", \"us-east-1b\", \"us-west-2a\"]\n\n\
         [mattermost]\nversion = \"{}\"\nsha256 = \"{}\"\nurl = \"{}\"\ntrust_file = \"{}\"\n{licence}\n\
         [mattermost.settings]\nMM_TEAMSETTINGS_ENABLEOPENSERVER = \"true\"\n\n\
         [mattermost.releases]\n{others}\n\
         [database]\nclass = \"db.t4g.medium\"\nstorage_gib = 20\nmax_connections = 1000\ntrust_file = \"{ca}\"\n\n\
         [fleet]\nimage = \"{image}\"\ninstance_type = \"t3.medium\"\nmax = {max}\nscale_in_cpu_percent = 0\n\n\
         [load_balancer]\nderegistration_delay_seconds = 60\n\n\
         [rollout]\nreads_in_a_row = 2\n{}\n\
         [orchestrator]\naddresses = [\"{orchestrator}\"]\nlisten = \"{orchestrator}\"\n",
        first.version,
        first.sha256,
        releases.url,
        releases.trust_file.display(),
        options.rollout,
    )
}
