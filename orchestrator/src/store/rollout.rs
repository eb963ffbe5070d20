//! Rollouts: a row each, one of them live at most.

use jiff::Timestamp;
use plan::intent::RolloutIntent;
use tokio_postgres::{Row, Transaction};

use super::document::{RolloutRow, enter_phase, outcome_of};
use super::{Store, StoreError, parse, to_json, usable};

/// What an operator asks of a live rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steer {
    /// Hold before the next phase.
    Pause,
    /// Go on.
    Resume,
    /// End the bake.
    Promote,
    /// Turn back.
    Abort,
}

impl Steer {
    pub(super) fn apply(self, intent: &mut RolloutIntent) {
        match self {
            Self::Pause => intent.paused = true,
            Self::Resume => intent.paused = false,
            Self::Promote => intent.promote = true,
            Self::Abort => intent.abort = true,
        }
    }
}

const OF_REQUEST: &str =
    "SELECT intent, outcome, history, reasons, operator, request_key FROM rollout
     WHERE stack = $1 AND request_key = $2";

fn read(row: &Row) -> Result<RolloutRow, StoreError> {
    Ok(RolloutRow {
        intent: parse("rollout", row.get(0))?,
        outcome: row.get(1),
        history: parse("rollout", row.get(2))?,
        reasons: parse("rollout", row.get(3))?,
        operator: row.get(4),
        request_key: row.get(5),
    })
}

impl Store {
    /// Asks for a rollout. The same request key again is the same rollout.
    pub async fn request_rollout(
        &self,
        intent: &RolloutIntent,
        request_key: &str,
        operator: &str,
    ) -> Result<RolloutRow, StoreError> {
        let mut remote = self.remote.lock().await;
        let Some(client) = usable(&mut remote, &self.changed).await? else {
            let row = self
                .memory
                .lock()
                .await
                .request_rollout(intent, request_key, operator)?;
            super::ring(&self.changed);
            return Ok(row);
        };
        let value = to_json("rollout", intent)?;
        let history = to_json(
            "rollout",
            &vec![enter_phase(&intent.phase, intent.requested)],
        )?;
        let inserted = client
            .execute(
                "INSERT INTO rollout (id, stack, intent, outcome, history, request_key, operator)
                 VALUES ($1, $2, $3, 'live', $4, $5, $6) ON CONFLICT DO NOTHING",
                &[
                    &intent.id,
                    &self.stack,
                    &value,
                    &history,
                    &request_key,
                    &operator,
                ],
            )
            .await?;
        client.batch_execute("NOTIFY fleet").await?;
        let same = client
            .query_opt(OF_REQUEST, &[&self.stack, &request_key])
            .await?;
        match same {
            Some(row) => read(&row),
            None if inserted == 0 => {
                let live = client
                    .query_opt(
                        "SELECT id FROM rollout WHERE stack = $1 AND outcome IN ('live', 'stuck')",
                        &[&self.stack],
                    )
                    .await?;
                Err(match live {
                    Some(row) => StoreError::RolloutIsLive(row.get(0)),
                    None => StoreError::NotLive(intent.id.clone()),
                })
            }
            None => Err(StoreError::NoSuchRollout(intent.id.clone())),
        }
    }

    /// A rollout by id, or the newest.
    pub async fn rollout(&self, id: Option<&str>) -> Result<RolloutRow, StoreError> {
        let missing = || {
            id.map_or(StoreError::NoRollout, |id| {
                StoreError::NoSuchRollout(id.to_owned())
            })
        };
        let mut remote = self.remote.lock().await;
        let Some(client) = usable(&mut remote, &self.changed).await? else {
            return self.memory.lock().await.rollout(id).ok_or_else(missing);
        };
        let row = client
            .query_opt(
                "SELECT intent, outcome, history, reasons, operator, request_key FROM rollout
                 WHERE stack = $1 AND ($2::text IS NULL OR id = $2) ORDER BY created DESC LIMIT 1",
                &[&self.stack, &id],
            )
            .await?
            .ok_or_else(missing)?;
        read(&row)
    }

    /// What a request became, if it is known.
    pub async fn rollout_of_request(&self, key: &str) -> Result<Option<RolloutRow>, StoreError> {
        let mut remote = self.remote.lock().await;
        let Some(client) = usable(&mut remote, &self.changed).await? else {
            return Ok(self.memory.lock().await.rollout_of_request(key));
        };
        let row = client.query_opt(OF_REQUEST, &[&self.stack, &key]).await?;
        row.as_ref().map(read).transpose()
    }

    /// How many rollouts were ever asked for.
    pub async fn rollout_count(&self) -> Result<i64, StoreError> {
        let mut remote = self.remote.lock().await;
        let Some(client) = usable(&mut remote, &self.changed).await? else {
            return Ok(self.memory.lock().await.rollouts.len() as i64);
        };
        let row = client
            .query_one(
                "SELECT count(*) FROM rollout WHERE stack = $1",
                &[&self.stack],
            )
            .await?;
        Ok(row.get(0))
    }

    /// Changes what is asked of a live rollout.
    pub async fn steer(&self, id: &str, steer: Steer) -> Result<RolloutRow, StoreError> {
        let mut remote = self.remote.lock().await;
        let Some(client) = usable(&mut remote, &self.changed).await? else {
            let row = self.memory.lock().await.steer(id, steer)?;
            super::ring(&self.changed);
            return Ok(row);
        };
        let transaction = client.transaction().await?;
        let row = transaction
            .query_opt(
                "SELECT intent, outcome IN ('live', 'stuck') FROM rollout WHERE stack = $1 AND id = $2 FOR UPDATE",
                &[&self.stack, &id],
            )
            .await?
            .ok_or_else(|| StoreError::NoSuchRollout(id.to_owned()))?;
        if !row.get::<_, bool>(1) {
            return Err(StoreError::NotLive(id.to_owned()));
        }
        let mut intent: RolloutIntent = parse("rollout", row.get(0))?;
        steer.apply(&mut intent);
        let value = to_json("rollout", &intent)?;
        transaction
            .execute(
                "UPDATE rollout SET intent = $3 WHERE stack = $1 AND id = $2",
                &[&self.stack, &id, &value],
            )
            .await?;
        transaction.batch_execute("NOTIFY fleet").await?;
        transaction.commit().await?;
        drop(remote);
        self.rollout(Some(id)).await
    }
}

/// Writes out a rollout that was asked for before there was a database.
pub(super) async fn save(
    transaction: &Transaction<'_>,
    stack: &str,
    row: &RolloutRow,
) -> Result<(), StoreError> {
    let intent = to_json("rollout", &row.intent)?;
    let history = to_json("rollout", &row.history)?;
    let reasons = to_json("rollout", &row.reasons)?;
    // `now()` stands still in a transaction: their order needs the clock.
    transaction
        .execute(
            "INSERT INTO rollout (id, stack, intent, outcome, history, reasons, request_key, operator, created)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, clock_timestamp())",
            &[
                &row.intent.id,
                &stack,
                &intent,
                &row.outcome,
                &history,
                &reasons,
                &row.request_key,
                &row.operator,
            ],
        )
        .await?;
    Ok(())
}

/// Writes the loop's view of a rollout; what an operator steered meanwhile is kept.
pub(super) async fn update(
    transaction: &Transaction<'_>,
    stack: &str,
    intent: &RolloutIntent,
    reasons: &[String],
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(row) = transaction
        .query_opt(
            "SELECT intent, history FROM rollout WHERE stack = $1 AND id = $2 FOR UPDATE",
            &[&stack, &intent.id],
        )
        .await?
    else {
        return Err(StoreError::NoSuchRollout(intent.id.clone()));
    };
    let before: RolloutIntent = parse("rollout", row.get(0))?;
    let mut history = parse("rollout", row.get(1))?;
    let merged = merge(&before, intent, &mut history, reasons, now);
    let outcome = outcome_of(&merged.phase);
    let (value, history) = (to_json("rollout", &merged)?, to_json("rollout", &history)?);
    let reasons = to_json("rollout", &reasons)?;
    transaction
        .execute(
            "UPDATE rollout SET intent = $3, outcome = $4, history = $5, reasons = $6,
                 finished = CASE WHEN $4 IN ('live', 'stuck') THEN NULL ELSE now() END WHERE stack = $1 AND id = $2",
            &[&stack, &intent.id, &value, &outcome, &history, &reasons],
        )
        .await?;
    Ok(())
}

/// The loop's new intent over what the row holds, and what that makes of its history.
pub(super) fn merge(
    before: &RolloutIntent,
    new: &RolloutIntent,
    history: &mut Vec<super::PhaseTime>,
    reasons: &[String],
    now: Timestamp,
) -> RolloutIntent {
    let merged = plan::rollout::over_row(new, before);
    if let Some(last) = history.last_mut() {
        if let Some(reason) = reasons.first() {
            let key = reason
                .split("; deadline")
                .next()
                .unwrap_or(reason)
                .to_owned();
            if !last.waited_for.contains(&key) && last.waited_for.len() < 20 {
                last.waited_for.push(key);
            }
        }
        if before.phase != merged.phase {
            last.left = Some(now);
        }
    }
    if before.phase != merged.phase {
        history.push(enter_phase(&merged.phase, now));
        if merged.phase.ends_a_rollout()
            && let Some(last) = history.last_mut()
        {
            last.left = Some(now);
        }
    }
    merged
}
