//! The journal of effects: `intended` before, `done` or `failed` after; append-only.

use std::collections::BTreeMap;

use jiff::Timestamp;
use plan::intent::Entry;
use tokio_postgres::{Client, Transaction};

use super::{Epoch, StoreError};

/// The newest attempt of every effect, folded into what the planner asks.
pub(super) async fn read(
    client: &Client,
    stack: &str,
) -> Result<BTreeMap<String, Entry>, StoreError> {
    let rows = client
        .query(
            "WITH last AS (
                 SELECT key, max(attempt) FILTER (WHERE event = 'intended') AS attempt,
                        coalesce(max(attempt) FILTER (WHERE event = 'done'), 0) AS last_done,
                        max(at) FILTER (WHERE event = 'done') AS done_at
                 FROM journal WHERE stack = $1 GROUP BY key)
             SELECT last.key,
                    (SELECT min(at) FROM journal j WHERE j.stack = $1 AND j.key = last.key
                        AND j.event = 'intended' AND j.attempt >= least(last.last_done + 1, last.attempt)) AS intended,
                    last.done_at,
                    (SELECT error FROM journal j WHERE j.stack = $1 AND j.key = last.key
                        AND j.event = 'failed' AND j.attempt = last.attempt) AS error,
                    (SELECT count(*) FROM journal j WHERE j.stack = $1 AND j.key = last.key
                        AND j.event = 'failed' AND j.attempt > last.last_done) AS failures,
                    (SELECT at FROM journal j WHERE j.stack = $1 AND j.key = last.key
                        AND j.event = 'intended' AND j.attempt = last.attempt) AS attempted
             FROM last WHERE last.attempt IS NOT NULL",
            &[&stack],
        )
        .await?;
    Ok(rows
        .iter()
        .map(|row| {
            let intended: Option<Timestamp> = row.get(1);
            let entry = Entry {
                intended: intended.unwrap_or(Timestamp::UNIX_EPOCH),
                done: row.get(2),
                error: row.get(3),
                failures: u32::try_from(row.get::<_, i64>(4)).unwrap_or(u32::MAX),
                attempted: row.get(5),
            };
            (row.get::<_, String>(0), entry)
        })
        .collect())
}

/// Notes effects about to be made: a new attempt each, unless the last attempt is still open.
pub(super) async fn intend(
    transaction: &Transaction<'_>,
    stack: &str,
    epoch: Epoch,
    keys: &[String],
) -> Result<(), StoreError> {
    transaction
        .execute(
            "INSERT INTO journal (stack, key, attempt, event, epoch)
             SELECT $1, wanted.key,
                    coalesce((SELECT max(attempt) FROM journal j WHERE j.stack = $1 AND j.key = wanted.key AND j.event = 'intended'), 0)
                    + CASE WHEN EXISTS (
                        SELECT 1 FROM journal j WHERE j.stack = $1 AND j.key = wanted.key AND j.event <> 'intended'
                          AND j.attempt = (SELECT max(attempt) FROM journal k WHERE k.stack = $1 AND k.key = wanted.key AND k.event = 'intended'))
                      OR NOT EXISTS (SELECT 1 FROM journal j WHERE j.stack = $1 AND j.key = wanted.key)
                      THEN 1 ELSE 0 END,
                    'intended', $3
             FROM unnest($2::text[]) AS wanted(key)
             ON CONFLICT DO NOTHING",
            &[&stack, &keys, &epoch.0],
        )
        .await?;
    Ok(())
}

/// Notes what came of the newest attempt.
pub(super) async fn outcome(
    client: &Client,
    stack: &str,
    epoch: Epoch,
    key: &str,
    error: Option<String>,
) -> Result<(), StoreError> {
    let event = if error.is_some() { "failed" } else { "done" };
    client
        .execute(
            "INSERT INTO journal (stack, key, attempt, event, epoch, error)
             SELECT $1, $2, max(attempt), $3, $4, $5 FROM journal
             WHERE stack = $1 AND key = $2 AND event = 'intended' HAVING max(attempt) IS NOT NULL
             ON CONFLICT DO NOTHING",
            &[&stack, &key, &event, &epoch.0, &error],
        )
        .await?;
    Ok(())
}
