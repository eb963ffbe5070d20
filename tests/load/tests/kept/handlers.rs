//! The calls, as far as a run makes them; what they answer follows Mattermost's.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use serde_json::{Value, json};

use super::fake::{Fake, Fault, Stored};

type Fakes = State<Arc<Fake>>;

fn error(status: StatusCode, id: &str) -> Response {
    (
        status,
        Json(json!({ "id": id, "status_code": status.as_u16() })),
    )
        .into_response()
}

fn made(value: Value) -> Response {
    (StatusCode::CREATED, Json(value)).into_response()
}

/// The user of a session: the token is the name.
fn user(headers: &HeaderMap) -> Option<String> {
    let bearer = headers.get("authorization")?.to_str().ok()?;
    bearer.strip_prefix("Bearer ").map(str::to_owned)
}

fn is_admin(headers: &HeaderMap) -> bool {
    user(headers).as_deref() == Some("load-admin")
}

pub async fn make_user(State(fake): Fakes, Json(body): Json<Value>) -> Response {
    let name = body["username"].as_str().unwrap().to_owned();
    fake.world().users.push(name.clone());
    made(json!({ "id": name }))
}

pub async fn login(State(fake): Fakes, Json(body): Json<Value>) -> Response {
    let name = body["login_id"].as_str().unwrap().to_owned();
    if !fake.world().users.contains(&name) {
        return error(StatusCode::UNAUTHORIZED, "no such user");
    }
    let roles = if name == "load-admin" {
        "system_user system_admin"
    } else {
        "system_user"
    };
    let body = Json(json!({ "id": name, "roles": roles }));
    ([("token", name.clone())], body).into_response()
}

pub async fn team() -> Json<Value> {
    Json(json!({ "id": "team" }))
}

pub async fn channel() -> Json<Value> {
    Json(json!({ "id": "channel", "create_at": 1 }))
}

pub async fn fine() -> Json<Value> {
    Json(json!({ "status": "OK" }))
}

pub async fn no_posts() -> Json<Value> {
    Json(json!({ "order": [], "posts": {} }))
}

pub async fn post(State(fake): Fakes, Json(body): Json<Value>) -> Response {
    let id = fake.id("post");
    for file in body["file_ids"].as_array().into_iter().flatten() {
        let mut world = fake.world();
        let Some(file) = world.files.get_mut(file.as_str().unwrap()) else {
            return error(StatusCode::BAD_REQUEST, "no such file");
        };
        file.post.clone_from(&id);
    }
    let post = json!({ "id": id, "message": body["message"], "create_at": 2 });
    let event = json!({ "event": "posted", "data": { "post": post.to_string() } });
    let _ = fake.events.send(event);
    made(post)
}

/// The fields of a form by name, in order, as RFC 7578 has them.
fn form(headers: &HeaderMap, body: &[u8]) -> Vec<(String, Vec<u8>)> {
    let kind = headers["content-type"].to_str().unwrap();
    let boundary = kind.strip_prefix("multipart/form-data; boundary=").unwrap();
    let (first, between) = (format!("--{boundary}\r\n"), format!("\r\n--{boundary}"));
    let mut rest = body.strip_prefix(first.as_bytes()).unwrap();
    let mut fields = Vec::new();
    loop {
        let (head, after) = split(rest, b"\r\n\r\n");
        let (content, after) = split(after, between.as_bytes());
        let head = std::str::from_utf8(head).unwrap();
        let (_, name) = head.split_once("; name=\"").unwrap();
        let (name, _) = name.split_once('"').unwrap();
        fields.push((name.to_owned(), content.to_vec()));
        if after == b"--\r\n" {
            return fields;
        }
        rest = after.strip_prefix(b"\r\n").unwrap();
    }
}

fn split<'a>(text: &'a [u8], at: &[u8]) -> (&'a [u8], &'a [u8]) {
    let place = text.windows(at.len()).position(|part| part == at).unwrap();
    (&text[..place], &text[place + at.len()..])
}

pub async fn upload(State(fake): Fakes, headers: HeaderMap, body: Bytes) -> Response {
    let (mut fields, mut infos) = (Vec::new(), Vec::new());
    for (name, bytes) in form(&headers, &body) {
        if name == "files" {
            let id = fake.id("file");
            infos.push(json!({ "id": id, "size": bytes.len() }));
            let file = Stored {
                bytes,
                post: String::new(),
                creator: user(&headers).unwrap(),
            };
            fake.world().files.insert(id, file);
        }
        fields.push(name);
    }
    fake.world().forms.push(fields);
    made(json!({ "file_infos": infos, "client_ids": [] }))
}

/// The bytes, as the faults leave them.
fn content(fake: &Fake, id: &str) -> Response {
    let missing = || error(StatusCode::NOT_FOUND, "api.file.file_reader.app_error");
    let found = fake.world().files.get(id).cloned();
    let Some(mut file) = found else {
        return missing();
    };
    if fake.has(Fault::LoseEveryOther) && fake.is_other_node() {
        return missing();
    }
    if fake.has(Fault::CorruptFiles) {
        file.bytes[0] ^= 1;
    }
    if fake.has(Fault::CutFiles) {
        let half = Bytes::copy_from_slice(&file.bytes[..file.bytes.len() / 2]);
        let parts = [Ok(half), Err(std::io::Error::other("cut"))];
        let body = Body::from_stream(futures_util::stream::iter(parts));
        return ([("content-length", file.bytes.len().to_string())], body).into_response();
    }
    file.bytes.into_response()
}

pub async fn file(State(fake): Fakes, headers: HeaderMap, Path(id): Path<String>) -> Response {
    let user = user(&headers);
    let found = fake.world().files.get(&id).cloned();
    if found.is_some_and(|file| file.post.is_empty() && user.as_ref() != Some(&file.creator)) {
        return error(StatusCode::FORBIDDEN, "api.context.permissions.app_error");
    }
    content(&fake, &id)
}

pub async fn link(State(fake): Fakes, Path(id): Path<String>) -> Response {
    let world = fake.world();
    match world.files.get(&id) {
        Some(file) if !file.post.is_empty() => {
            let salt = &world.salt;
            let link = format!("https://chat.example.com/files/{id}/public?h={salt}");
            Json(json!({ "link": link })).into_response()
        }
        _ => error(
            StatusCode::BAD_REQUEST,
            "api.file.get_public_link.no_post.app_error",
        ),
    }
}

#[derive(serde::Deserialize)]
pub struct Hash {
    h: String,
}

pub async fn public(
    State(fake): Fakes,
    Path(id): Path<String>,
    Query(hash): Query<Hash>,
) -> Response {
    if fake.world().salt == hash.h {
        content(&fake, &id)
    } else {
        Redirect::to("/error?type=link").into_response()
    }
}

pub async fn config(State(fake): Fakes, headers: HeaderMap) -> Response {
    if !is_admin(&headers) {
        return error(StatusCode::FORBIDDEN, "api.context.permissions.app_error");
    }
    let name = fake.world().site_name.clone();
    let config = json!({
        "TeamSettings": { "SiteName": name, "MaxUsersPerTeam": 50 },
        "FileSettings": { "PublicLinkSalt": "****" },
    });
    Json(config).into_response()
}

pub async fn set_config(
    State(fake): Fakes,
    headers: HeaderMap,
    Json(config): Json<Value>,
) -> Response {
    let is_whole = config["TeamSettings"]["MaxUsersPerTeam"] == 50
        && config["FileSettings"]["PublicLinkSalt"] == "****";
    if !is_admin(&headers) || !is_whole {
        return error(
            StatusCode::BAD_REQUEST,
            "an administrator's whole settings are wanted",
        );
    }
    config["TeamSettings"]["SiteName"]
        .as_str()
        .unwrap()
        .clone_into(&mut fake.world().site_name);
    Json(config).into_response()
}

pub async fn client_config(State(fake): Fakes) -> Json<Value> {
    Json(json!({ "SiteName": fake.world().site_name, "Version": "11.10.0" }))
}

pub async fn install(State(fake): Fakes, headers: HeaderMap, body: Bytes) -> Response {
    if fake.has(Fault::RefusePlugin) || !is_admin(&headers) {
        return error(
            StatusCode::NOT_IMPLEMENTED,
            "app.plugin.upload_disabled.app_error",
        );
    }
    let fields = form(&headers, &body);
    let field = |wanted: &str| {
        let field = fields.iter().find(|(name, _)| name == wanted).unwrap();
        String::from_utf8(field.1.clone()).unwrap()
    };
    assert_eq!(field("force"), "true");
    // The test's bundle holds nothing but the plugin's id.
    let id = field("plugin");
    fake.world().plugin = Some((id.clone(), false));
    made(json!({ "id": id, "version": "1.0.0" }))
}

pub async fn enable(State(fake): Fakes, Path(id): Path<String>) -> Response {
    if !std::mem::replace(&mut fake.world().enabling, true) {
        // The other node has not heard of the bundle yet.
        return error(StatusCode::NOT_FOUND, "app.plugin.not_installed.app_error");
    }
    match &mut fake.world().plugin {
        Some((known, enabled)) if *known == id => {
            *enabled = true;
            Json(json!({ "status": "OK" })).into_response()
        }
        _ => error(StatusCode::NOT_FOUND, "app.plugin.not_installed.app_error"),
    }
}

pub async fn statuses(State(fake): Fakes) -> Json<Value> {
    let stopped = fake.has(Fault::StopPlugin);
    let plugin = fake.world().plugin.clone();
    let nodes = plugin.into_iter().flat_map(|(id, enabled)| {
        let state = |is_second: bool| match (enabled, is_second && stopped) {
            (false, _) => 0,
            (true, false) => 2,
            (true, true) => 3,
        };
        [("one", state(false)), ("two", state(true))]
            .map(|(node, state)| json!({ "plugin_id": id, "cluster_id": node, "state": state }))
    });
    Json(nodes.collect())
}
