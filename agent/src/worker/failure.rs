//! A step that failed, with everything that the operator should see.

use fleet_proto::v1::Phase;

use crate::coded::Coded;
use crate::verify::LicenceError;

/// Where, why, and the last lines of whatever failed.
pub(crate) struct Failed {
    pub(crate) phase: Phase,
    pub(crate) error: Box<dyn Coded + Send + Sync>,
    pub(crate) journal: Vec<String>,
}

impl Failed {
    /// For `map_err`.
    pub(crate) fn at<E: Coded + Send + Sync + 'static>(phase: Phase) -> impl FnOnce(E) -> Self {
        move |error| Self {
            phase,
            error: Box::new(error),
            journal: Vec::new(),
        }
    }
}

/// Why a started server does not serve.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("the secrets of generation {generation} are refused: {reason}")]
    Secrets { generation: u64, reason: String },
    #[error("Mattermost ended before it was ready: {ended}")]
    Crashed { ended: String },
    #[error("Mattermost is not ready after {seconds} s")]
    NotReady { seconds: u64 },
    #[error("Mattermost runs but is not healthy after {seconds} s: {reason}")]
    Unhealthy { seconds: u64, reason: String },
    #[error("the server that answers is `{found}`; {expected} was started")]
    WrongVersion { found: String, expected: String },
    #[error("the schema has {applied} migrations applied; {expected} are expected")]
    Schema { applied: u32, expected: u32 },
    #[error(
        "Mattermost serves, and table `configurations` has no active row: its settings are not in the database"
    )]
    ConfigurationMissing,
    #[error("Mattermost does not take the licence: it says that it runs without one")]
    LicenceRefused,
    #[error("Mattermost runs with a licence that allows no cluster, and a cluster is wanted")]
    LicenceWithoutCluster,
    #[error("Mattermost does not say whether it took the licence")]
    LicenceUnknown(#[source] LicenceError),
}

impl Coded for StartError {
    fn code(&self) -> &'static str {
        match self {
            Self::Secrets { .. } => "secrets_refused",
            Self::Crashed { .. } => "server_crashed",
            Self::NotReady { .. } => "server_not_ready",
            Self::Unhealthy { .. } => "server_unhealthy",
            Self::WrongVersion { .. } => "server_wrong_version",
            Self::Schema { .. } => "schema_unexpected",
            Self::ConfigurationMissing => "configuration_missing",
            Self::LicenceRefused | Self::LicenceWithoutCluster => "licence_refused",
            Self::LicenceUnknown(_) => "licence_unknown",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Crashed { .. } | Self::NotReady { .. } => "the last journal lines say why",
            Self::Unhealthy { .. } => {
                "database: see the checks before the start; file store: bucket, region and role"
            }
            Self::WrongVersion { .. } => "another process may hold the port",
            Self::Schema { .. } => "the migration did not do what it said",
            Self::Secrets { .. } => "the orchestrator's log has the reason",
            Self::ConfigurationMissing => {
                "the server's log says what became of MM_CONFIG; the role must own the table"
            }
            Self::LicenceRefused => {
                "put the whole text of a valid licence into the secret; the last journal lines may say what \
                 is wrong with this one, which is not tried again"
            }
            Self::LicenceWithoutCluster => {
                "put a licence with high availability into the secret, or turn `cluster` off; this one is \
                 not tried again"
            }
            Self::LicenceUnknown(_) => "this is tried again; the last journal lines may say why",
        }
        .to_owned()
    }

    /// A licence changes with another desired state only.
    fn permanent(&self) -> bool {
        matches!(self, Self::LicenceRefused | Self::LicenceWithoutCluster)
    }
}

/// A server's lines without its data sources, which it may quote when it fails: MM_CONFIG is one.
pub(crate) fn without_sources(lines: Vec<String>) -> Vec<String> {
    let lines = lines.into_iter();
    lines.map(|line| without_source(&line)).collect()
}

fn without_source(line: &str) -> String {
    const ENDS: [char; 6] = [' ', '"', '\'', '`', ',', '\t'];
    let mut rest = line;
    let mut told = String::with_capacity(line.len());
    while let Some(at) = rest.find("postgres") {
        let (before, from) = rest.split_at(at);
        told.push_str(before);
        let end = from.find(ENDS).unwrap_or(from.len());
        let (word, after) = from.split_at(end);
        if word.contains("://") {
            told.push_str("(a data source)");
        } else {
            told.push_str(word);
        }
        rest = after;
    }
    told.push_str(rest);
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_sources_are_left_out_of_a_servers_lines() {
        for (line, told) in [
            ("plain", "plain"),
            ("postgres is away", "postgres is away"),
            (
                r#"{"msg":"cannot open postgres://u:p%20w@h:5432/d?sslmode=x","at":1}"#,
                r#"{"msg":"cannot open (a data source)","at":1}"#,
            ),
            (
                "postgresql://u:p@h/d and postgres://u:p@h/d",
                "(a data source) and (a data source)",
            ),
        ] {
            assert_eq!(without_sources(vec![line.to_owned()]), [told]);
        }
    }
}
