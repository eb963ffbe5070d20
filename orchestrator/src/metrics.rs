//! Numbers for Prometheus, named after its conventions.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use fleet_proto::tls::Turned;

use crate::rpc::{Denied, Refused};

/// Label of a refusal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Check {
    check: String,
}

impl Check {
    fn of(check: &impl std::fmt::Display) -> Self {
        Self {
            check: check.to_string(),
        }
    }
}

/// A family with a counter for every check from the start: what never happened reads 0.
fn known(checks: &[impl std::fmt::Display]) -> Family<Check, Counter> {
    let family = Family::default();
    for check in checks {
        drop(family.get_or_create(&Check::of(check)));
    }
    family
}

/// Label of an effect.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Effect {
    action: String,
    outcome: &'static str,
}

/// Label of calls to AWS.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    service: &'static str,
    action: String,
}

/// Label of a secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Secret {
    secret: String,
}

/// All of them.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    enrolled: Counter,
    refused: Family<Check, Counter>,
    denied: Family<Check, Counter>,
    turned: Family<Check, Counter>,
    identities: Counter,
    connections: Gauge,
    effects: Family<Effect, Counter>,
    aws_calls: Family<Call, Counter>,
    looks: Counter,
    look_seconds: Gauge<f64, AtomicU64>,
    sessions: Gauge,
    leader: Gauge,
    licence_end: Family<Secret, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("orchestrator"),
            enrolled: Counter::default(),
            refused: known(&Refused::ALL),
            denied: known(&Denied::ALL),
            turned: known(&Turned::ALL),
            identities: Counter::default(),
            connections: Gauge::default(),
            effects: Family::default(),
            aws_calls: Family::default(),
            looks: Counter::default(),
            look_seconds: Gauge::default(),
            sessions: Gauge::default(),
            leader: Gauge::default(),
            licence_end: Family::default(),
        };
        let registry = &mut metrics.registry;
        registry.register(
            "enrolments",
            "Nodes that enrolled",
            metrics.enrolled.clone(),
        );
        registry.register(
            "enrolments_refused",
            "Enrolments refused, by check",
            metrics.refused.clone(),
        );
        registry.register(
            "calls_refused",
            "Calls of nodes refused, by check",
            metrics.denied.clone(),
        );
        registry.register(
            "connections_refused",
            "Connections of nodes not served, by check",
            metrics.turned.clone(),
        );
        registry.register(
            "connections",
            "Connections of nodes held",
            metrics.connections.clone(),
        );
        registry.register(
            "identity_checks",
            "Signed identities sent to STS",
            metrics.identities.clone(),
        );
        registry.register(
            "effects",
            "Effects on the world, by action and outcome",
            metrics.effects.clone(),
        );
        registry.register(
            "aws_calls",
            "Calls to AWS, repeats among them, by service and action",
            metrics.aws_calls.clone(),
        );
        registry.register("looks", "Turns of the loop", metrics.looks.clone());
        registry.register(
            "look_duration_seconds",
            "How long the last look took",
            metrics.look_seconds.clone(),
        );
        registry.register(
            "sessions",
            "Nodes with a session here",
            metrics.sessions.clone(),
        );
        registry.register(
            "leader",
            "1 while this orchestrator holds the lease",
            metrics.leader.clone(),
        );
        registry.register(
            "licence_expiry_timestamp_seconds",
            "When the licence in force ends, as its text says; absent while that is not known",
            metrics.licence_end.clone(),
        );
        metrics
    }
}

impl Metrics {
    /// A node enrolled.
    pub fn enrolled(&self) {
        self.enrolled.inc();
    }

    /// An enrolment was refused.
    pub fn refused(&self, check: Refused) {
        self.refused.get_or_create(&Check::of(&check)).inc();
    }

    /// A node's call was refused.
    pub fn denied(&self, check: Denied) {
        self.denied.get_or_create(&Check::of(&check)).inc();
    }

    /// A connection was not served.
    pub fn turned(&self, check: Turned) {
        self.turned.get_or_create(&Check::of(&check)).inc();
    }

    /// So many connections of nodes are held.
    pub fn connections(&self, count: usize) {
        self.connections
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// STS is asked who signed.
    pub fn identity_check(&self) {
        self.identities.inc();
    }

    /// An effect was made, or not.
    pub fn effect(&self, key: &str, outcome: &'static str) {
        let action = key.split('/').next().unwrap_or(key).to_owned();
        self.effects
            .get_or_create(&Effect { action, outcome })
            .inc();
    }

    /// How often AWS was called since the start.
    pub fn aws_calls(&self, counts: BTreeMap<(&'static str, String), u64>) {
        for ((service, action), count) in counts {
            let counter = self
                .aws_calls
                .get_or_create_owned(&Call { service, action });
            counter.inner().store(count, Ordering::Relaxed);
        }
    }

    /// A turn of the loop.
    pub fn look(&self, seconds: f64, sessions: usize, leader: bool) {
        self.looks.inc();
        self.look_seconds.set(seconds);
        self.sessions
            .set(i64::try_from(sessions).unwrap_or(i64::MAX));
        self.leader.set(i64::from(leader));
    }

    /// When the licence in this secret ends, in seconds since 1970; none: not known.
    pub fn licence_ends(&self, secret: &str, end: Option<i64>) {
        let label = Secret {
            secret: secret.to_owned(),
        };
        match end {
            Some(end) => drop(self.licence_end.get_or_create(&label).set(end)),
            None => drop(self.licence_end.remove(&label)),
        }
    }

    /// The text that Prometheus scrapes.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if prometheus_client::encoding::text::encode(&mut text, &self.registry).is_err() {
            text.clear();
        }
        text
    }
}
