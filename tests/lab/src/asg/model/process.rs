//! The processes of a group that can be suspended.

/// A scaling process that can be suspended, by AWS's own names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Process {
    /// Adds capacity.
    Launch,
    /// Removes capacity.
    Terminate,
    /// Puts new instances into the target groups.
    AddToLoadBalancer,
    /// Listens to alarms.
    AlarmNotification,
    /// Evens out the zones.
    AzRebalance,
    /// Marks instances unhealthy.
    HealthCheck,
    /// Refreshes instances (the lab has no refresh, so nothing to stop).
    InstanceRefresh,
    /// Replaces unhealthy instances.
    ReplaceUnhealthy,
    /// Runs scheduled actions.
    ScheduledActions,
}

impl Process {
    /// All of them, in AWS's order.
    pub const ALL: [Self; 9] = [
        Self::Launch,
        Self::Terminate,
        Self::AddToLoadBalancer,
        Self::AlarmNotification,
        Self::AzRebalance,
        Self::HealthCheck,
        Self::InstanceRefresh,
        Self::ReplaceUnhealthy,
        Self::ScheduledActions,
    ];

    /// AWS's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Launch => "Launch",
            Self::Terminate => "Terminate",
            Self::AddToLoadBalancer => "AddToLoadBalancer",
            Self::AlarmNotification => "AlarmNotification",
            Self::AzRebalance => "AZRebalance",
            Self::HealthCheck => "HealthCheck",
            Self::InstanceRefresh => "InstanceRefresh",
            Self::ReplaceUnhealthy => "ReplaceUnhealthy",
            Self::ScheduledActions => "ScheduledActions",
        }
    }

    /// The process of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|process| process.name() == name)
    }
}
