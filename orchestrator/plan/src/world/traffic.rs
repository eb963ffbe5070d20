//! What goes through the load balancer, and what is seen of it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::probes::REQUESTS;
use super::{TICK_SECONDS, World};
use crate::observed::{ListenerAction, TargetTraffic, Traffic};

/// The requests of one tick.
#[derive(Clone, Debug)]
pub(super) struct Passed {
    /// When the tick began.
    at: Timestamp,
    groups: BTreeMap<String, TargetTraffic>,
    balancer_errors: u64,
}

impl World {
    /// Users ask for a tick.
    pub(super) fn advance_traffic(&mut self) {
        let weights: BTreeMap<String, u32> = self
            .observed
            .listeners
            .values()
            .filter_map(|listener| match &listener.action {
                ListenerAction::Forward(forward) => Some(forward.weights.clone()),
                _ => None,
            })
            .flatten()
            .collect();
        let groups = self.observed.target_groups.values().map(|group| {
            let weight = weights.get(&group.arn).copied().unwrap_or(0);
            let errors = self.errors.get(&group.name).copied().unwrap_or(0);
            // One asking a second in a rollout, while it reaches the load balancer.
            let own = if self.observed.rules.is_empty()
                || self.is_out_of_reach
                || self.failing_probes.is_some()
            {
                0
            } else {
                TICK_SECONDS.unsigned_abs() * REQUESTS * u64::from(weight) / 100
            };
            let passed = TargetTraffic {
                requests: self.requests * u64::from(weight) / 10 + own,
                target_errors: if weight > 0 { errors } else { 0 },
                p95_seconds: (weight > 0).then_some(0.1),
            };
            (group.name.clone(), passed)
        });
        let passed = Passed {
            at: self.now - SignedDuration::from_secs(TICK_SECONDS),
            groups: groups.collect(),
            balancer_errors: self.balancer_errors,
        };
        self.passed.push(passed);
    }

    /// The traffic of the window that is watched.
    pub(super) fn watched_traffic(&self) -> Option<Traffic> {
        let window = self.watch?;
        let until = window.whole_until(self.now, self.spec.rollout.metrics_delay_seconds);
        let mut traffic = Traffic {
            since: window.began,
            until,
            groups: BTreeMap::new(),
            balancer_errors: 0,
        };
        let passed = self.passed.iter().rev();
        let of_window = passed.take_while(|tick| tick.at >= window.began);
        for tick in of_window.filter(|tick| tick.at < until) {
            traffic.balancer_errors += tick.balancer_errors;
            for (name, group) in &tick.groups {
                let sum = traffic.groups.entry(name.clone()).or_default();
                sum.requests += group.requests;
                sum.target_errors += group.target_errors;
                sum.p95_seconds = group.p95_seconds.or(sum.p95_seconds);
            }
        }
        (window.began < until).then_some(traffic)
    }
}
