//! A step that failed, with everything that the operator should see.

use fleet_proto::v1::Phase;

use crate::coded::Coded;

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
        }
        .to_owned()
    }
}
