//! A lab as a program of its own, and what can be asked of it: by the AWS CLI, and by its control endpoint.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::process::Command;

use crate::processes::Program;

/// A lab that runs.
#[derive(Debug)]
pub struct Region {
    /// Of its API.
    pub endpoint: String,
    /// What an AWS tool needs to know to speak to it, as the account's administrator.
    pub environment: Vec<(String, String)>,
    /// Where it lies, and what belongs to it.
    pub directory: PathBuf,
    ready: Value,
    program: Program,
}

impl Region {
    /// Starts `lab run` with these arguments; everything lies in `directory`.
    pub async fn start(
        bin: &Path,
        directory: &Path,
        arguments: &[impl AsRef<OsStr>],
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(bin.join("lab"));
        command
            .arg("run")
            .arg("--directory")
            .arg(directory.join("lab"))
            .args(arguments);
        let log = directory.join("lab.log");
        let mut program = Program::start("lab", &command, &log)?;
        let line = program
            .first_line(Duration::from_secs(30))
            .await
            .with_context(|| {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                format!("the lab does not start: {}", said.trim())
            })?;
        let ready: Value = serde_json::from_str(&line)?;
        let text = |key: &str| said(&ready, key);
        let endpoint = text("endpoint")?;
        let environment = vec![
            ("AWS_ENDPOINT_URL".to_owned(), endpoint.clone()),
            ("AWS_REGION".to_owned(), "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID".to_owned(), text("access_key_id")?),
            (
                "AWS_SECRET_ACCESS_KEY".to_owned(),
                text("secret_access_key")?,
            ),
        ];
        Ok(Self {
            endpoint,
            environment,
            directory: directory.to_owned(),
            ready,
            program,
        })
    }

    /// What the lab said when it was ready.
    pub fn ready(&self) -> &Value {
        &self.ready
    }

    /// A text of that.
    pub fn said(&self, key: &str) -> anyhow::Result<String> {
        said(&self.ready, key)
    }

    /// The AWS CLI against the lab, in one of its regions.
    pub async fn aws(&self, region: &str, arguments: &[&str]) -> anyhow::Result<Value> {
        let binary = std::env::var_os("VENV").map_or_else(
            || PathBuf::from("aws"),
            |venv| Path::new(&venv).join("bin/aws"),
        );
        let output = Command::new(&binary)
            .args(arguments)
            .args(["--output", "json", "--region", region])
            .args(["--endpoint-url", &self.endpoint])
            .env_clear()
            .envs(self.environment.iter().cloned())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.directory)
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

    /// Reads from the lab itself (docs/lab.md, control endpoint).
    pub async fn read(&self, path: &str) -> anyhow::Result<Value> {
        let reply = reqwest::get(format!("{}/lab/{path}", self.endpoint)).await?;
        answer(path, reply).await
    }

    /// Asks the lab itself for something (docs/lab.md, control endpoint).
    pub async fn control(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        let request = reqwest::Client::new()
            .post(format!("{}/lab/{path}", self.endpoint))
            .header("content-type", "application/json")
            .body(body.to_string());
        answer(path, request.send().await?).await
    }

    /// Takes back what the lab was asked for.
    pub async fn uncontrol(&self, path: &str) -> anyhow::Result<Value> {
        let request = reqwest::Client::new().delete(format!("{}/lab/{path}", self.endpoint));
        answer(path, request.send().await?).await
    }

    /// Ends it, with all that runs in it; it is killed when it takes longer than this.
    pub async fn stop(mut self, within: Duration) -> anyhow::Result<()> {
        self.program.stop(within).await
    }
}

fn said(ready: &Value, key: &str) -> anyhow::Result<String> {
    ready[key]
        .as_str()
        .map(str::to_owned)
        .with_context(|| format!("the lab did not say `{key}`"))
}

async fn answer(path: &str, reply: reqwest::Response) -> anyhow::Result<Value> {
    let status = reply.status();
    let value: Value = serde_json::from_slice(&reply.bytes().await?)?;
    if !status.is_success() {
        bail!("/lab/{path}: {value}");
    }
    Ok(value)
}
