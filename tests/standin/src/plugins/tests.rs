//! Bundles in and out of the file store.

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use super::*;
use crate::settings::FileSettings;

/// A bundle with a manifest and a web part.
fn bundle(manifest: &Value) -> Bytes {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, content) in [
        ("demo/plugin.json", manifest.to_string()),
        ("demo/dist/main.js", "hello".to_owned()),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, content.as_bytes())
            .unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap().into()
}

fn web(id: &str, version: &str) -> Bytes {
    bundle(
        &json!({ "id": id, "name": id, "version": version, "webapp": { "bundle_path": "dist/main.js" } }),
    )
}

struct World {
    folder: tempfile::TempDir,
    files: FileStore,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = FileStore::new(&FileSettings::Local(folder.path().join("data"))).unwrap();
        Self { folder, files }
    }

    /// A node of its own: another folder, the same file store.
    fn node(&self, name: &str) -> Plugins {
        let tree = self.folder.path().join(name);
        let settings = PluginSettings {
            enable: true,
            uploads: true,
            directory: tree.join("plugins"),
            client_directory: tree.join("client/plugins"),
        };
        Plugins::new(settings, &tree, Version::new(11, 10, 0))
    }
}

fn state(plugins: &Plugins, id: &str) -> Option<u64> {
    let statuses = plugins.statuses();
    let found = statuses
        .as_array()
        .unwrap()
        .iter()
        .find(|status| status["plugin_id"] == id)?;
    found["state"].as_u64()
}

#[tokio::test]
async fn an_installed_plugin_runs_on_every_node_that_starts_later() {
    let world = World::new();
    let (one, enabled) = (world.node("one"), ["com.demo".to_owned()]);
    one.start(&world.files, &[]).await;
    one.install(web("com.demo", "1.0.0"), Replace::Never, &world.files, &[])
        .await
        .unwrap();
    assert_eq!(state(&one, "com.demo"), Some(0), "installed, not enabled");
    one.settle(&enabled);
    assert_eq!(state(&one, "com.demo"), Some(2));

    let two = world.node("two");
    two.start(&world.files, &enabled).await;
    assert_eq!(state(&two, "com.demo"), Some(2));
    let part = two.web_parts()[0]["webapp"]["bundle_path"].clone();
    let file = part.as_str().unwrap().rsplit('/').next().unwrap();
    let path = world.folder.path().join("two/client/plugins/com.demo");
    assert!(path.join(file).is_file(), "{file}");

    one.remove("com.demo", &world.files).await.unwrap();
    let again = world.node("two");
    again.start(&world.files, &enabled).await;
    assert_eq!(
        state(&again, "com.demo"),
        None,
        "gone from the store, gone here"
    );
}

#[tokio::test]
async fn what_is_installed_is_replaced_only_when_asked() {
    let world = World::new();
    let node = world.node("one");
    node.start(&world.files, &[]).await;
    let install = async |version, replace| {
        node.install(web("com.demo", version), replace, &world.files, &[])
            .await
    };
    install("1.0.0", Replace::Never).await.unwrap();
    assert!(matches!(
        install("1.1.0", Replace::Never).await,
        Err(PluginError::Installed)
    ));
    let newer = install("1.1.0", Replace::Always).await.unwrap();
    assert_eq!(newer.text("version"), "1.1.0");
}

#[tokio::test]
async fn a_prepackaged_plugin_is_taken_when_it_was_enabled_and_is_signed() {
    let world = World::new();
    let brought = world.folder.path().join("one/prepackaged_plugins");
    std::fs::create_dir_all(&brought).unwrap();
    for (name, id) in [("a.tar.gz", "com.signed"), ("b.tar.gz", "com.unsigned")] {
        std::fs::write(brought.join(name), web(id, "1.0.0")).unwrap();
    }
    std::fs::write(brought.join("a.tar.gz.sig"), b"x").unwrap();
    let idle = world.node("one");
    idle.start(&world.files, &[]).await;
    assert_eq!(state(&idle, "com.signed"), None);
    let enabled = ["com.signed".to_owned(), "com.unsigned".to_owned()];
    let node = world.node("one");
    node.start(&world.files, &enabled).await;
    assert_eq!(state(&node, "com.signed"), Some(2));
    assert_eq!(state(&node, "com.unsigned"), None);
}

#[tokio::test]
async fn a_plugin_that_cannot_run_says_why() {
    let world = World::new();
    let node = world.node("one");
    node.start(&world.files, &[]).await;
    for (id, more, why) in [
        ("com.nothing", json!({}), "at least"),
        (
            "com.newer",
            json!({ "min_server_version": "99.0.0" }),
            "99.0.0",
        ),
        (
            "com.program",
            json!({ "server": { "executable": "server/plugin" } }),
            "server/plugin",
        ),
    ] {
        let mut manifest = json!({ "id": id, "version": "1.0.0" });
        for (key, value) in more.as_object().unwrap() {
            manifest[key] = value.clone();
        }
        let enabled = [id.to_owned()];
        node.install(bundle(&manifest), Replace::Never, &world.files, &enabled)
            .await
            .unwrap();
        assert_eq!(state(&node, id), Some(3), "{id}");
        assert!(node.statuses().to_string().contains(why), "{id}");
    }
}

#[tokio::test]
async fn what_is_no_bundle_is_refused() {
    let world = World::new();
    let node = world.node("one");
    let install = async |bytes| {
        node.install(bytes, Replace::Never, &world.files, &[])
            .await
            .unwrap_err()
    };
    let error = install(Bytes::from_static(b"nothing")).await;
    assert!(matches!(
        error,
        PluginError::Bundle(BundleError::Extract(_))
    ));
    let error = install(bundle(&json!({ "id": "../x" }))).await;
    assert!(matches!(error, PluginError::Bundle(BundleError::Id)));
    assert_eq!(state(&node, "../x"), None);
}
