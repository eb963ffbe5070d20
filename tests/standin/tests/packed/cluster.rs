//! Licensed nodes: one cluster name shares, another does not.

use std::time::Duration;

use serde_json::Value;

use crate::support::{LIMIT, Node, User, dsn, furnished};

fn settings(name: &str) -> Vec<(&'static str, &str)> {
    vec![
        ("MM_LICENSE", "LAB-CLUSTER-LICENCE"),
        ("MM_CLUSTERSETTINGS_ENABLE", "true"),
        ("MM_CLUSTERSETTINGS_CLUSTERNAME", name),
    ]
}

async fn members(admin: &User, node: &Node) -> Vec<String> {
    let status = admin.json(node, "/api/v4/cluster/status").await;
    let name = |member: &Value| member["hostname"].as_str().unwrap().to_owned();
    let mut names: Vec<String> = status.as_array().unwrap().iter().map(name).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_one_name_share_and_others_do_not() {
    let dsn = dsn().await;
    let blue = Node::good("11.9.0", &dsn, &settings("blue")).await;
    let (admin, channel) = furnished(&blue).await;
    let green = Node::good("11.10.0", &dsn, &settings("blue")).await;
    let quarantined = Node::good("11.10.0", &dsn, &settings("green")).await;

    let id = blue.get("/api/v4/system/ping").await.headers()["x-version-id"].clone();
    assert_eq!(id.to_str().unwrap().rsplit('.').next(), Some("true"));
    let mut both = vec![blue.ip().to_string(), green.ip().to_string()];
    both.sort();
    assert_eq!(members(&admin, &blue).await, both, "ready means joined");
    assert_eq!(members(&admin, &green).await, both);
    assert_eq!(
        members(&admin, &quarantined).await,
        [quarantined.ip().to_string()]
    );

    let mut on_blue = admin.socket(&blue).await;
    let mut on_green = admin.socket(&green).await;
    let mut outside = admin.socket(&quarantined).await;
    let first = admin.message(&blue, &channel, "from blue", "p1").await;
    assert_eq!(on_green.posted().await, "from blue");
    assert_eq!(on_blue.posted().await, "from blue");
    let retry = admin.message(&green, &channel, "from blue", "p1").await;
    assert_eq!(retry["id"], first["id"], "the cluster knows the retry");
    admin.message(&green, &channel, "from green", "p2").await;
    assert_eq!(on_blue.posted().await, "from green");
    admin
        .message(&quarantined, &channel, "from outside", "p3")
        .await;
    assert_eq!(
        outside.posted().await,
        "from outside",
        "and nothing before it"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_of_its_own_makes_a_retry_elsewhere_a_second_message() {
    let dsn = dsn().await;
    let mut settings = settings("blue");
    settings.push(("MM_CACHESETTINGS_CACHETYPE", "lru"));
    let one = Node::good("11.10.0", &dsn, &settings).await;
    let (admin, channel) = furnished(&one).await;
    let two = Node::good("11.10.0", &dsn, &settings).await;
    let first = admin.message(&one, &channel, "again", "p1").await;
    let retry = admin.message(&two, &channel, "again", "p1").await;
    assert_ne!(first["id"], retry["id"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_leaves_and_comes_back() {
    let dsn = dsn().await;
    let one = Node::good("11.10.0", &dsn, &settings("blue")).await;
    let (admin, channel) = furnished(&one).await;
    let two = Node::good("11.10.0", &dsn, &settings("blue")).await;
    let gone = two.ip().to_string();
    drop(two);
    let left = async {
        while members(&admin, &one).await.contains(&gone) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, left).await.unwrap();
    // Its row is still there; the newcomer is not held up by it.
    let three = Node::good("11.10.0", &dsn, &settings("blue")).await;
    let mut there = admin.socket(&three).await;
    admin.message(&one, &channel, "welcome", "p1").await;
    assert_eq!(there.posted().await, "welcome");
}
