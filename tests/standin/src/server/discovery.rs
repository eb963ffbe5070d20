//! How nodes of one cluster find each other: the table `clusterdiscovery`.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::Context as _;

use crate::clock;
use crate::database::{Database, DatabaseError};
use crate::ids;

/// How often a node writes that it lives.
pub(super) const PING_EVERY: Duration = Duration::from_secs(10);
/// A row not renewed for this long is a dead node's.
const FRESH_MS: i64 = 45_000;
/// The column `type` of application nodes.
const KIND: &str = "mattermost_app";

/// This node's row.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) cluster: String,
    pub(super) host: String,
    pub(super) port: u16,
}

impl Row {
    pub(super) fn new(cluster: &str, host: String, port: u16) -> Self {
        Self {
            id: ids::new_id(),
            cluster: cluster.to_owned(),
            host,
            port,
        }
    }

    /// Writes the row; one left behind by an earlier process at this address goes.
    pub(super) async fn register(&self, database: &Database) -> Result<(), DatabaseError> {
        let connection = database.connection().await?;
        connection
            .execute(
                "DELETE FROM clusterdiscovery WHERE hostname = $1 AND gossipport = $2",
                &[&self.host, &i32::from(self.port)],
            )
            .await?;
        connection
            .execute(
                "INSERT INTO clusterdiscovery (id, type, clustername, hostname, gossipport, port, createat, lastpingat) \
                 VALUES ($1, $2, $3, $4, $5, 0, $6, $6)",
                &[&self.id, &KIND, &self.cluster, &self.host, &i32::from(self.port), &clock::now_ms()],
            )
            .await?;
        Ok(())
    }

    /// Renews the row; writes it again when somebody removed it.
    pub(super) async fn renew(&self, database: &Database) -> Result<(), DatabaseError> {
        let renewed = database
            .connection()
            .await?
            .execute(
                "UPDATE clusterdiscovery SET lastpingat = $2 WHERE id = $1",
                &[&self.id, &clock::now_ms()],
            )
            .await?;
        if renewed == 0 {
            self.register(database).await?;
        }
        Ok(())
    }

    /// Removes the row.
    pub(super) async fn leave(&self, database: &Database) -> Result<(), DatabaseError> {
        database
            .connection()
            .await?
            .execute("DELETE FROM clusterdiscovery WHERE id = $1", &[&self.id])
            .await?;
        Ok(())
    }

    /// Where the other living nodes of the cluster listen.
    pub(super) async fn others(
        &self,
        database: &Database,
    ) -> Result<Vec<(String, u16)>, DatabaseError> {
        let rows = database
            .connection()
            .await?
            .query(
                "SELECT hostname, gossipport FROM clusterdiscovery \
                 WHERE type = $1 AND clustername = $2 AND id <> $3 AND lastpingat > $4",
                &[
                    &KIND,
                    &self.cluster,
                    &self.id,
                    &(clock::now_ms() - FRESH_MS),
                ],
            )
            .await?;
        Ok(rows
            .iter()
            .map(|row| {
                let port: i32 = row.get(1);
                (row.get(0), u16::try_from(port).unwrap_or_default())
            })
            .collect())
    }
}

/// What others are told to connect to: the setting, the bound address, or the own address towards
/// the database.
pub(super) async fn advertised(
    setting: &str,
    bound: SocketAddr,
    database: &Database,
) -> anyhow::Result<String> {
    if !setting.is_empty() {
        return Ok(setting.to_owned());
    }
    if !bound.ip().is_unspecified() {
        return Ok(bound.ip().to_string());
    }
    let mut addresses = tokio::net::lookup_host(database.address()).await?;
    let target = addresses.next().context("the database has no address")?;
    let any = IpAddr::from([0, 0, 0, 0]);
    let probe = UdpSocket::bind((any, 0))?;
    // Connecting a datagram socket sends nothing; it only picks the route.
    probe.connect(target)?;
    Ok(probe.local_addr()?.ip().to_string())
}
