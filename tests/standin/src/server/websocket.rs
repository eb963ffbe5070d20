//! `/api/v4/websocket`: one task a connection.
//!
//! ```text
//!   upgrade ── bearer header? ──yes──> hello (seq 0) ──> events, seq + 1 each
//!                  │ no: 5 s for authentication_challenge, else cut
//! ```
//!
//! Whatever ends a connection from this side, there is no close frame: the client sees a bare EOF.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use super::hub::{self, Seat};
use super::node::Node;
use super::session::{self, Session};
use crate::{clock, ids};

/// How often the server pings; a load balancer with an idle time-out of 60 s cuts in between.
const PING_EVERY: Duration = Duration::from_secs(60);
/// How long a silent client (no pong either) is kept.
const PONG_WAIT: Duration = Duration::from_secs(100);
/// How long an unauthenticated connection may stay.
const AUTHENTICATE_WITHIN: Duration = Duration::from_secs(5);
/// Larger frames from clients are refused.
const MAX_FRAME: usize = 8 * 1024;

/// Clients send little; the default of 128 KiB each would be most of the process.
const READ_BUFFER: usize = 4 * 1024;

/// Upgrades. A missing or wrong session is no refusal: the challenge may still come.
pub(super) async fn connect(
    State(node): State<Arc<Node>>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let session = match session::token(&headers) {
        Some(token) => session::look_up(&node, &token).await.unwrap_or(None),
        None => None,
    };
    upgrade
        .max_message_size(MAX_FRAME)
        .read_buffer_size(READ_BUFFER)
        .on_upgrade(move |socket| async move {
            let cut = node.cut.clone();
            tokio::select! {
                () = cut.cancelled() => {}
                () = Connection::new(node, socket).run(session) => {}
            }
        })
}

#[derive(Debug, Deserialize)]
struct Request {
    #[serde(default)]
    seq: i64,
    action: String,
    #[serde(default)]
    data: Value,
}

/// Cut: the client went away or was too slow.
struct Ended;

struct Connection {
    node: Arc<Node>,
    socket: WebSocket,
    sequence: i64,
    seat: Option<Seat>,
}

impl Connection {
    fn new(node: Arc<Node>, socket: WebSocket) -> Self {
        Self {
            node,
            socket,
            sequence: 0,
            seat: None,
        }
    }

    async fn run(mut self, session: Option<Arc<Session>>) {
        if let Some(session) = session
            && self.authenticated(&session).await.is_err()
        {
            return;
        }
        let started = Instant::now();
        let mut ping = interval_at(started + PING_EVERY, PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut silent_until = started + PONG_WAIT;
        loop {
            let deadline = if self.seat.is_some() {
                silent_until
            } else {
                started + AUTHENTICATE_WITHIN
            };
            // Every arm is cancel-safe: a channel's or a stream's next item, or a timer.
            let result = tokio::select! {
                frame = self.socket.recv() => {
                    silent_until = Instant::now() + PONG_WAIT;
                    match frame {
                        Some(Ok(Message::Text(text))) => self.request(&text).await,
                        Some(Ok(Message::Close(_)) | Err(_)) | None => Err(Ended),
                        Some(Ok(_)) => Ok(()),
                    }
                }
                head = next(&mut self.seat) => match head {
                    Some(head) => self.event(&head).await,
                    None => Err(Ended),
                },
                _ = ping.tick() => {
                    self.socket.send(Message::Ping(Bytes::new())).await.map_err(|_| Ended)
                }
                () = sleep_until(deadline) => Err(Ended),
            };
            if result.is_err() {
                break;
            }
        }
        if let Some(seat) = self.seat.take() {
            let user = seat.user_id().to_owned();
            drop(seat);
            if !self.node.hub.is_connected(&user) {
                set_status(&self.node, &user, "offline").await;
            }
        }
    }

    async fn authenticated(&mut self, session: &Session) -> Result<(), Ended> {
        // Seated before the hello: no event between the two is missed.
        self.seat = Some(self.node.hub.join(&session.user_id));
        set_status(&self.node, &session.user_id, "online").await;
        let data = json!({
            "connection_id": ids::new_id(),
            "server_version": self.node.version_id(),
        });
        self.event(&hub::head("hello", &data, "", &session.user_id))
            .await
    }

    async fn event(&mut self, head: &str) -> Result<(), Ended> {
        let text = hub::frame(head, self.sequence);
        self.sequence += 1;
        self.send(text).await
    }

    async fn send(&mut self, text: String) -> Result<(), Ended> {
        self.socket
            .send(Message::Text(text.into()))
            .await
            .map_err(|_| Ended)
    }

    async fn request(&mut self, text: &str) -> Result<(), Ended> {
        let Ok(request) = serde_json::from_str::<Request>(text) else {
            return Err(Ended);
        };
        if request.action == "authentication_challenge" {
            return self.challenge(&request).await;
        }
        if self.seat.is_none() {
            return self
                .refuse(
                    &request,
                    401,
                    "api.web_socket_router.not_authenticated.app_error",
                )
                .await;
        }
        let answer = match request.action.as_str() {
            "ping" => json!({
                "text": "pong",
                "version": self.node.manifest.reported().to_string(),
                "server_time": clock::now_ms(),
                "node_id": "",
            }),
            "user_typing" | "presence" => Value::Null,
            _ => {
                return self
                    .refuse(&request, 500, "api.web_socket_router.bad_action.app_error")
                    .await;
            }
        };
        self.answer(&request, &answer).await
    }

    async fn challenge(&mut self, request: &Request) -> Result<(), Ended> {
        if self.seat.is_some() {
            return Ok(());
        }
        let token = request.data["token"].as_str().unwrap_or_default();
        let session = session::look_up(&self.node, token)
            .await
            .map_err(|_| Ended)?;
        // The real server answers a wrong token with silence and a cut.
        let session = session.ok_or(Ended)?;
        self.answer(request, &Value::Null).await?;
        self.authenticated(&session).await
    }

    async fn answer(&mut self, request: &Request, data: &Value) -> Result<(), Ended> {
        let mut answer = json!({ "status": "OK", "seq_reply": request.seq });
        if !data.is_null() {
            answer["data"] = data.clone();
        }
        self.send(answer.to_string()).await
    }

    async fn refuse(&mut self, request: &Request, status: u16, id: &str) -> Result<(), Ended> {
        let answer = json!({
            "status": "FAIL",
            "seq_reply": request.seq,
            "error": {
                "id": id,
                "message": format!("The WebSocket action `{}` is refused.", request.action),
                "detailed_error": "",
                "status_code": status,
            },
        });
        self.send(answer.to_string()).await
    }
}

/// The next event of a seated connection; waits for ever without a seat. Cancel-safe.
async fn next(seat: &mut Option<Seat>) -> Option<Arc<str>> {
    match seat {
        Some(seat) => seat.events.recv().await,
        None => std::future::pending().await,
    }
}

/// Presence is a courtesy: a database that is away does not end a connection.
async fn set_status(node: &Node, user_id: &str, status: &str) {
    let set = async {
        node.database
            .connection()
            .await?
            .execute(
                "INSERT INTO status (userid, status, manual, lastactivityat) VALUES ($1, $2, false, $3) \
                 ON CONFLICT (userid) DO UPDATE SET status = $2, lastactivityat = $3 WHERE NOT status.manual",
                &[&user_id, &status, &clock::now_ms()],
            )
            .await?;
        Ok::<_, crate::database::DatabaseError>(())
    };
    if let Err(error) = set.await {
        log::warn!(
            "Cannot set the status of {user_id}: {}",
            super::failure::chain(&error)
        );
    }
}
