//! `/api/v4/files` and public links.

use std::sync::Arc;

use axum::Json;
use axum::body::to_bytes;
use axum::extract::{Path, Query, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio_postgres::Client;

use super::channels::require_member;
use super::failure::{Failure, chain};
use super::file_info::{self, FileInfo};
use super::multipart::{self, Part};
use super::node::Node;
use super::session::{Required, Session};
use crate::files::FileError;
use crate::{clock, ids};

/// What a form's own words may add to its files, in bytes.
const FORM_SLACK: u64 = 1 << 20;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Upload {
    channel_id: String,
    filename: String,
    client_id: String,
}

/// `POST /files`: a form with `channel_id` and `files`, or the bytes alone with both in the query.
pub(super) async fn upload(
    State(node): State<Arc<Node>>,
    Required(session): Required,
    Query(query): Query<Upload>,
    request: Request,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let settings = &node.config.view().settings;
    if !settings.attachments {
        return Err(Failure::new(
            StatusCode::FORBIDDEN,
            "api.file.attachments.disabled.app_error",
            "File attachments have been disabled on this server.",
        ));
    }
    let boundary = multipart::boundary(request.headers());
    let limit = settings.max_file_size.saturating_add(FORM_SLACK);
    let body = to_bytes(request.into_body(), limit as usize)
        .await
        .map_err(|_| too_large())?;
    if body.is_empty() {
        return Err(unreadable());
    }
    let form = match boundary {
        None => Form::from_query(query, body)?,
        Some(boundary) => {
            let parts = multipart::parts(&body, &boundary).ok_or_else(unreadable)?;
            Form::from_parts(query.channel_id, parts)?
        }
    };
    if !ids::is_id(&form.channel) {
        return Err(Failure::invalid("channel_id"));
    }
    require_member(&*node.connection().await?, &session, &form.channel).await?;
    let mut infos = Vec::with_capacity(form.files.len());
    for (name, bytes) in form.files {
        if bytes.len() as u64 > settings.max_file_size {
            return Err(too_large());
        }
        infos.push(
            keep(&node, &session, &form.channel, &name, bytes)
                .await?
                .json(),
        );
    }
    let answer = json!({ "file_infos": infos, "client_ids": form.client_ids });
    Ok((StatusCode::CREATED, Json(answer)))
}

struct Form {
    channel: String,
    client_ids: Vec<String>,
    files: Vec<(String, Bytes)>,
}

impl Form {
    fn from_query(query: Upload, body: Bytes) -> Result<Self, Failure> {
        if query.filename.is_empty() {
            return Err(Failure::invalid("filename"));
        }
        Ok(Self {
            channel: query.channel_id,
            client_ids: Some(query.client_id)
                .filter(|id| !id.is_empty())
                .into_iter()
                .collect(),
            files: vec![(query.filename, body)],
        })
    }

    fn from_parts(channel: String, parts: Vec<Part>) -> Result<Self, Failure> {
        let mut form = Self {
            channel,
            client_ids: Vec::new(),
            files: Vec::new(),
        };
        for part in parts {
            match (part.name.as_str(), &part.file) {
                (_, Some(name)) => form.files.push((name.clone(), part.bytes)),
                ("channel_id", None) => form.channel = part.text(),
                ("client_ids", None) => form.client_ids.push(part.text()),
                (other, None) => return Err(Failure::invalid(other)),
            }
        }
        if !form.client_ids.is_empty() && form.client_ids.len() != form.files.len() {
            return Err(Failure::bad_request(
                "api.file.upload_file.incorrect_number_of_client_ids.app_error",
                "Unable to upload file(s): the number of client ids is not the number of files.",
            ));
        }
        Ok(form)
    }
}

/// The store first, then the row: a row without its file would be a broken link for ever.
async fn keep(
    node: &Node,
    session: &Session,
    channel: &str,
    name: &str,
    bytes: Bytes,
) -> Result<FileInfo, Failure> {
    let info = FileInfo::new(session, channel, name, bytes.len() as i64, clock::now_ms());
    node.files.write(&info.path, bytes).await.map_err(|error| {
        log::error!("Unable to write a file: {}", chain(&error));
        Failure::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "api.file.write_file.app_error",
            "Unable to write the file.",
        )
    })?;
    file_info::insert(&*node.connection().await?, &info).await?;
    Ok(info)
}

/// `GET /files/{id}`.
pub(super) async fn get(
    State(node): State<Arc<Node>>,
    Required(session): Required,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let info = readable(&node, &session, &id).await?;
    content(&node, &info).await
}

/// `GET /files/{id}/info`.
pub(super) async fn info(
    State(node): State<Arc<Node>>,
    Required(session): Required,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let info = readable(&node, &session, &id).await?;
    let cache = [(CACHE_CONTROL, "max-age=2592000, private")];
    Ok((cache, Json(info.json())).into_response())
}

/// `GET /files/{id}/link`: only of a file that was posted, only where public links are allowed.
pub(super) async fn link(
    State(node): State<Arc<Node>>,
    Required(session): Required,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Json<Value>, Failure> {
    let view = node.config.view();
    let salt = view.settings.public_link_salt.as_ref();
    let salt = salt.ok_or_else(no_public_links)?;
    let info = readable(&node, &session, &id).await?;
    if info.post_id.is_empty() {
        return Err(Failure::bad_request(
            "api.file.get_public_link.no_post.app_error",
            "Unable to get public link for file. File must be attached to a post that can be read.",
        ));
    }
    let value = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let scheme = match value("x-forwarded-proto") {
        Some("https") => "https",
        _ => "http",
    };
    let host = value(HOST.as_str()).unwrap_or_default();
    let link = format!(
        "{scheme}://{host}{}/files/{id}/public?h={}",
        node.settings.subpath,
        hash(salt.expose(), &info.id)
    );
    Ok(Json(json!({ "link": link })))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Public {
    h: String,
}

/// `GET /files/{id}/public?h=…`, outside of `/api/v4`, for whoever has the link.
pub(super) async fn public(
    State(node): State<Arc<Node>>,
    Path(id): Path<String>,
    Query(query): Query<Public>,
) -> Result<Response, Failure> {
    let view = node.config.view();
    let salt = view.settings.public_link_salt.as_ref();
    let salt = salt.ok_or_else(no_public_links)?;
    let info = find(&*node.connection().await?, &id).await?;
    if query.h != hash(salt.expose(), &info.id) {
        return Err(Failure::bad_request(
            "api.file.get_file.public_invalid.app_error",
            "The public link does not appear to be valid.",
        ));
    }
    content(&node, &info).await
}

/// How the real server makes a link's proof.
fn hash(salt: &str, id: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(salt);
    hash.update(id);
    URL_SAFE_NO_PAD.encode(hash.finalize())
}

async fn find(connection: &Client, id: &str) -> Result<FileInfo, Failure> {
    file_info::get(connection, id)
        .await?
        .ok_or_else(|| Failure::not_found("app.file_info.get.app_error", "file info"))
}

/// The file, if its maker asks or a member of the channel that it was posted to.
async fn readable(node: &Node, session: &Session, id: &str) -> Result<FileInfo, Failure> {
    let connection = node.connection().await?;
    let info = find(&connection, id).await?;
    if info.creator_id != session.user_id {
        if info.post_id.is_empty() {
            return Err(Failure::forbidden());
        }
        require_member(&connection, session, &info.channel_id).await?;
    }
    Ok(info)
}

async fn content(node: &Node, info: &FileInfo) -> Result<Response, Failure> {
    let bytes = node.files.read(&info.path).await.map_err(|error| {
        if !matches!(error, FileError::Missing(_)) {
            log::error!("Unable to read a file: {}", chain(&error));
        }
        Failure::new(
            StatusCode::NOT_FOUND,
            "api.file.file_reader.app_error",
            "Unable to get a file reader.",
        )
    })?;
    let kind = if info.mime_type.is_empty() {
        "application/octet-stream"
    } else {
        &info.mime_type
    };
    let name = utf8_percent_encode(&info.name, NON_ALPHANUMERIC);
    let shown = kind.starts_with("image/") && kind != "image/svg+xml";
    let placement = if shown { "inline" } else { "attachment" };
    let headers = [
        (CACHE_CONTROL, "private, no-cache".to_owned()),
        (CONTENT_TYPE, kind.to_owned()),
        (
            CONTENT_DISPOSITION,
            format!("{placement};filename=\"{name}\"; filename*=UTF-8''{name}"),
        ),
    ];
    Ok((headers, bytes).into_response())
}

fn no_public_links() -> Failure {
    Failure::new(
        StatusCode::FORBIDDEN,
        "api.file.get_public_link.disabled.app_error",
        "Public links have been disabled.",
    )
}

fn too_large() -> Failure {
    Failure::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "api.file.upload_file.too_large_detailed.app_error",
        "Unable to upload file. File is too large.",
    )
}

fn unreadable() -> Failure {
    Failure::bad_request(
        "api.file.upload_file.read_request.app_error",
        "Unable to upload file(s). Error reading or parsing request data.",
    )
}
