//! A node's life: first boot to serving, upgrade, crash, orphanhood, leaving.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use fleet_proto::v1::{Database, Desired, Drain, Goal, Phase};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::mattermost;
use crate::scenario::Scenario;

#[tokio::test]
async fn first_boot_ends_with_a_verified_server() {
    let mut node = Scenario::new("127.77.1.1").await;
    let mut desired = node.release(1, "11.10.0");
    desired.settings.insert(
        "MM_SERVICESETTINGS_SITEURL".into(),
        "https://chat.example.org".into(),
    );
    desired
        .settings
        .insert("MM_CLUSTERSETTINGS_ENABLE".into(), "true".into());
    node.orchestrator
        .shared
        .secrets
        .lock()
        .unwrap()
        .insert("MM_LICENSE".into(), "the-secret-licence".into());
    node.orchestrator.want(desired.clone());
    let report = node
        .orchestrator
        .until("serving", |report| report.phase() == Phase::Serving)
        .await;
    assert_eq!(report.mattermost_version, "11.10.0");
    assert_eq!(report.configuration_digest, desired.configuration_digest);
    assert_eq!(report.generation, 1);
    let health = report.health.unwrap();
    assert!(health.active && health.consecutive_ok >= 2);

    let environment = std::fs::read_to_string(node.path("etc/mattermost/mattermost.env")).unwrap();
    for expected in [
        "MM_SERVICESETTINGS_LISTENADDRESS=\"127.77.1.1:8065\"",
        "MM_CLUSTERSETTINGS_OVERRIDEHOSTNAME=\"127.77.1.1\"",
        "MM_LICENSE=\"the-secret-licence\"",
    ] {
        assert!(
            environment.contains(expected),
            "{expected} is not in the environment"
        );
    }
    for secret in [
        "etc/mattermost/mattermost.env",
        "var/lib/mattermost-agent/node.key",
    ] {
        let mode = std::fs::metadata(node.path(secret))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o600, "{secret}");
    }
    assert!(!node.log().contains("the-secret-licence"));
    assert!(!node.log().contains("role-secret-key"));
    let calls = node.orchestrator.shared.calls.lock().unwrap();
    assert_eq!(calls.enrolled.len(), 1);
    assert_eq!(
        calls.secrets[0].artefact_sha256,
        desired.configuration_digest
    );
}

#[tokio::test]
async fn upgrade_switches_and_keeps_the_release_before() {
    let mut node = Scenario::new("127.77.1.2").await;
    node.orchestrator.want(node.release(1, "11.9.0"));
    node.orchestrator
        .until("first", |report| report.phase() == Phase::Serving)
        .await;
    node.orchestrator.want(node.release(2, "11.10.0"));
    let report = node
        .orchestrator
        .until("second", |report| {
            report.phase() == Phase::Serving && report.generation == 2
        })
        .await;
    assert_eq!(report.mattermost_version, "11.10.0");
    let link = |name: &str| std::fs::read_link(node.path(name)).unwrap();
    assert_eq!(
        link("opt/mattermost/current"),
        std::path::Path::new("releases/11.10.0")
    );
    assert_eq!(
        link("opt/mattermost/previous"),
        std::path::Path::new("releases/11.9.0")
    );

    // An older generation changes nothing.
    node.orchestrator.want(node.release(1, "11.9.0"));
    let report = node
        .orchestrator
        .until("refusal", |report| report.note.contains("refused"))
        .await;
    assert_eq!((report.phase(), report.generation), (Phase::Serving, 2));
}

#[tokio::test]
async fn bad_release_fails_with_its_last_lines() {
    let mut node = Scenario::new("127.77.1.3").await;
    let program = mattermost::crashing("11.10.0");
    node.orchestrator
        .want(node.release_of(1, "11.10.0", &program));
    let failure = node.orchestrator.failure().await;
    assert_eq!(
        (failure.phase(), failure.code.as_str()),
        (Phase::Starting, "server_crashed")
    );
    assert!(
        failure.error.contains("exit status: 3"),
        "{}",
        failure.error
    );
    assert!(
        failure
            .journal
            .iter()
            .any(|line| line.contains("cannot read the licence"))
    );
}

#[tokio::test]
async fn crashed_server_is_restarted_and_reported() {
    let mut node = Scenario::new("127.77.1.4").await;
    node.orchestrator.want(node.release(1, "11.10.0"));
    node.orchestrator
        .until("serving", |report| report.phase() == Phase::Serving)
        .await;
    std::fs::write(node.path("opt/mattermost/shared/config/crash"), "").unwrap();
    let report = node
        .orchestrator
        .until("crash", |report| report.phase() == Phase::Failed)
        .await;
    let failure = report.failure.unwrap();
    assert_eq!(failure.phase(), Phase::Serving);
    assert!(
        failure
            .journal
            .iter()
            .any(|line| line.contains("asked to crash"))
    );
    node.orchestrator
        .until("serving again", |report| report.phase() == Phase::Serving)
        .await;

    std::fs::write(node.path("opt/mattermost/shared/config/sick"), "").unwrap();
    let report = node
        .orchestrator
        .until("sick", |report| {
            report
                .health
                .as_ref()
                .is_some_and(|health| health.consecutive_ok == 0)
        })
        .await;
    assert_eq!(report.phase(), Phase::Serving);
    assert_eq!(report.health.unwrap().database_status, "UNHEALTHY");
}

#[tokio::test]
async fn node_serves_on_and_comes_back_without_any_orchestrator() {
    let mut node = Scenario::new("127.77.1.5").await;
    node.orchestrator.want(node.release(1, "11.10.0"));
    node.orchestrator
        .until("serving", |report| report.phase() == Phase::Serving)
        .await;
    node.orchestrator.stop();
    // Killed: its server stays behind, is ended, and started again from what is on disk.
    for gentle in [false, true] {
        if gentle {
            node.stop_agent().await;
        } else {
            node.kill_agent().await;
        }
        node.start_agent();
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
        let times = if gentle { 3 } else { 2 };
        while node.log().matches("INFO serving").count() < times {
            assert!(tokio::time::Instant::now() < deadline, "{}", node.log());
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
    node.orchestrator.start_again().await;
    node.orchestrator
        .until("still serving", |report| report.phase() == Phase::Serving)
        .await;
    let calls = node.orchestrator.shared.calls.lock().unwrap();
    assert_eq!(
        calls.enrolled.len(),
        1,
        "a restarted node does not enrol again"
    );
    assert_eq!(calls.secrets.len(), 1, "nor does it need its secrets again");
}

#[tokio::test]
async fn clients_of_a_server_that_restarts_are_closed_in_batches() {
    const CLIENTS: usize = 12;
    const INTERVAL: Duration = Duration::from_millis(300);
    let mut node = Scenario::new("127.77.1.8").await;
    let first = node.release(1, "11.10.0");
    node.orchestrator.want(first.clone());
    node.orchestrator
        .until("serving", |report| report.phase() == Phase::Serving)
        .await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let mut client = TcpStream::connect("127.77.1.8:8065").await.unwrap();
        clients.spawn(async move {
            let closed = client.read(&mut [0; 1]).await;
            assert!(!matches!(closed, Ok(1..)), "the server spoke");
            Instant::now()
        });
    }
    // New facts: the same release with another configuration.
    node.orchestrator.want(Desired {
        generation: 2,
        configuration_digest: "ab".repeat(32),
        drain: Some(Drain {
            batch: 3,
            interval_ms: INTERVAL.as_millis() as u32,
            deadline_s: 60,
        }),
        ..first
    });
    node.orchestrator
        .until("restarted", |report| {
            report.phase() == Phase::Serving && report.generation == 2
        })
        .await;
    let mut closed = clients.join_all().await;
    closed.sort();
    if node.log().contains("cannot be closed one by one") {
        // Past the test harness, which keeps what tests print that pass.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: closing other processes' connections needs CAP_NET_ADMIN"
        );
        return;
    }
    let lasted = closed[CLIENTS - 1] - closed[0];
    assert!(
        lasted >= INTERVAL * 5 / 2,
        "{CLIENTS} clients by threes are four batches, and all were gone within {lasted:?}"
    );
}

#[tokio::test]
async fn draining_node_stops_and_says_so() {
    let mut node = Scenario::new("127.77.1.6").await;
    let desired = node.release(1, "11.10.0");
    node.orchestrator.want(desired.clone());
    node.orchestrator
        .until("serving", |report| report.phase() == Phase::Serving)
        .await;
    "Terminated".clone_into(&mut node.imds.lifecycle.lock().unwrap());
    node.orchestrator
        .until("terminating", |report| report.terminating)
        .await;
    node.orchestrator.want(Desired {
        generation: 2,
        goal: Goal::Drain.into(),
        ..Desired::default()
    });
    node.orchestrator
        .until("drained", |report| report.phase() == Phase::Drained)
        .await;
    assert!(
        tokio::net::TcpStream::connect("127.77.1.6:8065")
            .await
            .is_err()
    );
}

#[tokio::test]
async fn certificate_is_renewed_at_half_of_its_life() {
    let mut node = Scenario::before_boot("127.77.1.7").await;
    *node.orchestrator.shared.life.lock().unwrap() = std::time::Duration::from_secs(6);
    node.start_agent();
    node.orchestrator.want(node.release(1, "11.10.0"));
    node.orchestrator
        .until("serving", |report| report.phase() == Phase::Serving)
        .await;
    let shared = std::sync::Arc::clone(&node.orchestrator.shared);
    node.orchestrator
        .until("two renewals", |_| {
            shared.calls.lock().unwrap().renewed >= 2
        })
        .await;
}

#[tokio::test]
async fn leaving_node_drains_itself_when_the_orchestrators_are_gone() {
    let mut node = Scenario::new("127.77.1.9").await;
    node.orchestrator.want(node.release(1, "11.10.0"));
    node.orchestrator
        .until("serving", |report| report.phase() == Phase::Serving)
        .await;
    "Terminated".clone_into(&mut node.imds.lifecycle.lock().unwrap());
    node.orchestrator
        .until("terminating", |report| report.terminating)
        .await;
    node.orchestrator.stop();
    // Its session would outlive the server that was stopped.
    node.kill_agent().await;
    node.start_agent();
    // Half a minute, in which its attempts at a session fail.
    let deadline = Instant::now() + Duration::from_secs(90);
    while !node.log().contains("INFO drained") {
        assert!(Instant::now() < deadline, "{}", node.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(TcpStream::connect("127.77.1.9:8065").await.is_err());

    // What it is told later counts again.
    node.orchestrator.start_again().await;
    node.orchestrator.want(Desired {
        generation: 2,
        goal: Goal::Drain.into(),
        ..Desired::default()
    });
    node.orchestrator
        .until("drained as it was told", |report| {
            report.phase() == Phase::Drained && report.generation == 2
        })
        .await;
}

#[tokio::test]
async fn going_back_from_a_configuration_that_failed_brings_its_files_back() {
    let mut node = Scenario::new("127.77.1.10").await;
    let good = Desired {
        configuration_digest: "aa".repeat(32),
        ..node.release(1, "11.10.0")
    };
    node.orchestrator.want(good.clone());
    node.orchestrator
        .until("serving", |report| report.phase() == Phase::Serving)
        .await;
    let paths = ["run/mattermost/server.pid", "etc/mattermost/mattermost.env"];
    let [pid, file] = paths.map(|path| {
        let path = node.path(path);
        move || std::fs::read_to_string(&path).unwrap()
    });
    let (first, before) = (pid(), file());

    // Its files are written, and then nobody listens where its database is to be.
    let mut settings = good.settings.clone();
    settings.insert("MM_OTHER".into(), "settings".into());
    node.orchestrator.want(Desired {
        generation: 2,
        configuration_digest: "bb".repeat(32),
        settings,
        database: Some(Database {
            host: "127.77.1.10".into(),
            port: 1,
            name: "mattermost".into(),
            user: "mmuser".into(),
            trust_pem: node.releases.trust_pem.clone(),
            minimum_version: 13,
            connections_needed: 1,
        }),
        ..good.clone()
    });
    let report = node
        .orchestrator
        .until("failed", |report| report.failure.is_some())
        .await;
    assert_eq!(report.failure.unwrap().code, "database_refused");
    assert!(file().contains("MM_OTHER"));

    node.orchestrator.want(Desired {
        generation: 3,
        ..good
    });
    node.orchestrator
        .until("serving as before", |report| {
            report.phase() == Phase::Serving && report.generation == 3
        })
        .await;
    assert_eq!(file(), before);
    assert_eq!(pid(), first, "a server of this configuration runs already");
}
