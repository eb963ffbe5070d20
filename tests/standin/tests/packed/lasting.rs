//! Settings, salts and licences: what a node leaves to the next one.

use reqwest::StatusCode;
use serde_json::{Value, json};
use standin::licence::Licence;
use standin::scratch_postgres::ScratchPostgres;

use crate::support::{Node, Tree, User, dsn, furnished, login};

fn name(dsn: &str) -> &str {
    dsn.rsplit('/').next().unwrap().split('?').next().unwrap()
}

/// The rows of `configurations`, oldest first: whether active, and the configuration.
async fn rows(dsn: &str) -> Vec<(bool, Value)> {
    let client = ScratchPostgres::shared()
        .await
        .unwrap()
        .connect(name(dsn))
        .await
        .unwrap();
    let rows = client
        .query("SELECT coalesce(active, false), value FROM configurations ORDER BY createat, active NULLS FIRST", &[])
        .await
        .unwrap();
    let read = |row: &tokio_postgres::Row| {
        let text: String = row.get(1);
        (row.get(0), serde_json::from_str(&text).unwrap())
    };
    rows.iter().map(read).collect()
}

pub async fn site_name(node: &Node) -> Value {
    let config: Value = node
        .get("/api/v4/config/client?format=old")
        .await
        .json()
        .await
        .unwrap();
    config["SiteName"].clone()
}

async fn version_id(node: &Node) -> String {
    let answer = node.get("/api/v4/system/ping").await;
    answer.headers()["x-version-id"]
        .to_str()
        .unwrap()
        .to_owned()
}

pub async fn rename(admin: &User, node: &Node, to: &str) -> reqwest::Response {
    let patch = json!({ "TeamSettings": { "SiteName": to } });
    admin.put(node, "/api/v4/config/patch", &patch).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_in_the_database_outlive_the_node() {
    let dsn = dsn().await;
    let shared = ("MM_CONFIG", dsn.as_str());
    let one = Node::good("11.10.0", &dsn, &[shared]).await;
    let first = rows(&dsn).await;
    assert_eq!(first.len(), 1, "the first start writes one row");
    assert!(first[0].0);
    assert_eq!(first[0].1["SqlSettings"]["DataSource"], dsn.as_str());
    assert_eq!(
        first[0].1["ServiceSettings"]["ListenAddress"], ":8065",
        "no override is stored"
    );
    let two = Node::good("11.10.0", &dsn, &[shared]).await;
    assert_eq!(
        rows(&dsn).await,
        first,
        "a later start finds nothing to write"
    );

    let (admin, _) = furnished(&one).await;
    assert_eq!(version_id(&one).await, version_id(&two).await);
    assert_eq!(rename(&admin, &one, "Ours").await.status(), StatusCode::OK);
    let after = rows(&dsn).await;
    assert_eq!(
        after.iter().map(|row| row.0).collect::<Vec<_>>(),
        [false, true]
    );
    for (section, key) in [
        ("FileSettings", "PublicLinkSalt"),
        ("SqlSettings", "AtRestEncryptKey"),
        ("EmailSettings", "InviteSalt"),
    ] {
        let salt = first[0].1[section][key].as_str().unwrap();
        assert_eq!(salt.len(), 32);
        assert_eq!(after[1].1[section][key], salt, "{section}.{key}");
    }
    assert_eq!(site_name(&one).await, "Ours");
    assert_eq!(site_name(&two).await, "Mattermost", "nobody told it");
    assert_ne!(version_id(&one).await, version_id(&two).await);
    let three = Node::good("11.10.0", &dsn, &[shared]).await;
    assert_eq!(site_name(&three).await, "Ours");
    assert_eq!(version_id(&one).await, version_id(&three).await);
    let reload = admin.post(&two, "/api/v4/config/reload", &json!({})).await;
    assert_eq!(reload.status(), StatusCode::OK);
    assert_eq!(site_name(&two).await, "Ours");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_configuration_is_read_changed_and_written_back() {
    let dsn = dsn().await;
    let locked = ("MM_TEAMSETTINGS_SITENAME", "Locked");
    let shared = ("MM_CONFIG", dsn.as_str());
    let node = Node::good("11.10.0", &dsn, &[shared, locked]).await;
    let (admin, _) = furnished(&node).await;
    assert_eq!(
        node.get("/api/v4/config").await.status(),
        StatusCode::UNAUTHORIZED
    );
    let mut config = admin.json(&node, "/api/v4/config").await;
    assert_eq!(config["TeamSettings"]["SiteName"], "Locked");
    assert!(
        !config.to_string().contains("postgres://"),
        "no data source is shown"
    );
    config["EmailSettings"]["SMTPServer"] = "mail.example".into();
    config["TeamSettings"]["SiteName"] = "Ignored".into();
    config["PluginSettings"]["EnableUploads"] = true.into();
    let put = admin.put(&node, "/api/v4/config", &config).await;
    assert_eq!(put.status(), StatusCode::OK);
    let put: Value = put.json().await.unwrap();
    assert_eq!(put["EmailSettings"]["SMTPServer"], "mail.example");
    assert_eq!(
        put["TeamSettings"]["SiteName"], "Locked",
        "the environment wins"
    );
    assert_eq!(put["PluginSettings"]["EnableUploads"], false);
    let stored = rows(&dsn).await;
    let active = &stored.last().unwrap().1;
    assert_eq!(active["TeamSettings"]["SiteName"], "Mattermost");
    assert_eq!(active["EmailSettings"]["SMTPServer"], "mail.example");
    assert_eq!(
        active["FileSettings"]["PublicLinkSalt"], stored[0].1["FileSettings"]["PublicLinkSalt"],
        "stars are not stored"
    );
    let decided = admin.json(&node, "/api/v4/config/environment").await;
    assert_eq!(decided["TeamSettings"]["SiteName"], true);
    let patch = json!({ "PluginSettings": { "EnableUploads": true } });
    let refused = admin.put(&node, "/api/v4/config/patch", &patch).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_init_writes_the_first_row_and_no_command_changes_a_file() {
    let dsn = dsn().await;
    let tree = Tree::install("11.10.0", "good");
    let file = tree.path().join("config/config.json");
    let packed = std::fs::read(&file).unwrap();
    let run = async |arguments: &[&str]| {
        let mut command = tree.command(arguments);
        command.env("MM_CONFIG", &dsn);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["db", "migrate"]).await;
    assert!(
        rows(&dsn).await.is_empty(),
        "its tables are made, no row is written"
    );
    run(&["db", "version"]).await;
    assert!(rows(&dsn).await.is_empty());
    assert_eq!(
        run(&["db", "init"]).await,
        "Database store correctly initialised\n"
    );
    assert_eq!(rows(&dsn).await.len(), 1);
    assert_eq!(std::fs::read(&file).unwrap(), packed);
    assert!(
        !tree.run(&["db", "init"], Some(&dsn)).await.1,
        "a file is no database"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_written_at_every_start_and_must_be_writable() {
    use std::os::unix::fs::PermissionsExt as _;
    let dsn = dsn().await;
    let tree = Tree::install("11.10.0", "good");
    let file = tree.path().join("config/config.json");
    let packed = std::fs::read_to_string(&file).unwrap();
    let mut node = Node::spawn(&tree, &dsn, &[]);
    node.wait_ready().await;
    let written = std::fs::read_to_string(&file).unwrap();
    assert_ne!(written, packed);
    assert!(!written.contains(&dsn), "the environment is not stored");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for folder in ["data", "plugins", "client/plugins"] {
        assert!(tree.path().join(folder).is_dir(), "{folder}");
    }
    drop(node);
    let mut again = Node::spawn(&tree, &dsn, &[]);
    again.wait_ready().await;
    assert_eq!(
        std::fs::read_to_string(&file).unwrap(),
        written,
        "salts are made once"
    );
    drop(again);
    // Even for root: a folder where the file should be.
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let path = file.to_str().unwrap().to_owned();
    let mut refused = Node::spawn(&tree, &dsn, &[("MM_CONFIG", &path)]);
    assert_eq!(refused.exit().await.code(), Some(1));
    assert!(refused.log().contains("config.json"), "{}", refused.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_goes_into_the_database_over_the_local_socket_only() {
    let dsn = dsn().await;
    let tree = Tree::install("11.10.0", "good");
    let socket = tree.directory.path().join("local.socket");
    let place = socket.to_str().unwrap().to_owned();
    let local = [
        ("MM_SERVICESETTINGS_ENABLELOCALMODE", "true"),
        ("MM_SERVICESETTINGS_LOCALMODESOCKETLOCATION", place.as_str()),
    ];
    let mut node = Node::spawn(&tree, &dsn, &local);
    node.wait_ready().await;
    let (admin, _) = furnished(&node).await;
    assert_eq!(
        rename(&admin, &node, "From the file").await.status(),
        StatusCode::OK
    );
    let body = json!({ "from": tree.path().join("config/config.json"), "to": dsn });
    let outside = admin.post(&node, "/api/v4/config/migrate", &body).await;
    assert_eq!(outside.status(), StatusCode::NOT_FOUND);
    let client = reqwest::Client::builder()
        .unix_socket(&*place)
        .build()
        .unwrap();
    let answer = client
        .post("http://local/api/v4/config/migrate")
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let file = std::fs::read_to_string(tree.path().join("config/config.json")).unwrap();
    let file: Value = serde_json::from_str(&file).unwrap();
    let rows = rows(&dsn).await;
    let active: Vec<&Value> = rows.iter().filter(|row| row.0).map(|row| &row.1).collect();
    assert_eq!(active.len(), 1);
    assert_eq!(active[0]["TeamSettings"]["SiteName"], "From the file");
    for (section, key) in [
        ("FileSettings", "PublicLinkSalt"),
        ("SqlSettings", "AtRestEncryptKey"),
    ] {
        assert_eq!(
            active[0][section][key], file[section][key],
            "{section}.{key}"
        );
    }
    node.terminate();
    assert!(node.exit().await.success());
    assert!(!socket.exists(), "the socket goes with the server");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_licence_says_what_it_allows_and_its_term_to_administrators_only() {
    let dsn = dsn().await;
    let path = "/api/v4/license/client?format=old";
    let year_2030 = 1_893_456_000_000;
    let (good, small) = (Licence::new(year_2030), Licence::without_cluster(year_2030));
    let (good_text, small_text) = (good.text(), small.text());
    for (text, licensed, cluster) in [
        ("no licence", false, Value::Null),
        (good_text.as_str(), true, json!("true")),
        (small_text.as_str(), true, json!("false")),
    ] {
        let node = Node::good("11.10.0", &dsn, &[("MM_LICENSE", text)]).await;
        let answer: Value = node.get(path).await.json().await.unwrap();
        assert_eq!(answer["IsLicensed"], licensed.to_string());
        assert_eq!(answer["Cluster"], cluster);
        assert!(answer.get("ExpiresAt").is_none());
        let id = version_id(&node).await;
        assert!(id.ends_with(&format!(".{licensed}")), "{id}");
        if !licensed {
            furnished(&node).await;
            assert!(
                node.log().contains("Failed to read license"),
                "{}",
                node.log()
            );
            assert!(!node.log().contains("no licence"), "the text is not logged");
            continue;
        }
        let admin = login(&node, "admin").await;
        let answer = admin.json(&node, path).await;
        assert_eq!(answer["ExpiresAt"], good.expires_at.to_string());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_below_a_path_works_there_and_leads_there() {
    let site = (
        "MM_SERVICESETTINGS_SITEURL",
        "https://chat.example.com/chat",
    );
    let node = Node::good("11.10.0", &dsn().await, &[site]).await;
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    for (path, to) in [
        ("/api/v4/system/ping?x=1", "/chat/api/v4/system/ping?x=1"),
        ("/", "/chat/"),
    ] {
        let answer = client.get(node.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::FOUND, "{path}");
        assert_eq!(answer.headers()["location"], to);
    }
    let ping = node.get("/chat/api/v4/system/ping").await;
    assert_eq!(ping.status(), StatusCode::OK);
    assert!(ping.headers().contains_key("x-version-id"));
    let page = node.get("/chat/").await.text().await.unwrap();
    assert!(page.contains("\"/chat/static/main.js\""), "{page}");
    let asset = node.get("/chat/static/main.js").await;
    assert_eq!(
        asset.headers()["content-type"],
        "text/javascript; charset=utf-8"
    );
    let head = client.head(node.url("/chat/")).send().await.unwrap();
    assert_eq!(head.status(), StatusCode::METHOD_NOT_ALLOWED);
}
