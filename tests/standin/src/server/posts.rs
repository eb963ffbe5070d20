//! `/api/v4/posts`, and what a client fetches after a reconnect.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio_postgres::{Client, Row};

use super::body::Body;
use super::channels::{publish_viewed, require_member};
use super::cluster::Message;
use super::failure::Failure;
use super::file_info::{self, FileInfo};
use super::hub::{Audience, Event};
use super::node::Node;
use super::pending::Known;
use super::session::{Required, Session};
use crate::{clock, ids};

const COLUMNS: &str = "id, createat, updateat, deleteat, userid, channelid, rootid, originalid, message, type, hashtags, fileids";
/// `posts?since` answers at most this many.
const SINCE_LIMIT: i64 = 1000;
/// The longest page.
const PAGE_LIMIT: i64 = 200;
/// The most files of one post.
const FILES_LIMIT: usize = 10;
/// The longest message, in characters.
const MESSAGE_LIMIT: usize = 16_383;

#[derive(Debug, Deserialize)]
pub(super) struct NewPost {
    #[serde(default)]
    channel_id: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    root_id: String,
    #[serde(default)]
    pending_post_id: String,
    #[serde(default)]
    file_ids: Vec<String>,
}

/// `POST /posts`. A `pending_post_id` that was seen here answers with the first post.
pub(super) async fn create(
    State(node): State<Arc<Node>>,
    Required(session): Required,
    Body(post): Body<NewPost>,
) -> Result<(StatusCode, Json<Value>), Failure> {
    if !ids::is_id(&post.channel_id) {
        return Err(Failure::invalid("channel_id"));
    }
    if post.message.chars().count() > MESSAGE_LIMIT {
        return Err(Failure::bad_request(
            "model.post.is_valid.message_length.app_error",
            "Post Message property is longer than the maximum permitted length.",
        ));
    }
    if post.file_ids.len() > FILES_LIMIT {
        return Err(Failure::bad_request(
            "model.post.is_valid.file_ids.app_error",
            "Invalid file ids. Note that uploads are limited to 10 files maximum.",
        ));
    }
    // A task of its own: a client that goes away in the middle does not undo what is under way,
    // exactly as in the real server. Its retry must find the first attempt.
    tokio::spawn(async move { create_once(&node, &session, &post).await })
        .await
        .unwrap_or_else(|_| {
            Err(Failure::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "app.post.save.app_error",
                "Unable to save the Post.",
            ))
        })
}

async fn create_once(
    node: &Node,
    session: &Session,
    post: &NewPost,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let pending = post.pending_post_id.as_str();
    if pending.is_empty() {
        return make(node, session, post).await;
    }
    match node.pending.begin(pending) {
        Known::InProgress => Err(Failure::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "api.post.deduplicate_create_post.pending",
            "Rejected post since another client is making the same request.",
        )),
        Known::Made(id) => {
            let connection = node.connection().await?;
            let row = connection
                .query_opt(
                    &format!("SELECT {COLUMNS} FROM posts WHERE id = $1"),
                    &[&id],
                )
                .await?
                .ok_or_else(|| Failure::not_found("app.post.get.app_error", "post"))?;
            let files = file_info::of_posts(&connection, &[id]).await?;
            Ok((StatusCode::CREATED, Json(post_json(&row, pending, &files))))
        }
        Known::New => {
            tell(node, pending, Some(""));
            let made = make(node, session, post).await;
            let post_id = made.as_ref().ok().and_then(|made| made.1["id"].as_str());
            match post_id {
                Some(id) => node.pending.settle(pending, id),
                None => node.pending.forget(pending),
            }
            tell(node, pending, post_id);
            made
        }
    }
}

/// Nodes of one cluster recognise each other's retries, unless told to keep to themselves.
fn tell(node: &Node, id: &str, post_id: Option<&str>) {
    let shared = node.settings.cluster.as_ref();
    if let Some(cluster) = &node.cluster
        && shared.is_some_and(|settings| settings.share_pending)
    {
        cluster.broadcast(&Message::Pending {
            id: id.to_owned(),
            post_id: post_id.map(str::to_owned),
        });
    }
}

async fn make(
    node: &Node,
    session: &Session,
    post: &NewPost,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let connection = node.connection().await?;
    require_member(&connection, session, &post.channel_id).await?;
    if !post.root_id.is_empty() {
        require_root(&connection, post).await?;
    }
    let id = ids::new_id();
    let attached = match post.file_ids.as_slice() {
        [] => Vec::new(),
        given => {
            file_info::attach(&connection, given, &session.user_id, &id, &post.channel_id).await?
        }
    };
    let (row, channel) = insert(&connection, session, post, &id, &attached).await?;
    let files = if attached.is_empty() {
        Vec::new()
    } else {
        file_info::of_posts(&connection, &[id]).await?
    };
    drop(connection);
    let body = post_json(&row, &post.pending_post_id, &files);
    let data = json!({
        "channel_display_name": channel.display_name,
        "channel_name": channel.name,
        "channel_type": channel.kind,
        "post": body.to_string(),
        "sender_name": format!("@{}", session.username),
        "set_online": true,
        "team_id": channel.team_id,
    });
    let event = Event::new("posted", data, Audience::Channel(post.channel_id.clone()));
    node.publish(event).await;
    publish_viewed(node, session, &post.channel_id, row.get("createat")).await;
    Ok((StatusCode::CREATED, Json(body)))
}

async fn require_root(connection: &Client, post: &NewPost) -> Result<(), Failure> {
    connection
        .query_opt(
            "SELECT 1 FROM posts WHERE id = $1 AND channelid = $2 AND deleteat = 0",
            &[&post.root_id, &post.channel_id],
        )
        .await?
        .map(drop)
        .ok_or_else(|| {
            Failure::bad_request(
                "api.post.create_post.root_id.app_error",
                "Invalid RootId parameter.",
            )
        })
}

struct Channel {
    team_id: String,
    name: String,
    display_name: String,
    kind: String,
}

/// The post, the channel's counters and the author's: one statement, so one transaction.
async fn insert(
    connection: &Client,
    session: &Session,
    post: &NewPost,
    id: &str,
    files: &[String],
) -> Result<(Row, Channel), Failure> {
    let now = clock::now_ms();
    let row = connection
        .query_one(
            "WITH post AS (\
               INSERT INTO posts (id, createat, updateat, deleteat, userid, channelid, rootid, originalid, message, type, hashtags, fileids) \
               VALUES ($1, $2, $2, 0, $3, $4, $5, '', $6, '', '', $7) RETURNING *), \
             channel AS (\
               UPDATE channels SET lastpostat = greatest(lastpostat, $2), totalmsgcount = totalmsgcount + 1 \
               WHERE id = $4 RETURNING teamid, name, displayname, type), \
             member AS (\
               UPDATE channelmembers SET lastviewedat = $2, msgcount = msgcount + 1, lastupdateat = $2 \
               WHERE channelid = $4 AND userid = $3) \
             SELECT post.*, channel.teamid AS c_team, channel.name AS c_name, \
               channel.displayname AS c_display, channel.type AS c_type FROM post, channel",
            &[&id, &now, &session.user_id, &post.channel_id, &post.root_id, &post.message, &json!(files).to_string()],
        )
        .await?;
    let channel = Channel {
        team_id: row.get("c_team"),
        name: row.get("c_name"),
        display_name: row.get("c_display"),
        kind: row.get("c_type"),
    };
    Ok((row, channel))
}

/// `GET /posts/{id}`.
pub(super) async fn get(
    State(node): State<Arc<Node>>,
    Required(session): Required,
    Path(id): Path<String>,
) -> Result<Json<Value>, Failure> {
    let connection = node.connection().await?;
    let row = connection
        .query_opt(
            &format!("SELECT {COLUMNS} FROM posts WHERE id = $1 AND deleteat = 0"),
            &[&id],
        )
        .await?
        .ok_or_else(|| Failure::not_found("app.post.get.app_error", "post"))?;
    require_member(&connection, &session, row.get("channelid")).await?;
    let files = file_info::of_posts(&connection, &[id]).await?;
    Ok(Json(post_json(&row, "", &files)))
}

#[derive(Debug, Deserialize)]
pub(super) struct Window {
    since: Option<i64>,
    #[serde(default)]
    page: i64,
    per_page: Option<i64>,
}

/// `GET /channels/{id}/posts`: by `since` (milliseconds; whatever was updated after it), or by page.
pub(super) async fn list(
    State(node): State<Arc<Node>>,
    Required(session): Required,
    Path(channel): Path<String>,
    Query(window): Query<Window>,
) -> Result<Json<Value>, Failure> {
    let connection = node.connection().await?;
    require_member(&connection, &session, &channel).await?;
    let rows = if let Some(since) = window.since {
        connection
            .query(
                &format!("SELECT {COLUMNS} FROM posts WHERE channelid = $1 AND updateat > $2 ORDER BY createat DESC LIMIT $3"),
                &[&channel, &since, &SINCE_LIMIT],
            )
            .await?
    } else {
        let per_page = window.per_page.unwrap_or(60).clamp(1, PAGE_LIMIT);
        let offset = window.page.clamp(0, 1_000_000) * per_page;
        connection
            .query(
                &format!("SELECT {COLUMNS} FROM posts WHERE channelid = $1 AND deleteat = 0 ORDER BY createat DESC LIMIT $2 OFFSET $3"),
                &[&channel, &per_page, &offset],
            )
            .await?
    };
    let with_files: Vec<String> = rows
        .iter()
        .filter(|row| !file_ids(row).is_empty())
        .map(|row| row.get("id"))
        .collect();
    let files = if with_files.is_empty() {
        Vec::new()
    } else {
        file_info::of_posts(&connection, &with_files).await?
    };
    let mut posts = Map::new();
    let mut order = Vec::with_capacity(rows.len());
    for row in &rows {
        let id: String = row.get("id");
        posts.insert(id.clone(), post_json(row, "", &files));
        order.push(Value::String(id));
    }
    Ok(Json(json!({
        "order": order, "posts": posts, "next_post_id": "", "prev_post_id": "", "has_next": false,
    })))
}

fn file_ids(row: &Row) -> Vec<String> {
    row.get::<_, Option<String>>("fileids")
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default()
}

/// `files` may hold those of other posts as well.
fn post_json(row: &Row, pending: &str, files: &[FileInfo]) -> Value {
    let text = |column: &str| row.get::<_, Option<String>>(column).unwrap_or_default();
    let number = |column: &str| row.get::<_, Option<i64>>(column).unwrap_or_default();
    let ids = file_ids(row);
    let infos: Vec<Value> = files
        .iter()
        .filter(|info| ids.contains(&info.id))
        .map(FileInfo::json)
        .collect();
    let mut post = json!({
        "id": text("id"),
        "create_at": number("createat"),
        "update_at": number("updateat"),
        "edit_at": 0,
        "delete_at": number("deleteat"),
        "is_pinned": false,
        "user_id": text("userid"),
        "channel_id": text("channelid"),
        "root_id": text("rootid"),
        "original_id": text("originalid"),
        "message": text("message"),
        "type": text("type"),
        "props": {},
        "hashtags": text("hashtags"),
        "pending_post_id": pending,
        "reply_count": 0,
        "last_reply_at": 0,
        "participants": null,
        "metadata": {},
    });
    if !ids.is_empty() {
        post["file_ids"] = json!(ids);
        post["metadata"]["files"] = Value::Array(infos);
    }
    post
}
