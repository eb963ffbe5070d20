//! The listener's rule for probes, and what the orchestrator gets when it asks through the load balancer.

use super::World;
use crate::decision::NodeGoal;
use crate::observed::{
    Forward, ListenerAction, ListenerRule, Observed, OwnProbes, PROBE_HEADER, PROBE_PART, Probe,
    ProbeOutcome, ProbePart, RuleCondition,
};

/// HTTP requests of one asking.
pub(super) const REQUESTS: u64 = 4;

/// As it was when the model began.
pub(super) fn is_out_of_reach(observed: &Observed) -> bool {
    let seen = observed.probes.users.as_ref();
    seen.is_some_and(|seen| matches!(seen.outcome, ProbeOutcome::Unreachable { .. }))
}

/// As it was when the model began.
pub(super) fn failure(observed: &Observed) -> Option<String> {
    match &observed.probes.users.as_ref()?.outcome {
        ProbeOutcome::Failed { text, .. } => Some(text.clone()),
        _ => None,
    }
}

impl World {
    /// Makes the rule, or gives the one that is there this target group.
    pub(super) fn ensure_rule(&mut self, listener: &str, token: &str, target_group: &str) {
        let action = ListenerAction::Forward(Forward::from([(target_group.to_owned(), 1)]));
        let there = self.observed.rules.values_mut();
        if let Some(rule) = there
            .filter(|rule| rule.listener == listener)
            .find(|rule| rule.is_for(token))
        {
            rule.action = action;
            return;
        }
        self.rules += 1;
        let rule = ListenerRule {
            arn: format!("arn:rule/{}", self.rules),
            listener: listener.to_owned(),
            priority: 1,
            condition: RuleCondition::Header {
                name: PROBE_HEADER.to_lowercase(),
                value: token.to_owned(),
            },
            action,
            tags: self.tags(PROBE_PART),
        };
        self.observed.rules.insert(rule.arn.clone(), rule);
    }

    /// Target groups that rules name: their targets are probed, whatever the listener answers by default.
    pub(super) fn named_by_rules(&self) -> impl Iterator<Item = String> + '_ {
        let rules = self.observed.rules.values();
        rules
            .filter_map(|rule| match &rule.action {
                ListenerAction::Forward(forward) => Some(forward.weights.keys().cloned()),
                _ => None,
            })
            .flatten()
    }

    /// Asks as users do, and by the rule for green.
    pub(super) fn ask(&mut self) {
        let weights =
            self.observed
                .listeners
                .values()
                .find_map(|listener| match &listener.action {
                    ListenerAction::Forward(forward) => Some(forward.weights.clone()),
                    _ => None,
                });
        let users = weights.map(|weights| {
            let mut served = weights.iter().filter(|(_, weight)| **weight > 0);
            served.find_map(|(arn, _)| self.version_behind(arn))
        });
        self.observed.probes.users =
            users.map(|version| self.answer(version, None, self.observed.probes.users.as_ref()));
        let rule = self.observed.rules.values().next().cloned();
        self.observed.probes.green = rule.map(|rule| {
            let version = match &rule.action {
                ListenerAction::Forward(forward) => {
                    let mut arns = forward.weights.keys();
                    arns.find_map(|arn| self.version_behind(arn))
                }
                _ => None,
            };
            let before = self.observed.probes.green.as_ref();
            self.answer(version, Some(rule.arn), before)
        });
        self.observed.probes.window = self.observed.traffic.as_ref().map(|traffic| {
            let seconds = traffic.until.duration_since(traffic.since).as_secs();
            let asked = u64::try_from(seconds).unwrap_or(0);
            let reached = if self.is_out_of_reach { 0 } else { asked };
            let failing = self.failing_probes.is_some();
            OwnProbes {
                since: traffic.since,
                asked: reached,
                requests: reached * REQUESTS,
                failed: if failing { reached } else { 0 },
                unreachable: asked - reached,
                last: self.failing_probes.clone(),
            }
        });
    }

    fn answer(
        &self,
        version: Option<String>,
        rule: Option<String>,
        before: Option<&Probe>,
    ) -> Probe {
        let outcome = match (&self.failing_probes, version) {
            _ if self.is_out_of_reach => ProbeOutcome::Unreachable {
                text: "no connection within 3 s".to_owned(),
            },
            (Some(text), _) => ProbeOutcome::Failed {
                what: ProbePart::Certificate,
                text: text.clone(),
                status: None,
            },
            (None, Some(version)) => ProbeOutcome::Passed {
                version: format!("{version}.1.settings.false"),
            },
            (None, None) => ProbeOutcome::Failed {
                what: ProbePart::Ping,
                text: "it answers 503".to_owned(),
                status: Some(503),
            },
        };
        let before =
            before.filter(|before| before.rule == rule && before.outcome.is_like(&outcome));
        Probe {
            at: self.now,
            since: before.map_or(self.now, |before| before.since),
            in_a_row: before.map_or(0, |before| before.in_a_row) + 1,
            rule,
            outcome,
        }
    }

    /// Of the first server that answers behind a target group.
    fn version_behind(&self, target_group: &str) -> Option<String> {
        let groups = self.observed.target_groups.values();
        let targets = groups
            .filter(|group| group.arn == target_group)
            .flat_map(|group| group.targets.keys());
        let mut nodes = targets.filter_map(|id| self.observed.nodes.get(id));
        nodes.find_map(|node| match &node.goal {
            Some(NodeGoal::Serve { version, .. }) if node.phase == "serving" => {
                Some(version.clone())
            }
            _ => None,
        })
    }
}
