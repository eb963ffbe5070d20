//! The cluster: licensed nodes of one name, each connected to each other over TCP 8074.
//!
//! ```text
//!   clusterdiscovery (table) ──who──> dial ──hello──> link <──hello── accept
//!                                                      │ events, pending_post_ids, a sign of life
//! ```
//!
//! Two nodes that dial each other at once end up with two links; messages go over the first, the
//! second is a spare. A node of another name is refused: nothing is shared with it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, timeout};
use tokio_util::codec::{Framed, LinesCodec};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::discovery::{self, Row};
use super::failure::chain;
use super::follow::Notice;
use super::hub::{Event, Hub};
use super::pending::Pending;
use crate::database::Database;
use crate::settings::ClusterSettings;

/// How often the table is read for nodes not linked yet.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long connecting and greeting may take.
const GREET_WITHIN: Duration = Duration::from_secs(2);
/// A sign of life goes out this often …
const ALIVE_EVERY: Duration = Duration::from_secs(1);
/// … and a link without one for this long is dead (a partition gives no reset).
const DEAD_AFTER: Duration = Duration::from_secs(5);
/// The longest line: an event with a post of the longest message.
const LONGEST_LINE: usize = 1 << 20;
/// Lines that may wait for a peer; one more and the link is given up.
const QUEUE: usize = 4096;

/// A node, as others see it.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Peer {
    /// New with every start.
    pub id: String,
    /// Its cluster.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub cluster_name: String,
    /// Its version.
    pub version: String,
    /// Its configuration hash.
    pub config_hash: String,
    /// Its address.
    pub ipaddress: String,
    /// Its name: the address again.
    pub hostname: String,
}

/// What travels over a link, one JSON object a line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Message {
    /// First in each direction.
    Hello(Peer),
    /// For the WebSockets of the other node.
    Event(Event),
    /// A `pending_post_id`: in progress (empty), made, or free again (none).
    Pending { id: String, post_id: Option<String> },
    /// The configuration was changed: read it again.
    ConfigChanged,
    /// A plugin was installed or removed: look into the file store.
    PluginChanged { id: String },
    /// A sign of life.
    Alive,
}

struct Link {
    key: u64,
    peer: Peer,
    lines: mpsc::Sender<Arc<str>>,
}

/// This node's part of the cluster.
pub(super) struct Cluster {
    me: Peer,
    row: Row,
    links: Mutex<BTreeMap<String, Vec<Link>>>,
    next: AtomicU64,
    database: Arc<Database>,
    hub: Arc<Hub>,
    pending: Arc<Pending>,
    notices: mpsc::Sender<Notice>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Cluster {
    /// Binds the gossip port, registers, and links with every living node of the name. A node that
    /// does not answer is tried again for as long as its row is fresh.
    pub(super) async fn join(
        settings: &ClusterSettings,
        listen_host: &str,
        mut me: Peer,
        database: Arc<Database>,
        hub: Arc<Hub>,
        pending: Arc<Pending>,
        notices: mpsc::Sender<Notice>,
    ) -> anyhow::Result<Arc<Self>> {
        let bind = match (settings.bind_address.as_str(), listen_host) {
            ("", "") => "0.0.0.0",
            ("", host) => host,
            (bind, _) => bind,
        };
        let listener = TcpListener::bind((bind, settings.gossip_port))
            .await
            .with_context(|| {
                format!(
                    "cannot bind the gossip port {bind}:{}",
                    settings.gossip_port
                )
            })?;
        let bound = listener.local_addr()?;
        let host = discovery::advertised(&settings.advertise_address, bound, &database).await?;
        me.ipaddress.clone_from(&host);
        me.hostname.clone_from(&host);
        me.cluster_name.clone_from(&settings.name);
        let port = bound.port();
        let cluster = Arc::new(Self {
            row: Row::new(&settings.name, host, port),
            me,
            links: Mutex::default(),
            next: AtomicU64::new(0),
            database,
            hub,
            pending,
            notices,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        cluster.spawn(Arc::clone(&cluster).accept(listener));
        cluster.row.register(&cluster.database).await?;
        cluster.look().await;
        cluster.spawn(Arc::clone(&cluster).keep_up());
        Ok(cluster)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// Leaves: the row goes, every link ends.
    pub(super) async fn leave(&self) {
        if let Err(error) = self.row.leave(&self.database).await {
            log::warn!("Cannot leave the cluster: {}", chain(&error));
        }
        self.vanish().await;
    }

    /// As a killed process leaves: the row stays.
    pub(super) async fn vanish(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// All members, this node first.
    pub(super) fn members(&self) -> Vec<Peer> {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::once(self.me.clone())
            .chain(links.values().flatten().map(|link| link.peer.clone()))
            .fold(Vec::new(), |mut members: Vec<Peer>, peer| {
                if !members.iter().any(|member| member.id == peer.id) {
                    members.push(peer);
                }
                members
            })
    }

    /// Sends a message to every other member. One that cannot keep up loses its link.
    pub(super) fn broadcast(&self, message: &Message) {
        let line = line(message);
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        for links in links.values_mut() {
            while let Some(link) = links.first() {
                if link.lines.try_send(Arc::clone(&line)).is_ok() {
                    break;
                }
                log::warn!(
                    "Gave up the link to {}: it does not keep up",
                    link.peer.hostname
                );
                links.remove(0);
            }
        }
    }

    async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            let Ok((stream, address)) = listener.accept().await else {
                continue;
            };
            let cluster = Arc::clone(&self);
            self.spawn(async move {
                match timeout(GREET_WITHIN, cluster.greet(stream, false)).await {
                    Ok(Ok(link)) => cluster.talk(link).await,
                    Ok(Err(error)) => log::warn!("Refused the node at {address}: {error:#}"),
                    Err(_) => log::warn!("The node at {address} did not greet"),
                }
            });
        }
    }

    /// Renews the row and links with newcomers, until stopped.
    async fn keep_up(self: Arc<Self>) {
        let mut look = interval(LOOK_EVERY);
        let mut renewed = Instant::now();
        loop {
            look.tick().await;
            if renewed.elapsed() >= discovery::PING_EVERY {
                renewed = Instant::now();
                if let Err(error) = self.row.renew(&self.database).await {
                    log::warn!("Cannot renew the cluster row: {}", chain(&error));
                }
            }
            self.look().await;
        }
    }

    async fn look(self: &Arc<Self>) {
        let others = match self.row.others(&self.database).await {
            Ok(others) => others,
            Err(error) => {
                log::warn!("Cannot read the cluster's nodes: {}", chain(&error));
                return;
            }
        };
        let linked: Vec<String> = {
            let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
            let links = links.values().filter_map(|links| links.first());
            links.map(|link| link.peer.hostname.clone()).collect()
        };
        let dials = others
            .into_iter()
            .filter(|(host, _)| !linked.contains(host))
            .map(|(host, port)| async move {
                let dialled = timeout(GREET_WITHIN, async {
                    let stream = TcpStream::connect((host.as_str(), port)).await?;
                    self.greet(stream, true).await
                });
                match dialled.await {
                    Ok(Ok(link)) => {
                        let cluster = Arc::clone(self);
                        self.spawn(async move { cluster.talk(link).await });
                    }
                    Ok(Err(error)) => log::info!("The node at {host} is not reachable: {error:#}"),
                    Err(_) => log::info!("The node at {host} does not answer"),
                }
            });
        futures_util::future::join_all(dials).await;
    }

    /// Exchanges hellos. The one who accepted registers the link *before* it greets, so that the
    /// dialler's success means that both sides send.
    async fn greet(&self, stream: TcpStream, dialled: bool) -> anyhow::Result<Greeted> {
        stream.set_nodelay(true)?;
        let mut lines = Framed::new(stream, LinesCodec::new_with_max_length(LONGEST_LINE));
        let hello = line(&Message::Hello(self.me.clone()));
        if dialled {
            lines.send(hello.as_ref()).await?;
        }
        let first = lines.next().await.context("the connection ended")??;
        let Message::Hello(peer) = serde_json::from_str(&first)? else {
            bail!("its first line is not a hello");
        };
        ensure!(
            peer.cluster_name == self.me.cluster_name,
            "it belongs to the cluster `{}`, this is `{}`",
            peer.cluster_name,
            self.me.cluster_name
        );
        ensure!(peer.id != self.me.id, "it is this node itself");
        let (sender, queue) = mpsc::channel(QUEUE);
        let key = self.next.fetch_add(1, Ordering::Relaxed);
        let link = Link {
            key,
            peer: peer.clone(),
            lines: sender,
        };
        self.links
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(peer.id.clone())
            .or_default()
            .push(link);
        let greeted = Greeted {
            peer,
            key,
            queue,
            lines,
        };
        if dialled {
            return Ok(greeted);
        }
        let mut greeted = greeted;
        if let Err(error) = greeted.lines.send(hello.as_ref()).await {
            self.forget(&greeted.peer, key);
            return Err(error.into());
        }
        Ok(greeted)
    }

    fn forget(&self, peer: &Peer, key: u64) {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rest) = links.get_mut(&peer.id) {
            rest.retain(|link| link.key != key);
            if rest.is_empty() {
                links.remove(&peer.id);
            }
        }
    }

    async fn talk(&self, mut link: Greeted) {
        log::info!("Node {} joined the cluster", link.peer.hostname);
        let mut alive = interval(ALIVE_EVERY);
        let mut heard = Instant::now();
        let beat = line(&Message::Alive);
        // Every arm is cancel-safe: the next item of a stream or a channel, or a timer.
        loop {
            let going = tokio::select! {
                line = link.lines.next() => match line {
                    Some(Ok(line)) => {
                        heard = Instant::now();
                        self.take(&line, &link.peer).await
                    }
                    _ => false,
                },
                line = link.queue.recv() => match line {
                    Some(line) => link.lines.send(line.as_ref()).await.is_ok(),
                    None => false,
                },
                _ = alive.tick() => {
                    heard.elapsed() < DEAD_AFTER && link.lines.send(beat.as_ref()).await.is_ok()
                }
            };
            if !going {
                break;
            }
        }
        self.forget(&link.peer, link.key);
        self.pending.abandon(&link.peer.id);
        log::info!("Node {} left the cluster", link.peer.hostname);
    }

    async fn take(&self, line: &str, peer: &Peer) -> bool {
        match serde_json::from_str(line) {
            Ok(Message::Event(event)) => self.hub.deliver(&self.database, &event).await,
            Ok(Message::Pending { id, post_id }) => match post_id {
                Some(post_id) => self.pending.told(&id, &post_id, &peer.id),
                None => self.pending.forget(&id),
            },
            // Whoever takes notices ends with the server: then nobody has to be told any more.
            Ok(Message::ConfigChanged) => drop(self.notices.send(Notice::Config).await),
            Ok(Message::PluginChanged { id }) => drop(self.notices.send(Notice::Plugin(id)).await),
            Ok(Message::Alive) => {}
            // A newer minor version may send more; that is no reason to part.
            Ok(Message::Hello(_)) | Err(_) => log::warn!("A cluster message was not understood"),
        }
        true
    }
}

/// A link whose hellos were exchanged.
struct Greeted {
    peer: Peer,
    key: u64,
    queue: mpsc::Receiver<Arc<str>>,
    lines: Framed<TcpStream, LinesCodec>,
}

fn line(message: &Message) -> Arc<str> {
    serde_json::to_string(message)
        .expect("messages are plain JSON values")
        .into()
}
