//! The `[rollout]` table.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// From the beginning of a minute until CloudWatch has all that the load balancer counted in it. AWS gives no
/// number: the newest minute is absent, the one before incomplete, and two minutes after its end readers find a
/// minute whole (Netflix/atlas#1300; prometheus-community/yet-another-cloudwatch-exporter#242).
pub const METRICS_DELAY_SECONDS: u32 = 180;

/// Gates of a rollout. Durations are seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rollout {
    /// Green's share of the traffic in percent, step by step; rises and ends with 100.
    pub weights: Vec<u8>,
    /// How long each step is watched.
    pub step_seconds: u32,
    /// How late the load balancer's minutes are whole: steps and bake last so much longer than they are watched.
    pub metrics_delay_seconds: u32,
    /// How long green serves alone, with blue whole, before it counts as proven.
    pub bake_seconds: u32,
    /// Wait for `rollout promote` at the end of the bake.
    pub manual_promote: bool,
    /// Requests to green that a window needs to be judged; with fewer it stays open. The default lets a small site
    /// through at night; of 100 a single failed one is 1 %, the default of `max_error_basis_points`.
    pub min_requests: u32,
    /// Whether a window with fewer requests, or none, is judged all the same (night rollouts).
    pub quiet_is_fine: bool,
    /// Server errors in percent of requests (hundredths of a percent: 100 = 1 %) that turn a rollout back.
    pub max_error_basis_points: u32,
    /// 95th percentile of the response time in milliseconds that turns a rollout back.
    pub max_p95_ms: u32,
    /// Reads in a row of `available`, `healthy` and so on that count as a fact.
    pub reads_in_a_row: u32,
    /// Deadline of a phase without one of its own.
    pub phase_deadline_seconds: u32,
    /// Deadline for one node from launch to verified (migrations come on top).
    pub node_deadline_seconds: u32,
    /// Deadline for a migration.
    pub migration_deadline_seconds: u32,
    /// How long blue's template and empty group are kept after promotion.
    pub retention_seconds: u32,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            weights: vec![10, 50, 100],
            step_seconds: 300,
            metrics_delay_seconds: METRICS_DELAY_SECONDS,
            bake_seconds: 1800,
            manual_promote: false,
            min_requests: 10,
            quiet_is_fine: false,
            max_error_basis_points: 100,
            max_p95_ms: 2000,
            reads_in_a_row: 3,
            phase_deadline_seconds: 3600,
            node_deadline_seconds: 1200,
            migration_deadline_seconds: 14400,
            retention_seconds: 604_800,
        }
    }
}
