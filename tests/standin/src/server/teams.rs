//! `/api/v4/teams`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;

use super::body::Body;
use super::channels;
use super::failure::Failure;
use super::node::Node;
use super::session::Required;
use crate::{clock, ids};

const COLUMNS: &str = "id, createat, updateat, deleteat, displayname, name, description, email, type, inviteid, allowopeninvite";

#[derive(Debug, Deserialize)]
pub(super) struct NewTeam {
    #[serde(default)]
    name: String,
    #[serde(default)]
    display_name: String,
    #[serde(default, rename = "type")]
    kind: String,
}

/// `POST /teams`: its maker becomes a member, and of its two default channels.
pub(super) async fn create(
    State(node): State<Arc<Node>>,
    Required(session): Required,
    Body(team): Body<NewTeam>,
) -> Result<(StatusCode, Json<Value>), Failure> {
    if !is_name(&team.name) {
        return Err(Failure::bad_request(
            "model.team.is_valid.characters.app_error",
            "Name must be 2 or more lowercase alphanumeric characters.",
        ));
    }
    if !matches!(team.kind.as_str(), "O" | "I") {
        return Err(Failure::bad_request(
            "model.team.is_valid.type.app_error",
            "Invalid type.",
        ));
    }
    let (id, now) = (ids::new_id(), clock::now_ms());
    let mut connection = node.connection().await?;
    let transaction = connection.transaction().await?;
    let row = transaction
        .query_one(
            &format!(
                "INSERT INTO teams (id, createat, updateat, deleteat, displayname, name, description, email, type, inviteid, allowopeninvite) \
                 VALUES ($1, $2, $2, 0, $3, $4, '', '', $5, $6, $7) RETURNING {COLUMNS}"
            ),
            &[&id, &now, &team.display_name, &team.name, &team.kind, &ids::new_id(), &(team.kind == "O")],
        )
        .await
        .map_err(taken)?;
    for (name, display) in [("town-square", "Town Square"), ("off-topic", "Off-Topic")] {
        transaction
            .execute(
                "INSERT INTO channels (id, createat, updateat, deleteat, teamid, type, displayname, name, header, purpose, lastpostat, totalmsgcount, creatorid) \
                 VALUES ($1, $2, $2, 0, $3, 'O', $4, $5, '', '', 0, 0, '')",
                &[&ids::new_id(), &now, &id, &display, &name],
            )
            .await?;
    }
    transaction.commit().await?;
    join(&connection, &id, &session.user_id, "team_user team_admin").await?;
    Ok((StatusCode::CREATED, Json(team_json(&row))))
}

fn taken(error: tokio_postgres::Error) -> Failure {
    if error.code() == Some(&SqlState::UNIQUE_VIOLATION) {
        return Failure::bad_request(
            "app.team.save.existing.app_error",
            "A team with that name already exists.",
        );
    }
    error.into()
}

/// Lowercase letters, digits and dashes, two to 64 of them: team and channel names alike.
pub(super) fn is_name(name: &str) -> bool {
    (2..=64).contains(&name.len())
        && name.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
        })
}

async fn join(
    connection: &tokio_postgres::Client,
    team: &str,
    user: &str,
    roles: &str,
) -> Result<(), Failure> {
    connection
        .execute(
            "INSERT INTO teammembers (teamid, userid, roles, deleteat, schemeuser, schemeadmin) \
             VALUES ($1, $2, $3, 0, true, false) ON CONFLICT (teamid, userid) DO UPDATE SET deleteat = 0",
            &[&team, &user, &roles],
        )
        .await?;
    let defaults = connection
        .query(
            "SELECT id FROM channels WHERE teamid = $1 AND name IN ('town-square', 'off-topic')",
            &[&team],
        )
        .await?;
    for row in defaults {
        channels::join(connection, row.get(0), user).await?;
    }
    Ok(())
}

/// `GET /teams/name/{name}`.
pub(super) async fn get_by_name(
    State(node): State<Arc<Node>>,
    Required(_): Required,
    Path(name): Path<String>,
) -> Result<Json<Value>, Failure> {
    node.connection()
        .await?
        .query_opt(
            &format!("SELECT {COLUMNS} FROM teams WHERE name = $1 AND deleteat = 0"),
            &[&name],
        )
        .await?
        .map(|row| Json(team_json(&row)))
        .ok_or_else(|| Failure::not_found("app.team.get_by_name.missing.app_error", "team"))
}

#[derive(Debug, Deserialize)]
pub(super) struct NewMember {
    #[serde(default)]
    user_id: String,
}

/// `POST /teams/{id}/members`: oneself into an open team, anybody by an admin.
pub(super) async fn add_member(
    State(node): State<Arc<Node>>,
    Required(session): Required,
    Path(team): Path<String>,
    Body(member): Body<NewMember>,
) -> Result<(StatusCode, Json<Value>), Failure> {
    if !ids::is_id(&member.user_id) {
        return Err(Failure::invalid("user_id"));
    }
    let connection = node.connection().await?;
    let open: bool = connection
        .query_opt(
            "SELECT allowopeninvite FROM teams WHERE id = $1 AND deleteat = 0",
            &[&team],
        )
        .await?
        .map(|row| row.get(0))
        .ok_or_else(|| Failure::not_found("app.team.get.find.app_error", "team"))?;
    let allowed = session.admin || (open && member.user_id == session.user_id);
    if !allowed {
        return Err(Failure::forbidden());
    }
    connection
        .query_opt(
            "SELECT 1 FROM users WHERE id = $1 AND deleteat = 0",
            &[&member.user_id],
        )
        .await?
        .ok_or_else(|| Failure::not_found("app.user.missing_account.const", "account"))?;
    join(&connection, &team, &member.user_id, "team_user").await?;
    Ok((
        StatusCode::CREATED,
        Json(json!({
            "team_id": team, "user_id": member.user_id, "roles": "team_user",
            "delete_at": 0, "scheme_user": true, "scheme_admin": false,
        })),
    ))
}

fn team_json(row: &Row) -> Value {
    let text = |column: &str| row.get::<_, Option<String>>(column).unwrap_or_default();
    let number = |column: &str| row.get::<_, Option<i64>>(column).unwrap_or_default();
    json!({
        "id": text("id"),
        "create_at": number("createat"),
        "update_at": number("updateat"),
        "delete_at": number("deleteat"),
        "display_name": text("displayname"),
        "name": text("name"),
        "description": text("description"),
        "email": text("email"),
        "type": text("type"),
        "company_name": "",
        "allowed_domains": "",
        "invite_id": text("inviteid"),
        "allow_open_invite": row.get::<_, Option<bool>>("allowopeninvite").unwrap_or_default(),
    })
}
