//! A chat client: holds a WebSocket, reconnects with jitter, fetches what it missed.
//!
//! ```text
//!   connect ──hello──> posts?since (not the first time) ──> events … ──end──> wait 3 s + jitter ──┐
//!      ^──────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use rand::RngExt as _;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use crate::endpoint::Socket;
use crate::getter;
use crate::ledger::{Sighting, Via};
use crate::run::Shared;

/// The client's own ping; one without a pong before the next and the connection counts as dead.
const PING_EVERY: Duration = Duration::from_secs(30);
/// The hello must follow the upgrade within this.
const HELLO_LIMIT: Duration = Duration::from_secs(10);
/// What is fetched reaches this far before the last message seen: nodes' clocks differ, and a post
/// committed late can carry an earlier time.
const OVERLAP_MS: i64 = 10_000;
/// `posts?since` answers at most so many; with more missing, pages are fetched.
const SINCE_LIMIT: usize = 1000;
/// The longest page.
const PAGE: usize = 200;

/// An event; replies to own requests have `seq_reply` instead.
#[derive(Debug, Deserialize)]
struct Event {
    #[serde(default, rename = "event")]
    name: String,
    #[serde(default)]
    data: Value,
    #[serde(default)]
    seq: i64,
    seq_reply: Option<i64>,
}

/// A post, as far as it is looked at.
#[derive(Debug, Deserialize)]
pub(crate) struct Post {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) create_at: i64,
}

/// The post of a `posted` event, which carries it as a text.
pub(crate) fn posted(data: &Value) -> Option<Post> {
    serde_json::from_str(data["post"].as_str()?).ok()
}

/// Holds one client's connection until stopped.
pub(crate) async fn hold(shared: Arc<Shared>, client: usize, stop: CancellationToken) {
    let mut chatter = Chatter {
        newest_ms: shared.server_ms,
        shared,
        client,
        connections: 0,
        failures: 0,
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = chatter.forever() => {}
    }
}

struct Chatter {
    shared: Arc<Shared>,
    client: usize,
    /// Hellos so far.
    connections: u32,
    /// Ends and refusals since the last hello.
    failures: u32,
    /// The latest `create_at` seen.
    newest_ms: i64,
}

impl Chatter {
    async fn forever(&mut self) {
        loop {
            if self.connections > 0 {
                let now = self.shared.now();
                self.shared.meter().attempted(now);
            }
            match self.connect().await {
                Ok(socket) => {
                    self.connected();
                    if self.connections > 1 {
                        // Events wait in the socket meanwhile.
                        self.catch_up().await;
                    }
                    self.listen(socket).await;
                    self.shared.meter().disconnected(self.client);
                }
                Err(why) => self.shared.meter().refused(why),
            }
            self.shared.changed.notify_waiters();
            self.failures += 1;
            let chance = rand::rng().random::<f64>();
            let wait = self.shared.options.backoff.wait(self.failures, chance);
            tokio::time::sleep(wait).await;
        }
    }

    async fn connect(&self) -> Result<Socket, String> {
        let mut socket = self.shared.user(self.client).websocket().await?;
        let hello = tokio::time::timeout(HELLO_LIMIT, async {
            loop {
                match socket.next().await {
                    Some(Ok(Message::Text(text))) => return is_hello(&text),
                    Some(Ok(Message::Close(_))) | None => {
                        return Err("closed before the hello".to_owned());
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error.to_string()),
                }
            }
        });
        hello
            .await
            .unwrap_or_else(|_| Err(format!("no hello within {HELLO_LIMIT:?}")))?;
        Ok(socket)
    }

    fn connected(&mut self) {
        self.connections += 1;
        self.failures = 0;
        let again = self.connections > 1;
        self.shared.meter().connected(self.client, again);
        self.shared.changed.notify_waiters();
    }

    /// Until the connection ends, from whichever side.
    async fn listen(&mut self, mut socket: Socket) {
        let mut ping = interval(PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ping.tick().await;
        let (mut asked, mut expected) = (0_i64, 1_i64);
        let mut answered = true;
        // Both arms are cancel-safe: the next item of a stream, or a timer.
        loop {
            tokio::select! {
                frame = socket.next() => match frame {
                    Some(Ok(Message::Text(text))) => {
                        let Ok(event) = serde_json::from_str::<Event>(&text) else { return };
                        if event.seq_reply.is_some() {
                            answered = true;
                            continue;
                        }
                        if event.seq != expected {
                            self.shared.meter().sequence_gaps += 1;
                        }
                        expected = event.seq + 1;
                        self.take(&event);
                    }
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                    Some(Ok(_)) => {}
                },
                _ = ping.tick() => {
                    if !answered {
                        return;
                    }
                    answered = false;
                    asked += 1;
                    let text = json!({ "action": "ping", "seq": asked }).to_string();
                    if socket.send(Message::text(text)).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn take(&mut self, event: &Event) {
        if event.name == "posted"
            && let Some(post) = posted(&event.data)
        {
            self.see(&post, Via::Socket);
        }
    }

    fn see(&mut self, post: &Post, via: Via) {
        self.newest_ms = self.newest_ms.max(post.create_at);
        let Some(marker) = self.shared.marker(&post.message) else {
            return;
        };
        let now = self.shared.now();
        let sighting = self
            .shared
            .ledger()
            .see(marker, self.client, &post.id, via, now);
        if let Sighting::First(delay) = sighting {
            if via == Via::Socket {
                self.shared.meter().delivered(Duration::from_millis(delay));
            }
            self.shared.changed.notify_waiters();
        }
    }

    /// What the web client fetches after a reconnect. It insists: a client that gave up here would
    /// count as having lost what it never asked for again.
    async fn catch_up(&mut self) {
        let since = self.newest_ms - OVERLAP_MS;
        let path = format!(
            "/api/v4/channels/{}/posts?since={since}",
            self.shared.channel
        );
        let Some(found) = self.fetch(&path).await else {
            return;
        };
        let mut full = found.len() >= SINCE_LIMIT;
        for post in &found {
            self.see(post, Via::Since);
        }
        let mut page = 0;
        while full {
            let path = format!(
                "/api/v4/channels/{}/posts?page={page}&per_page={PAGE}",
                self.shared.channel
            );
            let Some(found) = self.fetch(&path).await else {
                return;
            };
            full = found.len() == PAGE && found.iter().all(|post| post.create_at > since);
            page += 1;
            for post in &found {
                self.see(post, Via::Since);
            }
        }
    }

    async fn fetch(&self, path: &str) -> Option<Vec<Post>> {
        for attempt in 0..self.shared.options.post_attempts {
            if attempt > 0 {
                tokio::time::sleep(self.shared.options.post_retry).await;
            }
            if let Some(list) = getter::get(&self.shared, self.client, path).await {
                let posts = list["posts"].as_object()?.values();
                return Some(
                    posts
                        .filter_map(|post| serde_json::from_value(post.clone()).ok())
                        .collect(),
                );
            }
        }
        None
    }
}

fn is_hello(text: &str) -> Result<(), String> {
    let event: Event = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if event.name == "hello" && event.seq == 0 {
        Ok(())
    } else {
        Err(format!(
            "the first event is `{}` {}, not `hello` 0",
            event.name, event.seq
        ))
    }
}
