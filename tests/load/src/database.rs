//! The final comparison: what was acknowledged against what the tables `posts` and `fileinfo` hold.

use std::collections::BTreeMap;

use standin::database::{Database, DatabaseError};
use standin::dsn::Dsn;

use crate::report::DatabaseReport;
use crate::run::Shared;

/// What the database holds of a run.
struct Stored {
    /// The texts of its channel.
    messages: Vec<String>,
    /// Those of the files asked for that belong to a message.
    files: u64,
}

/// Reads the run's channel and the rows of these files, and compares. A database that cannot be read is an error in the report,
/// not a silent success.
pub(crate) async fn compare(
    url: &str,
    channel: &str,
    shared: &Shared,
    acknowledged: &[u64],
    files: &[String],
) -> DatabaseReport {
    match stored(url, channel, files).await {
        Ok(stored) => {
            let markers = stored.messages.iter();
            let markers = markers.filter_map(|text| shared.marker(text));
            DatabaseReport {
                files_missing: (files.len() as u64).saturating_sub(stored.files),
                ..count(markers, acknowledged)
            }
        }
        Err(error) => DatabaseReport {
            messages: 0,
            missing: 0,
            duplicated: 0,
            unacknowledged: 0,
            files_missing: 0,
            error: Some(error),
        },
    }
}

fn count(stored: impl Iterator<Item = u64>, acknowledged: &[u64]) -> DatabaseReport {
    let mut times: BTreeMap<u64, u64> = BTreeMap::new();
    for marker in stored {
        *times.entry(marker).or_default() += 1;
    }
    let there = acknowledged
        .iter()
        .filter(|marker| times.contains_key(marker));
    let there = there.count() as u64;
    DatabaseReport {
        messages: times.len() as u64,
        missing: acknowledged.len() as u64 - there,
        duplicated: times.values().filter(|count| **count > 1).count() as u64,
        unacknowledged: times.len() as u64 - there,
        files_missing: 0,
        error: None,
    }
}

async fn stored(url: &str, channel: &str, files: &[String]) -> Result<Stored, String> {
    let dsn = Dsn::parse(url).map_err(|error| error.to_string())?;
    let read = async {
        let database = Database::new(&dsn, 1, 1)?;
        let connection = database.connection().await?;
        let rows = connection
            .query(
                "SELECT message FROM posts WHERE channelid = $1 AND deleteat = 0",
                &[&channel],
            )
            .await?;
        let messages = rows.iter().map(|row| row.get(0)).collect();
        let mut found = 0;
        if !files.is_empty() {
            let rows = connection
                .query(
                    "SELECT count(DISTINCT id) FROM fileinfo \
                     WHERE id = ANY($1) AND postid <> '' AND deleteat = 0",
                    &[&files],
                )
                .await?;
            found = rows.first().map_or(0, |row| row.get::<_, i64>(0));
        }
        Ok::<_, DatabaseError>(Stored {
            messages,
            files: u64::try_from(found).unwrap_or(0),
        })
    };
    read.await.map_err(|error: DatabaseError| {
        let source = std::error::Error::source(&error);
        source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_twice_or_unannounced_is_counted() {
        let report = count([1, 2, 2, 5].into_iter(), &[1, 2, 3]);
        assert_eq!(
            (
                report.messages,
                report.missing,
                report.duplicated,
                report.unacknowledged
            ),
            (3, 1, 1, 1)
        );
    }
}
