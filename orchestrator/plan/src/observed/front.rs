//! Load balancer, target groups, listeners, and the traffic through them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
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
    /// Forwards to target groups.
    Forward(Forward),
    /// Redirects to HTTPS on this port.
    Redirect(u16),
    /// Answers itself: status and body (the maintenance page).
    Fixed(u16, String),
    /// Anything else.
    Other(String),
}

impl Default for ListenerAction {
    fn default() -> Self {
        Self::Forward(Forward::default())
    }
}

/// To which target groups a listener forwards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// Weight by target group ARN.
    pub weights: BTreeMap<String, u32>,
    /// Seconds that a client stays with the group it was given first, whatever the weights are by then, even with
    /// a group in which no target is left. None: each request is given a group of its own.
    pub sticky_seconds: Option<u32>,
}

impl<const N: usize> From<[(String, u32); N]> for Forward {
    fn from(weights: [(String, u32); N]) -> Self {
        BTreeMap::from(weights).into()
    }
}

impl From<BTreeMap<String, u32>> for Forward {
    fn from(weights: BTreeMap<String, u32>) -> Self {
        Self {
            weights,
            sticky_seconds: None,
        }
    }
}

/// What went through the load balancer in `[since, until)`: in the window that a rollout watches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// From when on.
    pub since: Timestamp,
    /// Until when; never after the moment of the observation.
    pub until: Timestamp,
    /// By target group name.
    pub groups: BTreeMap<String, TargetTraffic>,
    /// Answers 5xx by the load balancer itself, in the place of whatever group's targets: AWS counts them by
    /// load balancer alone.
    pub balancer_errors: u64,
}

impl Traffic {
    /// Requests to all target groups.
    pub fn requests(&self) -> u64 {
        self.groups.values().map(|group| group.requests).sum()
    }
}

/// What went through one target group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TargetTraffic {
    /// Requests for which a target of the group was chosen.
    pub requests: u64,
    /// Answers 5xx by its targets.
    pub target_errors: u64,
    /// 95th percentile of its targets' response times in seconds; none without data.
    pub p95_seconds: Option<f64>,
}
