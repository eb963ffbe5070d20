//! Child processes that never outlive the stage.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// A started program whose stderr goes to a file.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
}

impl Program {
    /// Starts `command` with stderr into `log`; ended when dropped, and when this process dies.
    pub fn start(name: &str, command: &Command, log: &Path) -> anyhow::Result<Self> {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| log.display().to_string())?;
        let mut tied = tied_to_us(command);
        let child = tied
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
        })
    }

    /// The first line that it prints.
    pub async fn first_line(&mut self, within: Duration) -> anyhow::Result<String> {
        let stdout = self
            .child
            .stdout
            .take()
            .context("stdout was taken before")?;
        let mut lines = BufReader::new(stdout).lines();
        let line = tokio::time::timeout(within, lines.next_line())
            .await
            .with_context(|| format!("{} said nothing within {within:?}", self.name))??;
        match line {
            Some(line) => Ok(line),
            None => bail!(
                "{} ended before it was ready: {:?}",
                self.name,
                self.child.wait().await?
            ),
        }
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// `kill -9`, and waits for the end.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.child
            .kill()
            .await
            .with_context(|| format!("killing {}", self.name))
    }

    /// SIGTERM, then waits; SIGKILL when that takes longer than `within`.
    pub async fn stop(&mut self, within: Duration) -> anyhow::Result<()> {
        let Some(pid) = self
            .child
            .id()
            .and_then(|pid| i32::try_from(pid).ok())
            .and_then(rustix::process::Pid::from_raw)
        else {
            return Ok(());
        };
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        if tokio::time::timeout(within, self.child.wait())
            .await
            .is_err()
        {
            self.child.kill().await?;
            bail!("{} did not end within {within:?} of SIGTERM", self.name);
        }
        Ok(())
    }
}

/// The same command, sent SIGTERM by the kernel when this process dies, however it dies.
pub fn tied_to_us(command: &Command) -> Command {
    let command = command.as_std();
    let mut tied = Command::new("setpriv");
    tied.args(["--pdeathsig", "TERM", "--"])
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear();
    let cleared = command.get_envs().next().is_some();
    if !cleared {
        tied.envs(std::env::vars_os());
    }
    tied.envs(
        command
            .get_envs()
            .filter_map(|(key, value)| Some((key, value?))),
    );
    tied
}

/// Processes of this machine whose environment or command line names `needle`: what was left behind.
pub fn left_behind(needle: &str) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return found;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if pid == std::process::id() {
            continue;
        }
        let read = |file: &str| std::fs::read(entry.path().join(file)).unwrap_or_default();
        let command = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
        if command.contains(needle) || String::from_utf8_lossy(&read("environ")).contains(needle) {
            found.push(format!("{pid} {}", command.trim()));
        }
    }
    found
}
