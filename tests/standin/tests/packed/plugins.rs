//! Plugins: installed on one node, running on the next.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::lasting::{rename, site_name};
use crate::support::{Node, Tree, User, dsn, furnished};

const UPLOADS: (&str, &str) = ("MM_PLUGINSETTINGS_ENABLEUPLOADS", "true");
/// Of the bundle that every release brings.
const PLUGIN: &str = "com.example.standin";

async fn plugin_state(admin: &User, node: &Node) -> Option<u64> {
    let statuses = admin.json(node, "/api/v4/plugins/statuses").await;
    let mut statuses = statuses.as_array().unwrap().iter();
    statuses.find(|status| status["plugin_id"] == PLUGIN)?["state"].as_u64()
}

fn brought(tree: &Tree) -> Vec<u8> {
    let folder = tree.path().join("prepackaged_plugins");
    let mut bundles = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let bundle = bundles.find(|path| path.extension().is_some_and(|end| end == "gz"));
    std::fs::read(bundle.unwrap()).unwrap()
}

async fn install(admin: &User, node: &Node, bundle: &[u8]) -> reqwest::Response {
    let mut body =
        b"--B\r\nContent-Disposition: form-data; name=\"plugin\"; filename=\"p.tar.gz\"\r\n\r\n"
            .to_vec();
    body.extend_from_slice(bundle);
    body.extend_from_slice(b"\r\n--B--\r\n");
    admin.send_form(node, "/api/v4/plugins", "B", body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_uploaded_plugin_runs_on_the_next_node_too() {
    let dsn = dsn().await;
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        ("MM_CONFIG", dsn.as_str()),
        ("MM_FILESETTINGS_DIRECTORY", folder.path().to_str().unwrap()),
        UPLOADS,
    ];
    let node = Node::good("11.10.0", &dsn, &settings).await;
    let (admin, _) = furnished(&node).await;
    let tree = Tree::install("11.9.0", "good");
    let bundle = brought(&tree);
    assert_eq!(
        plugin_state(&admin, &node).await,
        None,
        "brought, but never enabled"
    );
    let made = install(&admin, &node, &bundle).await;
    assert_eq!(made.status(), StatusCode::CREATED);
    let made: Value = made.json().await.unwrap();
    assert_eq!(made["id"], PLUGIN);
    assert_eq!(
        install(&admin, &node, &bundle).await.status(),
        StatusCode::BAD_REQUEST
    );
    assert_eq!(plugin_state(&admin, &node).await, Some(0));
    let enable = format!("/api/v4/plugins/{PLUGIN}/enable");
    assert_eq!(
        admin.post(&node, &enable, &json!({})).await.status(),
        StatusCode::OK
    );
    assert_eq!(plugin_state(&admin, &node).await, Some(2));
    let absent = admin
        .post(&node, "/api/v4/plugins/com.absent/enable", &json!({}))
        .await;
    assert_eq!(absent.status(), StatusCode::NOT_FOUND);
    assert!(
        folder
            .path()
            .join(format!("plugins/{PLUGIN}.tar.gz"))
            .is_file()
    );
    drop(node);

    let mut next = Node::spawn(&tree, &dsn, &settings[..2]);
    next.wait_ready().await;
    assert_eq!(plugin_state(&admin, &next).await, Some(2));
    let parts: Value = next
        .get("/api/v4/plugins/webapp")
        .await
        .json()
        .await
        .unwrap();
    let part = parts[0]["webapp"]["bundle_path"].as_str().unwrap();
    let part = part.replace("/static/", "/static/plugins/");
    assert_eq!(
        next.get(&part).await.text().await.unwrap(),
        "console.log('hello');\n"
    );
    let closed = install(&admin, &next, &bundle).await;
    assert_eq!(
        closed.status(),
        StatusCode::NOT_IMPLEMENTED,
        "uploads are off here"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_tells_its_members() {
    let dsn = dsn().await;
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        ("MM_CONFIG", dsn.as_str()),
        ("MM_FILESETTINGS_DIRECTORY", folder.path().to_str().unwrap()),
        ("MM_LICENSE", "LAB-CLUSTER-LICENCE"),
        ("MM_CLUSTERSETTINGS_ENABLE", "true"),
        ("MM_CLUSTERSETTINGS_CLUSTERNAME", "blue"),
        UPLOADS,
    ];
    let one = Node::good("11.10.0", &dsn, &settings).await;
    let two = Node::good("11.10.0", &dsn, &settings).await;
    let (admin, _) = furnished(&one).await;
    assert_eq!(rename(&admin, &one, "Ours").await.status(), StatusCode::OK);
    let bundle = brought(&Tree::install("11.10.0", "good"));
    assert_eq!(
        install(&admin, &one, &bundle).await.status(),
        StatusCode::CREATED
    );
    let enable = format!("/api/v4/plugins/{PLUGIN}/enable");
    assert_eq!(
        admin.post(&one, &enable, &json!({})).await.status(),
        StatusCode::OK
    );
    let told = async {
        while site_name(&two).await != "Ours" || plugin_state(&admin, &two).await != Some(2) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(crate::support::LIMIT, told)
        .await
        .unwrap();
}
