//! Events: what happened, with its cause. The console draws the time line from them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_postgres::GenericClient;

use super::{Store, StoreError, usable};

/// So many events of a stack are kept at most, the newest: at two kilobytes each, the most that a node can
/// write into one, 400 MB.
pub const EVENTS: i64 = 200_000;
/// Rows that one statement deletes: it takes well below a second.
const AT_ONCE: i64 = 10_000;

/// Something that happened, with its cause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewEvent {
    /// Of what: an instance id, a resource, a rollout.
    pub subject: String,
    /// What happened.
    pub what: String,
    /// Why.
    pub cause: String,
}

/// An event as it was kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Rises.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// Of what.
    pub subject: String,
    /// What.
    pub what: String,
    /// Why.
    pub cause: String,
}

impl Store {
    /// Adds an event outside a decision (a node's, an operator's).
    pub async fn add_event(&self, event: NewEvent, now: Timestamp) -> Result<(), StoreError> {
        let mut remote = self.remote.lock().await;
        let Some(client) = usable(&mut remote, &self.changed).await? else {
            self.memory.lock().await.add_event(event, now);
            super::ring(&self.changed);
            return Ok(());
        };
        insert(client, &self.stack, &event, now).await?;
        client.batch_execute("NOTIFY fleet").await?;
        Ok(())
    }

    /// Deletes events from before `oldest`, and all but the newest `most`. Gives how many went.
    pub async fn prune_events(&self, oldest: Timestamp, most: i64) -> Result<u64, StoreError> {
        let mut remote = self.remote.lock().await;
        let Some(client) = usable(&mut remote, &self.changed).await? else {
            let most = usize::try_from(most).unwrap_or(0);
            return Ok(self.memory.lock().await.prune_events(oldest, most));
        };
        let mut gone = 0;
        loop {
            let deleted = client
                .execute(
                    "DELETE FROM event WHERE id IN (
                         SELECT id FROM event WHERE stack = $1 AND (at < $2 OR id <= (
                             SELECT id FROM event WHERE stack = $1 ORDER BY id DESC OFFSET $3 LIMIT 1))
                         ORDER BY id LIMIT $4)",
                    &[&self.stack, &oldest, &most, &AT_ONCE],
                )
                .await?;
            gone += deleted;
            if deleted < AT_ONCE.unsigned_abs() {
                return Ok(gone);
            }
        }
    }

    /// Events after `after`, oldest first, at most 500.
    pub async fn events(&self, after: i64) -> Result<Vec<Event>, StoreError> {
        let mut remote = self.remote.lock().await;
        let Some(client) = usable(&mut remote, &self.changed).await? else {
            return Ok(self.memory.lock().await.events_after(after));
        };
        let rows = client
            .query(
                "SELECT id, at, subject, what, cause FROM event WHERE stack = $1 AND id > $2 ORDER BY id LIMIT 500",
                &[&self.stack, &after],
            )
            .await?;
        Ok(rows.iter().map(event_of).collect())
    }

    /// The newest events, oldest first.
    pub async fn recent_events(&self, count: i64) -> Result<Vec<Event>, StoreError> {
        let mut remote = self.remote.lock().await;
        let Some(client) = usable(&mut remote, &self.changed).await? else {
            let count = usize::try_from(count).unwrap_or(0);
            return Ok(self.memory.lock().await.newest_events(count));
        };
        let rows = client
            .query(
                "SELECT id, at, subject, what, cause FROM (
                     SELECT * FROM event WHERE stack = $1 ORDER BY id DESC LIMIT $2) newest ORDER BY id",
                &[&self.stack, &count],
            )
            .await?;
        Ok(rows.iter().map(event_of).collect())
    }
}

fn event_of(row: &tokio_postgres::Row) -> Event {
    Event {
        id: row.get(0),
        at: row.get(1),
        subject: row.get(2),
        what: row.get(3),
        cause: row.get(4),
    }
}

pub(super) async fn insert(
    client: &impl GenericClient,
    stack: &str,
    event: &NewEvent,
    at: Timestamp,
) -> Result<(), StoreError> {
    client
        .execute(
            "INSERT INTO event (stack, at, subject, what, cause) VALUES ($1, $2, $3, $4, $5)",
            &[&stack, &at, &event.subject, &event.what, &event.cause],
        )
        .await?;
    Ok(())
}
