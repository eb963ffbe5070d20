//! The task that owns the server's process: starts it, hears that it is ready, sees it end, starts it
//! again, stops it.

use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use fleet_proto::backoff::Backoff;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::net::UnixDatagram;
use tokio::process::Child as Process;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::super::output::Output;
use super::super::{ServiceError, State, Status};
use super::{
    Order, STOP_TIMEOUT, Verb, command, follow, passed_on, pid_file, spawn, started, words,
};
use crate::disk::{remove_file, write_atomically};
use crate::layout::Layout;

/// Between a crash and the next start: from one second to the unit's `RestartSec=10`.
const RESTART_FIRST: Duration = Duration::from_secs(1);
const RESTART_LONGEST: Duration = Duration::from_secs(10);
/// A process that ran this long was well: the next wait is short again.
const WELL_AFTER: Duration = Duration::from_secs(60);
/// The kernel's limit for a socket's path, with its final NUL: 108.
const SOCKET_PATH: usize = 107;

/// One server process and what belongs to it.
struct Running {
    process: Process,
    pid: Pid,
    notify: NotifySocket,
    since: tokio::time::Instant,
    readers: Vec<JoinHandle<()>>,
}

/// What the supervisor waits for.
enum Event {
    Order(Option<Order>),
    Ready,
    Ended(ExitStatus),
    Again,
}

pub(super) struct Supervisor {
    layout: Layout,
    output: Output,
    status: watch::Sender<Status>,
}

impl Supervisor {
    pub(super) fn new(layout: &Layout, output: &Output, status: watch::Sender<Status>) -> Self {
        Self {
            layout: layout.clone(),
            output: output.clone(),
            status,
        }
    }

    pub(super) async fn run(self, mut inbox: mpsc::Receiver<Order>) {
        let mut backoff = Backoff::new(RESTART_FIRST, RESTART_LONGEST);
        let mut running: Option<Running> = None;
        let mut again: Option<tokio::time::Instant> = None;
        loop {
            match self.next(&mut inbox, &mut running, again).await {
                Event::Order(None) => {
                    self.stop(&mut running).await;
                    return;
                }
                Event::Order(Some(order)) => {
                    let idle = running.is_none() && again.is_none();
                    let result = match order.verb {
                        Verb::Stop => {
                            again = None;
                            self.stop(&mut running).await;
                            Ok(())
                        }
                        Verb::Start if !idle => Ok(()),
                        Verb::Start | Verb::Restart => {
                            self.stop(&mut running).await;
                            again = None;
                            backoff.reset();
                            self.status.send_modify(|status| status.restarts = 0);
                            self.spawn().map(|started| running = Some(started))
                        }
                    };
                    let _ = order.done.send(result);
                }
                Event::Ready => self.set(State::Active),
                Event::Ended(status) => {
                    let Some(ended) = running.take() else {
                        continue;
                    };
                    if ended.since.elapsed() > WELL_AFTER {
                        backoff.reset();
                    }
                    self.bury(ended).await;
                    let wait = backoff.next_wait().max(RESTART_FIRST / 2);
                    again = Some(tokio::time::Instant::now() + wait);
                    log::warn!("the server ended ({}), again in {wait:.1?}", words(status));
                    self.status.send_modify(|now| {
                        now.state = State::Activating;
                        now.ended = words(status);
                        now.restarts += 1;
                    });
                }
                Event::Again => {
                    again = None;
                    match self.spawn() {
                        Ok(started) => running = Some(started),
                        Err(error) => {
                            log::error!("{}", crate::coded::chain(&error));
                            again = Some(tokio::time::Instant::now() + RESTART_LONGEST);
                        }
                    }
                }
            }
        }
    }

    /// The next thing that happens. Every arm may be dropped without losing anything.
    async fn next(
        &self,
        inbox: &mut mpsc::Receiver<Order>,
        running: &mut Option<Running>,
        again: Option<tokio::time::Instant>,
    ) -> Event {
        let Some(now) = running else {
            return tokio::select! {
                order = inbox.recv() => Event::Order(order),
                () = async {
                    match again {
                        Some(at) => tokio::time::sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                } => Event::Again,
            };
        };
        let mut buffer = [0; 1024];
        loop {
            return tokio::select! {
                order = inbox.recv() => Event::Order(order),
                ended = now.process.wait() => Event::Ended(ended.unwrap_or_default()),
                received = now.notify.socket.recv(&mut buffer) => match received {
                    Ok(length) if says_ready(&buffer[..length]) => Event::Ready,
                    _ => continue,
                },
            };
        }
    }

    fn set(&self, state: State) {
        self.status
            .send_if_modified(|status| std::mem::replace(&mut status.state, state) != state);
    }

    fn spawn(&self) -> Result<Running, ServiceError> {
        let release = self.layout.current();
        let mut command = command(&self.layout, &release)?;
        let notify = NotifySocket::new(&self.layout).map_err(|source| ServiceError::Spawn {
            program: "the notify socket".to_owned(),
            source,
        })?;
        command.envs(passed_on()).env("NOTIFY_SOCKET", &notify.path);
        let mut process = spawn(command)?;
        let pid = process
            .id()
            .and_then(|id| Pid::from_raw(id as i32))
            .expect("a process that was not waited for has its pid");
        let identity = format!(
            "{} {}\n",
            pid.as_raw_nonzero(),
            started(pid.as_raw_nonzero().get()).unwrap_or_default()
        );
        if let Err(error) = write_atomically(&pid_file(&self.layout), identity.as_bytes(), 0o644) {
            log::warn!("{}", crate::coded::chain(&error));
        }
        let readers = follow(&mut process, &self.output);
        self.status.send_modify(|status| {
            status.state = State::Activating;
            identity.trim().clone_into(&mut status.process);
        });
        Ok(Running {
            process,
            pid,
            notify,
            since: tokio::time::Instant::now(),
            readers,
        })
    }

    /// SIGTERM to the server, patience, SIGKILL to its group.
    async fn stop(&self, running: &mut Option<Running>) {
        if let Some(mut now) = running.take() {
            self.set(State::Deactivating);
            let _ = kill_process(now.pid, Signal::TERM);
            let ended = tokio::time::timeout(STOP_TIMEOUT, now.process.wait()).await;
            let words = match ended {
                Ok(status) => status.map(words).unwrap_or_default(),
                Err(_) => format!("killed: it did not stop within {STOP_TIMEOUT:?}"),
            };
            self.bury(now).await;
            self.status.send_modify(|status| status.ended = words);
        }
        self.set(State::Inactive);
    }

    /// Plugins that outlived the server go with it; its last lines are read to the end.
    async fn bury(&self, mut gone: Running) {
        let _ = kill_process_group(gone.pid, Signal::KILL);
        let _ = gone.process.wait().await;
        for reader in gone.readers {
            let _ = tokio::time::timeout(Duration::from_secs(1), reader).await;
        }
        let _ = remove_file(&pid_file(&self.layout));
    }
}

fn says_ready(datagram: &[u8]) -> bool {
    datagram
        .split(|&byte| byte == b'\n')
        .any(|line| line == b"READY=1")
}

/// Where the server says that it is ready. A path, because not every client knows abstract sockets.
struct NotifySocket {
    socket: UnixDatagram,
    path: PathBuf,
    /// Made for this socket alone, when the root lies too deep for a socket's path.
    folder: Option<PathBuf>,
}

impl NotifySocket {
    fn new(layout: &Layout) -> std::io::Result<Self> {
        let usual = layout.runtime().join("notify");
        let (path, folder) = if usual.as_os_str().len() <= SOCKET_PATH {
            (usual, None)
        } else {
            let folder = std::env::temp_dir().join(format!("mattermost-{}", uuid::Uuid::new_v4()));
            std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
            (folder.join("notify"), Some(folder))
        };
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok(Self {
            socket: UnixDatagram::bind(&path)?,
            path,
            folder,
        })
    }
}

impl Drop for NotifySocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
        if let Some(folder) = &self.folder {
            let _ = std::fs::remove_dir(folder);
        }
    }
}
