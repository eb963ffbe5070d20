//! Whether servers that should be equal are: by the hash of the configuration that clients get.
//!
//! The hash in `X-Version-Id` covers settings, build and licence. It is compared only between nodes that
//! keep their settings in the database and were told the same (version, settings, licence version); a node
//! without such a sibling is not compared. A server does not see another configuration row that is written
//! while it runs: one that began before the active row was written, and whose hash differs from that of a
//! sibling that began after it, is *stale*. It is restarted; the newer one is right and is never kept
//! waiting for it.
//!
//! Of a server is known when its agent first said that it serves; it read its settings up to a minute before.
//!
//! ```text
//!                  row written
//!   serves since …      |      … within a minute …      | … later
//!   has read an older   |      it may have              | has read the row
//! ```
//!
//! So one that serves since before the row is restarted also for a sibling of the minute after it. Should the
//! sibling have been the stale one, it is restarted next: the first has read the row by then.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::configuration::ConfigurationHome;
use crate::decision::NodeGoal;
use crate::observed::{Node, Observed};

/// A server reads its configuration at most this long before its agent reports that it serves: a start
/// takes seconds, the pings in a row that prove it some more.
const START: SignedDuration = SignedDuration::from_secs(60);
/// A cluster tells its members of a new row, and their agents report what followed, within this time.
const TOLD: SignedDuration = SignedDuration::from_secs(15);

/// When the active configuration row was written, where the configuration lives in the database and SQL
/// could say.
pub(crate) fn configuration_written(observed: &Observed) -> Option<Timestamp> {
    let row = observed.databases.as_ref()?.configuration.as_ref()?;
    Timestamp::from_millisecond(row.created_at_ms).ok()
}

/// Nodes whose server must start anew to read the active row, which was written at `written`. One that
/// was restarted for that row already is not named again.
pub(crate) fn stale<'a>(
    given: &'a BTreeMap<String, NodeGoal>,
    nodes: &BTreeMap<String, Node>,
    written: Timestamp,
    now: Timestamp,
) -> Vec<&'a str> {
    let is_told = now.duration_since(written) >= TOLD;
    let compared: Vec<Server<'a, '_>> = given
        .iter()
        .filter_map(|(instance, goal)| Server::of(instance, goal, nodes.get(instance)?))
        .collect();
    compared
        .iter()
        .filter(|server| !server.has_read(written))
        .filter(|server| {
            compared.iter().any(|other| {
                let is_later = other.has_read(written)
                    || (is_told && server.since < written && written < other.since);
                other.alike == server.alike && other.hash != server.hash && is_later
            })
        })
        .map(|server| server.instance)
        .collect()
}

/// A running server with its settings in the database, whose beginning is known.
struct Server<'g, 'n> {
    instance: &'g str,
    alike: Alike<'g>,
    started_after: Option<Timestamp>,
    hash: &'n str,
    since: Timestamp,
}

/// What two servers must share to be compared: version and digest, cluster, settings, licence.
#[derive(PartialEq)]
struct Alike<'g> {
    release: (&'g str, &'g str),
    cluster: Option<&'g str>,
    settings: &'g BTreeMap<String, String>,
    licence: Option<&'g str>,
}

impl<'g, 'n> Server<'g, 'n> {
    fn of(instance: &'g str, goal: &'g NodeGoal, node: &'n Node) -> Option<Self> {
        let NodeGoal::Serve {
            version,
            sha256,
            cluster,
            settings,
            licence,
            started_after,
            // One on its `config.json` reads no row, and gives its clients what its own file says.
            configuration: ConfigurationHome::Database,
            ..
        } = goal
        else {
            return None;
        };
        if !node.current || !node.connected || node.phase != "serving" {
            return None;
        }
        Some(Self {
            instance,
            alike: Alike {
                release: (version, sha256),
                cluster: cluster.as_deref(),
                settings,
                licence: licence.as_deref(),
            },
            started_after: *started_after,
            hash: hash(&node.version_id)?,
            since: node.server_since?,
        })
    }

    /// It was restarted for the row, or it began too long after it to have read another one.
    fn has_read(&self, written: Timestamp) -> bool {
        self.started_after == Some(written) || self.since.duration_since(written) >= START
    }
}

/// The hash in `<version>.<build number>.<hash>.<licensed>`; version and build number may have dots.
fn hash(version_id: &str) -> Option<&str> {
    let mut parts = version_id.rsplit('.');
    let licensed = parts.next()?;
    let hash = parts.next()?;
    let is_known = matches!(licensed, "true" | "false") && !hash.is_empty() && parts.count() >= 2;
    is_known.then_some(hash)
}

#[cfg(test)]
mod tests;
