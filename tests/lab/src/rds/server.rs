//! A server process: watched, so that nobody has to ask whether it lives.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;
use tokio::sync::watch;

use super::engine::EngineError;

/// A server that does not end after a polite signal within this (real time) is killed.
const STOP_DEADLINE: Duration = Duration::from_secs(15);

/// How to end a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Sessions are cut, everything is written, replicas get the last byte.
    Fast,
    /// At once; recovery at the next start.
    Immediate,
    /// As a failed host ends: no warning to anybody.
    Kill,
}

/// A server process.
#[derive(Debug)]
pub struct Running {
    pid: Pid,
    exited: watch::Receiver<bool>,
    expected: Arc<AtomicBool>,
}

impl Running {
    /// Whether its end would be no crash: it is being started or stopped, and somebody looks.
    pub fn expect_end(&self, expected: bool) {
        self.expected.store(expected, Ordering::SeqCst);
    }

    /// The postmaster.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether it has ended.
    pub fn is_gone(&self) -> bool {
        *self.exited.borrow()
    }

    /// Ends it and returns when it is gone.
    pub async fn stop(&self, how: Stop) {
        self.expected.store(true, Ordering::SeqCst);
        self.signal(match how {
            Stop::Fast => Signal::INT,
            Stop::Immediate => Signal::QUIT,
            Stop::Kill => Signal::KILL,
        });
        let mut exited = self.exited.clone();
        let gone = exited.wait_for(|gone| *gone);
        if tokio::time::timeout(STOP_DEADLINE, gone).await.is_err() {
            self.signal(Signal::KILL);
            // The receiver fails only when the watcher is gone, and then so is the process.
            let _ = self.exited.clone().wait_for(|gone| *gone).await;
        }
    }

    /// Sends a signal, unless the process has been waited for (its id may be somebody else's by now).
    pub fn signal(&self, signal: Signal) {
        if !self.is_gone() {
            let _ = kill_process(self.pid, signal);
        }
    }
}

/// Watches over a new server; `on_crash` runs when it ends without having been asked to.
pub fn watch_over(
    mut child: Child,
    on_crash: impl FnOnce() + Send + 'static,
) -> Result<Running, EngineError> {
    let pid = child
        .id()
        .and_then(|id| Pid::from_raw(id as i32))
        .ok_or_else(|| EngineError::NotStarted("it ended at once".to_owned()))?;
    let (gone, exited) = watch::channel(false);
    let expected = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&expected);
    tokio::spawn(async move {
        let _ = child.wait().await;
        gone.send_replace(true);
        if !asked.load(Ordering::SeqCst) {
            on_crash();
        }
    });
    Ok(Running {
        pid,
        exited,
        expected,
    })
}
