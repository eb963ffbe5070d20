//! Uploads, posts with files, public links; in a folder and in a bucket.

use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::bucket::Bucket;
use crate::support::{Node, User, dsn, furnished, login, sign_up};

const LINKS: (&str, &str) = ("MM_FILESETTINGS_ENABLEPUBLICLINK", "true");
const OPEN: (&str, &str) = ("MM_TEAMSETTINGS_ENABLEOPENSERVER", "true");

/// Uploads by a form and returns the file's info.
async fn upload(user: &User, node: &Node, channel: &str, name: &str, bytes: &[u8]) -> Value {
    let mut body = format!(
        "--B\r\nContent-Disposition: form-data; name=\"channel_id\"\r\n\r\n{channel}\r\n\
         --B\r\nContent-Disposition: form-data; name=\"files\"; filename=\"{name}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    )
    .into_bytes();
    body.extend_from_slice(bytes);
    body.extend_from_slice(b"\r\n--B--\r\n");
    let answer = user.send_form(node, "/api/v4/files", "B", body).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["client_ids"], json!([]));
    answer["file_infos"][0].clone()
}

async fn post(user: &User, node: &Node, channel: &str, files: &[&Value]) -> Value {
    let ids: Vec<&Value> = files.iter().map(|info| &info["id"]).collect();
    let body = json!({ "channel_id": channel, "message": "", "file_ids": ids });
    user.created(node, "/api/v4/posts", &body).await
}

fn id(info: &Value) -> &str {
    info["id"].as_str().unwrap()
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_uploaded_posted_and_read() {
    let node = Node::good("11.10.0", &dsn().await, &[OPEN]).await;
    let (admin, channel) = furnished(&node).await;
    let content = bytes(10_000);
    let info = upload(&admin, &node, &channel, "Report.TXT", &content).await;
    assert_eq!(
        (&info["name"], &info["extension"], &info["size"]),
        (&json!("Report.TXT"), &json!("txt"), &json!(10_000))
    );
    assert_eq!(info["user_id"], admin.id.as_str());
    assert!(info.get("post_id").is_none(), "not posted yet");
    let path = format!("/api/v4/files/{}", id(&info));
    let whole = admin.get(&node, &path).await;
    assert_eq!(whole.headers()[CONTENT_TYPE], "text/plain; charset=utf-8");
    assert_eq!(whole.bytes().await.unwrap(), content);

    sign_up(&node, "reader").await;
    let reader = login(&node, "reader").await;
    assert_eq!(
        reader.get(&node, &path).await.status(),
        StatusCode::FORBIDDEN
    );
    let made = post(&admin, &node, &channel, &[&info]).await;
    assert_eq!(made["file_ids"], json!([info["id"]]));
    assert_eq!(made["metadata"]["files"][0]["post_id"], made["id"]);
    let again = post(&admin, &node, &channel, &[&info]).await;
    assert!(again.get("file_ids").is_none(), "a file has one post");
    let list = admin
        .json(&node, &format!("/api/v4/channels/{channel}/posts"))
        .await;
    let listed = &list["posts"][made["id"].as_str().unwrap()];
    assert_eq!(listed["metadata"]["files"][0]["id"], info["id"]);
    let known = admin.json(&node, &format!("{path}/info")).await;
    assert_eq!(known["post_id"], made["id"]);
    assert_eq!(
        reader.get(&node, &path).await.status(),
        StatusCode::FORBIDDEN
    );
    assert_eq!(node.get(&path).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_alone_are_uploaded_too_and_bad_uploads_are_refused() {
    let dsn = dsn().await;
    let small = ("MM_FILESETTINGS_MAXFILESIZE", "1000");
    let node = Node::good("11.10.0", &dsn, &[small]).await;
    let (admin, channel) = furnished(&node).await;
    let send = async |query: String, body: Vec<u8>| {
        let url = format!("/api/v4/files?{query}");
        admin.send_bytes(&node, &url, body).await
    };
    let good = send(
        format!("channel_id={channel}&filename=a.bin&client_id=c1"),
        bytes(9),
    )
    .await;
    assert_eq!(good.status(), StatusCode::CREATED);
    let good: Value = good.json().await.unwrap();
    assert_eq!(good["client_ids"], json!(["c1"]));
    for (query, body, status) in [
        (
            format!("channel_id={channel}"),
            bytes(9),
            StatusCode::BAD_REQUEST,
        ),
        (
            "filename=a.bin".to_owned(),
            bytes(9),
            StatusCode::BAD_REQUEST,
        ),
        (
            format!("channel_id={channel}&filename=a"),
            Vec::new(),
            StatusCode::BAD_REQUEST,
        ),
        (
            format!("channel_id={channel}&filename=a"),
            bytes(1001),
            StatusCode::PAYLOAD_TOO_LARGE,
        ),
        (
            format!("channel_id={}&filename=a", "x".repeat(26)),
            bytes(9),
            StatusCode::FORBIDDEN,
        ),
    ] {
        let answer = send(query.clone(), body).await;
        assert_eq!(answer.status(), status, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_in_a_folder_dies_with_the_folder() {
    let dsn = dsn().await;
    let node = Node::good("11.10.0", &dsn, &[]).await;
    let (admin, channel) = furnished(&node).await;
    let info = upload(&admin, &node, &channel, "a.bin", &bytes(10)).await;
    post(&admin, &node, &channel, &[&info]).await;
    drop(node);
    let replaced = Node::good("11.10.0", &dsn, &[]).await;
    let lost = admin
        .get(&replaced, &format!("/api/v4/files/{}", id(&info)))
        .await;
    assert_eq!(lost.status(), StatusCode::NOT_FOUND);
    let lost: Value = lost.json().await.unwrap();
    assert_eq!(lost["id"], "api.file.file_reader.app_error");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_in_a_bucket_outlives_its_node() {
    let bucket = Bucket::start().await;
    let settings = bucket.settings();
    let settings: Vec<(&str, &str)> = settings
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let dsn = dsn().await;
    let node = Node::good("11.10.0", &dsn, &settings).await;
    let (admin, channel) = furnished(&node).await;
    // Two parts: an upload's part has five MiB.
    let content = bytes(6 << 20);
    let info = upload(&admin, &node, &channel, "größe b.bin", &content).await;
    post(&admin, &node, &channel, &[&info]).await;
    let key = bucket.held(|held| held.objects.keys().next().cloned().unwrap());
    let path = format!(
        "/teams/noteam/channels/{channel}/users/{}/{}/gr%C3%B6%C3%9Fe%20b.bin",
        admin.id,
        id(&info)
    );
    assert!(key.starts_with("chat/20") && key.ends_with(&path), "{key}");

    let before = bucket.held(|held| held.asked.len());
    let (code, body) = node.ping("?get_server_status=true").await;
    assert_eq!(
        (code, &body["filestore_status"]),
        (StatusCode::OK, &json!("OK"))
    );
    let asked = bucket.held(|held| held.asked[before..].to_vec());
    assert_eq!(
        asked,
        ["GET /files/?list-type=2&max-keys=1&prefix=chat%2F"],
        "it lists and writes nothing"
    );
    drop(node);

    let node = Node::good("11.10.0", &dsn, &settings).await;
    let url = format!("/api/v4/files/{}", id(&info));
    let read = admin.get(&node, &url).await.bytes().await.unwrap();
    assert!(read == content, "the same bytes");
    bucket.held(|held| held.objects.clear());
    assert_eq!(admin.get(&node, &url).await.status(), StatusCode::NOT_FOUND);
    bucket.held(|held| held.closed = true);
    let refused = admin
        .send_bytes(
            &node,
            &format!("/api/v4/files?channel_id={channel}&filename=b"),
            bytes(9),
        )
        .await;
    assert_eq!(refused.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let refused: Value = refused.json().await.unwrap();
    assert_eq!(refused["id"], "api.file.write_file.app_error");
    let (code, body) = node.ping("?get_server_status=true").await;
    assert_eq!(
        (code, &body["filestore_status"]),
        (StatusCode::INTERNAL_SERVER_ERROR, &json!("UNHEALTHY"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_public_link_is_as_good_as_its_salt() {
    let dsn = dsn().await;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let data = ("MM_FILESETTINGS_DIRECTORY", data);
    let own_files = [LINKS, data];
    let one = Node::good("11.10.0", &dsn, &own_files).await;
    let two = Node::good("11.10.0", &dsn, &own_files).await;
    let (admin, channel) = furnished(&one).await;
    let info = upload(&admin, &one, &channel, "a.bin", &bytes(10)).await;
    let link = format!("/api/v4/files/{}/link", id(&info));
    let early = admin.get(&one, &link).await;
    assert_eq!(early.status(), StatusCode::BAD_REQUEST, "not posted yet");
    post(&admin, &one, &channel, &[&info]).await;
    let link = admin.json(&one, &link).await;
    let link = link["link"].as_str().unwrap();
    let path = link.strip_prefix(&one.url("")).unwrap();
    assert_eq!(one.get(path).await.bytes().await.unwrap(), bytes(10));
    let elsewhere = two.get(path).await;
    assert_eq!(
        elsewhere.status(),
        StatusCode::BAD_REQUEST,
        "each file of settings has a salt of its own"
    );
    let shared = ("MM_CONFIG", dsn.as_str());
    let three = Node::good("11.10.0", &dsn, &[LINKS, data, shared]).await;
    let four = Node::good("11.10.0", &dsn, &[LINKS, data, shared]).await;
    let link = admin
        .json(&three, &format!("/api/v4/files/{}/link", id(&info)))
        .await;
    let path = link["link"]
        .as_str()
        .unwrap()
        .strip_prefix(&three.url(""))
        .unwrap();
    assert_eq!(four.get(path).await.status(), StatusCode::OK);
    let off = Node::good("11.10.0", &dsn, &[data, shared]).await;
    assert_eq!(off.get(path).await.status(), StatusCode::FORBIDDEN);
}
