//! Scaling policies.

use std::str::FromStr;
use std::time::Duration;

/// What a policy does.
#[derive(Clone, Debug, PartialEq)]
pub enum PolicyKind {
    /// One adjustment, then a cooldown.
    Simple {
        /// By how much.
        adjustment: i64,
        /// Seconds; the group's default without it.
        cooldown: Option<i64>,
    },
    /// An adjustment by how far the metric is from the threshold.
    Step {
        /// Lower bound, upper bound, adjustment; bounds relative to the threshold.
        steps: Vec<Step>,
        /// Seconds; the group's default instance warm-up without it.
        warmup: Option<i64>,
        /// Shown again (`Average` by default).
        aggregation: String,
    },
}

/// One step of a step policy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// None is minus infinity.
    pub lower: Option<f64>,
    /// None is plus infinity.
    pub upper: Option<f64>,
    /// By how much.
    pub adjustment: i64,
}

/// What an adjustment's number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdjustmentType {
    /// That many more or fewer.
    ChangeInCapacity,
    /// Exactly that many.
    ExactCapacity,
    /// That many percent more or fewer.
    PercentChangeInCapacity,
}

impl AdjustmentType {
    /// AWS's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::ChangeInCapacity => "ChangeInCapacity",
            Self::ExactCapacity => "ExactCapacity",
            Self::PercentChangeInCapacity => "PercentChangeInCapacity",
        }
    }
}

impl FromStr for AdjustmentType {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [
            Self::ChangeInCapacity,
            Self::ExactCapacity,
            Self::PercentChangeInCapacity,
        ]
        .into_iter()
        .find(|kind| kind.name() == text)
        .ok_or(())
    }
}

/// A scaling policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Its ARN, by which alarms name it.
    pub arn: String,
    /// What its numbers mean.
    pub adjustment_type: AdjustmentType,
    /// The least change of a percentage.
    pub min_magnitude: Option<i64>,
    /// Alarms are heard.
    pub enabled: bool,
    /// What it does.
    pub kind: PolicyKind,
}

/// A simple policy's pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cooldown {
    /// How long.
    pub length: Duration,
    /// Lab time at which it ends; none until the last instance has left its wait state.
    pub until: Option<Duration>,
}
