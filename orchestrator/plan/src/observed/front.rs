//! Load balancer, target groups, listeners, and the traffic through them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Tags;

/// The load balancer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancer {
    /// ARN.
    pub arn: String,
    /// Name.
    pub name: String,
    /// `provisioning`, `active`, `failed`.
    pub state: String,
    /// DNS name.
    pub dns_name: String,
    /// Subnets.
    pub subnets: BTreeSet<String>,
    /// Security groups.
    pub security_groups: BTreeSet<String>,
    /// Attributes as AWS names them.
    pub attributes: BTreeMap<String, String>,
    /// Tags.
    pub tags: Tags,
}

/// A target group with its targets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetGroup {
    /// ARN.
    pub arn: String,
    /// Name.
    pub name: String,
    /// Port.
    pub port: u16,
    /// How its targets are probed.
    pub health: HealthCheck,
    /// Attributes as AWS names them.
    pub attributes: BTreeMap<String, String>,
    /// State by target id: `initial`, `healthy`, `unhealthy`, `draining`, `unused`, `unavailable`.
    pub targets: BTreeMap<String, String>,
    /// Tags.
    pub tags: Tags,
}

/// How the load balancer probes a target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// Whether it probes at all.
    pub enabled: bool,
    /// `HTTP` or `HTTPS`.
    pub protocol: String,
    /// A number, or `traffic-port` for the target's own.
    pub port: String,
    /// What it asks for.
    pub path: String,
    /// Statuses that count as well: `200`, `200,302`, `200-299`.
    pub expected: String,
    /// Seconds between probes.
    pub interval_seconds: u32,
    /// Seconds until a probe without an answer has failed.
    pub timeout_seconds: u32,
    /// Good probes in a row that make a target healthy.
    pub healthy: u32,
    /// Bad probes in a row that make it unhealthy.
    pub unhealthy: u32,
}

/// A listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// ARN.
    pub arn: String,
    /// Port.
    pub port: u16,
    /// `HTTP` or `HTTPS`.
    pub protocol: String,
    /// Certificate ARN.
    pub certificate: Option<String>,
    /// Default action.
    pub action: ListenerAction,
}

/// What a listener does by default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ListenerAction {
    /// Weights by target group ARN.
    Forward(BTreeMap<String, u32>),
    /// Redirects to HTTPS on this port.
    Redirect(u16),
    /// Answers itself: status and body (the maintenance page).
    Fixed(u16, String),
    /// Anything else.
    Other(String),
}

impl Default for ListenerAction {
    fn default() -> Self {
        Self::Forward(BTreeMap::new())
    }
}

/// What went through a target group since the present step began (the rollout's `entered`), cumulative.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// Requests.
    pub requests: u64,
    /// Answers 5xx by targets and by the load balancer for them.
    pub server_errors: u64,
    /// Seconds; none without data.
    pub p95_seconds: Option<f64>,
}
