//! Crashes, failovers, taken addresses, and a lab that dies.

use std::io::BufRead as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::fixture::{TestLab, endpoint, is_alive, pids, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_comes_back_with_its_rows() {
    let lab = TestLab::start().await;
    lab.create("primary", &[("BackupRetentionPeriod", "0")])
        .await
        .unwrap();
    lab.until_status("primary", "available").await;
    let client = lab.session("primary").await;
    client
        .batch_execute("CREATE TABLE posts (n int); INSERT INTO posts VALUES (1)")
        .await
        .unwrap();
    let before = lab.pids().await;
    lab.control("POST", "/lab/rds/crash", &json!({ "id": "primary" }))
        .await;
    assert!(
        lab.describe("primary")
            .await
            .contains("<DBInstanceStatus>available<")
    );
    let client = lab.session_again("primary").await;
    let count: i64 = client
        .query_one("SELECT count(*) FROM posts", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(count, 1);
    assert_ne!(lab.pids().await, before);
    lab.lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_moves_the_endpoint_and_loses_no_acknowledged_row() {
    let lab = TestLab::start().await;
    lab.create("primary", &[("MultiAZ", "true")]).await.unwrap();
    let first = lab.until_status("primary", "available").await;
    let (zone, second) = (
        text(&first, "AvailabilityZone").unwrap(),
        text(&first, "SecondaryAvailabilityZone").unwrap(),
    );
    assert_ne!(zone, second);
    let replica = [
        ("DBInstanceIdentifier", "replica"),
        ("SourceDBInstanceIdentifier", "primary"),
    ];
    lab.rds("CreateDBInstanceReadReplica", &replica)
        .await
        .unwrap();
    lab.until_status("replica", "available").await;
    let client = lab.session("primary").await;
    client
        .batch_execute("CREATE TABLE posts (n int)")
        .await
        .unwrap();
    let mut acknowledged = 0_i64;
    lab.control("POST", "/lab/rds/failover", &json!({ "id": "primary" }))
        .await;
    // Writes until the host is dead: each that was acknowledged must survive.
    while client
        .execute("INSERT INTO posts VALUES (1)", &[])
        .await
        .is_ok()
    {
        acknowledged += 1;
    }
    let after = lab
        .until("primary", "failed over", |xml| {
            text(xml, "AvailabilityZone").as_deref() == Some(&second)
        })
        .await;
    assert_eq!(endpoint(&after), endpoint(&first), "the endpoint stays");
    let client = lab.session_again("primary").await;
    let kept: i64 = client
        .query_one("SELECT count(*) FROM posts", &[])
        .await
        .unwrap()
        .get(0);
    assert!(
        kept >= acknowledged,
        "{acknowledged} were acknowledged, {kept} are there"
    );
    client
        .batch_execute("INSERT INTO posts VALUES (2)")
        .await
        .unwrap();
    let standby = lab.session("replica").await;
    let deadline = tokio::time::Instant::now() + Duration::from_mins(2);
    loop {
        let query = "SELECT count(*) FROM posts WHERE n = 2";
        // The replica may be made anew when it had more than the standby: then this session ends.
        let seen = match standby.query_one(query, &[]).await {
            Ok(row) => row.get::<_, i64>(0),
            Err(_) => lab
                .session_again("replica")
                .await
                .query_one(query, &[])
                .await
                .map_or(0, |row| row.get(0)),
        };
        if seen == 1 {
            break;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "the replica does not follow the new primary"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The lost side is rebuilt, and then the instance can fail over again, this time asked to.
    while lab.pids().await.len() < 3 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let force = [
        ("DBInstanceIdentifier", "primary"),
        ("ForceFailover", "true"),
    ];
    lab.rds("RebootDBInstance", &force).await.unwrap();
    let back = lab.until_status("primary", "available").await;
    assert_eq!(text(&back, "AvailabilityZone").unwrap(), zone);
    let client = lab.session_again("primary").await;
    let count: i64 = client
        .query_one("SELECT count(*) FROM posts", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(count, kept + 1);
    let messages = lab.events("primary").await;
    for expected in [
        "Multi-AZ instance failover started.",
        "Multi-AZ instance failover completed",
    ] {
        assert_eq!(
            messages
                .iter()
                .filter(|message| *message == expected)
                .count(),
            2,
            "{messages:#?}"
        );
    }
    lab.lab.stop().await;
}

/// Stops or continues a server with all its processes.
fn signal_tree(pid: i32, signal: rustix::process::Signal) {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .expect("the server runs");
    let children = children
        .split_whitespace()
        .map(|child| child.parse().expect("a process id"));
    for each in children.chain([pid]) {
        let each = rustix::process::Pid::from_raw(each).expect("a process id");
        let _ = rustix::process::kill_process(each, signal);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_ahead_of_the_new_primary_is_made_anew() {
    let lab = TestLab::start().await;
    lab.create("primary", &[("MultiAZ", "true")]).await.unwrap();
    lab.until_status("primary", "available").await;
    let replica = [
        ("DBInstanceIdentifier", "replica"),
        ("SourceDBInstanceIdentifier", "primary"),
    ];
    lab.rds("CreateDBInstanceReadReplica", &replica)
        .await
        .unwrap();
    lab.until_status("replica", "available").await;
    // The standby hangs; a large transaction reaches the replica and not the standby, so its commit
    // is never acknowledged.
    let overview = lab.control("GET", "/lab/rds", &Value::Null).await;
    let standby = overview["instances"][0]["nodes"][1].clone();
    assert_eq!(standby["role"], "standby");
    let standby = standby["pid"].as_i64().unwrap() as i32;
    signal_tree(standby, rustix::process::Signal::STOP);
    let client = lab.session("primary").await;
    let writer = lab.session("primary").await;
    let large =
        "CREATE TABLE large AS SELECT md5(n::text) AS text FROM generate_series(1, 400000) AS n";
    let written = tokio::spawn(async move { writer.batch_execute(large).await });
    loop {
        let behind = "SELECT count(*) FROM pg_stat_replication r, pg_stat_activity a
            WHERE r.application_name LIKE 'rds%' AND r.replay_lsn = pg_current_wal_flush_lsn()
              AND a.wait_event = 'SyncRep'";
        let row = client.query_one(behind, &[]).await.unwrap();
        if row.get::<_, i64>(0) == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    lab.control("POST", "/lab/rds/failover", &json!({ "id": "primary" }))
        .await;
    assert!(
        written.await.unwrap().is_err(),
        "a commit that the standby lacks is not acknowledged"
    );
    signal_tree(standby, rustix::process::Signal::CONT);
    let client = lab.session_again("primary").await;
    assert!(
        client.batch_execute("SELECT FROM large").await.is_err(),
        "and it is gone"
    );
    client.batch_execute("CREATE TABLE after ()").await.unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_mins(2);
    loop {
        let messages = lab.events("replica").await;
        if messages
            .iter()
            .any(|message| message.contains("made anew from its source"))
        {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{messages:#?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let standby = lab.session_again("replica").await;
    standby.batch_execute("SELECT FROM after").await.unwrap();
    let error = standby.batch_execute("SELECT FROM large").await;
    assert!(error.is_err(), "the replica has what the primary has");
    lab.lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_address_is_named_in_the_events() {
    let lab = TestLab::start().await;
    // Every address of the default subnets' beginnings, at a port of this test.
    let zones: Vec<_> = [0_u8, 16, 32]
        .into_iter()
        .flat_map(|third| (1..=12).map(move |last| (third, last)))
        .filter_map(|(third, last)| {
            std::net::TcpListener::bind((
                std::net::Ipv4Addr::new(127, lab.octet, third, last),
                5999,
            ))
            .ok()
        })
        .collect();
    assert!(!zones.is_empty());
    lab.create("primary", &[("Port", "5999")]).await.unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_mins(2);
    while text(&lab.describe("primary").await, "DBInstanceStatus").as_deref() != Some("failed") {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let messages = lab.events("primary").await;
    assert!(
        messages
            .iter()
            .any(|message| message.contains(":5999 is taken")),
        "{messages:#?}"
    );
    lab.lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_server_outlives_a_stopped_lab() {
    let lab = TestLab::start().await;
    lab.create(
        "primary",
        &[("MultiAZ", "true"), ("BackupRetentionPeriod", "0")],
    )
    .await
    .unwrap();
    lab.until_status("primary", "available").await;
    let pids = lab.pids().await;
    assert_eq!(pids.len(), 2);
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    lab.lab.stop().await;
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
}

/// Not a test of its own: the lab that the next test kills.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by `no_server_outlives_a_killed_lab`"]
async fn a_lab_to_be_killed() {
    let lab = TestLab::start().await;
    lab.create("primary", &[("BackupRetentionPeriod", "0")])
        .await
        .unwrap();
    lab.until_status("primary", "available").await;
    println!(
        "\noverview {}",
        lab.control("GET", "/lab/rds", &Value::Null).await
    );
    std::future::pending::<()>().await;
}

#[test]
fn no_server_outlives_a_killed_lab() {
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "failures::a_lab_to_be_killed",
            "--ignored",
            "--nocapture",
        ])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let output = std::io::BufReader::new(child.stdout.take().unwrap());
    let overview: Value = output
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("overview ").map(str::to_owned))
        .map(|text| serde_json::from_str(&text).unwrap())
        .expect("the lab comes up");
    let servers = pids(&overview);
    assert_eq!(servers.len(), 1);
    assert!(is_alive(servers[0]));
    child.kill().unwrap();
    child.wait().unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while is_alive(servers[0]) {
        assert!(std::time::Instant::now() < deadline, "the server lives on");
        std::thread::yield_now();
    }
}
