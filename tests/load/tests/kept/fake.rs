//! A server that has what a run needs, in memory, and loses what it is told to lose.
//!
//! It stands in for several nodes behind one address: a fault can be that of every other node.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

use super::handlers;

/// What goes wrong from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Files that are there now are gone.
    LoseFiles,
    /// Every other read finds no file.
    LoseEveryOther,
    /// Files come with one byte changed.
    CorruptFiles,
    /// Files end half way, with the connection.
    CutFiles,
    /// The setting is what it was before.
    ForgetSettings,
    /// Plugins may not be uploaded.
    RefusePlugin,
    /// The plugin failed to start on the second node.
    StopPlugin,
    /// Links of before are not valid any more.
    ChangeSalt,
    /// Nothing answers but the load balancer, with 503, so many times.
    Unavailable(u64),
}

/// A stored file.
#[derive(Clone)]
pub struct Stored {
    pub bytes: Vec<u8>,
    /// Whose message carries it; empty before.
    pub post: String,
    pub creator: String,
}

/// All state.
#[derive(Default)]
pub struct World {
    pub faults: Vec<Fault>,
    pub users: Vec<String>,
    pub files: BTreeMap<String, Stored>,
    pub site_name: String,
    pub salt: String,
    /// Id, and whether it is enabled.
    pub plugin: Option<(String, bool)>,
    /// Whether one was tried to be enabled.
    pub enabling: bool,
    /// Multipart bodies that arrived, their fields' names in order.
    pub forms: Vec<Vec<String>>,
}

pub struct Fake {
    pub world: Mutex<World>,
    pub events: broadcast::Sender<Value>,
    next: AtomicU64,
}

impl Fake {
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub fn id(&self, kind: &str) -> String {
        format!("{kind}{:04}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    pub fn has(&self, fault: Fault) -> bool {
        self.world().faults.contains(&fault)
    }

    /// Whether this request falls on the worse of two nodes.
    pub fn is_other_node(&self) -> bool {
        self.next.fetch_add(1, Ordering::Relaxed) % 2 == 1
    }

    pub fn cause(&self, fault: Fault) {
        let mut world = self.world();
        match fault {
            Fault::LoseFiles => world.files.clear(),
            Fault::ForgetSettings => "Mattermost".clone_into(&mut world.site_name),
            Fault::ChangeSalt => "another".clone_into(&mut world.salt),
            _ => {}
        }
        world.faults.push(fault);
    }

    pub fn heal(&self) {
        self.world().faults.clear();
    }
}

/// A running one; ends with it.
pub struct Running {
    pub url: String,
    pub fake: Arc<Fake>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub async fn start() -> Running {
    let fake = Arc::new(Fake {
        world: Mutex::new(World {
            site_name: "Mattermost".to_owned(),
            salt: "salt".to_owned(),
            ..World::default()
        }),
        events: broadcast::channel(4096).0,
        next: AtomicU64::new(0),
    });
    let router = Router::new()
        .route("/api/v4/users", post(handlers::make_user))
        .route("/api/v4/users/login", post(handlers::login))
        .route("/api/v4/teams/name/{name}", get(handlers::team))
        .route(
            "/api/v4/teams/{team}/channels/name/{name}",
            get(handlers::channel),
        )
        .route("/api/v4/teams/{team}/members", post(handlers::fine))
        .route("/api/v4/channels/{id}/members", post(handlers::fine))
        .route("/api/v4/channels/{id}/posts", get(handlers::no_posts))
        .route("/api/v4/posts", post(handlers::post))
        .route("/api/v4/websocket", any(websocket))
        .route("/api/v4/files", post(handlers::upload))
        .route("/api/v4/files/{id}", get(handlers::file))
        .route("/api/v4/files/{id}/link", get(handlers::link))
        .route("/files/{id}/public", get(handlers::public))
        .route(
            "/api/v4/config",
            get(handlers::config).put(handlers::set_config),
        )
        .route("/api/v4/config/client", get(handlers::client_config))
        .route("/api/v4/plugins", post(handlers::install))
        .route("/api/v4/plugins/{id}/enable", post(handlers::enable))
        .route("/api/v4/plugins/statuses", get(handlers::statuses))
        .fallback(handlers::fine)
        .layer(axum::extract::DefaultBodyLimit::disable())
        .layer(axum::middleware::from_fn_with_state(
            Arc::clone(&fake),
            before,
        ))
        .with_state(Arc::clone(&fake));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    Running { url, fake, task }
}

/// What stands before the nodes: a load balancer that may have none.
async fn before(
    State(fake): State<Arc<Fake>>,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> Response {
    {
        let mut world = fake.world();
        let mut refused = false;
        for fault in &mut world.faults {
            if let Fault::Unavailable(times @ 1..) = fault {
                *times -= 1;
                refused = true;
            }
        }
        if refused {
            return (StatusCode::SERVICE_UNAVAILABLE, "maintenance").into_response();
        }
    }
    let mut response = next.run(request).await;
    let version = HeaderValue::from_static("11.10.0.fake.hash.true");
    response.headers_mut().insert("x-version-id", version);
    response
}

async fn websocket(State(fake): State<Arc<Fake>>, upgrade: WebSocketUpgrade) -> Response {
    let events = fake.events.subscribe();
    upgrade.on_upgrade(move |socket| talk(socket, events))
}

async fn talk(mut socket: WebSocket, mut events: broadcast::Receiver<Value>) {
    let mut seq = 0;
    let mut event = json!({ "event": "hello", "data": {} });
    loop {
        event["seq"] = seq.into();
        seq += 1;
        let text = Message::Text(event.to_string().into());
        if socket.send(text).await.is_err() {
            return;
        }
        // Both arms are cancel-safe. What the client says is not looked at.
        event = loop {
            tokio::select! {
                next = events.recv() => match next {
                    Ok(next) => break next,
                    Err(_) => return,
                },
                said = socket.recv() => if !matches!(said, Some(Ok(_))) {
                    return;
                },
            }
        };
    }
}
