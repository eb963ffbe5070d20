//! Instances as processes: they start, die, come back, and end with whatever should end them.

use std::process::Stdio;

use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::support::{EAST, World, pid_in, runs, until, write_agent};

/// An agent with a child in its group, and one that left the group and cleared its environment.
const FAMILY: &str = "sleep 1000 & echo $! >child
setsid env -i sleep 1000 & echo $! >stray
echo $$ >agent
echo agent is up
wait";

async fn family(world: &World, id: &str) -> [i32; 3] {
    let root = world.root(id);
    [
        pid_in(&root.join("agent")).await,
        pid_in(&root.join("child")).await,
        pid_in(&root.join("stray")).await,
    ]
}

#[tokio::test]
async fn termination_ends_everything_of_the_instance_and_nothing_else() {
    let world = World::start(131, 600.0).await;
    let image = world.image_with_agent(FAMILY).await;
    let (one, two) = (world.run(&image, &[]).await, world.run(&image, &[]).await);
    let (first, second) = (family(&world, &one).await, family(&world, &two).await);
    world
        .ok("TerminateInstances", &[("InstanceId.1", &one)])
        .await;
    world.until_state(EAST, &one, "terminated").await;
    assert!(
        !first.iter().any(|pid| runs(*pid)),
        "all of the first ended"
    );
    assert!(second.iter().all(|pid| runs(*pid)), "all of the second run");
    assert!(!world.root(&one).exists(), "its root is gone");
    let console = world
        .ok("GetConsoleOutput", &[("InstanceId", &one)])
        .await
        .text("output");
    assert!(!console.is_empty(), "its console outlives it");
    world.lab.stop().await;
    assert!(
        !second.iter().any(|pid| runs(*pid)),
        "the lab's end is theirs"
    );
}

#[tokio::test]
async fn stop_and_start_keep_the_root_and_a_crash_is_mended() {
    let world = World::start(133, 600.0).await;
    let image = world
        .image_with_agent("echo boot >>boots; echo $$ >agent; exec sleep 1000")
        .await;
    let id = world.run(&image, &[]).await;
    let root = world.root(&id);
    let boots = || {
        std::fs::read_to_string(root.join("boots"))
            .unwrap_or_default()
            .lines()
            .count()
    };
    until("the first boot", || boots() == 1).await;
    let before = pid_in(&root.join("agent")).await;
    world.ok("StopInstances", &[("InstanceId.1", &id)]).await;
    world.until_state(EAST, &id, "stopped").await;
    assert!(!runs(before));
    world.ok("StartInstances", &[("InstanceId.1", &id)]).await;
    world.until_state(EAST, &id, "running").await;
    until("the second boot", || boots() == 2).await;
    world
        .control(
            Method::POST,
            &format!("ec2/instances/{id}/kill"),
            Value::Null,
        )
        .await;
    until("the start after the crash", || boots() == 3).await;
    world.ok("RebootInstances", &[("InstanceId.1", &id)]).await;
    until("the start after the reboot", || boots() == 4).await;
    world.lab.stop().await;
}

#[tokio::test]
async fn an_agent_that_ignores_sigterm_is_killed() {
    let world = World::start(135, 600.0).await;
    let image = world
        .image_with_agent("trap '' TERM; echo $$ >agent; while true; do sleep 1; done")
        .await;
    let id = world.run(&image, &[]).await;
    let agent = pid_in(&world.root(&id).join("agent")).await;
    world
        .ok("TerminateInstances", &[("InstanceId.1", &id)])
        .await;
    world.until_state(EAST, &id, "terminated").await;
    assert!(!runs(agent));
    world.lab.stop().await;
}

#[tokio::test]
async fn an_instance_terminated_while_it_boots_never_starts() {
    let world = World::start(137, 1.0).await;
    let image = world.image_with_agent(FAMILY).await;
    let pairs = [
        ("ImageId", image.as_str()),
        ("MinCount", "1"),
        ("MaxCount", "1"),
    ];
    let id = world.ok("RunInstances", &pairs).await.text("instanceId");
    let ended = world
        .ok("TerminateInstances", &[("InstanceId.1", &id)])
        .await;
    assert_eq!(ended.texts("name"), ["shutting-down", "pending"]);
    world.lab.clock.set_speed(600.0);
    world.until_state(EAST, &id, "terminated").await;
    let console = world.ok("GetConsoleOutput", &[("InstanceId", &id)]).await;
    assert_eq!(console.text("output"), "");
    world.lab.stop().await;
}

#[tokio::test]
async fn bad_days_look_like_awss() {
    let world = World::start(139, 600.0).await;
    let image = world.empty_image().await;
    let fault = json!({ "kind": "insufficient_capacity", "zone": "us-east-1a" });
    world.control(Method::POST, "ec2/faults", fault).await;
    let pairs = [
        ("ImageId", image.as_str()),
        ("MinCount", "1"),
        ("MaxCount", "1"),
    ];
    let code = "InsufficientInstanceCapacity";
    world.refused(500, code, "RunInstances", &pairs).await;
    let fault = json!({ "kind": "boot_failure", "reason": "disk on fire" });
    world.control(Method::POST, "ec2/faults", fault).await;
    let id = world.ok("RunInstances", &pairs).await.text("instanceId");
    world.until_state(EAST, &id, "terminated").await;
    let shown = world
        .ok("DescribeInstances", &[("InstanceId.1", &id)])
        .await;
    assert!(shown.text("stateReason").contains("disk on fire"));
    assert_eq!(
        shown.text("privateIpAddress"),
        "",
        "its address is given back"
    );
    let fault = json!({ "kind": "boot_hang" });
    world.control(Method::POST, "ec2/faults", fault).await;
    let id = world.run(&image, &[]).await;
    let status = world
        .ok("DescribeInstanceStatus", &[("InstanceId.1", &id)])
        .await;
    assert!(status.body.contains("initializing"));
    world.lab.stop().await;
}

/// The lab as a program, killed with SIGKILL: its instances end too.
#[tokio::test]
async fn instances_end_with_a_lab_that_is_killed() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let tree = directory.path().join("tree");
    write_agent(&tree, FAMILY);
    let home = directory.path().join("lab");
    let mut lab = tokio::process::Command::new(env!("CARGO_BIN_EXE_lab"))
        .arg("run")
        .args([
            "--listen",
            "127.0.0.1:0",
            "--speed",
            "600",
            "--octet",
            "141",
        ])
        .arg("--directory")
        .arg(&home)
        .arg("--image")
        .arg(format!("agent={}", tree.display()))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the lab starts");
    let mut lines = BufReader::new(lab.stdout.take().expect("piped")).lines();
    let line = lines
        .next_line()
        .await
        .expect("a line")
        .expect("it is ready");
    let ready: Value = serde_json::from_str(&line).expect("JSON");
    let address = ready["endpoint"]
        .as_str()
        .and_then(|text| text.strip_prefix("http://"))
        .and_then(|text| text.parse().ok())
        .expect("an address");
    let key = (
        ready["access_key_id"].as_str().expect("a key"),
        ready["secret_access_key"].as_str().expect("a secret"),
    );
    let pairs = [
        ("ImageId", ready["images"]["agent"].as_str().expect("an id")),
        ("MinCount", "1"),
        ("MaxCount", "1"),
    ];
    let made =
        crate::support::signed(address, key, None, (EAST, "ec2"), "RunInstances", &pairs).await;
    let root = home
        .join("instances")
        .join(made.text("instanceId"))
        .join("root");
    let mut pids = Vec::new();
    for name in ["agent", "child", "stray"] {
        pids.push(pid_in(&root.join(name)).await);
    }
    lab.kill().await.expect("it can be killed");
    until("everything ended", || !pids.iter().any(|pid| runs(*pid))).await;
}

#[tokio::test]
async fn a_zone_goes_dark_and_comes_back() {
    let world = World::start(143, 600.0).await;
    let image = world
        .image_with_agent("echo $$ >agent; exec sleep 1000")
        .await;
    let id = world.run(&image, &[]).await;
    let agent = world.root(&id).join("agent");
    let before = pid_in(&agent).await;
    let dark = |dark: bool| {
        world.control(
            Method::POST,
            "ec2/zones/us-east-1a",
            json!({ "dark": dark }),
        )
    };
    dark(true).await;
    assert!(!runs(before));
    let status = world
        .ok("DescribeInstanceStatus", &[("InstanceId.1", &id)])
        .await;
    assert!(status.body.contains("impaired"));
    let pairs = [
        ("ImageId", image.as_str()),
        ("MinCount", "1"),
        ("MaxCount", "1"),
        ("Placement.AvailabilityZone", "us-east-1a"),
    ];
    let code = "InsufficientInstanceCapacity";
    world.refused(500, code, "RunInstances", &pairs).await;
    std::fs::remove_file(&agent).expect("it is there");
    dark(false).await;
    assert!(runs(pid_in(&agent).await));
    world.lab.stop().await;
}

#[tokio::test]
async fn a_frozen_machine_does_nothing_and_still_ends() {
    let world = World::start(145, 600.0).await;
    let image = world
        .image_with_agent("echo $$ >agent; while true; do echo >>beats; sleep 0.01; done")
        .await;
    let id = world.run(&image, &[]).await;
    let root = world.root(&id);
    let agent = pid_in(&root.join("agent")).await;
    let path = format!("ec2/instances/{id}/freeze");
    world
        .control(Method::POST, &path, json!({ "frozen": true }))
        .await;
    until("it is stopped", || {
        std::fs::read_to_string(format!("/proc/{agent}/stat"))
            .is_ok_and(|stat| stat.contains(") T "))
    })
    .await;
    world
        .control(Method::POST, &path, json!({ "frozen": false }))
        .await;
    let beats = || std::fs::metadata(root.join("beats")).map_or(0, |file| file.len());
    let seen = beats();
    until("it goes on", || beats() > seen).await;
    world
        .control(Method::POST, &path, json!({ "frozen": true }))
        .await;
    world
        .ok("TerminateInstances", &[("InstanceId.1", &id)])
        .await;
    world.until_state(EAST, &id, "terminated").await;
    assert!(!runs(agent));
    world.lab.stop().await;
}

#[tokio::test]
async fn what_is_new_may_not_show_for_a_moment() {
    let world = World::start(147, 1.0).await;
    let image = world.empty_image().await;
    let fault = json!({ "kind": "slow_to_appear" });
    world.control(Method::POST, "ec2/faults", fault).await;
    let pairs = [
        ("ImageId", image.as_str()),
        ("MinCount", "1"),
        ("MaxCount", "1"),
    ];
    let id = world.ok("RunInstances", &pairs).await.text("instanceId");
    let by_id = [("InstanceId.1", id.as_str())];
    let code = "InvalidInstanceID.NotFound";
    world.refused(400, code, "DescribeInstances", &by_id).await;
    let all = world.ok("DescribeInstances", &[]).await;
    assert!(all.texts("instanceId").is_empty());
    world.lab.clock.set_speed(600.0);
    world.until_state(EAST, &id, "running").await;
    let shown = world.ok("DescribeInstances", &by_id).await;
    assert_eq!(shown.text("instanceId"), id);
    world.lab.stop().await;
}

#[tokio::test]
async fn cpu_is_measured_over_the_whole_tree() {
    let world = World::start(149, 600.0).await;
    let image = world
        .image_with_agent("(while true; do :; done) & echo $$ >agent; wait")
        .await;
    let id = world.run(&image, &[]).await;
    pid_in(&world.root(&id).join("agent")).await;
    let percent = || lab::runtime::cpu_percent(&world.lab, &id);
    // The loop is a child of the agent; how much it gets depends on who else is busy here.
    until("the loop shows", || {
        percent().is_some_and(|percent| percent > 2.0)
    })
    .await;
    world
        .ok("TerminateInstances", &[("InstanceId.1", &id)])
        .await;
    world.until_state(EAST, &id, "terminated").await;
    assert_eq!(percent(), None);
    world.lab.stop().await;
}
