//! The lease: who runs the loop, by the database's clock.

use std::time::Duration;

use jiff::Timestamp;
use tokio_postgres::Transaction;

use super::{Epoch, Store, StoreError, usable_for_lease};

/// Whoever holds the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// `host/pid`.
    pub name: String,
    /// By the database's clock, if it is not renewed; it is every few seconds.
    pub until: Timestamp,
}

impl Store {
    /// Takes or renews the lease for `ttl`; none while another holder's is still good.
    pub async fn lease(&self, holder: &str, ttl: Duration) -> Result<Option<Epoch>, StoreError> {
        let mut remote = self.lease.lock().await;
        let Some(client) = usable_for_lease(&mut remote).await? else {
            return Ok(Some(Epoch(0)));
        };
        let seconds = ttl.as_secs_f64();
        let row = client
            .query_opt(
                "INSERT INTO lease (stack, holder, epoch, expires)
                 VALUES ($1, $2, 1, now() + make_interval(secs => $3))
                 ON CONFLICT (stack) DO UPDATE SET
                     epoch = CASE WHEN lease.holder = $2 THEN lease.epoch ELSE lease.epoch + 1 END,
                     holder = $2,
                     expires = now() + make_interval(secs => $3)
                 WHERE lease.holder = $2 OR lease.expires < now()
                 RETURNING epoch",
                &[&self.stack, &holder, &seconds],
            )
            .await?;
        Ok(row.map(|row| Epoch(row.get(0))))
    }

    /// Gives the lease back, so that the next holder need not wait for its end.
    pub async fn release(&self, holder: &str) -> Result<(), StoreError> {
        let mut remote = self.lease.lock().await;
        let Some(client) = usable_for_lease(&mut remote).await? else {
            return Ok(());
        };
        client
            .execute(
                "UPDATE lease SET expires = now() WHERE stack = $1 AND holder = $2",
                &[&self.stack, &holder],
            )
            .await?;
        Ok(())
    }

    /// Ends leases of earlier processes of this host: the caller holds the host's lock, so they are gone.
    pub async fn forfeit(&self, host: &str) -> Result<(), StoreError> {
        let mut remote = self.lease.lock().await;
        let Some(client) = usable_for_lease(&mut remote).await? else {
            return Ok(());
        };
        client
            .execute(
                "UPDATE lease SET expires = now() - interval '1 second' WHERE stack = $1 AND split_part(holder, '/', 1) = $2",
                &[&self.stack, &host],
            )
            .await?;
        Ok(())
    }

    /// Who holds the lease now.
    pub async fn holder(&self) -> Result<Option<Holder>, StoreError> {
        let mut remote = self.lease.lock().await;
        let Some(client) = usable_for_lease(&mut remote).await? else {
            return Ok(None);
        };
        let row = client
            .query_opt(
                "SELECT holder, (extract(epoch FROM expires) * 1000)::bigint FROM lease
                 WHERE stack = $1 AND expires >= now()",
                &[&self.stack],
            )
            .await?;
        Ok(row.map(|row| Holder {
            name: row.get(0),
            until: Timestamp::from_millisecond(row.get(1)).unwrap_or_default(),
        }))
    }
}

/// Refuses the transaction unless `epoch` is the present one; locks the lease's row until its end.
pub(super) async fn check(
    transaction: &Transaction<'_>,
    stack: &str,
    epoch: Epoch,
) -> Result<(), StoreError> {
    let row = transaction
        .query_opt(
            "SELECT 1 FROM lease WHERE stack = $1 AND epoch = $2 FOR UPDATE",
            &[&stack, &epoch.0],
        )
        .await?;
    row.map(|_| ()).ok_or(StoreError::Fenced(epoch.0))
}
