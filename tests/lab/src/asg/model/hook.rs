//! Lifecycle hooks and the actions that wait for an answer.

use std::str::FromStr;
use std::time::Duration;

/// When a hook applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transition {
    /// `autoscaling:EC2_INSTANCE_LAUNCHING`.
    Launching,
    /// `autoscaling:EC2_INSTANCE_TERMINATING`.
    Terminating,
}

impl Transition {
    /// AWS's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Launching => "autoscaling:EC2_INSTANCE_LAUNCHING",
            Self::Terminating => "autoscaling:EC2_INSTANCE_TERMINATING",
        }
    }
}

impl FromStr for Transition {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Launching, Self::Terminating]
            .into_iter()
            .find(|transition| transition.name() == text)
            .ok_or(())
    }
}

/// How a lifecycle action ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionResult {
    /// Go on.
    Continue,
    /// Give the instance up.
    Abandon,
}

impl ActionResult {
    /// AWS's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Continue => "CONTINUE",
            Self::Abandon => "ABANDON",
        }
    }
}

impl FromStr for ActionResult {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "CONTINUE" => Ok(Self::Continue),
            "ABANDON" => Ok(Self::Abandon),
            _ => Err(()),
        }
    }
}

/// A lifecycle hook.
#[derive(Clone, Debug)]
pub struct Hook {
    /// When it applies.
    pub transition: Transition,
    /// How long an instance waits without a heartbeat.
    pub heartbeat: Duration,
    /// What a time-out means.
    pub default_result: ActionResult,
    /// Told to nobody in the lab; shown again.
    pub metadata: Option<String>,
    /// Told to nobody in the lab; shown again.
    pub target: Option<String>,
    /// Shown again.
    pub role: Option<String>,
}

impl Hook {
    /// The longest that heartbeats can keep an instance waiting: 48 hours or 100 times the heartbeat
    /// time-out, whichever is shorter (PutLifecycleHook, `GlobalTimeout`).
    pub fn global_timeout(&self) -> Duration {
        (self.heartbeat * 100).min(Duration::from_hours(48))
    }
}

/// One hook waiting for its answer about one instance.
#[derive(Clone, Debug)]
pub struct PendingAction {
    /// The hook's name.
    pub hook: String,
    /// Identifies the action.
    pub token: String,
    /// Lab time at which the heartbeat runs out.
    pub deadline: Duration,
    /// Lab time that no heartbeat can pass.
    pub last_deadline: Duration,
    /// What a heartbeat buys.
    pub heartbeat: Duration,
    /// What a time-out means.
    pub default_result: ActionResult,
    /// The answer, when there is one.
    pub result: Option<ActionResult>,
}
