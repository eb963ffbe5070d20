//! What the orchestrator got when it asked through the load balancer, as a user asks.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ListenerAction, Tags};

/// Header of the rule that leads to green alone, while a rollout is under way.
pub const PROBE_HEADER: &str = "X-Mattermost-Probe";
/// Value of [`super::PART_TAG`] of that rule.
pub const PROBE_PART: &str = "probe-rule";

/// Rules of the load balancer's listeners, the default ones left out, by ARN.
pub type ListenerRules = BTreeMap<String, ListenerRule>;

/// A rule of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerRule {
    /// ARN.
    pub arn: String,
    /// ARN of its listener.
    pub listener: String,
    /// 1 to 50,000; of those that match, the rule with the lowest one holds.
    pub priority: u32,
    /// When it holds.
    pub condition: RuleCondition,
    /// What it does.
    pub action: ListenerAction,
    /// Tags.
    pub tags: Tags,
}

/// When a rule holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleCondition {
    /// The header of this name has this value, and nothing else is asked for.
    Header {
        /// Name, in lower case.
        name: String,
        /// Value.
        value: String,
    },
    /// Anything else: the fields that it looks at.
    Other(String),
}

impl ListenerRule {
    /// Holds for exactly the requests with this token.
    pub fn is_for(&self, token: &str) -> bool {
        matches!(&self.condition, RuleCondition::Header { name, value }
            if name.eq_ignore_ascii_case(PROBE_HEADER) && value == token)
    }
}

/// What was asked and answered so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probes {
    /// With the rollout's header: what users will get of green.
    pub green: Option<Probe>,
    /// Without it: what users get.
    pub users: Option<Probe>,
    /// Without it, in the window that the rollout watches, as far as its numbers are whole.
    pub window: Option<OwnProbes>,
}

/// The newest answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// When it came, or was given up.
    pub at: Timestamp,
    /// Since when all answers were of its kind: passed, failed, unreachable.
    pub since: Timestamp,
    /// How many in a row were.
    pub in_a_row: u32,
    /// ARN of the rule that led to green; none without the header.
    pub rule: Option<String>,
    /// What it says.
    pub outcome: ProbeOutcome,
}

/// How one asking ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeOutcome {
    /// Everything answered as it should.
    Passed {
        /// Of the server that answered: the header `X-Version-Id`, whole.
        version: String,
    },
    /// The load balancer was reached, and this did not answer as it should.
    Failed {
        /// What.
        what: ProbePart,
        /// Why, for people; nothing secret.
        text: String,
        /// HTTP status, where there was an answer.
        status: Option<u16>,
    },
    /// No connection: nothing is known of what users get.
    Unreachable {
        /// Why.
        text: String,
    },
}

/// What one asking consists of, in the order in which it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbePart {
    /// TLS with the site URL's name.
    Certificate,
    /// The full ping: database and file store, too.
    Ping,
    /// `X-Version-Id` on its answer.
    Version,
    /// The WebSocket's hand-shake.
    WebSocket,
    /// A file of the web application, as its page names it.
    Asset,
}

impl ProbePart {
    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Certificate => "the certificate",
            Self::Ping => "the full ping",
            Self::Version => "the version",
            Self::WebSocket => "the WebSocket hand-shake",
            Self::Asset => "a file of the web application",
        }
    }
}

impl ProbeOutcome {
    /// Of the same kind.
    pub fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// Failed in a way that the load balancer's own numbers do not show: they count answers 5xx.
    pub fn is_uncounted_failure(&self) -> bool {
        matches!(self, Self::Failed { status, .. } if status.is_none_or(|status| status < 500))
    }
}

/// The orchestrator's own requests without the header in a stretch of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnProbes {
    /// From when on.
    pub since: Timestamp,
    /// How often it asked and reached the load balancer.
    pub asked: u64,
    /// HTTP requests of these.
    pub requests: u64,
    /// How often it failed in a way that the load balancer does not count.
    pub failed: u64,
    /// How often it did not reach the load balancer.
    pub unreachable: u64,
    /// The last failure or missing connection, for people.
    pub last: Option<String>,
}
