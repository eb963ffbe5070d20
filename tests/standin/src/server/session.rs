//! Sessions: rows in the database, so that they hold on every node; a short cache in front.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{FromRequestParts, Request};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;

use super::failure::Failure;
use super::node::Node;
use crate::clock;

/// How long a looked-up session is believed; short, because nodes of another cluster do not
/// tell this one about a logout.
const CACHE_MS: i64 = 30_000;
/// More cached sessions than this and the cache starts anew.
const CACHE_LIMIT: usize = 20_000;

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) token: String,
    pub(super) user_id: String,
    pub(super) username: String,
    pub(super) admin: bool,
}

/// The cache.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<String, (i64, Arc<Session>)>>);

impl Sessions {
    fn cached(&self, token: &str) -> Option<Arc<Session>> {
        let cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, session) = cache.get(token)?;
        (clock::now_ms() - since < CACHE_MS).then(|| Arc::clone(session))
    }

    fn keep(&self, session: &Arc<Session>) {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= CACHE_LIMIT {
            cache.clear();
        }
        cache.insert(
            session.token.clone(),
            (clock::now_ms(), Arc::clone(session)),
        );
    }

    /// After a logout.
    pub(super) fn forget(&self, token: &str) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(token);
    }
}

/// The session of a token; `None` when there is none or it is over.
pub(super) async fn look_up(node: &Node, token: &str) -> Result<Option<Arc<Session>>, Failure> {
    if let Some(session) = node.sessions.cached(token) {
        return Ok(Some(session));
    }
    let row = node
        .connection()
        .await?
        .query_opt(
            "SELECT s.userid, u.username, u.roles FROM sessions s JOIN users u ON u.id = s.userid \
             WHERE s.token = $1 AND s.expiresat > $2 AND u.deleteat = 0",
            &[&token, &clock::now_ms()],
        )
        .await?;
    Ok(row.map(|row| {
        let roles: String = row.get(2);
        let session = Arc::new(Session {
            token: token.to_owned(),
            user_id: row.get(0),
            username: row.get(1),
            admin: roles.split(' ').any(|role| role == "system_admin"),
        });
        node.sessions.keep(&session);
        session
    }))
}

/// The token of a request: bearer header, `token` header, or the web application's cookie.
pub(super) fn token(headers: &HeaderMap) -> Option<String> {
    if let Some(value) = headers.get("authorization") {
        let (scheme, token) = value.to_str().ok()?.trim().split_once(' ')?;
        return (scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token"))
            .then(|| token.trim().to_owned());
    }
    headers
        .get_all("cookie")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|cookie| {
            cookie
                .trim()
                .strip_prefix("MMAUTHTOKEN=")
                .map(str::to_owned)
        })
}

/// In a handler's arguments: the session is required, 401 without.
#[derive(Debug)]
pub(super) struct Required(pub(super) Arc<Session>);

impl FromRequestParts<Arc<Node>> for Required {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, node: &Arc<Node>) -> Result<Self, Failure> {
        let token = token(&parts.headers).ok_or_else(Failure::no_session)?;
        look_up(node, &token)
            .await?
            .map(Self)
            .ok_or_else(Failure::no_session)
    }
}

/// Marks a request that came over the local socket.
#[derive(Clone, Copy, Debug)]
struct Local;

/// Around the local socket's routes: whoever may open the socket is an administrator.
pub(super) async fn mark_local(mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(Local);
    next.run(request).await
}

/// In a handler's arguments: an administrator asks; 401 without a session, 403 for anybody else.
#[derive(Debug)]
pub(super) struct Admin;

impl FromRequestParts<Arc<Node>> for Admin {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, node: &Arc<Node>) -> Result<Self, Failure> {
        if parts.extensions.get::<Local>().is_some() {
            return Ok(Self);
        }
        let Required(session) = Required::from_request_parts(parts, node).await?;
        session.admin.then_some(Self).ok_or_else(Failure::forbidden)
    }
}

/// In a handler's arguments: the session if there is one.
#[derive(Debug)]
pub(super) struct Maybe(pub(super) Option<Arc<Session>>);

impl FromRequestParts<Arc<Node>> for Maybe {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, node: &Arc<Node>) -> Result<Self, Failure> {
        match token(&parts.headers) {
            None => Ok(Self(None)),
            Some(token) => look_up(node, &token).await.map(Self),
        }
    }
}
