//! A supervised child process, for hosts without systemd: containers, and instances that are plain
//! processes. It does what the unit says: readiness by `NOTIFY_SOCKET`, SIGTERM to the main process
//! and SIGKILL to the group, always restarted.
//!
//! ```text
//!              start                 READY=1
//!   Inactive ---------> Activating ---------> Active
//!      ^                   ^  |                 |  process ends
//!      | gone              |  +-----------------+
//!   Deactivating <--stop-- +--- wait, longer each time, then again
//! ```
//!
//! A process that an agent left behind when it was killed is ended before a new one starts: its pid
//! and start time are on disk.

mod supervisor;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::{Child as Process, Command};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::output::Output;
use super::{Service, ServiceError, Status};
use crate::disk::{ensure_directory, read_if_there, remove_file};
use crate::environment::Environment;
use crate::layout::Layout;
use crate::wanted::Version;
use supervisor::Supervisor;

/// Mattermost is gone within 4 s of SIGTERM; a hanging one gets as long as systemd's default.
const STOP_TIMEOUT: Duration = Duration::from_secs(90);
/// The server calls a few programs for document previews.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// Orders waiting for the supervisor; there is one worker.
const ORDERS: usize = 4;
/// What a container's supervisor gives its process of its own environment: where the role's credentials
/// are asked for, and whom to trust on the way to AWS. The server finds its bucket by them.
const PASSED_ON: [&str; 6] = [
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CA_BUNDLE",
    "SSL_CERT_FILE",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Start,
    Restart,
    Stop,
}

struct Order {
    verb: Verb,
    done: oneshot::Sender<Result<(), ServiceError>>,
}

/// The handle; the supervisor task owns the process.
pub struct Child {
    orders: mpsc::Sender<Order>,
    status: watch::Receiver<Status>,
    output: Output,
    layout: Layout,
    /// The one migration; kept here so that a dropped call does not end it.
    migration: Mutex<Option<JoinHandle<Result<(), ServiceError>>>>,
}

impl Child {
    /// Starts the supervisor, and ends what an earlier agent left running.
    pub async fn new(layout: &Layout) -> Result<Self, ServiceError> {
        ensure_directory(&layout.runtime(), 0o755)?;
        if let Some(directory) = layout.server_log().parent() {
            ensure_directory(directory, 0o755)?;
        }
        end_leftover(layout).await?;
        let output = Output::with_file(layout.server_log());
        let (orders, inbox) = mpsc::channel(ORDERS);
        let (sender, status) = watch::channel(Status::default());
        let supervisor = Supervisor::new(layout, &output, sender);
        tokio::spawn(supervisor.run(inbox));
        Ok(Self {
            orders,
            status,
            output,
            layout: layout.clone(),
            migration: Mutex::new(None),
        })
    }

    async fn order(&self, verb: Verb) -> Result<(), ServiceError> {
        let (done, answer) = oneshot::channel();
        self.orders
            .send(Order { verb, done })
            .await
            .map_err(|_| ServiceError::Stopping)?;
        answer.await.map_err(|_| ServiceError::Stopping)?
    }
}

#[async_trait]
impl Service for Child {
    async fn start(&self) -> Result<(), ServiceError> {
        self.order(Verb::Start).await
    }

    async fn restart(&self) -> Result<(), ServiceError> {
        self.order(Verb::Restart).await
    }

    async fn stop(&self) -> Result<(), ServiceError> {
        self.order(Verb::Stop).await
    }

    async fn migrate(&self, version: &Version) -> Result<(), ServiceError> {
        let mut running = self.migration.lock().await;
        let task = running.get_or_insert_with(|| {
            tokio::spawn(migrate(
                self.layout.clone(),
                self.layout.release(version.as_str()),
            ))
        });
        let result = task.await.unwrap_or(Err(ServiceError::Stopping));
        *running = None;
        result
    }

    fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    async fn journal(&self, lines: usize) -> Vec<String> {
        self.output.last(lines)
    }

    async fn version(&self, release: &Path) -> Result<String, ServiceError> {
        let mut command = Command::new(release.join("bin/mattermost"));
        command
            .arg("version")
            .current_dir(release)
            .env_clear()
            .env("PATH", PATH)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = command
            .output()
            .await
            .map_err(|source| ServiceError::Spawn {
                program: release.join("bin/mattermost").display().to_string(),
                source,
            })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(ServiceError::Version {
            ended: words(output.status),
            last_line: said
                .lines()
                .last()
                .unwrap_or_default()
                .chars()
                .take(200)
                .collect(),
        })
    }

    fn own_account(&self) -> bool {
        false
    }
}

/// A Mattermost command with the server's environment and nothing of the agent's.
fn command(layout: &Layout, release: &Path) -> Result<Command, ServiceError> {
    let environment = Environment::read(layout)
        .ok()
        .flatten()
        .ok_or(ServiceError::NoEnvironment)?;
    let mut command = Command::new(release.join("bin/mattermost"));
    command
        .current_dir(release)
        .env_clear()
        .env("PATH", PATH)
        .env("LANG", "C.UTF-8")
        .envs(environment.variables())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    Ok(command)
}

/// Of the agent's own environment, for the server alone: a migration asks nothing of AWS.
fn passed_on() -> impl Iterator<Item = (&'static str, OsString)> {
    let there = |name| Some((name, std::env::var_os(name)?));
    PASSED_ON.into_iter().filter_map(there)
}

fn spawn(mut command: Command) -> Result<Process, ServiceError> {
    command.spawn().map_err(|source| ServiceError::Spawn {
        program: command
            .as_std()
            .get_program()
            .to_string_lossy()
            .into_owned(),
        source,
    })
}

/// Follows both streams; the handles end when the process has closed them.
fn follow(process: &mut Process, output: &Output) -> Vec<JoinHandle<()>> {
    let out = process
        .stdout
        .take()
        .map(|stream| tokio::spawn(output.clone().follow(stream)));
    let err = process
        .stderr
        .take()
        .map(|stream| tokio::spawn(output.clone().follow(stream)));
    out.into_iter().chain(err).collect()
}

async fn migrate(layout: Layout, release: PathBuf) -> Result<(), ServiceError> {
    let mut command = command(&layout, &release)?;
    command.args(["db", "migrate"]);
    let output = Output::new();
    let mut process = spawn(command)?;
    let readers = follow(&mut process, &output);
    let ended = process.wait().await.map_err(|source| ServiceError::Spawn {
        program: "mattermost db migrate".to_owned(),
        source,
    })?;
    for reader in readers {
        let _ = reader.await;
    }
    if ended.success() {
        Ok(())
    } else {
        Err(ServiceError::Migration {
            ended: words(ended),
            lines: output.last(100),
        })
    }
}

fn words(status: ExitStatus) -> String {
    // "exit status: 1" or "signal: 9 (SIGKILL)", as the standard library says it.
    status.to_string()
}

/// Start time of a process in clock ticks since boot, from `/proc/<pid>/stat`: with the pid, its identity.
fn started(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the fields after it are plain.
    let fields = stat.rsplit_once(')')?.1;
    let mut fields = fields.split_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

fn pid_file(layout: &Layout) -> PathBuf {
    layout.runtime().join("server.pid")
}

async fn end_leftover(layout: &Layout) -> Result<(), ServiceError> {
    let path = pid_file(layout);
    let Some(text) = read_if_there(&path)? else {
        return Ok(());
    };
    let text = String::from_utf8_lossy(&text);
    let mut numbers = text.split_whitespace();
    let pid: Option<i32> = numbers.next().and_then(|text| text.parse().ok());
    let since: Option<u64> = numbers.next().and_then(|text| text.parse().ok());
    if let (Some(raw), Some(since)) = (pid, since)
        && started(raw) == Some(since)
        && let Some(pid) = Pid::from_raw(raw)
    {
        log::info!("ending the server that an earlier agent left behind (pid {raw})");
        let _ = kill_process(pid, Signal::TERM);
        // Not our child, so its end is no event for us: look until it is gone.
        let deadline = tokio::time::Instant::now() + STOP_TIMEOUT;
        while started(raw) == Some(since) {
            if tokio::time::Instant::now() > deadline {
                let _ = kill_process_group(pid, Signal::KILL);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let _ = kill_process_group(pid, Signal::KILL);
    }
    remove_file(&path)?;
    Ok(())
}
