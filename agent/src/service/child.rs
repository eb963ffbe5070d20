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

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use fleet_proto::backoff::Backoff;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::net::UnixDatagram;
use tokio::process::{Child as Process, Command};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::output::Output;
use super::{Service, ServiceError, State, Status};
use crate::disk::{ensure_directory, read_if_there, remove_file, write_atomically};
use crate::environment::Environment;
use crate::layout::Layout;
use crate::wanted::Version;

/// Mattermost is gone within 4 s of SIGTERM; a hanging one gets as long as systemd's default.
const STOP_TIMEOUT: Duration = Duration::from_secs(90);
/// Between a crash and the next start: from one second to the unit's `RestartSec=10`.
const RESTART_FIRST: Duration = Duration::from_secs(1);
const RESTART_LONGEST: Duration = Duration::from_secs(10);
/// A process that ran this long was well: the next wait is short again.
const WELL_AFTER: Duration = Duration::from_secs(60);
/// The server calls a few programs for document previews.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// The kernel's limit for a socket's path, with its final NUL: 108.
const SOCKET_PATH: usize = 107;
/// Orders waiting for the supervisor; there is one worker.
const ORDERS: usize = 4;

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
        let supervisor = Supervisor {
            layout: layout.clone(),
            output: output.clone(),
            status: sender,
        };
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

struct Supervisor {
    layout: Layout,
    output: Output,
    status: watch::Sender<Status>,
}

impl Supervisor {
    async fn run(self, mut inbox: mpsc::Receiver<Order>) {
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
        command.env("NOTIFY_SOCKET", &notify.path);
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
