//! systemd by D-Bus: orders by the manager's methods, state by its signals. Only the journal is read
//! through `journalctl`, which is its interface.
//!
//! ```text
//!   PropertiesChanged of mattermost.service --> follower task --> watch<Status>
//!   order --> StartUnit, StopUnit, ... --> job --> JobRemoved
//! ```
//!
//! Mattermost runs in a unit of its own: it outlives the agent. So does a migration, in an instance of
//! `mattermost-migrate@.service` per version: an agent that is restarted in the middle finds it running
//! and waits for it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use zbus::proxy::CacheProperties;
use zbus::{Connection, OwnedObjectPath};

use super::{Service, ServiceError, State, Status};
use crate::wanted::Version;

const UNIT: &str = "mattermost.service";
/// A job that is in the way is replaced, as by `systemctl`.
const MODE: &str = "replace";
/// From an order to the first sign of the new process; it is one fork.
const LAUNCH: Duration = Duration::from_secs(10);
/// A lost bus is looked for again this often; systemd restarts it rarely if ever.
const RECONNECT: Duration = Duration::from_secs(2);
/// Lines of a failed migration.
const MIGRATION_LINES: usize = 100;
/// `mattermost version` prints five.
const VERSION_LINES: usize = 20;

#[zbus::proxy(
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1",
    interface = "org.freedesktop.systemd1.Manager"
)]
trait Manager {
    fn subscribe(&self) -> zbus::Result<()>;
    fn load_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn restart_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn reset_failed_unit(&self, name: &str) -> zbus::Result<()>;

    #[zbus(signal)]
    fn job_removed(
        &self,
        id: u32,
        job: OwnedObjectPath,
        unit: String,
        result: String,
    ) -> zbus::Result<()>;
}

#[zbus::proxy(
    default_service = "org.freedesktop.systemd1",
    interface = "org.freedesktop.systemd1.Unit"
)]
trait Unit {
    #[zbus(property)]
    fn active_state(&self) -> zbus::Result<String>;
    #[zbus(property)]
    fn sub_state(&self) -> zbus::Result<String>;
    #[zbus(property, name = "InvocationID")]
    fn invocation_id(&self) -> zbus::Result<Vec<u8>>;
}

#[zbus::proxy(
    default_service = "org.freedesktop.systemd1",
    interface = "org.freedesktop.systemd1.Service"
)]
trait ServiceUnit {
    #[zbus(property, name = "NRestarts")]
    fn n_restarts(&self) -> zbus::Result<u32>;
    #[zbus(property)]
    fn result(&self) -> zbus::Result<String>;
    #[zbus(property)]
    fn exec_main_code(&self) -> zbus::Result<i32>;
    #[zbus(property)]
    fn exec_main_status(&self) -> zbus::Result<i32>;
}

/// The handle; the follower task owns the watches' sending sides.
pub struct Systemd {
    /// On the connection in use: a lost one is replaced.
    manager: watch::Receiver<ManagerProxy<'static>>,
    status: watch::Receiver<Status>,
    follower: JoinHandle<()>,
}

impl Drop for Systemd {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

fn refused(verb: &'static str, unit: &str) -> impl FnOnce(zbus::Error) -> ServiceError {
    let unit = unit.to_owned();
    move |source| ServiceError::Systemd { verb, unit, source }
}

impl Systemd {
    /// Connects to the system bus and follows the server's unit.
    pub async fn new() -> Result<Self, ServiceError> {
        let connection = subscribed(None).await.map_err(refused("follow", UNIT))?;
        Self::on(connection).await
    }

    /// On a connection that is subscribed to systemd's signals.
    pub async fn on(connection: Connection) -> Result<Self, ServiceError> {
        Self::on_bus(connection, None).await
    }

    /// On a connection to the bus at an address; `None`: to the system bus.
    pub async fn on_bus(
        connection: Connection,
        address: Option<String>,
    ) -> Result<Self, ServiceError> {
        let follow = || refused("follow", UNIT);
        let manager = ManagerProxy::new(&connection).await.map_err(follow())?;
        let first = observe(&connection, UNIT).await.map_err(follow())?;
        let (sender, status) = watch::channel(first);
        let (managers, manager) = watch::channel(manager);
        Ok(Self {
            manager,
            status,
            follower: tokio::spawn(follow_forever(connection, address, managers, sender)),
        })
    }

    fn manager(&self) -> ManagerProxy<'static> {
        self.manager.borrow().clone()
    }

    /// Gives an order for a unit and waits for the job's end; its result in systemd's word.
    async fn job(
        &self,
        manager: &ManagerProxy<'static>,
        verb: &'static str,
        unit: &str,
        order: impl Future<Output = zbus::Result<OwnedObjectPath>>,
    ) -> Result<String, ServiceError> {
        let fail = || refused(verb, unit);
        // Before the order, so that a quick job's end is not missed.
        let mut ended = manager.receive_job_removed().await.map_err(fail())?;
        let job = order.await.map_err(fail())?;
        while let Some(signal) = ended.next().await {
            let removed = signal.args().map_err(fail())?;
            if removed.job == job {
                return Ok(removed.result.clone());
            }
        }
        Err(ServiceError::Stopping)
    }

    /// Until another process than `before` was launched, so that no older state is taken for it.
    async fn launched(&self, before: &str) {
        let mut status = self.status.clone();
        let other = status.wait_for(|now| now.process != before && now.state != State::Inactive);
        if tokio::time::timeout(LAUNCH, other).await.is_err() {
            log::warn!("no sign of `{UNIT}` within {LAUNCH:?} after it was started");
        }
    }
}

#[async_trait]
impl Service for Systemd {
    async fn start(&self) -> Result<(), ServiceError> {
        let before = self.status.borrow().clone();
        if matches!(before.state, State::Active | State::Activating) {
            return Ok(());
        }
        let manager = self.manager();
        // A unit that hit its start limit is started again only when that is forgotten.
        let _ = manager.reset_failed_unit(UNIT).await;
        manager
            .start_unit(UNIT, MODE)
            .await
            .map_err(refused("start", UNIT))?;
        self.launched(&before.process).await;
        Ok(())
    }

    async fn restart(&self) -> Result<(), ServiceError> {
        let before = self.status.borrow().process.clone();
        let manager = self.manager();
        let _ = manager.reset_failed_unit(UNIT).await;
        manager
            .restart_unit(UNIT, MODE)
            .await
            .map_err(refused("restart", UNIT))?;
        self.launched(&before).await;
        Ok(())
    }

    async fn stop(&self) -> Result<(), ServiceError> {
        let manager = self.manager();
        self.job(&manager, "stop", UNIT, manager.stop_unit(UNIT, MODE))
            .await?;
        let mut status = self.status.clone();
        let gone = |state| matches!(state, State::Inactive | State::Failed);
        let _ = status.wait_for(|now| gone(now.state)).await;
        Ok(())
    }

    async fn migrate(&self, version: &Version) -> Result<(), ServiceError> {
        let unit = format!("mattermost-migrate@{version}.service");
        let manager = self.manager();
        let order = manager.start_unit(&unit, MODE);
        let result = self.job(&manager, "start", &unit, order).await?;
        if result == "done" {
            return Ok(());
        }
        let ended = observe(manager.inner().connection(), &unit)
            .await
            .map(|status| status.ended)
            .unwrap_or_default();
        Err(ServiceError::Migration {
            ended: format!("{result} ({ended})"),
            lines: journal(&unit, None, MIGRATION_LINES).await,
        })
    }

    fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    async fn journal(&self, lines: usize) -> Vec<String> {
        journal(UNIT, None, lines).await
    }

    async fn version(&self, release: &Path) -> Result<String, ServiceError> {
        let name = release.file_name().unwrap_or_default().to_string_lossy();
        let unit = format!("mattermost-version@{name}.service");
        let manager = self.manager();
        let result = self
            .job(&manager, "start", &unit, manager.start_unit(&unit, MODE))
            .await?;
        let status = observe(manager.inner().connection(), &unit)
            .await
            .map_err(refused("observe", &unit))?;
        // What a unit said is in the journal a moment after it ended.
        sync_journal().await;
        let lines = journal(&unit, Some(&status.process), VERSION_LINES).await;
        // It remains until it is stopped: one that just ends is forgotten, with its invocation.
        self.job(&manager, "stop", &unit, manager.stop_unit(&unit, MODE))
            .await?;
        if result == "done" {
            return Ok(lines.join("\n"));
        }
        Err(ServiceError::Version {
            ended: format!("{result} ({})", status.ended),
            last_line: lines.last().cloned().unwrap_or_default(),
        })
    }

    fn own_account(&self) -> bool {
        true
    }
}

/// Fine without: the lines may only come late.
async fn sync_journal() {
    let _ = Command::new("journalctl")
        .arg("--sync")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await;
}

/// The last lines of a unit, of one invocation or of all.
async fn journal(unit: &str, invocation: Option<&str>, lines: usize) -> Vec<String> {
    let mut command = Command::new("journalctl");
    if let Some(invocation) = invocation {
        command.arg(format!("_SYSTEMD_INVOCATION_ID={invocation}"));
    }
    let output = command
        .args([
            "--no-pager",
            "--quiet",
            "--output=cat",
            "--unit",
            unit,
            "--lines",
        ])
        .arg(lines.to_string())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await;
    match output {
        Ok(output) => String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(str::to_owned)
            .collect(),
        Err(error) => vec![format!("journalctl does not run: {error}")],
    }
}

/// The unit as it is now.
async fn observe(connection: &Connection, unit: &str) -> zbus::Result<Status> {
    let path = ManagerProxy::new(connection).await?.load_unit(unit).await?;
    let unit = UnitProxy::builder(connection)
        .path(path.clone())
        .cache_properties(CacheProperties::No)
        .build()
        .await?;
    let service = ServiceUnitProxy::builder(connection)
        .path(path)
        .cache_properties(CacheProperties::No)
        .build()
        .await?;
    let state = unit.active_state().await?;
    let waiting = unit.sub_state().await? == "auto-restart";
    Ok(Status {
        state: state_of(&state),
        // Between a crash and the next start the counter has not moved yet.
        restarts: service.n_restarts().await? + u32::from(waiting),
        process: hex::encode(unit.invocation_id().await?),
        ended: ended_of(
            &service.result().await?,
            service.exec_main_code().await?,
            service.exec_main_status().await?,
        ),
    })
}

fn state_of(word: &str) -> State {
    match word {
        "active" | "reloading" | "refreshing" => State::Active,
        "activating" => State::Activating,
        "deactivating" => State::Deactivating,
        "failed" => State::Failed,
        // `maintenance` and what may come: never taken for healthy.
        _ => State::Inactive,
    }
}

/// As `waitid` says it (CLD_EXITED, CLD_KILLED, CLD_DUMPED), and systemd's own reason where it has one.
fn ended_of(result: &str, code: i32, status: i32) -> String {
    let process = match code {
        1 => format!("exit status: {status}"),
        2 | 3 => format!("signal: {status}"),
        _ => String::new(),
    };
    match (result, process.as_str()) {
        ("success" | "exit-code" | "signal", _) => process,
        (_, "") => result.to_owned(),
        _ => format!("{result}, {process}"),
    }
}

/// A connection to the bus on which systemd tells of jobs and changes. It refuses to be asked
/// twice on one connection.
async fn subscribed(address: Option<&str>) -> zbus::Result<Connection> {
    let connection = match address {
        Some(address) => zbus::connection::Builder::address(address).build().await?,
        None => Connection::system().await?,
    };
    ManagerProxy::new(&connection).await?.subscribe().await?;
    Ok(connection)
}

async fn follow_forever(
    mut connection: Connection,
    address: Option<String>,
    managers: watch::Sender<ManagerProxy<'static>>,
    sender: watch::Sender<Status>,
) {
    loop {
        if let Err(error) = follow(&connection, &sender).await {
            log::warn!("the bus to systemd is lost: {error}");
        }
        tokio::time::sleep(RECONNECT).await;
        if let Ok(fresh) = subscribed(address.as_deref()).await
            && let Ok(manager) = ManagerProxy::new(&fresh).await
        {
            managers.send_replace(manager);
            connection = fresh;
        }
    }
}

/// Until the bus is lost. Each change of a property is a reason to look, nothing more.
async fn follow(connection: &Connection, sender: &watch::Sender<Status>) -> zbus::Result<()> {
    let path = ManagerProxy::new(connection).await?.load_unit(UNIT).await?;
    let properties = zbus::fdo::PropertiesProxy::builder(connection)
        .destination("org.freedesktop.systemd1")
        .path(path)
        .build()
        .await?;
    let mut changes = properties.receive_properties_changed().await?;
    loop {
        let now = observe(connection, UNIT).await?;
        sender.send_if_modified(|known| {
            let changed = *known != now;
            *known = now;
            changed
        });
        if changes.next().await.is_none() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_in_words() {
        let cases = [
            ("exit-code", 1, 3, "exit status: 3"),
            ("signal", 2, 9, "signal: 9"),
            ("timeout", 2, 9, "timeout, signal: 9"),
            ("resources", 0, 0, "resources"),
            ("success", 0, 0, ""),
        ];
        for (result, code, status, expected) in cases {
            assert_eq!(ended_of(result, code, status), expected);
        }
    }
}
