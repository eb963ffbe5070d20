//! The chat probe: does a message posted on one node arrive on the other's WebSocket, both ways?

use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use rand::RngExt as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::api::{Api, LoadError};
use crate::chat::posted;
use crate::endpoint::{Endpoint, Socket};
use crate::options::Options;
use crate::setup;

/// Team and channel of all probes.
const NAME: &str = "chat-probe";

/// Options of a probe.
#[derive(Clone)]
pub struct ProbeOptions {
    /// Authorities to trust for `https`, PEM.
    pub ca: Option<PathBuf>,
    /// The administrator; made when the server is empty.
    pub admin: String,
    /// Its password.
    pub password: String,
    /// How long a message may take.
    pub timeout: Duration,
}

impl Default for ProbeOptions {
    /// The load generator's administrator, five seconds.
    fn default() -> Self {
        Self {
            ca: None,
            admin: Options::ADMIN.to_owned(),
            password: Options::PASSWORD.to_owned(),
            timeout: Duration::from_secs(5),
        }
    }
}

impl std::fmt::Debug for ProbeOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProbeOptions")
            .field("admin", &self.admin)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// One direction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Arrival {
    /// Where it was posted.
    pub from: String,
    /// Where it was awaited.
    pub to: String,
    /// Whether it was pushed in time.
    pub arrived: bool,
    /// From posting until pushed.
    pub latency_ms: Option<f64>,
    /// Whether `posts?since` on the other node finds it: they share a database then, but no cluster.
    pub found_by_since: bool,
    /// What went wrong before anything could be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Both directions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// Both arrived.
    pub ok: bool,
    /// There and back.
    pub directions: Vec<Arrival>,
}

/// Probes both ways. An error means that the probe could not be set up; a direction that does not
/// work is part of the report.
pub async fn chat_probe(
    from: &str,
    to: &str,
    options: &ProbeOptions,
) -> Result<ProbeReport, LoadError> {
    let ca = options.ca.as_deref();
    let (here, there) = (Endpoint::new(from, ca)?, Endpoint::new(to, ca)?);
    // A request may take as long as a message: the probe ends in bounded time.
    let timeout = options.timeout.max(Duration::from_secs(5));
    let admin = setup::administrator(&here, &options.admin, &options.password, timeout).await?;
    let team = setup::team(&admin, NAME).await?;
    let channel = setup::channel(&admin, &team, NAME).await?;
    let channel = setup::text(&channel, "id");
    let other = admin.at(there, timeout)?;
    let mut directions = Vec::new();
    for (one, two, names) in [(&admin, &other, (from, to)), (&other, &admin, (to, from))] {
        let probed = one_way(one, two, &channel, options.timeout).await;
        let (mut arrival, error) = match probed {
            Ok((latency, found)) => (Arrival::of(names, latency, found), None),
            Err(error) => (Arrival::of(names, None, false), Some(error)),
        };
        arrival.error = error;
        directions.push(arrival);
    }
    Ok(ProbeReport {
        ok: directions.iter().all(|direction| direction.arrived),
        directions,
    })
}

impl Arrival {
    fn of(names: (&str, &str), latency: Option<Duration>, found_by_since: bool) -> Self {
        Self {
            from: names.0.to_owned(),
            to: names.1.to_owned(),
            arrived: latency.is_some(),
            latency_ms: latency.map(|latency| latency.as_secs_f64() * 1000.0),
            found_by_since,
            error: None,
        }
    }
}

async fn one_way(
    from: &Api,
    to: &Api,
    channel: &str,
    limit: Duration,
) -> Result<(Option<Duration>, bool), String> {
    let mut socket = to.websocket().await?;
    tokio::time::timeout(
        limit,
        next_event(&mut socket, |event| event["event"] == "hello"),
    )
    .await
    .map_err(|_| format!("no hello within {limit:?}"))??;
    let text = format!("chat-probe {:016x}", rand::rng().random::<u64>());
    let begun = Instant::now();
    let body = json!({ "channel_id": channel, "message": text });
    let post = from
        .post("/api/v4/posts", &body)
        .await
        .map_err(|error| error.to_string())?;
    let ours = |event: &Value| {
        event["event"] == "posted"
            && posted(&event["data"]).is_some_and(|post| post.message == text)
    };
    let pushed = tokio::time::timeout(limit, next_event(&mut socket, ours)).await;
    let latency = match pushed {
        Err(_) => None,
        Ok(result) => result.map(|()| Some(begun.elapsed()))?,
    };
    let since = post["create_at"].as_i64().unwrap_or_default() - 1;
    let path = format!("/api/v4/channels/{channel}/posts?since={since}");
    let list = to.get(&path).await.map_err(|error| error.to_string())?;
    let id = setup::text(&post, "id");
    Ok((latency, list["posts"].get(&id).is_some()))
}

async fn next_event(socket: &mut Socket, wanted: impl Fn(&Value) -> bool) -> Result<(), String> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => {
                if serde_json::from_str(&text).is_ok_and(|event| wanted(&event)) {
                    return Ok(());
                }
            }
            Some(Ok(Message::Close(_))) | None => return Err("the WebSocket was closed".to_owned()),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(format!("the WebSocket broke: {error}")),
        }
    }
}
