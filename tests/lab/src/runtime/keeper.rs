//! Keeps what runs in the instances running, until it is told to stop.
//!
//! ```text
//! start ──> keeper task ──spawns──> launcher ──> …        one process group an instance
//!                │ ended by itself: again after RESTART
//!                │ stop asked for:  SIGTERM to the group, the grace, SIGKILL to all that is left
//! ```

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Machine;

/// Real time before a program that ended by itself is started again.
const RESTART: Duration = Duration::from_secs(1);

/// Sends SIGKILL to what is left of an instance, and gives how many processes there were.
pub type KillRest = Box<dyn Fn() -> usize + Send + Sync>;

/// The instances in which something runs, by id.
#[derive(Clone, Debug, Default)]
pub struct Keepers(Arc<Mutex<BTreeMap<String, Running>>>);

#[derive(Debug)]
struct Running {
    stop: CancellationToken,
    keeper: Option<JoinHandle<()>>,
    /// What was started; none between an end and the next start.
    pid: Option<i32>,
    /// CPU time, in seconds, and when it was read.
    measured: Option<(f64, Instant)>,
}

impl Keepers {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether something runs in an instance, or is about to.
    pub fn runs(&self, id: &str) -> bool {
        self.lock().contains_key(id)
    }

    /// What was started in an instance.
    pub fn pid(&self, id: &str) -> Option<i32> {
        self.lock().get(id)?.pid
    }

    /// Starts `command`, a process group leader whose standard input is its lifeline, and keeps it
    /// running. `grace` is real time between SIGTERM and SIGKILL.
    pub fn start(
        &self,
        machine: &Machine,
        mut command: Command,
        grace: Duration,
        kill_rest: KillRest,
    ) -> io::Result<()> {
        let child = command.spawn()?;
        let stop = CancellationToken::new();
        self.lock().insert(
            machine.id.clone(),
            Running {
                stop: stop.clone(),
                keeper: None,
                pid: pid_of(&child),
                measured: None,
            },
        );
        let keeper = Keeper {
            all: self.clone(),
            id: machine.id.clone(),
            console: machine.console(),
            grace,
            kill_rest,
            stop,
        };
        let task = tokio::spawn(keeper.keep(command, child));
        if let Some(running) = self.lock().get_mut(&machine.id) {
            running.keeper = Some(task);
        }
        Ok(())
    }

    /// Ends what runs in an instance; returns when nothing of it runs.
    pub async fn stop(&self, id: &str) {
        let keeper = {
            let mut all = self.lock();
            all.get_mut(id).and_then(|running| {
                running.stop.cancel();
                running.keeper.take()
            })
        };
        if let Some(keeper) = keeper {
            ended(keeper).await;
        }
        self.lock().remove(id);
    }

    /// Ends all of them.
    pub async fn stop_all(&self) {
        let keepers: Vec<JoinHandle<()>> = self
            .lock()
            .values_mut()
            .filter_map(|running| {
                running.stop.cancel();
                running.keeper.take()
            })
            .collect();
        for keeper in keepers {
            ended(keeper).await;
        }
        self.lock().clear();
    }

    /// Takes note of the CPU time that an instance has used, in seconds; gives the use since the last
    /// note, in per cent of one core.
    pub fn cpu_percent(&self, id: &str, seconds: f64) -> Option<f64> {
        let now = Instant::now();
        let before = self.lock().get_mut(id)?.measured.replace((seconds, now));
        let (used, at) = before?;
        let passed = now.duration_since(at).as_secs_f64();
        // A process that ended took its time with it: then less than nothing was used.
        (passed > 0.0).then(|| (seconds - used).max(0.0) / passed * 100.0)
    }
}

async fn ended(keeper: JoinHandle<()>) {
    if let Err(error) = keeper.await {
        log::error!("the keeper of an instance failed: {error}");
    }
}

fn pid_of(child: &Child) -> Option<i32> {
    child.id().map(|pid| pid as i32)
}

/// Keeps one instance's program running until it is told to stop.
struct Keeper {
    all: Keepers,
    id: String,
    console: PathBuf,
    grace: Duration,
    kill_rest: KillRest,
    stop: CancellationToken,
}

impl Keeper {
    async fn keep(self, mut command: Command, mut child: Child) {
        loop {
            // Held until this one has ended: its closing is what tells the launcher that the lab is gone.
            // `wait` would close it.
            let _lifeline = child.stdin.take();
            let pid = pid_of(&child);
            if let Some(running) = self.all.lock().get_mut(&self.id) {
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
            log::warn!("what runs in {} ended: {what}", self.id);
            self.note(&format!("it ended ({what}) and is started again"));
            child = loop {
                tokio::select! {
                    () = tokio::time::sleep(RESTART) => {}
                    () = self.stop.cancelled() => return,
                }
                match command.spawn() {
                    Ok(child) => break child,
                    Err(error) => self.note(&format!("it cannot be started: {error}")),
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
        if tokio::time::timeout(self.grace, child.wait())
            .await
            .is_err()
        {
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
        while (self.kill_rest)() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn note(&self, text: &str) {
        let console = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.console);
        if let Ok(mut console) = console {
            let _ = writeln!(console, "lab: {text}");
        }
    }
}
