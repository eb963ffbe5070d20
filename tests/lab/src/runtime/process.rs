//! The process runtime: an instance is the agent, running with a root directory and an address of its
//! own. Needs no privileges.
//!
//! ```text
//! start ──> keeper task ──spawns──> launcher ──> agent ──> …        one process group
//!                │ ended by itself: again after RESTART (as the unit's Restart=always)
//!                │ stop asked for:  SIGTERM to the group, GRACE, SIGKILL to all that is marked
//! ```
//!
//! An image without `/usr/bin/mattermost-agent` gives an instance in which nothing runs.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::processes::{TICKS_PER_SECOND, cpu_ticks, kill_members, signal_members};
use super::{IMDS_PORT, LAB_MARKER, MARKER, Machine, Runtime, RuntimeError};

/// The program in an image that makes it more than an empty machine.
const PROGRAM: &str = "usr/bin/mattermost-agent";
/// Real time between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// Real time before a program that ended by itself is started again.
const RESTART: Duration = Duration::from_secs(1);

/// Runs instances as processes.
#[derive(Debug)]
pub struct ProcessRuntime {
    /// The lab's directory, as the processes' marker names it.
    directory: PathBuf,
    /// The `lab` binary; without one the program is started without a launcher, and only the lab's own
    /// orderly end ends it.
    launcher: Option<PathBuf>,
    running: Arc<Mutex<BTreeMap<String, Running>>>,
}

/// One machine that runs.
#[derive(Debug)]
struct Running {
    stop: CancellationToken,
    keeper: Option<JoinHandle<()>>,
    /// What was started; none between an end and the next start.
    pid: Option<i32>,
    /// CPU ticks and when they were read.
    measured: Option<(u64, Instant)>,
}

impl ProcessRuntime {
    /// For a lab in `directory`, with the `lab` binary as launcher.
    pub fn new(directory: &Path, launcher: Option<PathBuf>) -> Self {
        Self {
            directory: directory.to_owned(),
            launcher,
            running: Arc::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        lock(&self.running)
    }

    fn command(&self, machine: &Machine) -> io::Result<Command> {
        let root = machine.root();
        let program = root.join(PROGRAM);
        let mut command = if let Some(launcher) = &self.launcher {
            let mut command = Command::new(launcher);
            command.arg("exec-instance").arg("--").arg(&program);
            command.stdin(Stdio::piped());
            command
        } else {
            let mut command = Command::new(&program);
            command.stdin(Stdio::null());
            command
        };
        let console = OpenOptions::new()
            .create(true)
            .append(true)
            .open(machine.console())?;
        command
            .arg("--root")
            .arg(&root)
            .args(["--service-manager", "child"])
            .current_dir(&root)
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", root.join("root"))
            .env(
                "AWS_EC2_METADATA_SERVICE_ENDPOINT",
                format!("http://{}:{IMDS_PORT}", machine.address),
            )
            .env(MARKER, &machine.id)
            .env(LAB_MARKER, &self.directory)
            .stdout(console.try_clone()?)
            .stderr(console)
            .process_group(0)
            .kill_on_drop(true);
        Ok(command)
    }
}

fn lock(running: &Mutex<BTreeMap<String, Running>>) -> MutexGuard<'_, BTreeMap<String, Running>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Runtime for ProcessRuntime {
    async fn prepare(&self, machine: &Machine) -> Result<(), RuntimeError> {
        let (root, tree) = (machine.root(), machine.tree.clone());
        let laid_out = tokio::task::spawn_blocking(move || {
            if root.exists() {
                return Ok(());
            }
            match &tree {
                Some(tree) => tree.copy_to(&root)?,
                None => std::fs::create_dir_all(&root)?,
            }
            std::fs::create_dir_all(root.join("root"))
        });
        laid_out
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|source| RuntimeError::Prepare {
                id: machine.id.clone(),
                tree: machine
                    .tree
                    .as_ref()
                    .map(|tree| tree.path().to_owned())
                    .unwrap_or_default(),
                source,
            })
    }

    async fn start(&self, machine: &Machine) -> Result<(), RuntimeError> {
        let program = machine.root().join(PROGRAM);
        if !program.exists() || self.lock().contains_key(&machine.id) {
            return Ok(());
        }
        let failed = |source| RuntimeError::Start {
            id: machine.id.clone(),
            program: program.clone(),
            source,
        };
        let mut command = self.command(machine).map_err(failed)?;
        let child = command.spawn().map_err(failed)?;
        let stop = CancellationToken::new();
        let pid = child.id().map(|pid| pid as i32);
        self.lock().insert(
            machine.id.clone(),
            Running {
                stop: stop.clone(),
                keeper: None,
                pid,
                measured: None,
            },
        );
        let keeper = Keeper {
            running: Arc::clone(&self.running),
            machine: machine.clone(),
            lab: self.directory.clone(),
            stop,
        };
        let task = tokio::spawn(keeper.keep(command, child));
        if let Some(running) = self.lock().get_mut(&machine.id) {
            running.keeper = Some(task);
        }
        Ok(())
    }

    async fn stop(&self, machine: &Machine) {
        let keeper = {
            let mut all = self.lock();
            let running = all.get_mut(&machine.id);
            running.and_then(|running| {
                running.stop.cancel();
                running.keeper.take()
            })
        };
        if let Some(keeper) = keeper
            && let Err(error) = keeper.await
        {
            log::error!("the keeper of {} failed: {error}", machine.id);
        }
        self.lock().remove(&machine.id);
    }

    async fn forget(&self, machine: &Machine) {
        let root = machine.root();
        let id = machine.id.clone();
        let removed = tokio::task::spawn_blocking(move || match std::fs::remove_dir_all(&root) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                log::warn!("the root of {id} cannot be removed: {error}");
            }
            _ => {}
        });
        if let Err(error) = removed.await {
            log::warn!("the root of {} cannot be removed: {error}", machine.id);
        }
    }

    async fn stop_all(&self) {
        let keepers: Vec<JoinHandle<()>> = self
            .lock()
            .values_mut()
            .filter_map(|running| {
                running.stop.cancel();
                running.keeper.take()
            })
            .collect();
        for keeper in keepers {
            if let Err(error) = keeper.await {
                log::error!("the keeper of an instance failed: {error}");
            }
        }
        self.lock().clear();
        // A start that the lab's end interrupted is in no table.
        while kill_members(None, &self.directory) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn kill(&self, id: &str) -> usize {
        kill_members(Some(id), &self.directory)
    }

    fn freeze(&self, id: &str, frozen: bool) -> usize {
        let signal = if frozen { Signal::STOP } else { Signal::CONT };
        // Not the launcher: it must see the lab's end.
        let launcher = self
            .launcher
            .as_ref()
            .and_then(|_| self.lock().get(id)?.pid);
        let started: Vec<i32> = launcher.into_iter().collect();
        signal_members(Some(id), &self.directory, &started, launcher, signal)
    }

    fn cpu_percent(&self, id: &str) -> Option<f64> {
        let (pid, before) = {
            let all = self.lock();
            let running = all.get(id)?;
            (running.pid, running.measured)
        };
        let started: Vec<i32> = pid.into_iter().collect();
        let now = (cpu_ticks(id, &self.directory, &started)?, Instant::now());
        if let Some(running) = self.lock().get_mut(id) {
            running.measured = Some(now);
        }
        let (ticks, at) = before?;
        let seconds = now.1.duration_since(at).as_secs_f64();
        if seconds <= 0.0 {
            return None;
        }
        // A process that ended took its ticks with it: then less than nothing was used.
        let used = now.0.saturating_sub(ticks) as f64 / TICKS_PER_SECOND;
        Some(used / seconds * 100.0)
    }
}

/// Keeps one machine's program running until it is told to stop.
struct Keeper {
    running: Arc<Mutex<BTreeMap<String, Running>>>,
    machine: Machine,
    lab: PathBuf,
    stop: CancellationToken,
}

impl Keeper {
    async fn keep(self, mut command: Command, mut child: Child) {
        loop {
            // Held until this one has ended: its closing is what tells the launcher that the lab is gone.
            // `wait` would close it.
            let _lifeline = child.stdin.take();
            let pid = child.id().map(|pid| pid as i32);
            if let Some(running) = lock(&self.running).get_mut(&self.machine.id) {
                running.pid = pid;
            }
            let ended = tokio::select! {
                status = child.wait() => status,
                () = self.stop.cancelled() => {
                    self.end(pid, &mut child).await;
                    return;
                }
            };
            self.sweep(pid).await;
            let what = match ended {
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            };
            log::warn!("the agent of {} ended: {what}", self.machine.id);
            self.note(&format!("agent ended ({what}); it is started again"));
            child = loop {
                tokio::select! {
                    () = tokio::time::sleep(RESTART) => {}
                    () = self.stop.cancelled() => return,
                }
                match command.spawn() {
                    Ok(child) => break child,
                    Err(error) => self.note(&format!("the agent cannot be started: {error}")),
                }
            };
        }
    }

    /// SIGTERM to the group, a grace, SIGKILL to everything that is left.
    async fn end(&self, pid: Option<i32>, child: &mut Child) {
        let group = pid.and_then(Pid::from_raw);
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::TERM);
        }
        if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
            if let Some(group) = group {
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = child.wait().await;
        }
        self.sweep(pid).await;
    }

    /// Kills what a program left behind; returns when nothing is left.
    async fn sweep(&self, pid: Option<i32>) {
        if let Some(group) = pid.and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        // A process that forks while it is looked for is found by the next look.
        while kill_members(Some(&self.machine.id), &self.lab) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn note(&self, text: &str) {
        let console = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.machine.console());
        if let Ok(mut console) = console {
            let _ = writeln!(console, "lab: {text}");
        }
    }
}
