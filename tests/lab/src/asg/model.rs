//! What a group is: its settings, members, hooks, policies and activities.
//!
//! Plain data. Times that only people read are [`Timestamp`]s; times that decide something (deadlines,
//! grace, warm-up, back-off) are lab time ([`crate::Clock::lab_time`]), which a change of speed cannot fool.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;

use super::balance::TerminationPolicy;

/// Where a group lives: region and name.
pub type Key = (String, String);

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
    /// Runs scheduled actions (the lab has none).
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

/// A launch template as a group names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// `lt-…`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// A number, `$Latest` or `$Default`; a number on members.
    pub version: String,
}

/// A subnet of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// `subnet-…`.
    pub id: String,
    /// Its zone.
    pub zone: String,
}

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
        (self.heartbeat * 100).min(Duration::from_secs(48 * 3600))
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

/// An instance of the group.
#[derive(Clone, Debug)]
pub struct Member {
    /// `i-…`.
    pub id: String,
    /// Its zone.
    pub zone: String,
    /// Its subnet.
    pub subnet: String,
    /// For example `t3.medium`.
    pub instance_type: String,
    /// The image it was made from.
    pub image: String,
    /// What it was launched from, with the version as a number.
    pub template: Template,
    /// Where it is in its life.
    pub state: Lifecycle,
    /// Why it is unhealthy, if it is.
    pub illness: Option<Illness>,
    /// Never chosen for scale-in.
    pub protected: bool,
    /// When it was launched.
    pub launched: Timestamp,
    /// Lab time at which it went into service.
    pub in_service_at: Option<Duration>,
    /// Hooks under way.
    pub actions: Vec<PendingAction>,
    /// The target groups in which the group put it.
    pub registered: BTreeSet<String>,
    /// It went into service while AddToLoadBalancer was suspended, and so stays out of target groups.
    pub unlisted: bool,
    /// Launched to even out the zones: surplus until it is in service.
    pub rebalancing: bool,
    /// EC2's status checks passed once; until then they are still initialising.
    pub checked: bool,
    /// Lab time since which status checks fail.
    pub impaired_since: Option<Duration>,
    /// The activity that moves it now.
    pub activity: Option<String>,
}

/// A launch that EC2 has not answered yet.
#[derive(Clone, Debug)]
pub struct Launching {
    /// Its activity, and the client token of the call.
    pub activity: String,
    /// Where.
    pub subnet: Subnet,
    /// Made to even out the zones.
    pub rebalancing: bool,
}

/// A tag of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Its value.
    pub value: String,
    /// Whether instances get it.
    pub propagate: bool,
}

/// A target group that the group feeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The target group's ARN.
    pub arn: String,
    /// Being emptied, after which it is gone.
    pub removing: bool,
    /// A member passed its health check once; only then does ELB health count.
    pub in_service: bool,
}

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

/// One scaling activity.
#[derive(Clone, Debug)]
pub struct Activity {
    /// Its id.
    pub id: String,
    /// What it does.
    pub description: String,
    /// Why.
    pub cause: String,
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Option<Timestamp>,
    /// AWS's word: `InProgress`, `Successful`, …
    pub status: &'static str,
    /// More about a failure.
    pub message: Option<String>,
    /// Percent.
    pub progress: i64,
    /// JSON: subnet and zone.
    pub details: String,
}

/// Failed launches in a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackOff {
    /// In a row.
    pub failures: u32,
    /// Lab time before which the zone is not tried again.
    pub until: Duration,
}

/// An Auto Scaling group.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// What it launches.
    pub template: Template,
    /// Bounds and goal.
    pub min: i64,
    /// Upper bound.
    pub max: i64,
    /// The goal.
    pub desired: i64,
    /// Seconds.
    pub default_cooldown: i64,
    /// Seconds; none when never set.
    pub instance_warmup: Option<i64>,
    /// Where, in the caller's order.
    pub subnets: Vec<Subnet>,
    /// Target groups' health checks count.
    pub elb_health: bool,
    /// Seconds.
    pub grace: i64,
    /// In order.
    pub termination_policies: Vec<TerminationPolicy>,
    /// New members are protected from scale-in.
    pub protect_new: bool,
    /// Shown again.
    pub context: Option<String>,
    /// Shown again.
    pub service_role: Option<String>,
    /// By name.
    pub hooks: BTreeMap<String, Hook>,
    /// By key.
    pub tags: BTreeMap<String, Tag>,
    /// With the reason.
    pub suspended: BTreeMap<Process, String>,
    /// Target groups.
    pub attachments: Vec<Attachment>,
    /// By name.
    pub policies: BTreeMap<String, Policy>,
    /// Group metrics that are collected.
    pub metrics: BTreeSet<String>,
    /// When it was made.
    pub created: Timestamp,
    /// By instance id.
    pub members: BTreeMap<String, Member>,
    /// Asked of EC2 and not answered.
    pub launching: Vec<Launching>,
    /// Newest last; at most [`MAX_ACTIVITIES`].
    pub activities: VecDeque<Activity>,
    /// Why the desired capacity is what it is, for the activities to come.
    pub cause: String,
    /// A simple policy's pause.
    pub cooldown: Option<Cooldown>,
    /// By zone.
    pub back_off: BTreeMap<String, BackOff>,
    /// Being deleted by force: nothing starts any more.
    pub deleting: bool,
    /// Wakes its loop and every wait in it.
    pub wake: Arc<Notify>,
}

/// AWS keeps six weeks of activities; the lab keeps this many of each group.
pub const MAX_ACTIVITIES: usize = 1000;

impl Group {
    /// Whether a process is suspended.
    pub fn is_suspended(&self, process: Process) -> bool {
        self.suspended.contains_key(&process)
    }

    /// The zones, in order of their first subnet.
    pub fn zones(&self) -> Vec<String> {
        let mut zones: Vec<String> = Vec::new();
        for subnet in &self.subnets {
            if !zones.contains(&subnet.zone) {
                zones.push(subnet.zone.clone());
            }
        }
        zones
    }

    /// Members that count against the desired capacity, with launches under way.
    pub fn capacity(&self) -> i64 {
        let members = self
            .members
            .values()
            .filter(|member| member.state.is_pending() || member.state == Lifecycle::InService)
            .count();
        (members + self.launching.len()) as i64
    }

    /// Target groups that members belong in.
    pub fn target_groups(&self) -> impl Iterator<Item = &Attachment> {
        self.attachments
            .iter()
            .filter(|attachment| !attachment.removing)
    }

    /// An activity by id.
    pub fn activity(&mut self, id: &str) -> Option<&mut Activity> {
        self.activities
            .iter_mut()
            .rev()
            .find(|activity| activity.id == id)
    }

    /// Adds an activity, forgetting the oldest finished one when there are too many.
    pub fn record_activity(&mut self, activity: Activity) {
        if self.activities.len() >= MAX_ACTIVITIES {
            let oldest = self
                .activities
                .iter()
                .position(|activity| activity.end.is_some());
            self.activities.remove(oldest.unwrap_or(0));
        }
        self.activities.push_back(activity);
    }
}
