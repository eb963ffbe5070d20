//! What a group is: its settings, members, hooks, policies and activities.
//!
//! Plain data. Times that only people read are [`Timestamp`]s; times that decide something (deadlines,
//! grace, warm-up, back-off) are lab time ([`crate::Clock::lab_time`]), which a change of speed cannot fool.

mod hook;
mod lifecycle;
mod policy;
mod process;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;

use super::balance::TerminationPolicy;
pub use hook::{ActionResult, Hook, PendingAction, Transition};
pub use lifecycle::{Illness, Lifecycle};
pub use policy::{AdjustmentType, Cooldown, Policy, PolicyKind, Step};
pub use process::Process;

/// Where a group lives: region and name.
pub type Key = (String, String);

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

/// A change of size at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheduled {
    /// Its ARN.
    pub arn: String,
    /// When, in real time.
    pub start: Timestamp,
    /// New lower bound.
    pub min: Option<i64>,
    /// New upper bound.
    pub max: Option<i64>,
    /// New goal.
    pub desired: Option<i64>,
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
    /// Scheduled actions that wait, by name.
    pub scheduled: BTreeMap<String, Scheduled>,
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
