//! Where a member is in its life, and what can be wrong with it.

use std::fmt;

/// Where a member is in its life. The text is AWS's.
///
/// ```text
///  Pending -> Pending:Wait -> Pending:Proceed -> InService <-> Standby (EnteringStandby, Pending)
///     |            |               |                 |
///     +------------+---------------+-----------------+--> Terminating -> Terminating:Wait
///                                                              -> Terminating:Proceed -> (gone)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// Launched, not yet running.
    Pending,
    /// Running; launch hooks wait for their answer.
    PendingWait,
    /// Launch hooks answered.
    PendingProceed,
    /// Counts and serves.
    InService,
    /// Leaves its target groups on the way to standby.
    EnteringStandby,
    /// Set aside by a person.
    Standby,
    /// Leaves the group and lives on.
    Detaching,
    /// Chosen to end; leaves its target groups.
    Terminating,
    /// Termination hooks wait for their answer.
    TerminatingWait,
    /// Termination hooks answered; EC2 ends it.
    TerminatingProceed,
}

impl Lifecycle {
    /// AWS's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::PendingWait => "Pending:Wait",
            Self::PendingProceed => "Pending:Proceed",
            Self::InService => "InService",
            Self::EnteringStandby => "EnteringStandby",
            Self::Standby => "Standby",
            Self::Detaching => "Detaching",
            Self::Terminating => "Terminating",
            Self::TerminatingWait => "Terminating:Wait",
            Self::TerminatingProceed => "Terminating:Proceed",
        }
    }

    /// Where it is bound for, as instance metadata tells it
    /// (`autoscaling/target-lifecycle-state`).
    pub fn target(self) -> &'static str {
        match self {
            Self::Pending | Self::PendingWait | Self::PendingProceed | Self::InService => {
                "InService"
            }
            Self::EnteringStandby | Self::Standby => "Standby",
            Self::Detaching => "Detached",
            Self::Terminating | Self::TerminatingWait | Self::TerminatingProceed => "Terminated",
        }
    }

    /// On its way in.
    pub fn is_pending(self) -> bool {
        matches!(
            self,
            Self::Pending | Self::PendingWait | Self::PendingProceed
        )
    }

    /// On its way out for good.
    pub fn is_terminating(self) -> bool {
        matches!(
            self,
            Self::Terminating | Self::TerminatingWait | Self::TerminatingProceed
        )
    }
}

impl fmt::Display for Lifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a member is unhealthy; decides how fast it is replaced and what its activity's cause says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Illness {
    /// EC2 says that it is not running.
    NotRunning,
    /// EC2's status checks fail.
    Impaired,
    /// A target group's health check fails.
    LoadBalancer,
    /// Somebody called SetInstanceHealth.
    User,
}

impl Illness {
    /// The sentence in an activity's cause.
    pub fn cause(self) -> &'static str {
        match self {
            Self::NotRunning => "an EC2 health check indicating it has been terminated or stopped",
            Self::Impaired => "an EC2 instance status checks failure",
            Self::LoadBalancer => "an ELB system health check failure",
            Self::User => "a user health-check",
        }
    }

    /// Replaced at once, however many there are; the others go a tenth of the group at a time.
    pub fn is_immediate(self) -> bool {
        matches!(self, Self::NotRunning | Self::User)
    }
}
