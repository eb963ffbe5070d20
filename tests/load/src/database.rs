//! The final comparison: what was acknowledged against what the table `posts` holds.

use std::collections::BTreeMap;

use standin::database::{Database, DatabaseError};
use standin::dsn::Dsn;

use crate::report::DatabaseReport;
use crate::run::Shared;

/// Reads the run's channel and compares. A database that cannot be read is an error in the report,
/// not a silent success.
pub(crate) async fn compare(
    url: &str,
    channel: &str,
    shared: &Shared,
    acknowledged: &[u64],
) -> DatabaseReport {
    match stored(url, channel).await {
        Ok(messages) => {
            let markers = messages.iter().filter_map(|text| shared.marker(text));
            count(markers, acknowledged)
        }
        Err(error) => DatabaseReport {
            messages: 0,
            missing: 0,
            duplicated: 0,
            unacknowledged: 0,
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
        error: None,
    }
}

async fn stored(url: &str, channel: &str) -> Result<Vec<String>, String> {
    let dsn = Dsn::parse(url).map_err(|error| error.to_string())?;
    let read = async {
        let rows = Database::new(&dsn, 1, 1)?
            .connection()
            .await?
            .query(
                "SELECT message FROM posts WHERE channelid = $1 AND deleteat = 0",
                &[&channel],
            )
            .await?;
        Ok::<_, DatabaseError>(rows.iter().map(|row| row.get(0)).collect())
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
