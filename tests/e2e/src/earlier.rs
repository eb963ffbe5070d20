//! A stack as a build left it that knew neither `[files]` nor settings in the database: what that build
//! recorded and stored, put in the place of what this one did. The product is told nothing else.
//!
//! ```text
//!   record of the stack:      no home of settings, no home of files
//!   database `mattermost`:    no table of Mattermost's for settings
//!   bucket:                   empty
//! ```
//!
//! From such a record the orchestrator has always made servers that run on `config.json` and `data`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::stage::{Runtime, Stage};

/// What such a record did not have.
const RECORD: &str =
    "UPDATE stack SET record = (record - 'configuration' - 'salts') #- '{proven,files}'";
/// What such a server's database did not have.
const TABLES: &str = "DROP TABLE configurations, configurationfiles, db_config_migrations";

impl Stage {
    /// Makes the stack one of an earlier build. No orchestrator may run meanwhile.
    pub async fn make_earlier(&self) -> anyhow::Result<()> {
        self.database("orchestrator").await?.ask(RECORD).await?;
        self.database("mattermost").await?.ask(TABLES).await?;
        let bucket = format!("s3://{}", self.own_bucket().await?);
        let empty = ["s3", "rm", "--recursive", "--quiet", &bucket];
        self.aws(&empty).await.map(drop)
    }

    /// Name of the stack's own bucket.
    pub async fn own_bucket(&self) -> anyhow::Result<String> {
        let all = self.region.read("s3").await?;
        let names = all["buckets"].as_object().context("no buckets")?;
        let mut names = names.keys().filter(|name| name.starts_with("chat-files-"));
        names.next().cloned().context("the stack has no bucket")
    }

    /// Waits until the only node serves from its own disk and `status` is as wanted, each look at it for at most
    /// `brief`; gives that status, and the disk.
    ///
    /// Its server is started anew for that. At a high speed the second that it takes is minutes for the load
    /// balancer, and the Auto Scaling group may replace the node: which one it is, is asked at every look.
    pub async fn earlier_serves(
        &self,
        within: Duration,
        brief: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<(Value, EarlierNode)> {
        let until = Instant::now() + within;
        loop {
            let status = self
                .orchestrator
                .until("a node of an earlier build serves", brief, &wanted)
                .await?;
            let id = status["nodes"][0]["instance_id"].as_str();
            let node = self.earlier_node(id.context("the node has no id")?).await;
            if let Ok(node) = node
                && node.is_earlier()?
            {
                return Ok((status, node));
            }
            ensure!(
                Instant::now() < until,
                "the node never served from its own disk: {status:#}"
            );
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// The disk of an instance, as this machine sees it, while it is not terminated.
    pub async fn earlier_node(&self, instance: &str) -> anyhow::Result<EarlierNode> {
        let all: Vec<Value> = serde_json::from_value(self.region.read("ec2/instances").await?)?;
        let found = all
            .into_iter()
            .find(|one| one["id"] == instance && one["state"] != "terminated");
        let folder = found.and_then(|one| one["directory"].as_str().map(PathBuf::from));
        let folder = folder.context("the instance has no folder")?;
        let disk = match self.runtime() {
            Runtime::Process => "root",
            // What it wrote over its image.
            Runtime::Machine(_) => "upper",
        };
        Ok(EarlierNode(folder.join(disk)))
    }
}

/// The disk of a node that serves from `config.json`.
#[derive(Clone, Debug)]
pub struct EarlierNode(pub PathBuf);

impl EarlierNode {
    /// Waits until its server runs on `config.json`.
    pub async fn serves(&self, within: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + within;
        while !self.is_earlier()? {
            ensure!(
                Instant::now() < until,
                "no server runs on `{}`",
                self.configuration().display()
            );
            sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    /// Whether its server runs on `config.json`, and wrote it.
    pub fn is_earlier(&self) -> anyhow::Result<bool> {
        Ok(self.runs_on_its_file()? && self.setting("FileSettings", "PublicLinkSalt").is_ok())
    }

    /// The server's environment names no other place for its settings.
    fn runs_on_its_file(&self) -> anyhow::Result<bool> {
        match std::fs::read_to_string(self.0.join("etc/mattermost/mattermost.env")) {
            Ok(environment) => Ok(!environment.contains("MM_CONFIG=")
                && !environment.contains("MM_FILESETTINGS_DRIVERNAME")),
            // A node that was just launched has none yet.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn configuration(&self) -> PathBuf {
        self.0.join("opt/mattermost/shared/config/config.json")
    }

    /// A text of `config.json` that is not empty.
    pub fn setting(&self, section: &str, name: &str) -> anyhow::Result<String> {
        let document: Value = serde_json::from_slice(&std::fs::read(self.configuration())?)?;
        let text = document[section][name].as_str().map(str::to_owned);
        text.filter(|text| !text.is_empty())
            .with_context(|| format!("config.json has no {section}.{name}"))
    }

    /// How many files users have here.
    pub fn files(&self) -> anyhow::Result<usize> {
        let mut folders = vec![self.0.join("opt/mattermost/shared/data")];
        let mut files = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder)?.flatten() {
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                } else {
                    files += 1;
                }
            }
        }
        Ok(files)
    }
}
