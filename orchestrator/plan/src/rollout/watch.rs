//! The evidence of a step: what users got from green, judged in windows. No data is not health.
//!
//! The load balancer's minutes are whole some minutes late (`metrics_delay_seconds`), and a window is judged
//! only then. Windows follow one another without a gap, and none has two shares in it: when the weights change,
//! the window that is open ends there. Its numbers come while the next step has begun, and it is judged first, as
//! the earlier step's:
//!
//! ```text
//!  10 %  |-- window --|-- window --|-- window --|-- delay: a window that ends with the step --|
//!                                                                                       50 %  |-- window --|
//! ```
//!
//! The minute in which the weights change counts for the earlier share.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::draft::Draft;
use crate::intent::Window;
use crate::observed::{OwnProbes, TargetTraffic, Traffic};
use crate::rollout::scene::Scene;
use crate::spec;
use crate::view::later;

/// Windows of a step. Two bad ones of the last three turn the rollout back.
const WINDOWS: u32 = 3;
/// Of the last [`WINDOWS`].
const BAD: usize = 2;

/// What the windows so far say of the step.
pub(super) enum Verdict {
    /// Enough windows were watched, and the last one was good.
    Good,
    /// The next windows will tell.
    Waiting,
    /// The rollout turns back, for these reasons.
    Bad(Vec<String>),
}

/// The last window that was judged is not a bad one.
pub(super) fn is_quiet(draft: &Draft) -> bool {
    let last = draft.rollout.as_ref().and_then(|it| it.history.last());
    last != Some(&true)
}

/// How many windows of the present step were judged.
pub(super) fn judged(draft: &Draft) -> u32 {
    draft.rollout.as_ref().map_or(0, |rollout| rollout.windows)
}

/// Judges the present window once its numbers are whole. Green has `weight` percent, read back. The window ends
/// with the phase where that has an end.
pub(super) fn watch(
    draft: &mut Draft,
    scene: &Scene<'_>,
    weight: u8,
    phase_ends: Option<Timestamp>,
) -> Verdict {
    let view = scene.view;
    let limits = &view.spec().rollout;
    if !draft.knows(view, "traffic") {
        return Verdict::Waiting;
    }
    let Some(window) = present(draft, view.now, weight) else {
        return Verdict::Waiting;
    };
    let seconds = (limits.step_seconds / WINDOWS).max(1);
    let full = later(window.began, seconds);
    let cut = phase_ends.filter(|end| *end > window.began && *end < full);
    let until = window.ended.or(cut).unwrap_or(full);
    let seen = view.observed.traffic.as_ref();
    let whole = seen.filter(|seen| seen.since == window.began && seen.until >= until);
    let Some(traffic) = whole else {
        let whole = later(until, limits.metrics_delay_seconds);
        let text = format!(
            "{} % on green is watched; a window's numbers are whole {} s after its end",
            window.weight, limits.metrics_delay_seconds
        );
        draft.wait_until("window", text, Some(whole));
        return Verdict::Waiting;
    };
    let mut evidence = Evidence::of(traffic, &view.names.target_group(scene.green_slot()));
    evidence.own = own_probes(scene, traffic);
    let is_enough = evidence.is_enough(limits);
    if !is_enough && window.ended.is_none() {
        draft.wait("no_data", evidence.lacking(limits, window));
        return Verdict::Waiting;
    }
    let next = Window {
        began: traffic.until,
        weight,
        ended: None,
    };
    let Some(rollout) = &mut draft.rollout else {
        return Verdict::Waiting;
    };
    rollout.watch = Some(next);
    // The rest of an earlier step grows no more: what it lacks is no evidence for or against.
    if !is_enough {
        return Verdict::Waiting;
    }
    judge(draft, scene, window, &evidence)
}

/// The window to be judged next. None: the watch begins now.
fn present(draft: &mut Draft, now: Timestamp, weight: u8) -> Option<Window> {
    let rollout = draft.rollout.as_mut()?;
    let Some(window) = &mut rollout.watch else {
        rollout.watch = Some(Window {
            began: now,
            weight,
            ended: None,
        });
        draft.wait("window", "the watch begins");
        return None;
    };
    if window.weight != weight {
        window.ended.get_or_insert(now);
    }
    Some(*window)
}

/// What the orchestrator got itself in this window, where its own requests say something of green: not where
/// blue did not pass, either.
fn own_probes<'a>(scene: &'a Scene<'_>, traffic: &Traffic) -> Option<&'a OwnProbes> {
    let probe = scene.rollout.probe.as_ref()?;
    let own = scene.view.observed.probes.window.as_ref()?;
    (probe.waived.is_none() && own.since == traffic.since).then_some(own)
}

fn judge(draft: &mut Draft, scene: &Scene<'_>, window: Window, evidence: &Evidence<'_>) -> Verdict {
    let limits = &scene.view.spec().rollout;
    let Some(rollout) = &mut draft.rollout else {
        return Verdict::Waiting;
    };
    let bad = evidence.is_bad(limits);
    let text = format!("at {} %: {}", window.weight, evidence.words(limits));
    let is_of_this_step = window.ended.is_none();
    rollout.windows += u32::from(is_of_this_step);
    rollout.bad_windows += u32::from(bad);
    rollout.history.push(bad);
    if rollout.history.len() > WINDOWS as usize {
        rollout.history.remove(0);
    }
    let bad_of_last = rollout.history.iter().filter(|bad| **bad).count();
    if bad_of_last >= BAD {
        return Verdict::Bad(vec![format!(
            "{bad_of_last} of the last {} windows were bad; the last, {text}",
            rollout.history.len()
        )]);
    }
    if rollout.windows >= WINDOWS && !bad {
        return Verdict::Good;
    }
    draft.wait("window", text);
    Verdict::Waiting
}

/// What a window holds about green.
struct Evidence<'a> {
    /// Green's target group.
    group: String,
    green: TargetTraffic,
    traffic: &'a Traffic,
    /// The orchestrator's own requests, which are among the load balancer's.
    own: Option<&'a OwnProbes>,
}

impl<'a> Evidence<'a> {
    fn of(traffic: &'a Traffic, group: &str) -> Self {
        Self {
            group: group.to_owned(),
            green: traffic.groups.get(group).cloned().unwrap_or_default(),
            traffic,
            own: None,
        }
    }

    /// Hundredths of a percent: of the requests to green those that its targets failed, and of the requests to
    /// both groups those that the load balancer failed. For whom it failed them AWS does not count, so that they
    /// are taken to be spread as all requests are; divided by green's requests alone, a background of blue's
    /// would look like green's while green has a small share.
    fn basis_points(&self) -> f64 {
        let share = |errors: u64, requests: u64| {
            // A request that found no target is an error and no request of a target group's.
            let of = requests.max(errors);
            if of == 0 {
                0.0
            } else {
                errors as f64 * 10_000.0 / of as f64
            }
        };
        share(self.green.target_errors, self.green.requests)
            + share(self.traffic.balancer_errors, self.traffic.requests())
    }

    /// Too few requests are no evidence. The load balancer's own errors are, in such numbers: those that found no
    /// target are no requests of green's.
    fn is_enough(&self, limits: &spec::Rollout) -> bool {
        let least = u64::from(limits.min_requests);
        limits.quiet_is_fine
            || self.green.requests >= least
            || (self.traffic.balancer_errors >= least && self.is_bad(limits))
            || (self.own.is_some_and(|own| own.failed >= least) && self.is_bad(limits))
    }

    /// What the load balancer's numbers cannot show: a certificate that browsers refuse, a file that is not there,
    /// a WebSocket that does not open. One failure may be anybody's.
    fn own_are_bad(&self, limits: &spec::Rollout) -> bool {
        self.own.is_some_and(|own| {
            let allowed = own
                .asked
                .saturating_mul(limits.max_error_basis_points.into());
            own.failed > 1 && own.failed.saturating_mul(10_000) > allowed
        })
    }

    /// The orchestrator's own requests, apart from users'.
    fn own_words(&self) -> String {
        let Some(own) = self.own else {
            return String::new();
        };
        let mut text = format!(
            "; {} of all requests were the orchestrator's own, in {} probes, of which {} failed",
            own.requests, own.asked, own.failed
        );
        if own.unreachable > 0 {
            let _ = write!(text, "; {} more did not reach it", own.unreachable);
        }
        if let Some(last) = &own.last {
            let _ = write!(text, "; the last: {last}");
        }
        text
    }

    fn lacking(&self, limits: &spec::Rollout, window: Window) -> String {
        let passed = self.traffic.until.duration_since(window.began).as_secs();
        format!(
            "{} of {} requests went through `{}` in {passed} s at {} %: no data is not health, and the window stays open (`rollout.min_requests`; `rollout.quiet_is_fine` goes on without){}",
            self.green.requests,
            limits.min_requests,
            self.group,
            window.weight,
            self.own_words()
        )
    }

    fn p95_ms(&self) -> f64 {
        self.green.p95_seconds.map_or(0.0, |it| it * 1000.0)
    }

    fn is_bad(&self, limits: &spec::Rollout) -> bool {
        self.basis_points() > f64::from(limits.max_error_basis_points)
            || self.p95_ms() > f64::from(limits.max_p95_ms)
            || self.own_are_bad(limits)
    }

    fn words(&self, limits: &spec::Rollout) -> String {
        format!(
            "{} of {} requests to `{}` failed there, {} of {} requests to both groups at the load balancer ({:.2} % in all, {:.2} % allowed), p95 {:.0} ms ({} ms allowed){}",
            self.green.target_errors,
            self.green.requests,
            self.group,
            self.traffic.balancer_errors,
            self.traffic.requests(),
            self.basis_points() / 100.0,
            f64::from(limits.max_error_basis_points) / 100.0,
            self.p95_ms(),
            limits.max_p95_ms,
            self.own_words()
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::fixtures::epoch;

    /// (requests, errors) of blue and of green, and the load balancer's own errors.
    fn window(blue: (u64, u64), green: (u64, u64), balancer_errors: u64) -> Traffic {
        let group = |(requests, target_errors)| TargetTraffic {
            requests,
            target_errors,
            p95_seconds: None,
        };
        Traffic {
            since: epoch(),
            until: later(epoch(), 100),
            groups: BTreeMap::from([
                ("a".to_owned(), group(blue)),
                ("b".to_owned(), group(green)),
            ]),
            balancer_errors,
        }
    }

    #[test]
    fn one_request_is_no_evidence() {
        let limits = spec::Rollout {
            min_requests: 100,
            ..spec::Rollout::default()
        };
        let quiet = spec::Rollout {
            quiet_is_fine: true,
            ..limits.clone()
        };
        for (green, balancer, is_enough) in [
            ((0, 0), 0, false),
            ((1, 1), 0, false),
            ((99, 0), 0, false),
            ((100, 0), 0, true),
            // Nobody finds a target: that is evidence, and bad.
            ((0, 0), 99, false),
            ((0, 0), 100, true),
        ] {
            let traffic = window((0, 0), green, balancer);
            let evidence = Evidence::of(&traffic, "b");
            assert_eq!(evidence.is_enough(&limits), is_enough, "{green:?}");
            assert!(evidence.is_enough(&quiet));
        }
        // One failed request of as many is still good.
        let traffic = window((0, 0), (100, 1), 0);
        assert!(!Evidence::of(&traffic, "b").is_bad(&limits));
    }

    #[test]
    fn what_the_load_balancer_fails_is_not_green_s_alone() {
        let limits = spec::Rollout::default();
        for (blue, green, balancer, is_bad) in [
            // At weight 10 a background of 0.11 % is 1.1 % of green's requests.
            ((9_000, 0), (1_000, 0), 11, false),
            ((9_000, 0), (1_000, 0), 101, true),
            // Blue's own errors are blue's.
            ((9_000, 9_000), (1_000, 0), 0, false),
            ((9_000, 0), (1_000, 10), 0, false),
            ((9_000, 0), (1_000, 11), 0, true),
            // Both kinds add up.
            ((9_000, 0), (1_000, 6), 50, true),
            // Nobody found a target.
            ((0, 0), (0, 0), 30, true),
        ] {
            let traffic = window(blue, green, balancer);
            let evidence = Evidence::of(&traffic, "b");
            assert_eq!(
                evidence.is_bad(&limits),
                is_bad,
                "{}",
                evidence.words(&limits)
            );
        }
    }
}
