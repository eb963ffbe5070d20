//! The load balancer itself is asked for green before a user is sent there, by a rule of its listener that only the
//! orchestrator's own requests match: listener, certificate, rules, target and server in one answer.
//!
//! ```text
//!   GreenCreated ── is the listener reached, and does blue pass? ──┬─ yes: Joined, and the end of a cutover's
//!                                                                  │       pause, wait for green's answer
//!                                                                  └─ no:  they do not, and the row says why
//! ```
//!
//! The rule goes with the rollout, whatever its end: the phases that end one wait until it is gone, and a rule
//! without a rollout is pruned ([`crate::stack`]).

use jiff::Timestamp;

use crate::action::Action;
use crate::draft::Draft;
use crate::intent::{Phase, RolloutProbe};
use crate::observed::{ListenerAction, ListenerRule, PART_TAG, PROBE_PART, Probe, ProbeOutcome};
use crate::rollout::scene::Scene;
use crate::view::{View, later};

/// An older answer is none: one comes about every second while a gate waits for it.
const FRESH_SECONDS: u32 = 30;
/// Nobody asked in this time: an orchestrator whose prober does not run.
const UNASKED_SECONDS: u32 = 60;
/// So long a listener that was reached before may be out of reach while users see the maintenance page.
const OUT_OF_REACH_SECONDS: u32 = 60;

/// A rule of ours for probes, whichever rollout's.
pub(crate) fn is_probe_rule(view: &View<'_>, rule: &ListenerRule) -> bool {
    let part = rule.tags.get(PART_TAG).map(String::as_str);
    view.is_ours(&rule.tags) && part == Some(PROBE_PART)
}

/// An answer of a version, as the header `X-Version-Id` says it: `11.10.0.<build>.<settings>.<licensed>`.
fn is_of_version(answer: &str, version: &str) -> bool {
    answer
        .strip_prefix(version)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The rule leads to green, read back. Other ones of this rollout are deleted: two orchestrators at once make two.
pub(super) fn rule(draft: &mut Draft, scene: &Scene<'_>) -> bool {
    let view = scene.view;
    let Some(probe) = &scene.rollout.probe else {
        return true;
    };
    if !draft.knows(view, "rules") || !draft.knows(view, "listeners") {
        return false;
    }
    let (Some(balancer), Some(listener)) = (&scene.balancer, view.listener()) else {
        draft.wait("listener", "the listener is not visible");
        return false;
    };
    let green = balancer.target_group(scene.green_slot()).to_owned();
    let action = Action::EnsureProbeRule {
        listener: listener.arn.clone(),
        token: probe.token.clone(),
        target_group: green.clone(),
    };
    let mut ours: Vec<&ListenerRule> = view
        .observed
        .rules
        .values()
        .filter(|rule| is_probe_rule(view, rule) && rule.is_for(&probe.token))
        .filter(|rule| rule.listener == listener.arn)
        .collect();
    ours.sort_by_key(|rule| rule.priority);
    let Some((first, others)) = ours.split_first() else {
        note_rule(draft, None);
        let what = "the listener's rule for probes of green";
        draft.create(view, "probe_rule", what, action);
        return false;
    };
    for other in others {
        remove(draft, view, other);
    }
    if !leads_to(first, &green) {
        note_rule(draft, None);
        let what = "the listener's rule for probes leads elsewhere than to green";
        draft.set(view, "probe_rule", what, action);
        return false;
    }
    note_rule(draft, Some(&first.arn));
    true
}

fn leads_to(rule: &ListenerRule, target_group: &str) -> bool {
    matches!(&rule.action, ListenerAction::Forward(forward)
        if forward.weights.keys().eq([target_group]))
}

fn note_rule(draft: &mut Draft, arn: Option<&String>) {
    let probe = draft.rollout.as_mut().and_then(|it| it.probe.as_mut());
    if let Some(probe) = probe
        && probe.rule.as_ref() != arn
    {
        probe.rule = arn.cloned();
    }
}

fn remove(draft: &mut Draft, view: &View<'_>, rule: &ListenerRule) {
    let action = Action::DeleteProbeRule {
        arn: rule.arn.clone(),
    };
    draft.set(
        view,
        "probe_rule",
        "the listener's rule for probes of green is deleted",
        action,
    );
}

/// Phases that stand on the rule: whoever deleted or changed it, it is made again.
pub(super) fn keep(draft: &mut Draft, scene: &Scene<'_>) {
    let stands = matches!(
        scene.rollout.phase,
        Phase::Prepared
            | Phase::Closed
            | Phase::Snapshot
            | Phase::Canary
            | Phase::Full
            | Phase::Joined
            | Phase::Shifting { .. }
            | Phase::Baking
    );
    let made = scene.rollout.to.template_version.is_some();
    if stands && made && scene.view.unknown("rules").is_none() {
        // What stands in its way is no reason for the phase to wait: its gate says so.
        let before = draft.reasons.len();
        rule(draft, scene);
        draft.reasons.truncate(before);
    }
}

/// The rollout's rule is gone.
pub(super) fn is_removed(draft: &mut Draft, scene: &Scene<'_>) -> bool {
    let view = scene.view;
    let Some(probe) = &scene.rollout.probe else {
        return true;
    };
    // Rules that may not be read are none that were made.
    let key = Action::EnsureProbeRule {
        listener: String::new(),
        token: probe.token.clone(),
        target_group: String::new(),
    }
    .key();
    if probe.rule.is_none() && !view.intent.journal.contains_key(&key) {
        return true;
    }
    if !draft.knows(view, "rules") {
        return false;
    }
    let mut gone = true;
    for rule in view.observed.rules.values() {
        if is_probe_rule(view, rule) {
            gone = false;
            remove(draft, view, rule);
        }
    }
    gone
}

/// Before blue is touched it is known whether an answer through the load balancer says anything of green: this
/// host reaches the listener, and what serves now passes. Else no gate waits for one, and the row says why.
pub(super) fn is_decided(draft: &mut Draft, scene: &Scene<'_>) -> bool {
    let Some(probe) = &scene.rollout.probe else {
        return true;
    };
    if probe.waived.is_some() {
        return true;
    }
    let view = scene.view;
    let least = view.reads_in_a_row();
    let why = match fresh(view.observed.probes.users.as_ref(), view.now) {
        Some(Probe {
            outcome: ProbeOutcome::Passed { .. },
            ..
        }) => return true,
        Some(seen) if seen.in_a_row >= least => match &seen.outcome {
            ProbeOutcome::Failed { what, text, .. } => {
                format!(
                    "what serves now does not pass, either: {}: {text}",
                    what.words()
                )
            }
            ProbeOutcome::Unreachable { text } => format!("this host does not reach it: {text}"),
            ProbeOutcome::Passed { .. } => return true,
        },
        None if view.now >= later(scene.rollout.entered, UNASKED_SECONDS) => {
            "nobody asked".to_owned()
        }
        _ => {
            draft.wait(
                "probe",
                "what serves now is asked through the load balancer first",
            );
            return false;
        }
    };
    waive(draft, why);
    // In the row and in the phase's reasons before the phase is left.
    false
}

fn waive(draft: &mut Draft, why: String) {
    let text = not_probed(&why);
    if let Some(probe) = draft.rollout.as_mut().and_then(|it| it.probe.as_mut()) {
        probe.waived = Some(why);
    }
    draft.wait("probe", text);
}

/// The words of the plan, of the report and of waits.
pub(crate) fn not_probed(why: &str) -> String {
    format!("green is not probed through the load balancer: {why}")
}

fn fresh(seen: Option<&Probe>, now: Timestamp) -> Option<&Probe> {
    seen.filter(|seen| now < later(seen.at, FRESH_SECONDS))
}

/// The load balancer leads to green, and green answers as the version that is wanted.
pub(super) fn green_answers(draft: &mut Draft, scene: &Scene<'_>) -> bool {
    let view = scene.view;
    let Some(probe) = &scene.rollout.probe else {
        return true;
    };
    if probe.waived.is_some() {
        return true;
    }
    if !rule(draft, scene) {
        return false;
    }
    let seen = fresh(view.observed.probes.green.as_ref(), view.now);
    let Some(seen) = seen.filter(|seen| seen.rule.is_some() && seen.rule == known_rule(draft))
    else {
        draft.wait("probe", "green is being asked through the load balancer");
        return false;
    };
    let version = &scene.rollout.to.version;
    let text = match &seen.outcome {
        ProbeOutcome::Passed { version: answer } if is_of_version(answer, version) => {
            if seen.in_a_row >= view.reads_in_a_row() {
                return true;
            }
            format!(
                "green answers through the load balancer, {} of {} times in a row",
                seen.in_a_row,
                view.reads_in_a_row()
            )
        }
        ProbeOutcome::Passed { version: answer } => format!(
            "asked for green, {version}, the load balancer leads to a server that says `{answer}`"
        ),
        ProbeOutcome::Failed { what, text, .. } => format!(
            "asked for green, {version}, through the load balancer, {} fails: {text}",
            what.words()
        ),
        ProbeOutcome::Unreachable { text } => {
            let long = view.now >= later(seen.since, OUT_OF_REACH_SECONDS);
            if long && scene.is_closed() {
                waive(
                    draft,
                    format!(
                        "this host reached it before and does not any more, and users wait behind the maintenance page: {text}"
                    ),
                );
                return false;
            }
            format!("the load balancer cannot be asked for green, {version}: {text}")
        }
    };
    draft.wait("probe", text);
    false
}

fn known_rule(draft: &Draft) -> Option<String> {
    let probe: Option<&RolloutProbe> = draft.rollout.as_ref()?.probe.as_ref();
    probe?.rule.clone()
}

/// Rules for probes without a rollout: one that was given up left them.
pub(crate) fn prune(view: &View<'_>, draft: &mut Draft) {
    if view.unknown("rules").is_some() {
        return;
    }
    for rule in view.observed.rules.values() {
        if is_probe_rule(view, rule) {
            remove(draft, view, rule);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_of_version;

    #[test]
    fn a_version_is_the_answer_s_whole_beginning() {
        for (answer, version, is) in [
            ("11.1.0.18.abc.false", "11.1.0", true),
            ("11.1.0", "11.1.0", true),
            ("11.10.0.18.abc.false", "11.1.0", false),
            ("11.10.0..abc.false", "11.10.0", true),
            ("", "11.1.0", false),
        ] {
            assert_eq!(is_of_version(answer, version), is, "{answer}");
        }
    }
}
