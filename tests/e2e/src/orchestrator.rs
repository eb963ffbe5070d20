//! The orchestrator's command line, as an operator or a program uses it.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::process::Command;

use crate::processes::{Program, tied_to_us};

/// How a verb ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Exit code.
    pub code: i32,
    /// Data.
    pub stdout: String,
    /// Talk.
    pub stderr: String,
}

impl Ended {
    /// The data as JSON.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.stdout)
            .with_context(|| format!("not JSON: {}{}", self.stdout, self.stderr))
    }

    /// Fails unless the code is as expected.
    pub fn expect(self, code: i32) -> anyhow::Result<Self> {
        if self.code != code {
            bail!(
                "exit code {} instead of {code}\n{}\n{}",
                self.code,
                self.stdout,
                self.stderr
            );
        }
        Ok(self)
    }
}

/// How to run it.
#[derive(Clone, Debug)]
pub struct Orchestrator {
    /// The binary.
    pub binary: PathBuf,
    /// The specification.
    pub spec: PathBuf,
    /// `--runtime-dir`.
    pub runtime: PathBuf,
    /// Endpoint and credentials: the role's, see [`crate::role`].
    pub environment: Vec<(String, String)>,
    /// Where `serve` logs.
    pub log: PathBuf,
    /// Console of `serve`.
    pub console: String,
}

impl Orchestrator {
    /// A command with everything set.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .arg("--spec")
            .arg(&self.spec)
            .arg("--runtime-dir")
            .arg(&self.runtime)
            .args(arguments)
            .env_clear()
            .envs(self.environment.iter().cloned())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.runtime)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs a verb to its end.
    pub async fn run(&self, arguments: &[&str], within: Duration) -> anyhow::Result<Ended> {
        // Talk goes through a file, so that it can be read while the verb runs and when it hangs.
        let talk = tempfile::Builder::new()
            .prefix(&format!(
                "{}-",
                arguments.first().copied().unwrap_or("verb")
            ))
            .suffix(".log")
            .tempfile_in(self.log.parent().context("the log has no folder")?)?;
        let output = tied_to_us(&self.command(arguments))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .stdout(Stdio::piped())
            .stderr(talk.reopen()?)
            .spawn()?
            .wait_with_output();
        let output = tokio::time::timeout(within, output).await;
        let stderr = std::fs::read_to_string(talk.path())?;
        let output = output.with_context(|| {
            format!(
                "`orchestrator {}` took longer than {within:?}\n{stderr}",
                arguments.join(" ")
            )
        })??;
        Ok(Ended {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr,
        })
    }

    /// Starts `serve`; it is ready when its socket answers.
    pub async fn serve(&self) -> anyhow::Result<Program> {
        let command = self.command(&["-v", "serve", "--console", &self.console]);
        let mut program = Program::start("orchestrator serve", &command, &self.log)?;
        let until = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            if self
                .run(&["status", "--output", "json"], Duration::from_secs(10))
                .await
                .is_ok_and(|ended| ended.code != 1)
            {
                return Ok(program);
            }
            if tokio::time::Instant::now() > until || program.pid().is_none() {
                program.kill().await?;
                bail!(
                    "`orchestrator serve` is not ready; its log is `{}`",
                    self.log.display()
                );
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The newest status.
    pub async fn status(&self) -> anyhow::Result<Value> {
        self.run(&["status", "--output", "json"], Duration::from_secs(15))
            .await?
            .json()
    }

    /// Asks for the status until `wanted` holds; the error says what it was instead.
    pub async fn until(
        &self,
        what: &str,
        within: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        let until = tokio::time::Instant::now() + within;
        let mut last = Value::Null;
        loop {
            if let Ok(status) = self.status().await {
                if wanted(&status) {
                    return Ok(status);
                }
                last = status;
            }
            if tokio::time::Instant::now() > until {
                bail!("not within {within:?}: {what}; the status was {last:#}");
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }
}
