//! Intent and history: the only place with SQL.
//!
//! ```text
//!   before RDS exists            once the primary answers
//!   Memory  --- attach() --->    Postgres (database `orchestrator` on the stack's own primary)
//!           <-- detach() ----    when `down` deletes it
//! ```
//!
//! Names, tags and tokens make a first `up` converge without a store; what was learnt in memory is
//! written out when the database comes. From then on Postgres decides: the lease with its epoch
//! fences every write of the loop, and the database's clock says when a lease is over.

mod configuration;
mod connect;
mod document;
mod event;
mod journal;
mod known;
mod lease;
mod node;
pub mod provision;
mod rollout;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;

use jiff::Timestamp;
use plan::intent::{Entry, Record, RolloutIntent};
use serde::Serialize;
use tokio::sync::{Mutex, watch};
use tokio_postgres::Client;

pub use connect::{Access, ConnectError};
pub use document::{Document, NodeRow, PhaseTime, RolloutRow, phase_name};
pub use event::{EVENTS, Event, NewEvent};
pub use known::KNOWN_WITHIN;
pub use lease::Holder;
pub use rollout::Steer;

/// What can go wrong, by what the caller does about it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another orchestrator holds the lease now: stop acting, go on serving.
    #[error("another orchestrator took over: epoch {0} is fenced off")]
    Fenced(i64),
    /// A live rollout exists already.
    #[error(
        "rollout `{0}` is still live: follow it with `orchestrator rollout status`, or end it with `orchestrator rollout abort`"
    )]
    RolloutIsLive(String),
    /// There is no such rollout.
    #[error("there is no rollout `{0}`")]
    NoSuchRollout(String),
    /// There is none at all.
    #[error("no rollout was asked for yet")]
    NoRollout,
    /// Nobody asked for a rollout with this key.
    #[error("no rollout came of a request with key `{0}`")]
    NoSuchRequest(String),
    /// The rollout ended.
    #[error("rollout `{0}` has ended: nothing can be asked of it any more")]
    NotLive(String),
    /// It is not known yet where the history lies: come again.
    #[error("what was asked of the stack before is not read yet: {0}")]
    NotKnown(String),
    /// The instance enrolled before with another key.
    #[error("instance `{0}` enrolled before with another key")]
    OtherKey(String),
    /// The database said no, or is gone; the next look is the retry.
    #[error("the store's database")]
    Database(#[from] tokio_postgres::Error),
    /// The connection could not be made.
    #[error("the store's database is not reachable")]
    Connect(#[from] ConnectError),
    /// A row that this version cannot read.
    #[error("a row of table `{table}` cannot be read")]
    Row {
        /// The table.
        table: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// A lease's number. Zero while the store is in memory: nobody else can be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch(pub i64);

/// Everything the planner asks the store, in one read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// What was proven.
    pub record: Record,
    /// The live rollout.
    pub rollout: Option<RolloutIntent>,
    /// Effects.
    pub journal: BTreeMap<String, Entry>,
    /// Nodes.
    pub nodes: BTreeMap<String, NodeRow>,
}

/// One fenced write: the decision's facts, before its effects.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// A new record.
    pub record: Option<Record>,
    /// The rollout's new row.
    pub rollout: Option<RolloutIntent>,
    /// Why it waits, for readers.
    pub reasons: Vec<String>,
    /// Keys of the effects about to be made.
    pub intended: Vec<String>,
    /// What happened.
    pub events: Vec<NewEvent>,
}

/// The store. Cheap to share by `Arc`.
pub struct Store {
    stack: String,
    memory: Mutex<Document>,
    remote: Mutex<Option<Remote>>,
    /// The lease has a connection of its own: its renewal waits for no other statement.
    lease: Mutex<Option<Remote>>,
    /// Why what memory lacks may yet be in Postgres.
    known: watch::Sender<Result<(), String>>,
    /// Somebody wrote something: look again. Local writes and NOTIFY both ring it.
    pub changed: watch::Sender<u64>,
}

struct Remote {
    access: Access,
    client: Option<Client>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("stack", &self.stack)
            .finish_non_exhaustive()
    }
}

/// Everything that was ever changed in the schema, in order. Applied versions are never edited.
const MIGRATIONS: [(i32, &str); 2] = [
    (1, include_str!("migrations/0001_init.sql")),
    (2, include_str!("migrations/0002_sessions.sql")),
];

/// Advisory lock under which migrations run: `mmha` in ASCII.
const MIGRATION_LOCK: i64 = 0x6d6d_6861;

impl Store {
    /// A store in memory, to be attached later.
    pub fn in_memory(stack: &str) -> Self {
        Self {
            stack: stack.to_owned(),
            memory: Mutex::new(Document::default()),
            remote: Mutex::new(None),
            lease: Mutex::new(None),
            known: watch::Sender::new(Err("the first look is not done".to_owned())),
            changed: watch::Sender::new(0),
        }
    }

    /// Asks whoever waits to look again.
    pub fn wake(&self) {
        ring(&self.changed);
    }

    /// Whether Postgres holds it.
    pub async fn is_durable(&self) -> bool {
        self.remote.lock().await.is_some()
    }

    /// Moves into Postgres: migrates the schema, and writes what memory holds if the stack is new there.
    pub async fn attach(&self, access: Access) -> Result<(), StoreError> {
        let mut remote = self.remote.lock().await;
        if remote.is_some() {
            return Ok(());
        }
        let mut client = connect::open(&access, Some(self.changed.clone())).await?;
        migrate(&mut client).await?;
        let memory = self.memory.lock().await;
        document::save(&mut client, &self.stack, &memory).await?;
        client.batch_execute("LISTEN fleet").await?;
        *self.lease.lock().await = Some(Remote {
            access: access.clone(),
            client: None,
        });
        *remote = Some(Remote {
            access,
            client: Some(client),
        });
        drop(memory);
        self.believe_memory();
        ring(&self.changed);
        Ok(())
    }

    /// Goes back into memory with what was read last: the stack's own database is being deleted, and its
    /// lease and fences go with it. Rollouts that ended are not taken along.
    pub async fn detach(&self, last: &Snapshot) {
        let mut remote = self.remote.lock().await;
        self.lease.lock().await.take();
        if remote.take().is_some() {
            self.memory.lock().await.resume(last);
        }
        drop(remote);
        ring(&self.changed);
    }

    /// The rows that the planner needs.
    pub async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let mut remote = self.remote.lock().await;
        let Some(client) = usable(&mut remote, &self.changed).await? else {
            return Ok(self.memory.lock().await.snapshot());
        };
        let record = client
            .query_opt("SELECT record FROM stack WHERE name = $1", &[&self.stack])
            .await?
            .map_or(Ok(Record::default()), |row| parse("stack", row.get(0)))?;
        let rollout = client
            .query_opt(
                "SELECT intent FROM rollout WHERE stack = $1 AND outcome IN ('live', 'stuck')",
                &[&self.stack],
            )
            .await?
            .map(|row| parse("rollout", row.get(0)))
            .transpose()?;
        Ok(Snapshot {
            record,
            rollout,
            journal: journal::read(client, &self.stack).await?,
            nodes: node::read_all(client, &self.stack).await?,
        })
    }

    /// Writes a decision, if the epoch still holds.
    pub async fn commit(
        &self,
        epoch: Epoch,
        commit: Commit,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut remote = self.remote.lock().await;
        let Some(client) = usable(&mut remote, &self.changed).await? else {
            self.memory.lock().await.commit(commit, now);
            return Ok(());
        };
        let transaction = client.transaction().await?;
        lease::check(&transaction, &self.stack, epoch).await?;
        if let Some(record) = &commit.record {
            let value = to_json("stack", record)?;
            transaction
                .execute(
                    "UPDATE stack SET record = $2, updated = now() WHERE name = $1",
                    &[&self.stack, &value],
                )
                .await?;
        }
        if let Some(intent) = &commit.rollout {
            rollout::update(&transaction, &self.stack, intent, &commit.reasons, now).await?;
        }
        journal::intend(&transaction, &self.stack, epoch, &commit.intended, now).await?;
        for event in &commit.events {
            event::insert(&transaction, &self.stack, event, now).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// What came of an effect.
    pub async fn record_effect(
        &self,
        epoch: Epoch,
        key: &str,
        outcome: Result<(), String>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut remote = self.remote.lock().await;
        let Some(client) = usable(&mut remote, &self.changed).await? else {
            self.memory.lock().await.effect(key, outcome.err(), now);
            return Ok(());
        };
        journal::outcome(client, &self.stack, epoch, key, outcome.err(), now).await
    }
}

/// Rings everybody who waits for a change.
pub(crate) fn ring(changed: &watch::Sender<u64>) {
    changed.send_modify(|count| *count = count.wrapping_add(1));
}

/// The client, reconnected when it was lost; none while in memory.
async fn usable<'a>(
    remote: &'a mut Option<Remote>,
    changed: &watch::Sender<u64>,
) -> Result<Option<&'a mut Client>, StoreError> {
    reach(remote, Some(changed)).await
}

/// The lease's client: it hears of no changes.
async fn usable_for_lease(remote: &mut Option<Remote>) -> Result<Option<&mut Client>, StoreError> {
    reach(remote, None).await
}

async fn reach<'a>(
    remote: &'a mut Option<Remote>,
    changed: Option<&watch::Sender<u64>>,
) -> Result<Option<&'a mut Client>, StoreError> {
    let Some(remote) = remote else {
        return Ok(None);
    };
    if remote.client.as_ref().is_none_or(Client::is_closed) {
        let client = connect::open(&remote.access, changed.cloned()).await?;
        if changed.is_some() {
            client.batch_execute("LISTEN fleet").await?;
        }
        remote.client = Some(client);
        // What was said while nobody listened was not heard.
        if let Some(changed) = changed {
            ring(changed);
        }
    }
    Ok(remote.client.as_mut())
}

async fn migrate(client: &mut Client) -> Result<(), StoreError> {
    let transaction = client.transaction().await?;
    // A long history takes its time.
    transaction
        .batch_execute("SET LOCAL statement_timeout = 0")
        .await?;
    transaction
        .execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATION_LOCK])
        .await?;
    transaction
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS schema_version (version int PRIMARY KEY, applied timestamptz NOT NULL DEFAULT now())",
        )
        .await?;
    let row = transaction
        .query_one("SELECT coalesce(max(version), 0) FROM schema_version", &[])
        .await?;
    let applied: i32 = row.get(0);
    for (version, sql) in MIGRATIONS.iter().filter(|(version, _)| *version > applied) {
        transaction.batch_execute(sql).await?;
        transaction
            .execute(
                "INSERT INTO schema_version (version) VALUES ($1)",
                &[version],
            )
            .await?;
    }
    transaction.commit().await?;
    Ok(())
}

fn parse<T: serde::de::DeserializeOwned>(
    table: &'static str,
    value: serde_json::Value,
) -> Result<T, StoreError> {
    serde_json::from_value(value).map_err(|source| StoreError::Row { table, source })
}

fn to_json<T: Serialize>(table: &'static str, value: &T) -> Result<serde_json::Value, StoreError> {
    serde_json::to_value(value).map_err(|source| StoreError::Row { table, source })
}
