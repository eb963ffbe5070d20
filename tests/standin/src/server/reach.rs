//! The database at a start: tried until it answers, of a supported version, and everybody offline in it.

use tokio::time::sleep;

use super::failure::chain;
use super::pace::Pace;
use super::start::StartError;
use crate::database::{Database, DatabaseError};
use crate::release::Version;

/// Tries the database until it answers or the tries are used up.
pub(super) async fn reach(database: &Database, pace: &Pace) -> Result<(), StartError> {
    let mut attempt = 1;
    loop {
        log::info!("Pinging SQL");
        let tried = async {
            let connection = database.connection().await?;
            connection.batch_execute("SELECT 1").await?;
            Ok::<_, DatabaseError>(())
        };
        match tried.await {
            Ok(()) => return Ok(()),
            Err(source) if attempt >= pace.database_attempts => {
                return Err(StartError::Unreachable {
                    attempts: attempt,
                    source,
                });
            }
            Err(error) => log::error!(
                "Failed to ping DB, retrying in {:?}: {}",
                pace.database_interval,
                chain(&error)
            ),
        }
        attempt += 1;
        sleep(pace.database_interval).await;
    }
}

/// The oldest Postgres of each Mattermost: 13 since 10.6, 14 since 11.0.
fn oldest_postgres(version: Version) -> i32 {
    match (version.major, version.minor) {
        (11.., _) => 14,
        (10, 6..) => 13,
        _ => 11,
    }
}

pub(super) async fn require_version(
    database: &Database,
    version: Version,
) -> Result<(), StartError> {
    let connection = database.connection().await?;
    let row = connection
        .query_one(
            "SELECT current_setting('server_version_num')::int / 10000",
            &[],
        )
        .await
        .map_err(DatabaseError::from)?;
    let (found, wanted): (i32, i32) = (row.get(0), oldest_postgres(version));
    if found < wanted {
        return Err(StartError::TooOld { found, wanted });
    }
    Ok(())
}

/// Every start takes everybody offline, whatever other nodes on this database know.
pub(super) async fn reset_statuses(database: &Database) -> Result<(), StartError> {
    database
        .connection()
        .await?
        .execute("UPDATE status SET status = 'offline'", &[])
        .await
        .map_err(DatabaseError::from)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::dsn::Dsn;

    #[test]
    fn postgres_must_be_as_new_as_the_release_wants() {
        for (version, oldest) in [((11, 0), 14), ((11, 10), 14), ((10, 11), 13), ((10, 5), 11)] {
            let version = Version::new(version.0, version.1, 0);
            assert_eq!(oldest_postgres(version), oldest, "{version}");
        }
    }

    #[tokio::test]
    async fn a_database_that_is_down_is_tried_and_given_up() {
        let address = crate::scratch_postgres::loopback();
        let port = crate::scratch_postgres::free_port(address).unwrap();
        let dsn = format!("postgres://u@{address}:{port}/db?sslmode=disable");
        let database = Database::new(&Dsn::parse(&dsn).unwrap(), 2, 1).unwrap();
        let pace = Pace {
            database_attempts: 3,
            database_interval: Duration::from_millis(20),
            ..Pace::default()
        };
        let begun = Instant::now();
        let error = reach(&database, &pace).await.unwrap_err();
        assert!(begun.elapsed() >= Duration::from_millis(40));
        assert!(error.to_string().contains("3 times"), "{error}");
    }
}
