//! `/api/v4/channels`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Row};

use super::body::Body;
use super::failure::Failure;
use super::hub::{Audience, Event};
use super::node::Node;
use super::session::{Required, Session};
use super::teams::is_name;
use crate::{clock, ids};

const COLUMNS: &str = "id, createat, updateat, deleteat, teamid, type, displayname, name, header, purpose, lastpostat, totalmsgcount, creatorid";

#[derive(Debug, Deserialize)]
pub(super) struct NewChannel {
    #[serde(default)]
    team_id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    display_name: String,
    #[serde(default, rename = "type")]
    kind: String,
}

/// `POST /channels`: its maker becomes a member.
pub(super) async fn create(
    State(node): State<Arc<Node>>,
    Required(session): Required,
    Body(channel): Body<NewChannel>,
) -> Result<(StatusCode, Json<Value>), Failure> {
    if !is_name(&channel.name) {
        return Err(Failure::bad_request(
            "model.channel.is_valid.1_or_more.app_error",
            "Name must be 1 or more lowercase alphanumeric characters.",
        ));
    }
    if !matches!(channel.kind.as_str(), "O" | "P") {
        return Err(Failure::bad_request(
            "model.channel.is_valid.type.app_error",
            "Invalid type.",
        ));
    }
    let connection = node.connection().await?;
    require_team(&connection, &session, &channel.team_id).await?;
    let row = connection
        .query_one(
            &format!(
                "INSERT INTO channels (id, createat, updateat, deleteat, teamid, type, displayname, name, header, purpose, lastpostat, totalmsgcount, creatorid) \
                 VALUES ($1, $2, $2, 0, $3, $4, $5, $6, '', '', 0, 0, $7) RETURNING {COLUMNS}"
            ),
            &[&ids::new_id(), &clock::now_ms(), &channel.team_id, &channel.kind, &channel.display_name, &channel.name, &session.user_id],
        )
        .await
        .map_err(|error| {
            if error.code() == Some(&SqlState::UNIQUE_VIOLATION) {
                return Failure::bad_request(
                    "store.sql_channel.save_channel.exists.app_error",
                    "A channel with that name already exists on the same team.",
                );
            }
            error.into()
        })?;
    join(&connection, row.get("id"), &session.user_id).await?;
    Ok((StatusCode::CREATED, Json(channel_json(&row))))
}

async fn require_team(connection: &Client, session: &Session, team: &str) -> Result<(), Failure> {
    let member = connection
        .query_opt(
            "SELECT 1 FROM teammembers WHERE teamid = $1 AND userid = $2 AND deleteat = 0",
            &[&team, &session.user_id],
        )
        .await?;
    if member.is_none() && !session.admin {
        return Err(Failure::forbidden());
    }
    Ok(())
}

/// Makes a user a member; one already is stays one.
pub(super) async fn join(connection: &Client, channel: &str, user: &str) -> Result<(), Failure> {
    connection
        .execute(
            "INSERT INTO channelmembers (channelid, userid, roles, lastviewedat, msgcount, mentioncount, lastupdateat) \
             VALUES ($1, $2, 'channel_user', 0, 0, 0, $3) ON CONFLICT (channelid, userid) DO NOTHING",
            &[&channel, &user, &clock::now_ms()],
        )
        .await?;
    Ok(())
}

/// 403 unless the session's user is a member.
pub(super) async fn require_member(
    connection: &Client,
    session: &Session,
    channel: &str,
) -> Result<(), Failure> {
    connection
        .query_opt(
            "SELECT 1 FROM channelmembers WHERE channelid = $1 AND userid = $2",
            &[&channel, &session.user_id],
        )
        .await?
        .map(drop)
        .ok_or_else(Failure::forbidden)
}

/// `GET /teams/{team}/channels/name/{name}`.
pub(super) async fn get_by_name(
    State(node): State<Arc<Node>>,
    Required(session): Required,
    Path((team, name)): Path<(String, String)>,
) -> Result<Json<Value>, Failure> {
    let connection = node.connection().await?;
    require_team(&connection, &session, &team).await?;
    connection
        .query_opt(
            &format!(
                "SELECT {COLUMNS} FROM channels WHERE teamid = $1 AND name = $2 AND deleteat = 0"
            ),
            &[&team, &name],
        )
        .await?
        .map(|row| Json(channel_json(&row)))
        .ok_or_else(|| Failure::not_found("app.channel.get_by_name.missing.app_error", "channel"))
}

/// `GET /channels/{id}`.
pub(super) async fn get(
    State(node): State<Arc<Node>>,
    Required(session): Required,
    Path(id): Path<String>,
) -> Result<Json<Value>, Failure> {
    let connection = node.connection().await?;
    let row = connection
        .query_opt(
            &format!("SELECT {COLUMNS} FROM channels WHERE id = $1"),
            &[&id],
        )
        .await?
        .ok_or_else(|| Failure::not_found("app.channel.get.existing.app_error", "channel"))?;
    require_member(&connection, &session, &id).await?;
    Ok(Json(channel_json(&row)))
}

#[derive(Debug, Deserialize)]
pub(super) struct NewMember {
    #[serde(default)]
    user_id: String,
}

/// `POST /channels/{id}/members`: a team member into one of the team's channels.
pub(super) async fn add_member(
    State(node): State<Arc<Node>>,
    Required(session): Required,
    Path(channel): Path<String>,
    Body(member): Body<NewMember>,
) -> Result<(StatusCode, Json<Value>), Failure> {
    if !ids::is_id(&member.user_id) {
        return Err(Failure::invalid("user_id"));
    }
    let connection = node.connection().await?;
    let row = connection
        .query_opt(
            "SELECT teamid, type FROM channels WHERE id = $1",
            &[&channel],
        )
        .await?
        .ok_or_else(|| Failure::not_found("app.channel.get.existing.app_error", "channel"))?;
    let (team, kind): (String, String) = (row.get(0), row.get(1));
    require_team(&connection, &session, &team).await?;
    if kind != "O" && !session.admin {
        require_member(&connection, &session, &channel).await?;
    }
    connection
        .query_opt(
            "SELECT 1 FROM teammembers WHERE teamid = $1 AND userid = $2 AND deleteat = 0",
            &[&team, &member.user_id],
        )
        .await?
        .ok_or_else(|| {
            Failure::not_found("app.team.get_member.missing.app_error", "team member")
        })?;
    join(&connection, &channel, &member.user_id).await?;
    let data = json!({ "user_id": member.user_id, "team_id": team });
    let event = Event::new("user_added", data, Audience::Channel(channel.clone()));
    node.publish(event).await;
    Ok((
        StatusCode::CREATED,
        Json(json!({
            "channel_id": channel, "user_id": member.user_id, "roles": "channel_user",
            "last_viewed_at": 0, "msg_count": 0, "mention_count": 0,
        })),
    ))
}

#[derive(Debug, Deserialize)]
pub(super) struct View {
    #[serde(default)]
    channel_id: String,
}

/// `POST /channels/members/{user}/view`: marks a channel as read.
pub(super) async fn view(
    State(node): State<Arc<Node>>,
    Required(session): Required,
    Path(user): Path<String>,
    Body(view): Body<View>,
) -> Result<Json<Value>, Failure> {
    if user != "me" && user != session.user_id {
        return Err(Failure::forbidden());
    }
    let now = clock::now_ms();
    if !view.channel_id.is_empty() {
        node.connection()
            .await?
            .execute(
                "UPDATE channelmembers SET lastviewedat = $3 WHERE channelid = $1 AND userid = $2",
                &[&view.channel_id, &session.user_id, &now],
            )
            .await?;
        publish_viewed(&node, &session, &view.channel_id, now).await;
    }
    let mut times = json!({});
    times[&view.channel_id] = now.into();
    Ok(Json(
        json!({ "status": "OK", "last_viewed_at_times": times }),
    ))
}

/// Tells a user's other connections that a channel was read.
pub(super) async fn publish_viewed(node: &Node, session: &Session, channel: &str, at: i64) {
    let mut times = json!({});
    times[channel] = at.into();
    let event = Event::new(
        "multiple_channels_viewed",
        json!({ "channel_times": times }),
        Audience::User(session.user_id.clone()),
    );
    node.publish(event).await;
}

fn channel_json(row: &Row) -> Value {
    let text = |column: &str| row.get::<_, Option<String>>(column).unwrap_or_default();
    let number = |column: &str| row.get::<_, Option<i64>>(column).unwrap_or_default();
    json!({
        "id": text("id"),
        "create_at": number("createat"),
        "update_at": number("updateat"),
        "delete_at": number("deleteat"),
        "team_id": text("teamid"),
        "type": text("type"),
        "display_name": text("displayname"),
        "name": text("name"),
        "header": text("header"),
        "purpose": text("purpose"),
        "last_post_at": number("lastpostat"),
        "total_msg_count": number("totalmsgcount"),
        "creator_id": text("creatorid"),
    })
}
