//! Ping in its three forms, with the database there, gone and back.

use reqwest::StatusCode;
use standin::scratch_postgres::ScratchPostgres;

use crate::support::{LIMIT, Node, furnished};

const FULL: &str = "?get_server_status=true";
const REST: &str = "?get_server_status=true&use_rest_semantics=true";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_full_ping_notices_the_database() {
    let mut postgres = ScratchPostgres::start().await.unwrap();
    let dsn = postgres.create_dsn().await.unwrap();
    let node = Node::good("11.10.0", &dsn, &[]).await;

    let (code, body) = node.ping("").await;
    assert_eq!(
        (code, body["status"].as_str()),
        (StatusCode::OK, Some("OK"))
    );
    assert!(body.get("database_status").is_none());
    for query in [FULL, REST] {
        let (code, body) = node.ping(query).await;
        assert_eq!(code, StatusCode::OK);
        assert_eq!(body["database_status"], "OK");
        assert_eq!(body["filestore_status"], "OK");
    }
    let left = postgres.connect("test_0").await.unwrap();
    let rows = left.query("SELECT 1 FROM systems", &[]).await.unwrap();
    assert!(rows.is_empty(), "the row was deleted again");

    postgres.pause().unwrap();
    assert_eq!(node.ping("").await.0, StatusCode::OK);
    let (code, body) = node.ping(FULL).await;
    assert_eq!(code, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(body["database_status"], "UNHEALTHY");
    assert_eq!(body["status"], "UNHEALTHY");
    assert_eq!(node.ping(REST).await.0, StatusCode::OK);

    postgres.resume().await.unwrap();
    assert_eq!(
        node.ping(FULL).await.0,
        StatusCode::OK,
        "it recovers unaided"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_says_which_version_gave_it() {
    let node = Node::good("11.10.0", &crate::support::dsn().await, &[]).await;
    let (admin, _) = furnished(&node).await;
    for path in [
        "/",
        "/api/v4/system/ping",
        "/api/v4/users/me",
        "/api/v4/nothing",
    ] {
        let response = node.get(path).await;
        let id = response.headers()["x-version-id"]
            .to_str()
            .unwrap()
            .to_owned();
        assert!(
            id.starts_with("11.10.0.") && id.rsplit('.').next() == Some("false"),
            "{path}: {id}"
        );
    }
    let config: serde_json::Value = node
        .get("/api/v4/config/client?format=old")
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(config["Version"], "11.10.0");
    assert_eq!(
        admin.json(&node, "/api/v4/cluster/status").await,
        serde_json::json!([])
    );
    let schema = admin.json(&node, "/api/v4/system/schema/version").await;
    let schema = schema.as_array().unwrap();
    assert_eq!(schema.last().unwrap()["name"], "add_lastlogin_to_users");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_releases_are_bad_in_the_way_they_say() {
    use crate::support::{Tree, dsn};
    use std::time::Duration;

    let tree = Tree::install("11.10.1", "crash-at-start");
    let mut node = Node::spawn(&tree, &dsn().await, &[]);
    assert_eq!(node.exit().await.code(), Some(1));
    assert!(
        node.log().contains("panic: runtime error"),
        "{}",
        node.log()
    );

    let tree = Tree::install("11.10.2", "never-ready");
    let mut node = Node::spawn(&tree, &dsn().await, &[]);
    let started = async {
        while !node.log().contains("Starting plugins") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, started).await.unwrap();
    assert!(!node.ready_within(Duration::from_millis(300)).await);
    assert!(
        tokio::net::TcpStream::connect(node.address).await.is_err(),
        "not even bound"
    );
    node.terminate();
    let status = node.exit().await;
    assert_eq!(status.code(), None, "until it serves, the signal ends it");

    let tree = Tree::install("11.10.3", "unhealthy");
    let mut node = Node::spawn(&tree, &dsn().await, &[]);
    node.wait_ready().await;
    assert_eq!(node.ping("").await.0, StatusCode::OK);
    let (code, body) = node.ping(FULL).await;
    assert_eq!(code, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(body["database_status"], "OK");
    assert_eq!(body["filestore_status"], "UNHEALTHY");

    let tree = Tree::install("11.10.4", "wrong-version=11.9.0");
    assert!(
        tree.run(&["version"], None)
            .await
            .0
            .starts_with("Version: 11.9.0\n")
    );
    let mut node = Node::spawn(&tree, &dsn().await, &[]);
    node.wait_ready().await;
    let id = node.get("/api/v4/system/ping").await.headers()["x-version-id"].clone();
    assert!(id.to_str().unwrap().starts_with("11.9.0."));

    let tree = Tree::install("11.10.5", "memory-leak=32");
    let mut node = Node::spawn(&tree, &dsn().await, &[]);
    node.wait_ready().await;
    let grows = async {
        while resident_mib(node.pid()) < 96 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(LIMIT, grows).await.unwrap();

    let tree = Tree::install("11.10.6", "failing-requests=100");
    let mut node = Node::spawn(&tree, &dsn().await, &[]);
    node.wait_ready().await;
    assert_eq!(node.ping(FULL).await.0, StatusCode::OK, "pings are fine");
    assert_eq!(
        node.get("/api/v4/users/me").await.status(),
        StatusCode::INTERNAL_SERVER_ERROR
    );
}

fn resident_mib(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        / 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_small() {
    let node = Node::good("11.10.0", &crate::support::dsn().await, &[]).await;
    furnished(&node).await;
    let mib = resident_mib(node.pid());
    assert!(mib < 40, "{mib} MiB resident");
}
