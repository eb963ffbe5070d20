//! Setting the stage, and striking it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use standin::release::Behaviour;
use tempfile::TempDir;

use crate::image;
use crate::orchestrator::Orchestrator;
use crate::processes::left_behind;
use crate::region::Region;
use crate::releases::Releases;
use crate::role;

/// Auto Scaling's longest heartbeat. In the lab it passes faster than by the wall clock, by which nodes
/// install and the orchestrator renews it: at 120 times, a minute is left of two hours.
const BOOT_SECONDS: u32 = 7200;

/// As late as the specification's default takes the load balancer's minutes to be.
const AWS_METRICS_DELAY_SECONDS: f64 = 180.0;

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
    /// Seconds: how old at most what the orchestrator knows of a quiet stack may be, state and settings.
    pub ages: (u32, u32),
    /// What nodes' agents are started with besides; for processes only.
    pub agent_arguments: Vec<String>,
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
            licence: Some(test_licence()),
            rollout:
                "weights = [10, 100]\nstep_seconds = 4\nbake_seconds = 3\nretention_seconds = 1\n"
                    .to_owned(),
            runtime: Runtime::Process,
            // AWS's 60 and 900 at sixty times its speed would be 1 and 15; a state that is read each second
            // is more than a machine under test needs.
            ages: (15, 20),
            agent_arguments: Vec::new(),
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
    /// The lab.
    pub region: Region,
    /// Releases.
    pub releases: Releases,
    /// Versions to go through, in order.
    pub versions: Vec<String>,
    /// The image that the specification names, by id.
    pub image: String,
    /// The command line.
    pub orchestrator: Orchestrator,
    options: Options,
}

/// Text of a cluster licence that the stand-in takes, for a year from now.
pub fn test_licence() -> String {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    standin::licence::Licence::new(now.as_millis() as i64).text()
}

/// Name of the secret that holds it.
pub const LICENCE_SECRET: &str = "demo/licence";
/// Name of the secret with a password that the specification names for a setting.
pub const SMTP_SECRET: &str = "demo/smtp";

impl Stage {
    /// Starts lab and release server, registers an image with the agent in it, writes a specification, and
    /// gives the orchestrator a role with the policy that it prints itself. Fails where the runtime cannot work, with the reason.
    pub async fn set(options: Options) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("mattermost-ha-")
            .tempdir()?;
        let base = directory.path();
        // The lab's Postgres runs as a user of its own and must get to its folder.
        make_traversable(base)?;
        let address = options.address();
        let mut arguments = vec![
            "--listen".to_owned(),
            format!("{address}:0"),
            "--speed".to_owned(),
            options.speed.to_string(),
            "--seed".to_owned(),
            options.seed.to_string(),
            "--octet".to_owned(),
            options.octet.to_string(),
            "--instance-profile".to_owned(),
            role::NODE_ROLE.to_owned(),
        ];
        if let Runtime::Machine(_) = options.runtime {
            arguments.extend(["--runtime".to_owned(), "machine".to_owned()]);
        }
        let region = Region::start(&options.bin, base, &arguments).await?;
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
        let image = image::make(&options, &region, &versions[0]).await?;
        let orchestrator = SocketAddr::from((address, free_port(address)?));
        let spec = base.join("mattermost.toml");
        std::fs::write(
            &spec,
            specification(
                &options,
                &releases,
                &versions,
                &image,
                &region,
                orchestrator,
            )?,
        )?;
        let mut orchestrator = Orchestrator {
            binary: options.bin.join("orchestrator"),
            spec,
            runtime: base.join("run"),
            environment: region.environment.clone(),
            log: base.join("orchestrator.log"),
            console: format!("127.0.0.1:{}", free_port(Ipv4Addr::LOCALHOST)?),
        };
        if let Some(text) = &options.licence {
            create_secret(&region, LICENCE_SECRET, text).await?;
        }
        create_secret(
            &region,
            SMTP_SECRET,
            r#"{"password":"smtp-password-5b1f77"}"#,
        )
        .await?;
        orchestrator.environment = role::take(&region, &orchestrator).await?;
        Ok(Self {
            directory,
            region,
            releases,
            versions,
            image,
            orchestrator,
            options,
        })
    }

    /// The AWS CLI against the lab: a client that nobody here wrote.
    pub async fn aws(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        self.aws_in("us-east-1", arguments).await
    }

    /// As [`Stage::aws`], in another region.
    pub async fn aws_in(&self, region: &str, arguments: &[&str]) -> anyhow::Result<Value> {
        self.region.aws(region, arguments).await
    }

    /// Asks the lab itself for something (docs/lab.md, control endpoint).
    pub async fn control(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        self.region.control(path, body).await
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

    /// What its instances are.
    pub fn runtime(&self) -> &Runtime {
        &self.options.runtime
    }

    /// Ends the lab, and says what was left behind. Fails when a role of the product was refused anything:
    /// then its policy does not suffice, even where the product got along without.
    pub async fn strike(self) -> anyhow::Result<Vec<String>> {
        let refused = role::refused(&self.region).await;
        self.region.stop(Duration::from_secs(30)).await?;
        let refused = refused?;
        ensure!(
            refused.is_empty(),
            "the policies do not suffice:\n{}",
            refused.join("\n")
        );
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
    pub fn keep(self) -> (PathBuf, Region, Releases) {
        (self.directory.keep(), self.region, self.releases)
    }
}

async fn create_secret(region: &Region, name: &str, text: &str) -> anyhow::Result<()> {
    let arguments = ["secretsmanager", "create-secret", "--name", name];
    let arguments = [&arguments[..], &["--secret-string", text]].concat();
    region.aws("us-east-1", &arguments).await.map(drop)
}

fn make_traversable(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
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
    region: &Region,
    orchestrator: SocketAddr,
) -> anyhow::Result<String> {
    let ca = region.said("ca")?;
    // The server itself looks for S3 here, and does not know the lab.
    let s3 = &region.endpoint;
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
    Ok(format!(
        "stack = \"chat\"\nzones = [\"us-east-1a\", \"us-east-1b\", \"us-west-2a\"]\n\n\
         [mattermost]\nversion = \"{}\"\nsha256 = \"{}\"\nurl = \"{}\"\ntrust_file = \"{}\"\n{licence}\n\
         [mattermost.settings]\nMM_TEAMSETTINGS_ENABLEOPENSERVER = \"true\"\n\
         MM_PLUGINSETTINGS_ENABLEUPLOADS = \"true\"\nMM_FILESETTINGS_ENABLEPUBLICLINK = \"true\"\n\n\
         [mattermost.secrets]\nMM_EMAILSETTINGS_SMTPPASSWORD = \"{SMTP_SECRET}#password\"\n\n\
         [files]\nendpoint = \"{s3}\"\n\n\
         [mattermost.releases]\n{others}\n\
         [database]\nclass = \"db.t4g.medium\"\nstorage_gib = 20\nmax_connections = 1000\ntrust_file = \"{ca}\"\n\n\
         [fleet]\nimage = \"{image}\"\ninstance_type = \"t3.medium\"\nmax = {max}\n\
         scale_in_cpu_percent = 0\nboot_seconds = {BOOT_SECONDS}\n\n\
         [load_balancer]\nderegistration_delay_seconds = 60\n\n\
         [rollout]\nreads_in_a_row = 2\nmetrics_delay_seconds = {}\nmin_requests = 2\n{}\n\
         [orchestrator]\naddresses = [\"{orchestrator}\"]\nlisten = \"{orchestrator}\"\n\
         state_age_seconds = {}\nsettings_age_seconds = {}\n",
        first.version,
        first.sha256,
        releases.url,
        releases.trust_file.display(),
        metrics_delay_seconds(options.speed),
        options.rollout,
        options.ages.0,
        options.ages.1,
    ))
}

/// AWS's delay by the lab's clock, in whole seconds of the wall, and one for a machine that is busy.
fn metrics_delay_seconds(speed: f64) -> u32 {
    (AWS_METRICS_DELAY_SECONDS / speed).ceil() as u32 + 1
}
