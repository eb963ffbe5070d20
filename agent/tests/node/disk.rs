//! A node whose disk is full: what serves goes on, also after a crash and a restart of the agent; what is new is
//! refused in words; room is all that it needs.
//!
//! The disk is a small file system of the node's own, with its folders `etc`, `opt` and `var`, as on a root volume;
//! `run` is none of it. It is mounted where nobody else sees it: the test starts itself again in a mount
//! namespace, which ends with it.

use std::fs::File;
use std::io::{ErrorKind, Write as _};

use fleet_proto::v1::{Goal, Phase};
use rustix::mount::{MountFlags, mount, mount_bind};
use tokio::process::Command;

use crate::scenario::Scenario;

const INSIDE: &str = "NODE_WITH_A_DISK_OF_ITS_OWN";
const FILLER: &str = "disk/filler";

#[tokio::test]
async fn a_full_disk_is_told_and_ends_no_server() {
    if !rustix::process::geteuid().is_root() {
        // Past the test harness, which keeps what tests print that pass.
        let _ = writeln!(std::io::stderr(), "SKIPPED: a disk of its own needs root");
        return;
    }
    // What it leaves is removed out here, where nothing is mounted.
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "disk::inside", "--ignored", "--nocapture"])
        .env(INSIDE, "1")
        .env("TMPDIR", folder.path())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (said, log) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}\n{log}");
    assert!(said.contains("1 passed"), "{said}\n{log}");
}

#[tokio::test]
#[ignore = "the test above runs it, where it may mount"]
async fn inside() {
    if std::env::var_os(INSIDE).is_none() {
        return;
    }
    let mut node = Scenario::before_boot("127.77.10.1").await;
    give_disk(&node);
    node.start_agent();
    node.orchestrator.want(node.release(1, "11.9.0"));
    serves(&mut node, 1).await;
    let filler = fill(&node);

    // The server ends, and its agent; both come back from what is there.
    let crash = node.path("opt/mattermost/shared/config/crash");
    File::create(crash).unwrap();
    let crashed = node.orchestrator.failure().await;
    assert_eq!(crashed.code, "server_crashed");
    serves(&mut node, 1).await;
    node.kill_agent().await;
    node.start_agent();
    serves(&mut node, 1).await;

    // What is new does not fit, and says so; the old server serves on.
    node.orchestrator.want(node.release(2, "11.10.0"));
    let failed = |report: &fleet_proto::v1::NodeReport| {
        report.phase() == Phase::Failed && report.generation == 2
    };
    let report = node.orchestrator.until("no room", failed).await;
    let failure = report.failure.unwrap();
    assert_eq!(failure.code, "disk_space", "{failure:?}");
    assert!(failure.hint.contains("larger root volume"), "{failure:?}");
    assert!(pings("127.77.10.1").await, "{}", node.log());

    // Room, and nothing else.
    drop(filler);
    std::fs::remove_file(node.path(FILLER)).unwrap();
    serves(&mut node, 2).await;
    // It could not be kept, for an agent that starts without an orchestrator, and is now.
    until_logged(&node, "is kept on disk now").await;
    node.kill_agent().await;
    node.orchestrator.stop();
    node.start_agent();
    until_logged(&node, "going on with desired state 2").await;

    let _full = fill(&node);
    node.orchestrator.start_again().await;
    node.orchestrator.want(fleet_proto::v1::Desired {
        goal: Goal::Drain.into(),
        ..node.release(3, "11.10.0")
    });
    let drained = |report: &fleet_proto::v1::NodeReport| report.phase() == Phase::Drained;
    node.orchestrator.until("drained", drained).await;
    assert!(!pings("127.77.10.1").await);
}

/// Mounts the disk and gives the node its folders there.
fn give_disk(node: &Scenario) {
    let disk = node.path("disk");
    std::fs::create_dir(&disk).unwrap();
    let size = c"size=32m,mode=0755";
    mount("disk", &disk, "tmpfs", MountFlags::empty(), size).unwrap();
    for folder in ["etc", "opt", "var"] {
        let (there, here) = (disk.join(folder), node.path(folder));
        std::fs::create_dir(&there).unwrap();
        std::fs::create_dir(&here).unwrap();
        mount_bind(&there, &here).unwrap();
    }
}

/// Until not a byte goes in.
fn fill(node: &Scenario) -> File {
    let mut filler = File::create(node.path(FILLER)).unwrap();
    for size in [64 * 1024, 1] {
        let piece = vec![0; size];
        loop {
            match filler.write_all(&piece) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
    filler
}

async fn serves(node: &mut Scenario, generation: u64) {
    let good = |report: &fleet_proto::v1::NodeReport| {
        report.phase() == Phase::Serving && report.generation == generation
    };
    node.orchestrator.until("serving", good).await;
}

async fn pings(address: &str) -> bool {
    let url = format!("http://{address}:8065/api/v4/system/ping?get_server_status=true");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(url).send().await;
    answer.is_ok_and(|answer| answer.status() == 200)
}

async fn until_logged(node: &Scenario, words: &str) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    while !node.log().contains(words) {
        assert!(tokio::time::Instant::now() < deadline, "{}", node.log());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// What cannot be written where the agent keeps its goal, as on a full or read-only disk.
#[tokio::test]
async fn a_goal_that_cannot_be_kept_is_followed_in_one_session_all_the_same() {
    let mut node = Scenario::new("127.77.1.40").await;
    node.orchestrator.want(node.release(1, "11.9.0"));
    node.orchestrator
        .until("first", |report| report.phase() == Phase::Serving)
        .await;
    let kept = node.path("var/lib/mattermost-agent/desired");
    std::fs::remove_file(&kept).unwrap();
    // Not even root puts a file in the place of a folder that is not empty.
    std::fs::create_dir_all(kept.join("in the way")).unwrap();
    node.orchestrator.want(node.release(2, "11.10.0"));
    let report = node
        .orchestrator
        .until("second", |report| {
            report.phase() == Phase::Serving && report.generation == 2
        })
        .await;
    assert_eq!(report.mattermost_version, "11.10.0");
    let log = node.log();
    assert!(
        log.contains("what was accepted cannot be kept on disk"),
        "{log}"
    );
    assert!(!log.contains("no session with"), "{log}");
}
