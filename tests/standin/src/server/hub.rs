//! The hub: which WebSockets are open, and who of them gets an event.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::database::{Database, DatabaseError};

/// Events that may wait for a slow client; one more and it is cut, as the real server does.
const QUEUE: usize = 256;

/// Who gets an event.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub(super) enum Audience {
    /// The members of a channel.
    Channel(String),
    /// One user, on all connections.
    User(String),
}

/// An event, without the sequence number that each connection adds.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) data: Value,
    pub(super) audience: Audience,
}

impl Event {
    pub(super) fn new(name: &str, data: Value, audience: Audience) -> Self {
        Self {
            name: name.to_owned(),
            data,
            audience,
        }
    }

    /// The frame's text up to the sequence number, which [`frame`] appends.
    fn head(&self) -> Arc<str> {
        let (channel, user) = match &self.audience {
            Audience::Channel(id) => (id.as_str(), ""),
            Audience::User(id) => ("", id.as_str()),
        };
        head(&self.name, &self.data, channel, user)
    }
}

/// A frame's text up to the sequence number.
pub(super) fn head(name: &str, data: &Value, channel: &str, user: &str) -> Arc<str> {
    let mut text = json!({
        "event": name,
        "data": data,
        "broadcast": {
            "omit_users": null,
            "user_id": user,
            "channel_id": channel,
            "team_id": "",
            "connection_id": "",
            "omit_connection_id": "",
        },
    })
    .to_string();
    text.pop();
    text.into()
}

/// The whole frame.
pub(super) fn frame(head: &str, sequence: i64) -> String {
    format!("{head},\"seq\":{sequence}}}")
}

#[derive(Debug, Default)]
struct Open {
    by_user: HashMap<String, HashMap<u64, mpsc::Sender<Arc<str>>>>,
}

/// The open connections of this node.
#[derive(Debug, Default)]
pub(super) struct Hub {
    open: Mutex<Open>,
    next: AtomicU64,
}

/// A registered connection; leaving the hub is dropping it.
#[derive(Debug)]
pub(super) struct Seat {
    hub: Arc<Hub>,
    user_id: String,
    key: u64,
    /// Event heads to send; `None` from it means: cut, too slow.
    pub(super) events: mpsc::Receiver<Arc<str>>,
}

impl Hub {
    /// Registers a connection of a user.
    pub(super) fn join(self: &Arc<Self>, user_id: &str) -> Seat {
        let (sender, events) = mpsc::channel(QUEUE);
        let key = self.next.fetch_add(1, Ordering::Relaxed);
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .by_user
            .entry(user_id.to_owned())
            .or_default()
            .insert(key, sender);
        Seat {
            hub: Arc::clone(self),
            user_id: user_id.to_owned(),
            key,
            events,
        }
    }

    /// Whether a user has a connection here.
    pub(super) fn is_connected(&self, user_id: &str) -> bool {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .by_user
            .contains_key(user_id)
    }

    /// Sends an event to those of its audience who are connected here.
    pub(super) async fn deliver(&self, database: &Database, event: &Event) {
        let users = match &event.audience {
            Audience::User(user) => vec![user.clone()],
            Audience::Channel(channel) => match members(database, channel).await {
                Ok(users) => users,
                Err(error) => {
                    log::error!(
                        "Cannot publish `{}` to channel {channel}: {}",
                        event.name,
                        super::failure::chain(&error)
                    );
                    return;
                }
            },
        };
        let head = event.head();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for user in users {
            let Some(connections) = open.by_user.get_mut(&user) else {
                continue;
            };
            // A full queue drops the sender: the connection's task sees its end and cuts.
            connections.retain(|_, sender| sender.try_send(Arc::clone(&head)).is_ok());
        }
    }
}

impl Seat {
    /// Whose connection it is.
    pub(super) fn user_id(&self) -> &str {
        &self.user_id
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.hub.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connections) = open.by_user.get_mut(&self.user_id) {
            connections.remove(&self.key);
            if connections.is_empty() {
                open.by_user.remove(&self.user_id);
            }
        }
    }
}

async fn members(database: &Database, channel: &str) -> Result<Vec<String>, DatabaseError> {
    let rows = database
        .connection()
        .await?
        .query(
            "SELECT userid FROM channelmembers WHERE channelid = $1",
            &[&channel],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
