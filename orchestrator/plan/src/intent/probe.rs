//! How a rollout asks for green.

use serde::{Deserialize, Serialize};

/// How the load balancer is asked for green before users are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutProbe {
    /// Value of the header that leads to green: 64 hexadecimal digits, drawn at random for this rollout. Whoever
    /// may describe the listener's rules reads it.
    pub token: String,
    /// ARN of the rule, once it was read back.
    #[serde(default)]
    pub rule: Option<String>,
    /// Why no gate waits for an answer.
    #[serde(default)]
    pub waived: Option<String>,
}

impl RolloutProbe {
    /// With this token, and nothing made yet.
    pub fn new(token: String) -> Self {
        Self {
            token,
            rule: None,
            waived: None,
        }
    }
}
