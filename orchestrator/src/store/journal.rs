//! The journal of effects: `intended` before, `done` or `failed` after; append-only.
//!
//! ```text
//!   memory    begin, end ---------------------------+
//!                                                   v
//!   Postgres  rows -- newest success and since --> Entry
//! ```
//!
//! One fold makes entries, in memory and from rows, so that the planner sees the same in both.

use std::collections::BTreeMap;

use jiff::Timestamp;
use plan::intent::Entry;
use tokio_postgres::{Client, Transaction};

use super::{Epoch, StoreError};

/// An attempt begins. `intended` is when the present row of attempts began: anew after a success.
pub(super) fn begin(journal: &mut BTreeMap<String, Entry>, key: &str, at: Timestamp) {
    let entry = journal.entry(key.to_owned()).or_insert(Entry {
        intended: at,
        attempted: None,
        done: None,
        error: None,
        failures: 0,
    });
    if entry.done.is_some() {
        entry.intended = at;
    }
    entry.attempted = Some(at);
    entry.done = None;
    entry.error = None;
}

/// The newest attempt ends. Its first end counts.
pub(super) fn end(
    journal: &mut BTreeMap<String, Entry>,
    key: &str,
    at: Timestamp,
    error: Option<String>,
) {
    let Some(entry) = journal.get_mut(key) else {
        return;
    };
    if entry.done.is_some() || entry.error.is_some() {
        return;
    }
    if error.is_some() {
        entry.error = error;
        entry.failures = entry.failures.saturating_add(1);
    } else {
        entry.done = Some(at);
        entry.failures = 0;
    }
}

/// Every effect's attempts since the success before its newest one, folded.
pub(super) async fn read(
    client: &Client,
    stack: &str,
) -> Result<BTreeMap<String, Entry>, StoreError> {
    let rows = client
        .query(
            "WITH done AS (
                 SELECT key, attempt, row_number() OVER (PARTITION BY key ORDER BY attempt DESC) AS nth
                 FROM journal WHERE stack = $1 AND event = 'done')
             SELECT j.key, j.event, j.at, j.error
             FROM journal j LEFT JOIN done ON done.key = j.key AND done.nth = 2
             WHERE j.stack = $1 AND j.attempt > coalesce(done.attempt, 0)
             ORDER BY j.key, j.attempt, j.event <> 'intended', j.at",
            &[&stack],
        )
        .await?;
    let mut journal = BTreeMap::new();
    for row in rows {
        let (key, at) = (row.get::<_, &str>(0), row.get(2));
        match row.get::<_, &str>(1) {
            "intended" => begin(&mut journal, key, at),
            "done" => end(&mut journal, key, at, None),
            _ => {
                let error: Option<String> = row.get(3);
                end(&mut journal, key, at, Some(error.unwrap_or_default()));
            }
        }
    }
    Ok(journal)
}

/// Notes effects about to be made: a new attempt each.
pub(super) async fn intend(
    transaction: &Transaction<'_>,
    stack: &str,
    epoch: Epoch,
    keys: &[String],
    now: Timestamp,
) -> Result<(), StoreError> {
    transaction
        .execute(
            "INSERT INTO journal (stack, key, attempt, event, epoch, at)
             SELECT $1::text, wanted.key,
                    1 + coalesce((SELECT max(attempt) FROM journal j WHERE j.stack = $1 AND j.key = wanted.key), 0),
                    'intended', $3::bigint, $4::timestamptz
             FROM unnest($2::text[]) AS wanted(key)
             ON CONFLICT DO NOTHING",
            &[&stack, &keys, &epoch.0, &now],
        )
        .await?;
    Ok(())
}

/// Notes what came of the newest attempt that was made under this epoch, once: a slow call of an
/// orchestrator that was fenced off says nothing of the attempts of its successor.
pub(super) async fn outcome(
    client: &Client,
    stack: &str,
    epoch: Epoch,
    key: &str,
    error: Option<String>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let event = if error.is_some() { "failed" } else { "done" };
    client
        .execute(
            "WITH newest AS (
                 SELECT max(attempt) AS attempt FROM journal
                 WHERE stack = $1 AND key = $2 AND event = 'intended' AND epoch = $4)
             INSERT INTO journal (stack, key, attempt, event, epoch, at, error)
             SELECT $1::text, $2::text, newest.attempt, $3::text, $4::bigint, $5::timestamptz, $6::text
             FROM newest
             WHERE newest.attempt IS NOT NULL AND NOT EXISTS (
                 SELECT 1 FROM journal e WHERE e.stack = $1 AND e.key = $2
                     AND e.attempt = newest.attempt AND e.event <> 'intended')
             ON CONFLICT DO NOTHING",
            &[&stack, &key, &event, &epoch.0, &now, &error],
        )
        .await?;
    Ok(())
}

/// How an attempt ended, and when.
enum End {
    Open,
    Done(Timestamp),
    Failed,
}

/// Attempts that fold into the entry, with the time each began: memory keeps no more of them.
fn attempts(entry: &Entry) -> Vec<(Timestamp, End)> {
    let last = entry.attempted.unwrap_or(entry.intended);
    let mut ends: Vec<End> = (0..entry.failures).map(|_| End::Failed).collect();
    if entry.error.is_none() {
        ends.push(entry.done.map_or(End::Open, End::Done));
    }
    if ends.len() == 1 && last != entry.intended {
        ends.insert(0, End::Open);
    }
    let times = std::iter::once(entry.intended).chain(std::iter::repeat(last));
    times.zip(ends).collect()
}

/// Writes out what memory learnt.
pub(super) async fn save(
    transaction: &Transaction<'_>,
    stack: &str,
    journal: &BTreeMap<String, Entry>,
) -> Result<(), StoreError> {
    const INSERT: &str = "INSERT INTO journal (stack, key, attempt, event, epoch, at, error) VALUES ($1, $2, $3, $4, 0, $5, $6)";
    for (key, entry) in journal {
        for (number, (began, end)) in (1_i64..).zip(attempts(entry)) {
            let none: Option<String> = None;
            transaction
                .execute(INSERT, &[&stack, key, &number, &"intended", &began, &none])
                .await?;
            let (event, at, error) = match end {
                End::Open => continue,
                End::Done(at) => ("done", at, &none),
                End::Failed => ("failed", began, &entry.error),
            };
            transaction
                .execute(INSERT, &[&stack, key, &number, &event, &at, error])
                .await?;
        }
    }
    Ok(())
}
