//! Nodes: their keys, the goal each was given, and the last thing each said.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use plan::NodeGoal;
use tokio_postgres::Client;

use super::{Epoch, NodeRow, Store, StoreError, parse, to_json, usable};

/// A node's row, as [`read`] takes it apart.
const SELECT: &str = "SELECT instance_id, key_sha256, revoked, generation, goal, report, digest,
     session_until, coalesce(session_until > now(), false) FROM node WHERE stack = $1";

impl Store {
    /// Remembers the key of an enrolled instance. Once enrolled, only the same key may come again.
    pub async fn enrol(&self, instance: &str, key_sha256: &str) -> Result<(), StoreError> {
        let mut remote = self.remote.lock().await;
        let Some(client) = usable(&mut remote, &self.changed).await? else {
            return self.memory.lock().await.enrol(instance, key_sha256);
        };
        let row = client
            .query_one(
                "INSERT INTO node (instance_id, stack, key_sha256) VALUES ($1, $2, $3)
                 ON CONFLICT (instance_id) DO UPDATE SET instance_id = node.instance_id
                 RETURNING key_sha256, revoked",
                &[&instance, &self.stack, &key_sha256],
            )
            .await?;
        if row.get::<_, String>(0) == key_sha256 && !row.get::<_, bool>(1) {
            Ok(())
        } else {
            Err(StoreError::OtherKey(instance.to_owned()))
        }
    }

    /// One node's row.
    pub async fn node(&self, instance: &str) -> Result<Option<NodeRow>, StoreError> {
        let mut remote = self.remote.lock().await;
        let Some(client) = usable(&mut remote, &self.changed).await? else {
            return Ok(self.memory.lock().await.nodes.get(instance).cloned());
        };
        let row = client
            .query_opt(
                &format!("{SELECT} AND instance_id = $2"),
                &[&self.stack, &instance],
            )
            .await?;
        row.map(|row| read(&row).map(|(_, node)| node)).transpose()
    }

    /// Keeps what a node said, and wakes whoever decides.
    pub async fn report(
        &self,
        instance: &str,
        report: &plan::observed::Node,
    ) -> Result<(), StoreError> {
        let mut remote = self.remote.lock().await;
        let Some(client) = usable(&mut remote, &self.changed).await? else {
            self.memory.lock().await.report(instance, report);
            super::ring(&self.changed);
            return Ok(());
        };
        let value = to_json("node", report)?;
        client
            .execute(
                "UPDATE node SET report = $3 WHERE instance_id = $1 AND stack = $2",
                &[&instance, &self.stack, &value],
            )
            .await?;
        client.batch_execute("NOTIFY fleet").await?;
        Ok(())
    }

    /// Gives a node a goal with the digest of its configuration: a new generation when either differs
    /// from the last one. Fenced.
    pub async fn set_goal(
        &self,
        epoch: Epoch,
        instance: &str,
        goal: &NodeGoal,
        digest: &str,
    ) -> Result<(), StoreError> {
        let mut remote = self.remote.lock().await;
        let Some(client) = usable(&mut remote, &self.changed).await? else {
            self.memory.lock().await.set_goal(instance, goal, digest);
            return Ok(());
        };
        let value = to_json("node", goal)?;
        let transaction = client.transaction().await?;
        super::lease::check(&transaction, &self.stack, epoch).await?;
        let changed = transaction
            .execute(
                "UPDATE node SET goal = $3, digest = $4, generation = generation + 1
                 WHERE instance_id = $1 AND stack = $2 AND (goal IS DISTINCT FROM $3 OR digest IS DISTINCT FROM $4)",
                &[&instance, &self.stack, &value, &digest],
            )
            .await?;
        if changed > 0 {
            transaction.batch_execute("NOTIFY fleet").await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// A terminated instance never comes back: its certificate is worth nothing from now on.
    pub async fn revoke(&self, instances: &[String]) -> Result<(), StoreError> {
        let mut remote = self.remote.lock().await;
        let Some(client) = usable(&mut remote, &self.changed).await? else {
            self.memory.lock().await.revoke(instances);
            return Ok(());
        };
        client
            .execute(
                "UPDATE node SET revoked = true WHERE stack = $1 AND instance_id = ANY($2) AND NOT revoked",
                &[&self.stack, &instances],
            )
            .await?;
        Ok(())
    }

    /// These nodes have their sessions with `holder`, for `ttl` unless it says so again. In memory there is
    /// nobody else who would ask.
    pub async fn hold_sessions(
        &self,
        holder: &str,
        instances: &[String],
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let mut remote = self.remote.lock().await;
        let Some(client) = usable(&mut remote, &self.changed).await? else {
            return Ok(());
        };
        client
            .execute(
                "UPDATE node SET session_holder = $3, session_until = now() + make_interval(secs => $4)
                 WHERE stack = $1 AND instance_id = ANY($2)",
                &[&self.stack, &instances, &holder, &ttl.as_secs_f64()],
            )
            .await?;
        Ok(())
    }

    /// The node's session with `holder` ended; one that it has with another goes on.
    pub async fn end_session(&self, holder: &str, instance: &str) -> Result<(), StoreError> {
        let mut remote = self.remote.lock().await;
        let Some(client) = usable(&mut remote, &self.changed).await? else {
            return Ok(());
        };
        client
            .execute(
                "UPDATE node SET session_until = now()
                 WHERE stack = $1 AND instance_id = $2 AND session_holder = $3",
                &[&self.stack, &instance, &holder],
            )
            .await?;
        Ok(())
    }

    /// Notes when a node was last heard of without its saying anything new (its session ended).
    pub async fn disconnected(&self, instance: &str, at: Timestamp) -> Result<(), StoreError> {
        let Some(node) = self.node(instance).await? else {
            return Ok(());
        };
        let Some(mut report) = node.report else {
            return Ok(());
        };
        report.connected = false;
        report.at = Some(at);
        self.report(instance, &report).await
    }
}

/// Every node of the stack.
pub(super) async fn read_all(
    client: &Client,
    stack: &str,
) -> Result<BTreeMap<String, NodeRow>, StoreError> {
    let rows = client.query(SELECT, &[&stack]).await?;
    rows.iter().map(read).collect()
}

fn read(row: &tokio_postgres::Row) -> Result<(String, NodeRow), StoreError> {
    let goal: Option<serde_json::Value> = row.get(4);
    let report: Option<serde_json::Value> = row.get(5);
    let node = NodeRow {
        key_sha256: row.get(1),
        revoked: row.get(2),
        generation: u64::try_from(row.get::<_, i64>(3)).unwrap_or(0),
        goal: goal.map(|value| parse("node", value)).transpose()?,
        digest: row.get(6),
        report: report.map(|value| parse("node", value)).transpose()?,
        session_until: row.get(7),
        session_lives: row.get(8),
    };
    Ok((row.get(0), node))
}
