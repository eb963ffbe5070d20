//! `/api/v4/users`: sign-up, login, who am I.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;

use super::body::Body;
use super::failure::Failure;
use super::node::Node;
use super::password::{self, Check};
use super::session::{Maybe, Required};
use crate::{clock, ids};

/// How long a session lasts.
const SESSION_MS: i64 = 30 * 24 * 3600 * 1000;
/// `PasswordSettings.MinimumLength`.
const SHORTEST_PASSWORD: usize = 8;
/// Serialises sign-ups of an empty server, so that one user becomes admin.
const SIGN_UP_LOCK: i64 = 0x6d6d_7573;

const COLUMNS: &str = "id, createat, updateat, deleteat, username, email, emailverified, nickname, firstname, lastname, roles, locale";

#[derive(Debug, Deserialize)]
pub(super) struct NewUser {
    #[serde(default)]
    email: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    nickname: String,
}

impl NewUser {
    fn check(&self) -> Result<(), Failure> {
        let name = &self.username;
        let plain = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_')
        };
        if !(1..=64).contains(&name.len())
            || !name.bytes().all(plain)
            || !name.starts_with(|first: char| first.is_ascii_alphabetic())
        {
            return Err(Failure::bad_request(
                "model.user.is_valid.username.app_error",
                "Username must begin with a letter, and contain between 1 to 64 lowercase characters made up of numbers, letters, and the symbols '.', '-', and '_'.",
            ));
        }
        if !self.email.contains('@') || self.email.len() > 128 {
            return Err(Failure::bad_request(
                "model.user.is_valid.email.app_error",
                "Invalid email.",
            ));
        }
        if self.password.len() < SHORTEST_PASSWORD || self.password.len() > 72 {
            return Err(Failure::bad_request(
                "model.user.is_valid.pwd_min_length.app_error",
                "Your password must contain between 8 and 72 characters.",
            ));
        }
        Ok(())
    }
}

/// `POST /users`. The first user of an empty server becomes admin, whatever the sign-up settings.
pub(super) async fn create(
    State(node): State<Arc<Node>>,
    Maybe(session): Maybe,
    Body(user): Body<NewUser>,
) -> Result<(StatusCode, Json<Value>), Failure> {
    user.check()?;
    let mut connection = node.connection().await?;
    let transaction = connection.transaction().await?;
    transaction
        .execute("SELECT pg_advisory_xact_lock($1)", &[&SIGN_UP_LOCK])
        .await?;
    let first: bool = transaction
        .query_one("SELECT NOT EXISTS (SELECT 1 FROM users)", &[])
        .await?
        .get(0);
    let by_admin = session.is_some_and(|session| session.admin);
    if !first && !by_admin && !node.config.view().settings.open_server {
        return Err(Failure::new(
            StatusCode::FORBIDDEN,
            "api.user.create_user.no_open_server",
            "This server does not allow open signups. Please speak with your Administrator to receive an invitation.",
        ));
    }
    let roles = if first {
        "system_admin system_user"
    } else {
        "system_user"
    };
    let now = clock::now_ms();
    let hash = password::hash(&user.password, node.manifest.version);
    let made = transaction
        .query_one(
            &format!(
                "INSERT INTO users (id, createat, updateat, deleteat, username, password, email, emailverified, \
                 nickname, firstname, lastname, roles, locale, failedattempts) \
                 VALUES ($1, $2, $2, 0, $3, $4, lower($5), false, $6, '', '', $7, 'en', 0) RETURNING {COLUMNS}"
            ),
            &[&ids::new_id(), &now, &user.username, &hash, &user.email, &user.nickname, &roles],
        )
        .await
        .map_err(taken)?;
    transaction.commit().await?;
    Ok((StatusCode::CREATED, Json(user_json(&made))))
}

fn taken(error: tokio_postgres::Error) -> Failure {
    let constraint = error
        .as_db_error()
        .filter(|db| *db.code() == SqlState::UNIQUE_VIOLATION)
        .and_then(|db| db.constraint());
    match constraint {
        Some(name) if name.contains("email") => Failure::bad_request(
            "app.user.save.email_exists.app_error",
            "An account with that email already exists.",
        ),
        Some(_) => Failure::bad_request(
            "app.user.save.username_exists.app_error",
            "An account with that username already exists.",
        ),
        None => error.into(),
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Login {
    #[serde(default)]
    login_id: String,
    #[serde(default)]
    password: String,
}

/// `POST /users/login`: the session's token is in the header `Token`.
pub(super) async fn login(
    State(node): State<Arc<Node>>,
    Body(login): Body<Login>,
) -> Result<impl IntoResponse, Failure> {
    let wrong = || {
        Failure::new(
            StatusCode::UNAUTHORIZED,
            "api.user.login.invalid_credentials_email_username",
            "Enter a valid email or username and/or password.",
        )
    };
    let connection = node.connection().await?;
    let row = connection
        .query_opt(
            &format!("SELECT {COLUMNS}, password FROM users WHERE (username = lower($1) OR email = lower($1)) AND deleteat = 0"),
            &[&login.login_id],
        )
        .await?
        .ok_or_else(wrong)?;
    let (user_id, stored): (String, String) = (row.get("id"), row.get("password"));
    match password::check(&login.password, &stored, node.manifest.version) {
        Check::Wrong => return Err(wrong()),
        Check::Right => {}
        Check::RightAndRehashed(hash) => {
            connection
                .execute(
                    "UPDATE users SET password = $2 WHERE id = $1",
                    &[&user_id, &hash],
                )
                .await?;
        }
    }
    let (token, now) = (ids::new_id(), clock::now_ms());
    let roles: String = row.get("roles");
    connection
        .execute(
            "INSERT INTO sessions (id, token, createat, expiresat, lastactivityat, userid, deviceid, roles, isoauth) \
             VALUES ($1, $2, $3, $4, $3, $5, '', $6, false)",
            &[&ids::new_id(), &token, &now, &(now + SESSION_MS), &user_id, &roles],
        )
        .await?;
    let mut headers = HeaderMap::new();
    let cookie = format!(
        "MMAUTHTOKEN={token}; Path=/; Max-Age={}; HttpOnly",
        SESSION_MS / 1000
    );
    for (name, value) in [("token", token), ("set-cookie", cookie)] {
        let value = HeaderValue::try_from(value).map_err(|_| Failure::invalid("token"))?;
        headers.insert(name, value);
    }
    Ok((headers, Json(user_json(&row))))
}

/// `POST /users/logout`.
pub(super) async fn logout(
    State(node): State<Arc<Node>>,
    Required(session): Required,
) -> Result<Json<Value>, Failure> {
    node.connection()
        .await?
        .execute("DELETE FROM sessions WHERE token = $1", &[&session.token])
        .await?;
    node.sessions.forget(&session.token);
    Ok(Json(json!({ "status": "OK" })))
}

/// `GET /users/{id}`, `me` for oneself.
pub(super) async fn get(
    State(node): State<Arc<Node>>,
    Required(session): Required,
    Path(id): Path<String>,
) -> Result<Json<Value>, Failure> {
    let id = if id == "me" {
        session.user_id.clone()
    } else {
        id
    };
    find(&node, "id", &id).await
}

/// `GET /users/username/{name}`.
pub(super) async fn get_by_name(
    State(node): State<Arc<Node>>,
    Required(_): Required,
    Path(name): Path<String>,
) -> Result<Json<Value>, Failure> {
    find(&node, "username", &name).await
}

async fn find(node: &Node, column: &str, value: &str) -> Result<Json<Value>, Failure> {
    node.connection()
        .await?
        .query_opt(
            &format!("SELECT {COLUMNS} FROM users WHERE {column} = $1"),
            &[&value],
        )
        .await?
        .map(|row| Json(user_json(&row)))
        .ok_or_else(|| Failure::not_found("app.user.missing_account.const", "account"))
}

/// `GET /users/{id}/status`.
pub(super) async fn status(
    State(node): State<Arc<Node>>,
    Required(session): Required,
    Path(id): Path<String>,
) -> Result<Json<Value>, Failure> {
    let id = if id == "me" {
        session.user_id.clone()
    } else {
        id
    };
    let row = node
        .connection()
        .await?
        .query_opt(
            "SELECT status, manual, lastactivityat FROM status WHERE userid = $1",
            &[&id],
        )
        .await?;
    let (status, manual, active): (String, bool, i64) = row.map_or_else(
        || ("offline".to_owned(), false, 0),
        |row| (row.get(0), row.get(1), row.get(2)),
    );
    Ok(Json(json!({
        "user_id": id, "status": status, "manual": manual, "last_activity_at": active,
    })))
}

fn user_json(row: &Row) -> Value {
    let text = |column: &str| row.get::<_, Option<String>>(column).unwrap_or_default();
    let number = |column: &str| row.get::<_, Option<i64>>(column).unwrap_or_default();
    json!({
        "id": text("id"),
        "create_at": number("createat"),
        "update_at": number("updateat"),
        "delete_at": number("deleteat"),
        "username": text("username"),
        "auth_data": "",
        "auth_service": "",
        "email": text("email"),
        "email_verified": row.get::<_, Option<bool>>("emailverified").unwrap_or_default(),
        "nickname": text("nickname"),
        "first_name": text("firstname"),
        "last_name": text("lastname"),
        "position": "",
        "roles": text("roles"),
        "locale": text("locale"),
        "disable_welcome_email": false,
    })
}
