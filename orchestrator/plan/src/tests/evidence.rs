//! What a step is judged by, and whose numbers they are.

use super::{begin, phases};
use crate::fixtures::{clustered, ready, turn, until};
use crate::intent::{Intent, Phase};
use crate::observed::ListenerAction;
use crate::world::World;

/// Ten requests a minute to green at 10 %: a window of 100 s stays open until it has enough of them.
#[test]
fn a_window_with_few_requests_stays_open() {
    let mut spec = clustered(2);
    spec.rollout.min_requests = 100;
    let (mut world, mut intent) = ready(&spec);
    world.requests = 2;
    begin(&mut intent, &world, "11.11.0");
    // Users alone: without the orchestrator's own requests.
    intent.rollout.as_mut().expect("a rollout").probe = None;
    let mut told = Vec::new();
    while intent
        .rollout
        .as_ref()
        .is_none_or(|rollout| rollout.windows == 0)
    {
        let decision = turn(&mut world, &mut intent);
        let texts = decision.reasons.into_iter().map(|reason| reason.text);
        told.extend(texts.filter(|text| text.contains("rollout.min_requests")));
    }
    assert!(told.len() > 30, "{} looks", told.len());
    assert!(
        told[0].starts_with("20 of 100 requests went through `demo-b` in 100 s at 10 %"),
        "{}",
        told[0]
    );
    let last = told.last().expect("it waited");
    assert!(last.starts_with("98 of 100 requests"), "{last}");
}

#[test]
fn a_background_of_the_load_balancer_s_errors_is_not_green_s() {
    // Of 500 requests a tick 50 go to green at first: 2 are 0.4 % of all of them and 4 % of green's.
    for (balancer_errors, last) in [(2, "done"), (6, "rolled_back")] {
        let (mut world, mut intent) = ready(&clustered(2));
        world.balancer_errors = balancer_errors;
        begin(&mut intent, &world, "11.11.0");
        let seen = phases(&mut world, &mut intent, 2000);
        assert_eq!(seen.last().map(String::as_str), Some(last));
    }
}

/// A page asks for its own scripts: clients stay with their colour while there are two, and with none that is to
/// get nothing. Stickiness outranks weights, so that both change in one call.
#[test]
fn clients_stay_with_a_colour_only_while_both_serve() {
    for aborted in [false, true] {
        let (mut world, mut intent) = ready(&clustered(2));
        begin(&mut intent, &world, "11.11.0");
        let mut seen: Vec<(u32, Option<u32>)> = Vec::new();
        for _ in 0..2000 {
            let decision = turn(&mut world, &mut intent);
            if let ListenerAction::Forward(forward) = &world.observed.listeners[&80].action {
                let now = (forward.weights["arn:tg/demo-b"], forward.sticky_seconds);
                if seen.last() != Some(&now) {
                    seen.push(now);
                }
            }
            if aborted && decision.next == (Phase::Shifting { weight: 50 }) {
                intent.rollout.as_mut().expect("a rollout").abort = true;
            }
            if decision.next.ends_a_rollout() {
                break;
            }
        }
        let step = Some(300 + 180);
        if aborted {
            assert_eq!(seen, [(0, None), (10, step), (0, None)]);
        } else {
            assert_eq!(seen, [(0, None), (10, step), (50, step), (100, None)]);
        }
    }
}

/// Green fails when the last window of its first step is over, and before its numbers are whole. Answers with
/// world and intent as the second step begins.
fn late_fault() -> (World, Intent) {
    let (mut world, mut intent) = ready(&clustered(2));
    begin(&mut intent, &world, "11.11.0");
    let windows = |intent: &Intent| intent.rollout.as_ref().map_or(0, |rollout| rollout.windows);
    while windows(&intent) < 2 {
        turn(&mut world, &mut intent);
    }
    world.errors.insert("demo-b".to_owned(), 40);
    until(&mut world, &mut intent, 100, |phase| {
        *phase == Phase::Shifting { weight: 50 }
    });
    (world, intent)
}

#[test]
fn a_late_fault_of_a_step_is_judged_as_that_step_s() {
    let (mut world, mut intent) = late_fault();
    world.errors.clear();
    let told: Vec<String> = (0..40)
        .flat_map(|_| turn(&mut world, &mut intent).reasons)
        .map(|reason| reason.text)
        .filter(|text| text.starts_with("at "))
        .collect();
    let failed = |text: &str| !text.contains(": 0 of ");
    let (first, later) = told.split_first().expect("windows were judged");
    assert!(first.starts_with("at 10 %") && failed(first), "{told:#?}");
    let good = |text: &String| text.starts_with("at 50 %") && !failed(text);
    assert!(!later.is_empty() && later.iter().all(good), "{told:#?}");
    let rollout = intent.rollout.expect("a rollout");
    assert_eq!(
        (rollout.bad_windows, rollout.history.contains(&true)),
        (1, true)
    );
}

#[test]
fn a_late_fault_that_lasts_turns_back_in_the_next_window() {
    let (mut world, mut intent) = late_fault();
    let seen = phases(&mut world, &mut intent, 2000);
    assert_eq!(
        seen[1..],
        ["returning_traffic", "removing_green", "rolled_back"]
    );
    let failure = &intent.rollout.expect("a rollout").failure[0];
    assert!(
        failure.contains("2 of the last 3 windows were bad; the last, at 50 %"),
        "{failure}"
    );
}
