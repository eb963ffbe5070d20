//! The migration lock: one row in `db_lock`, refreshed while held, free again 15 s after its holder died.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::clock;
use crate::database::{Database, DatabaseError};

/// The row's id while the schema is migrated.
pub(crate) const SCHEMA: &str = "mm-lock-key";
/// The row's id while the configuration's tables are made.
pub(crate) const CONFIGURATION: &str = "mm-config-lock-key";
/// How long a holder that no longer refreshes keeps others out.
const TTL: Duration = Duration::from_secs(15);
/// How often a holder refreshes: several times within [`TTL`].
const REFRESH: Duration = Duration::from_secs(4);
/// How often a waiter looks again.
const RETRY: Duration = Duration::from_secs(1);

/// The lock, held. Release it with [`Lock::release`]; dropped otherwise, it runs out by itself.
pub(crate) struct Lock {
    key: &'static str,
    refresh: JoinHandle<()>,
}

impl Lock {
    /// Waits until the lock is ours. The refresher has a connection of its own.
    pub(crate) async fn acquire(
        key: &'static str,
        client: &Client,
        database: &Database,
    ) -> Result<Self, DatabaseError> {
        let mut waited = false;
        loop {
            let taken = client
                .execute(
                    "INSERT INTO db_lock (id, expireat) VALUES ($1, $2) \
                     ON CONFLICT (id) DO UPDATE SET expireat = $2 WHERE db_lock.expireat < $3",
                    &[&key, &expiry(), &seconds()],
                )
                .await?;
            if taken == 1 {
                break;
            }
            if !waited {
                log::info!("Waiting for the migration lock `{key}`");
                waited = true;
            }
            tokio::time::sleep(RETRY).await;
        }
        let keeper = database.connection().await?;
        let refresh = tokio::spawn(async move {
            loop {
                tokio::time::sleep(REFRESH).await;
                let kept = keeper
                    .execute(
                        "UPDATE db_lock SET expireat = $2 WHERE id = $1",
                        &[&key, &expiry()],
                    )
                    .await;
                if let Err(error) = kept {
                    log::warn!("Cannot refresh the migration lock: {error}");
                    return;
                }
            }
        });
        Ok(Self { key, refresh })
    }

    /// Gives the lock back.
    pub(crate) async fn release(self, client: &Client) -> Result<(), tokio_postgres::Error> {
        self.refresh.abort();
        client
            .execute("DELETE FROM db_lock WHERE id = $1", &[&self.key])
            .await
            .map(drop)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.refresh.abort();
    }
}

fn seconds() -> i64 {
    clock::now_ms() / 1000
}

fn expiry() -> i64 {
    seconds() + TTL.as_secs() as i64
}
