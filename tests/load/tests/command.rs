//! The program: progress, SIGINT, exit codes.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on ends there, helpers included"
)]

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use load::Report;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use standin::release::{Behaviour, Manifest, Version};
use standin::scratch_postgres::{ScratchPostgres, free_port, loopback};
use standin::server::{Pace, Server};

fn load() -> Command {
    Command::new(env!("CARGO_BIN_EXE_load"))
}

async fn node(folder: &std::path::Path, dsn: &str) -> Server {
    for name in ["i18n", "templates", "client"] {
        std::fs::create_dir_all(folder.join(name)).unwrap();
    }
    std::fs::write(folder.join("client/root.html"), "<html></html>").unwrap();
    let manifest = Manifest {
        version: Version::new(11, 10, 0),
        behaviour: Behaviour::Good,
    };
    let place = |name: &str| folder.join(name).display().to_string();
    let environment = [
        ("MM_SQLSETTINGS_DATASOURCE", dsn.to_owned()),
        (
            "MM_SERVICESETTINGS_LISTENADDRESS",
            format!("{}:8065", loopback()),
        ),
        ("MM_FILESETTINGS_DIRECTORY", place("data")),
        ("MM_FILESETTINGS_ENABLEPUBLICLINK", "true".to_owned()),
        ("MM_PLUGINSETTINGS_DIRECTORY", place("plugins")),
        ("MM_PLUGINSETTINGS_CLIENTDIRECTORY", place("client/plugins")),
        ("MM_TEAMSETTINGS_ENABLEOPENSERVER", "true".to_owned()),
    ];
    let environment = environment.map(|(key, value)| (key.to_owned(), value));
    Server::open(
        manifest,
        dsn,
        environment,
        folder.to_owned(),
        Pace::default(),
    )
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigint_ends_a_run_with_its_report() {
    let folder = tempfile::tempdir().unwrap();
    let postgres = ScratchPostgres::shared().await.unwrap();
    let dsn = postgres.create_dsn().await.unwrap();
    let server = node(folder.path(), &dsn).await;
    let url = format!("http://{}", server.address());
    let mut child = load()
        .args([
            "run",
            "--url",
            &url,
            "--clients",
            "6",
            "--rate",
            "20",
            "--output",
            "json",
        ])
        .args(["--progress", "100ms"])
        .args(["--file-rate", "10"])
        .env("LOAD_DATABASE_URL", &dsn)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = Pid::from_child(&child);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (last, status) = tokio::task::spawn_blocking(move || {
        let mut last = String::new();
        let mut told = false;
        for line in lines {
            last = line.unwrap();
            let value: Value = serde_json::from_str(&last).unwrap();
            let progress = &value["progress"];
            if !told && progress["acknowledged"].as_u64() > Some(10) {
                assert_eq!(progress["connected"], 6);
                kill_process(pid, Signal::INT).unwrap();
                told = true;
            }
        }
        (last, child.wait().unwrap())
    })
    .await
    .unwrap();
    let report: Report = serde_json::from_str(&last).unwrap();
    assert!(status.success() && report.is_clean(), "{report}");
    let database = report.database.as_ref().unwrap();
    assert_eq!(database.messages, report.messages.acknowledged);
    let line = report.kept().unwrap();
    assert!(
        line.ends_with(
            " uploaded, 0 lost; settings kept; plugin left out: no bundle was named; link valid"
        ),
        "{line}"
    );

    let probe = load()
        .args([
            "chat-probe",
            "--from",
            &url,
            "--to",
            &url,
            "--output",
            "json",
        ])
        .output()
        .unwrap();
    assert!(probe.status.success(), "{probe:?}");
    let probe: Value = serde_json::from_slice(&probe.stdout).unwrap();
    assert_eq!(probe["ok"], true);
    assert_eq!(probe["directions"].as_array().unwrap().len(), 2);
    server.kill().await;
}

#[test]
fn a_server_that_is_not_there_is_exit_code_3() {
    let address = loopback();
    let url = format!("http://{address}:{}", free_port(address).unwrap());
    let output = load()
        .args(["run", "--url", &url, "--duration", "1s"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("administrator") && text.contains(&url),
        "{text}"
    );
    let usage = load()
        .args(["run", "--url", &url, "--duration", "soon"])
        .output()
        .unwrap();
    assert_eq!(usage.status.code(), Some(2));
}
