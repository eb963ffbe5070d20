//! What is left when a machine, or its lab, is gone: nothing.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::host::{base_image, base_tree, booted, groups, traces, until_up, world};
use crate::support::{EAST, signed, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_machine_leaves_nothing() {
    let Some(tree) = base_tree() else { return };
    let world = world(166).await;
    let image = base_image(&world, &tree).await;
    let id = booted(&world, &image, &[]).await;
    let directory = world.lab.config.directory.join("instances").join(&id);
    let here = std::process::id();
    let of_machine = || -> Vec<String> {
        traces(&directory, 166)
            .into_iter()
            .filter(|trace| !trace.contains("mmlab166"))
            .collect()
    };
    assert!(!of_machine().is_empty(), "a running machine leaves traces");
    assert!(
        groups(here, 166)
            .iter()
            .any(|group| group.join(&id).exists())
    );

    world
        .ok("TerminateInstances", &[("InstanceId.1", &id)])
        .await;
    world.until_state(EAST, &id, "terminated").await;
    assert_eq!(of_machine(), Vec::<String>::new());
    assert!(
        !groups(here, 166)
            .iter()
            .any(|group| group.join(&id).exists())
    );
    assert!(!directory.join("upper").exists());
    assert!(directory.join("console.log").exists(), "the console stays");

    let last = booted(&world, &image, &[]).await;
    world.lab.stop().await;
    assert_eq!(
        traces(&world.lab.config.directory, 166),
        Vec::<String>::new()
    );
    assert!(
        !groups(here, 166)
            .iter()
            .any(|group| group.join(&last).exists())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_lab_leaves_nothing() {
    let Some(tree) = base_tree() else { return };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (mut lab, pid) = lab_with_machines(directory.path(), &tree, 168).await;
    lab.kill().expect("SIGKILL");
    lab.wait().expect("its end");
    let mut left = Vec::new();
    until("nothing is left", || {
        left = traces(directory.path(), 168);
        left.extend(
            groups(pid, 168)
                .iter()
                .map(|group| group.display().to_string()),
        );
        left.is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_dead_launchers_leave_the_next_lab_removes() {
    let Some(tree) = base_tree() else { return };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (mut lab, pid) = lab_with_machines(directory.path(), &tree, 170).await;
    let launchers = launchers(directory.path());
    assert!(launchers.len() >= 2, "{launchers:?}");
    lab.kill().expect("SIGKILL");
    for launcher in launchers {
        // One that has seen the lab's end already may be gone.
        let _ = rustix::process::kill_process(launcher, rustix::process::Signal::KILL);
    }
    lab.wait().expect("its end");
    until("no process, mount, device or route is left", || {
        traces(directory.path(), 170).is_empty()
    })
    .await;
    let next = world(170).await;
    assert_eq!(groups(pid, 170), Vec::<PathBuf>::new());
    next.lab.stop().await;
}

/// The processes between a lab and its machines, and what started these.
fn launchers(directory: &Path) -> Vec<rustix::process::Pid> {
    let directory = directory.to_string_lossy();
    std::fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .filter(|entry| {
            let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            command.contains("exec-machine") && command.contains(&*directory)
        })
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(rustix::process::Pid::from_raw)
        .collect()
}

/// A lab as a program of its own, with two machines that are up.
async fn lab_with_machines(directory: &Path, tree: &Path, octet: u8) -> (Child, u32) {
    let mut lab = Command::new(env!("CARGO_BIN_EXE_lab"))
        .args(["run", "--runtime", "machine", "--speed", "60"])
        .args(["--octet", &octet.to_string(), "--seed", &octet.to_string()])
        .args(["--listen", &format!("10.{octet}.0.2:0")])
        .arg("--directory")
        .arg(directory)
        .arg("--image")
        .arg(format!("base={}", tree.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the lab");
    let pid = lab.id();
    let mut line = String::new();
    let stdout = lab.stdout.take().expect("it is piped");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    let ready: Value = serde_json::from_str(&line).expect("JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let endpoint = text(&ready["endpoint"]);
    let address = endpoint.trim_start_matches("http://").parse();
    let address = address.expect("an address");
    let key = text(&ready["access_key_id"]);
    let secret = text(&ready["secret_access_key"]);
    let image = text(&ready["images"]["base"]);
    let pairs = [
        ("ImageId", image.as_str()),
        ("MinCount", "2"),
        ("MaxCount", "2"),
    ];
    let key = (key.as_str(), secret.as_str());
    let answer = signed(address, key, None, (EAST, "ec2"), "RunInstances", &pairs).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    for id in answer.texts("instanceId") {
        until_up(&id).await;
    }
    assert!(!traces(directory, octet).is_empty());
    assert!(!groups(pid, octet).is_empty());
    (lab, pid)
}
