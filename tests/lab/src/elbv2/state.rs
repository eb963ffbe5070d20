//! What exists: load balancers, listeners with their rules, target groups with their targets.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::action::Action;
use super::attributes::Attributes;
use super::balance::Smooth;
use super::condition::Condition;
use super::health::{Health, HealthCheck, Unused};
use super::metrics::Recorder;
use super::proxy::{Backend, Front};
use crate::api::ApiError;
use crate::iam::ACCOUNT;

/// The service's state, for all regions.
#[derive(Debug, Default)]
pub struct Elbv2 {
    regions: Mutex<BTreeMap<String, RegionState>>,
}

/// The state of all regions, locked.
pub(super) type Locked<'a> = MutexGuard<'a, BTreeMap<String, RegionState>>;

impl Elbv2 {
    /// The state; not to be held across an await or a call into another service.
    pub(super) fn lock(&self) -> Locked<'_> {
        self.regions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at, or changes, one region.
    pub(super) fn with<T>(&self, region: &str, look: impl FnOnce(&mut RegionState) -> T) -> T {
        look(self.lock().entry(region.to_owned()).or_default())
    }
}

/// Everything in one region, by ARN.
#[derive(Debug, Default)]
pub(super) struct RegionState {
    pub load_balancers: BTreeMap<String, LoadBalancer>,
    pub listeners: BTreeMap<String, Listener>,
    pub target_groups: BTreeMap<String, TargetGroup>,
    /// Tags of load balancers, listeners, rules and target groups, by ARN.
    pub tags: BTreeMap<String, BTreeMap<String, String>>,
    /// Numbers registrations, so that a late task recognises that its target was registered anew.
    pub registrations: u64,
}

/// An Application Load Balancer.
#[derive(Debug)]
pub(super) struct LoadBalancer {
    pub arn: String,
    pub name: String,
    pub scheme: String,
    pub ip_address_type: String,
    pub vpc_id: String,
    /// One node a zone, in the order of the zones.
    pub nodes: Vec<Node>,
    pub security_groups: Vec<String>,
    pub created: Timestamp,
    /// `active`; before, `provisioning`: nothing listens and nothing is probed.
    pub active: bool,
    pub attributes: Attributes,
    pub shared: Arc<Shared>,
}

/// A load balancer's presence in one zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub zone: String,
    pub subnet_id: String,
    pub address: Ipv4Addr,
}

/// What a load balancer's connections read without the state's lock.
#[derive(Debug)]
pub(super) struct Shared {
    /// `idle_timeout.timeout_seconds`, in real time: the traffic is real.
    pub idle: watch::Sender<Duration>,
    /// `client_keep_alive.seconds`, in real time.
    pub keep_alive: watch::Sender<Duration>,
    /// Counts for CloudWatch.
    pub recorder: Recorder,
    /// Cancelled when the load balancer is deleted.
    pub gone: CancellationToken,
}

/// A listener.
#[derive(Debug)]
pub(super) struct Listener {
    pub arn: String,
    pub load_balancer: String,
    pub port: u16,
    pub tls: Option<TlsSettings>,
    /// The default rule, which has no conditions and no priority.
    pub default: Rule,
    /// By priority, lowest first.
    pub rules: Vec<Rule>,
    /// The sockets.
    pub front: Arc<Front>,
}

/// What an HTTPS listener has more than an HTTP listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TlsSettings {
    pub policy: String,
    /// ACM ARNs; the first is the default certificate.
    pub certificates: Vec<String>,
}

/// A rule.
#[derive(Debug)]
pub(super) struct Rule {
    pub arn: String,
    /// None for the default rule.
    pub priority: Option<u32>,
    pub conditions: Vec<Condition>,
    pub action: Action,
    /// Whose turn it is among the action's target groups.
    pub turn: Smooth<String>,
}

/// A target group.
#[derive(Debug)]
pub(super) struct TargetGroup {
    pub arn: String,
    pub name: String,
    pub port: u16,
    pub vpc_id: String,
    pub target_type: TargetType,
    pub check: HealthCheck,
    pub attributes: Attributes,
    pub targets: Vec<Target>,
    /// Whose turn it is among the targets, by registration number.
    pub turn: Smooth<u64>,
}

/// What a target group's targets are named by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TargetType {
    /// Instance ids.
    Instance,
    /// IPv4 addresses.
    Ip,
}

impl TargetType {
    /// AWS's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Ip => "ip",
        }
    }
}

/// A registered target.
#[derive(Debug)]
pub(super) struct Target {
    /// Instance id or address.
    pub id: String,
    pub port: u16,
    /// Where it is, when that is known; a zone that the load balancer does not have gets no traffic.
    pub zone: Option<String>,
    /// Which registration this is.
    pub registration: u64,
    /// Since when it is healthy, for slow start.
    pub healthy_since: Option<Timestamp>,
    pub health: Health,
    /// Whether a probe task runs for this registration.
    pub probed: bool,
    /// Its connections.
    pub backend: Arc<Backend>,
}

impl Target {
    /// Whether it waits for its deregistration delay to pass.
    pub fn is_draining(&self) -> bool {
        matches!(self.health, Health::Draining)
    }
}

impl RegionState {
    /// A load balancer that must exist.
    pub fn load_balancer(&mut self, arn: &str) -> Result<&mut LoadBalancer, ApiError> {
        self.load_balancers.get_mut(arn).ok_or_else(|| {
            ApiError::new(
                "LoadBalancerNotFound",
                format!("Load balancer '{arn}' not found"),
            )
        })
    }

    /// A target group that must exist.
    pub fn target_group(&mut self, arn: &str) -> Result<&mut TargetGroup, ApiError> {
        self.target_groups.get_mut(arn).ok_or_else(|| {
            ApiError::new(
                "TargetGroupNotFound",
                format!("Target group '{arn}' not found"),
            )
        })
    }

    /// A listener that must exist.
    pub fn listener(&mut self, arn: &str) -> Result<&mut Listener, ApiError> {
        self.listeners
            .get_mut(arn)
            .ok_or_else(|| ApiError::new("ListenerNotFound", format!("Listener '{arn}' not found")))
    }

    /// The ARNs of the load balancers whose listeners or rules name a target group, whatever the weight.
    pub fn load_balancers_of(&self, target_group: &str) -> Vec<String> {
        let mut arns: Vec<String> = self
            .listeners
            .values()
            .filter(|listener| listener.names(target_group))
            .map(|listener| listener.load_balancer.clone())
            .collect();
        arns.sort();
        arns.dedup();
        arns
    }

    /// The listeners of a load balancer.
    pub fn listeners_of(&self, load_balancer: &str) -> impl Iterator<Item = &Listener> {
        self.listeners
            .values()
            .filter(move |listener| listener.load_balancer == load_balancer)
    }

    /// Removes a listener with its rules; its connections end.
    pub fn remove_listener(&mut self, arn: &str) -> Option<Listener> {
        let listener = self.listeners.remove(arn)?;
        listener.front.closed.cancel();
        self.tags.remove(arn);
        for rule in listener.all_rules() {
            self.tags.remove(&rule.arn);
        }
        Some(listener)
    }

    /// Checks that a load balancer may forward to what an action names.
    pub fn check_targets(&self, load_balancer: &str, action: &Action) -> Result<(), ApiError> {
        let vpc = self.load_balancers.get(load_balancer).map(|it| &it.vpc_id);
        for arn in action.target_groups() {
            let group = self.target_groups.get(arn).ok_or_else(|| {
                ApiError::new(
                    "TargetGroupNotFound",
                    format!("Target group '{arn}' not found"),
                )
            })?;
            if vpc.is_some_and(|vpc| *vpc != group.vpc_id) {
                return Err(ApiError::new(
                    "InvalidConfigurationRequest",
                    format!("Target group '{arn}' is not in the load balancer's VPC"),
                ));
            }
            if self
                .load_balancers_of(arn)
                .iter()
                .any(|user| user != load_balancer)
            {
                return Err(ApiError::new(
                    "TargetGroupAssociationLimit",
                    format!(
                        "The following target groups cannot be associated with more than one load balancer: {arn}"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Brings every target's use in line with the listeners; returns the registrations for which a
    /// probe must be started.
    pub fn settle(&mut self) -> Vec<(String, u64)> {
        let mut to_probe = Vec::new();
        let arns: Vec<String> = self.target_groups.keys().cloned().collect();
        for arn in arns {
            let user = self
                .load_balancers_of(&arn)
                .first()
                .and_then(|user| self.load_balancers.get(user));
            let (used, active) = (user.is_some(), user.is_some_and(|user| user.active));
            let zones: Vec<String> = user
                .map(|user| user.nodes.iter().map(|node| node.zone.clone()).collect())
                .unwrap_or_default();
            let Some(group) = self.target_groups.get_mut(&arn) else {
                continue;
            };
            for target in &mut group.targets {
                let reachable = target.zone.as_ref().is_none_or(|zone| zones.contains(zone));
                match (&target.health, used, reachable) {
                    (Health::Draining, ..) => continue,
                    (_, false, _) => target.health = Health::Unused(Unused::NotInUse),
                    (_, true, false) => target.health = Health::Unused(Unused::ZoneNotEnabled),
                    (Health::Unused(Unused::NotInUse | Unused::ZoneNotEnabled), true, true) => {
                        target.health = Health::Registering;
                    }
                    _ => {}
                }
                let probe = active && used && reachable;
                if probe && !target.probed {
                    target.probed = true;
                    to_probe.push((arn.clone(), target.registration));
                }
            }
        }
        to_probe
    }
}

impl Listener {
    /// All rules in the order in which they are tried.
    pub fn all_rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().chain(std::iter::once(&self.default))
    }

    /// Whether an action of this listener names the target group.
    pub fn names(&self, target_group: &str) -> bool {
        self.all_rules()
            .any(|rule| rule.action.target_groups().any(|arn| arn == target_group))
    }

    /// `HTTP` or `HTTPS`.
    pub fn protocol(&self) -> &'static str {
        if self.tls.is_some() { "HTTPS" } else { "HTTP" }
    }
}

impl TargetGroup {
    /// The target with that registration number.
    pub fn registration(&mut self, number: u64) -> Option<&mut Target> {
        self.targets
            .iter_mut()
            .find(|target| target.registration == number)
    }
}

/// `arn:aws:elasticloadbalancing:REGION:ACCOUNT:resource`.
pub(super) fn arn(region: &str, resource: &str) -> String {
    format!("arn:aws:elasticloadbalancing:{region}:{ACCOUNT}:{resource}")
}

/// What follows the account in an ARN, as listener ARNs and metric dimensions want it:
/// `app/name/id` of a load balancer, `targetgroup/name/id` of a target group.
pub(super) fn suffix(arn: &str) -> &str {
    let resource = arn.splitn(6, ':').nth(5).unwrap_or(arn);
    resource.strip_prefix("loadbalancer/").unwrap_or(resource)
}
