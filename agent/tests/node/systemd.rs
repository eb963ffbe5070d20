//! The systemd side against a manager of our own on a private bus: what it orders, and what it makes
//! of the signals.
#![expect(
    clippy::unused_self,
    clippy::needless_pass_by_value,
    clippy::used_underscore_binding,
    reason = "the shapes are D-Bus's"
)]

use std::io::Write as _;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mattermost_agent::service::systemd::Systemd;
use mattermost_agent::service::{Service, ServiceError, State};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedObjectPath};

const UNIT: &str = "/org/freedesktop/systemd1/unit/mattermost_2eservice";
const OTHER: &str = "/org/freedesktop/systemd1/unit/other";

struct Unit {
    state: String,
    sub: String,
    invocation: Vec<u8>,
}

#[zbus::interface(name = "org.freedesktop.systemd1.Unit")]
impl Unit {
    #[zbus(property)]
    fn active_state(&self) -> String {
        self.state.clone()
    }
    #[zbus(property)]
    fn sub_state(&self) -> String {
        self.sub.clone()
    }
    #[zbus(property, name = "InvocationID")]
    fn invocation_id(&self) -> Vec<u8> {
        self.invocation.clone()
    }
}

struct Server {
    restarts: u32,
    status: i32,
}

#[zbus::interface(name = "org.freedesktop.systemd1.Service")]
impl Server {
    #[zbus(property, name = "NRestarts")]
    fn n_restarts(&self) -> u32 {
        self.restarts
    }
    #[zbus(property)]
    fn result(&self) -> String {
        "exit-code".to_owned()
    }
    #[zbus(property)]
    fn exec_main_code(&self) -> i32 {
        1
    }
    #[zbus(property)]
    fn exec_main_status(&self) -> i32 {
        self.status
    }
}

struct Manager {
    calls: Arc<Mutex<Vec<String>>>,
}

fn path(text: &str) -> OwnedObjectPath {
    OwnedObjectPath::try_from(text.to_owned()).unwrap()
}

impl Manager {
    async fn order(
        &self,
        verb: &str,
        unit: String,
        emitter: SignalEmitter<'_>,
    ) -> zbus::fdo::Result<OwnedObjectPath> {
        let number = {
            let mut calls = self.calls.lock().unwrap();
            calls.push(format!("{verb} {unit}"));
            calls.len() as u32
        };
        let job = path(&format!("/org/freedesktop/systemd1/job/{number}"));
        let result = if unit.contains("11.0.0") {
            "failed"
        } else {
            "done"
        };
        Self::job_removed(&emitter, number, job.clone(), unit, result.to_owned()).await?;
        Ok(job)
    }
}

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl Manager {
    fn subscribe(&self) {}
    fn reset_failed_unit(&self, _name: String) {}
    fn load_unit(&self, name: String) -> OwnedObjectPath {
        path(if name == "mattermost.service" {
            UNIT
        } else {
            OTHER
        })
    }
    async fn start_unit(
        &self,
        name: String,
        _mode: String,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> zbus::fdo::Result<OwnedObjectPath> {
        self.order("start", name, emitter).await
    }
    async fn stop_unit(
        &self,
        name: String,
        _mode: String,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> zbus::fdo::Result<OwnedObjectPath> {
        self.order("stop", name, emitter).await
    }
    async fn restart_unit(
        &self,
        name: String,
        _mode: String,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> zbus::fdo::Result<OwnedObjectPath> {
        self.order("restart", name, emitter).await
    }
    #[zbus(signal)]
    async fn job_removed(
        emitter: &SignalEmitter<'_>,
        id: u32,
        job: OwnedObjectPath,
        unit: String,
        result: String,
    ) -> zbus::Result<()>;
}

struct Bus {
    fake: Connection,
    agent: Connection,
    address: String,
    calls: Arc<Mutex<Vec<String>>>,
    _daemon: tokio::process::Child,
    _directory: TempDir,
}

impl Bus {
    async fn start() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let daemon = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--nopidfile", "--print-address"])
            .arg(format!(
                "--address=unix:path={}/bus",
                directory.path().display()
            ))
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let Ok(mut daemon) = daemon else {
            // Past the test harness, which keeps what tests print that pass.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: no `dbus-daemon` on this machine; hint: `make setup`"
            );
            return None;
        };
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().unwrap())
            .read_line(&mut address)
            .await
            .unwrap();
        let calls = Arc::new(Mutex::new(Vec::new()));
        let build = || zbus::connection::Builder::address(address.trim());
        let manager = Manager {
            calls: Arc::clone(&calls),
        };
        let mut fake = build()
            .name("org.freedesktop.systemd1")
            .serve_at("/org/freedesktop/systemd1", manager);
        for unit in [UNIT, OTHER] {
            let inactive = Unit {
                state: "inactive".into(),
                sub: "dead".into(),
                invocation: Vec::new(),
            };
            let server = Server {
                restarts: 0,
                status: 7,
            };
            fake = fake.serve_at(unit, inactive).serve_at(unit, server);
        }
        Some(Self {
            fake: fake.build().await.unwrap(),
            agent: build().build().await.unwrap(),
            address: address.trim().to_owned(),
            calls,
            _daemon: daemon,
            _directory: directory,
        })
    }

    /// systemd's side: the unit changes, and the bus hears of it.
    async fn becomes(&self, state: &str, sub: &str, invocation: u8, restarts: u32) {
        let server = self.fake.object_server();
        let counters = server.interface::<_, Server>(UNIT).await.unwrap();
        counters.get_mut().await.restarts = restarts;
        let unit = server.interface::<_, Unit>(UNIT).await.unwrap();
        let mut inner = unit.get_mut().await;
        state.clone_into(&mut inner.state);
        sub.clone_into(&mut inner.sub);
        inner.invocation = vec![invocation];
        inner
            .active_state_changed(unit.signal_emitter())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn server_is_ordered_and_followed() {
    let Some(bus) = Bus::start().await else {
        return;
    };
    let systemd = Arc::new(Systemd::on(bus.agent.clone()).await.unwrap());
    let mut status = systemd.status();
    assert_eq!(status.borrow().state, State::Inactive);

    // Starting returns only with a sign of the new process.
    let starting = tokio::spawn({
        let systemd = Arc::clone(&systemd);
        async move { systemd.start().await }
    });
    while bus.calls.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(!starting.is_finished());
    bus.becomes("activating", "start", 1, 0).await;
    starting.await.unwrap().unwrap();
    bus.becomes("active", "running", 1, 0).await;
    status
        .wait_for(|now| now.state == State::Active)
        .await
        .unwrap();
    systemd.start().await.unwrap();
    assert_eq!(
        bus.calls.lock().unwrap().len(),
        1,
        "what runs is not started again"
    );

    // A crash counts from the moment on in which systemd waits to start it again.
    bus.becomes("activating", "auto-restart", 1, 0).await;
    let crashed = status
        .wait_for(|now| now.restarts == 1)
        .await
        .unwrap()
        .clone();
    assert_eq!(
        (crashed.state, crashed.ended.as_str()),
        (State::Activating, "exit status: 7")
    );
    bus.becomes("active", "running", 2, 1).await;
    let again = status
        .wait_for(|now| now.state == State::Active)
        .await
        .unwrap()
        .clone();
    assert_eq!((again.restarts, again.process.as_str()), (1, "02"));

    let stopping = tokio::spawn({
        let systemd = Arc::clone(&systemd);
        async move { systemd.stop().await }
    });
    while bus.calls.lock().unwrap().len() < 2 {
        tokio::task::yield_now().await;
    }
    bus.becomes("inactive", "dead", 2, 1).await;
    tokio::time::timeout(Duration::from_secs(10), stopping)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let calls = bus.calls.lock().unwrap().clone();
    assert_eq!(
        calls,
        ["start mattermost.service", "stop mattermost.service"]
    );
}

#[tokio::test]
async fn migration_is_a_unit_of_its_own() {
    let Some(bus) = Bus::start().await else {
        return;
    };
    let systemd = Systemd::on(bus.agent.clone()).await.unwrap();
    systemd.migrate(&"11.10.0".parse().unwrap()).await.unwrap();
    let error = systemd
        .migrate(&"11.0.0".parse().unwrap())
        .await
        .unwrap_err();
    let ServiceError::Migration { ended, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(ended, "failed (exit status: 7)");
    let calls = bus.calls.lock().unwrap().clone();
    assert_eq!(
        calls,
        [
            "start mattermost-migrate@11.10.0.service",
            "start mattermost-migrate@11.0.0.service"
        ]
    );
}

#[tokio::test]
async fn orders_go_on_after_the_connection_to_the_bus_was_lost() {
    let Some(bus) = Bus::start().await else {
        return;
    };
    let address = Some(bus.address.clone());
    let systemd = Systemd::on_bus(bus.agent.clone(), address).await.unwrap();
    bus.agent.clone().close().await.unwrap();
    let version = "11.10.0".parse().unwrap();
    let ordered = tokio::time::timeout(Duration::from_secs(30), async {
        while systemd.migrate(&version).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    ordered.await.expect("no order reaches systemd any more");
    let calls = bus.calls.lock().unwrap().clone();
    assert_eq!(calls, ["start mattermost-migrate@11.10.0.service"]);
}
