//! Histories that went wrong once: one dying instance, one hand in AWS, one verb of an operator.

use super::begin;
use crate::fixtures::{clustered, ready, turn, unlicensed, until, without_log};
use crate::intent::{Intent, Phase};
use crate::observed::ListenerAction;
use crate::rollout::word;
use crate::world::{TICK_SECONDS, World};

/// What a rollout did on its way, turn by turn.
#[derive(Debug, Default)]
struct Course {
    /// Turns in which users saw the maintenance page.
    closed: usize,
    /// Instances that were launched, with those that were there.
    instances: usize,
    end: Option<Phase>,
}

pub(super) fn is_closed(world: &World) -> bool {
    world
        .observed
        .listeners
        .values()
        .any(|listener| matches!(listener.action, ListenerAction::Fixed(..)))
}

/// Turns until an end, at most `most` of them.
fn course(world: &mut World, intent: &mut Intent, most: usize) -> Course {
    let mut course = Course::default();
    for _ in 0..most {
        let decision = turn(world, intent);
        course.closed += usize::from(is_closed(world));
        course.instances = course.instances.max(world.observed.instances.len());
        if matches!(
            decision.next,
            Phase::Done | Phase::RolledBack | Phase::Stuck { .. }
        ) {
            course.end = Some(decision.next);
            break;
        }
    }
    course
}

/// Every running instance of the group ends.
fn end(world: &mut World, group: &str) {
    let members: Vec<String> = world.observed.groups[group]
        .members
        .keys()
        .cloned()
        .collect();
    for id in members {
        world.observed.instances.get_mut(&id).unwrap().state = "terminated".to_owned();
    }
}

#[test]
fn users_are_sent_away_only_while_blue_is_whole() {
    let (mut world, mut intent) = ready(&unlicensed());
    begin(&mut intent, &world, "11.11.0");
    let undisturbed = course(&mut world.clone(), &mut intent.clone(), 2000);
    assert_eq!(undisturbed.end, Some(Phase::Done));
    until(&mut world, &mut intent, 300, |phase| {
        *phase == Phase::Prepared
    });
    end(&mut world, "demo-g1");
    let disturbed = course(&mut world, &mut intent, 2000);
    assert_eq!(disturbed.end, Some(Phase::Done), "{disturbed:?}");
    assert!(
        disturbed.closed <= undisturbed.closed + 2,
        "{disturbed:?} {undisturbed:?}"
    );
    assert!(
        disturbed.instances <= undisturbed.instances + 2,
        "{disturbed:?}"
    );
}

/// A cutover to the next extended support release, on whose schema the one before cannot run, until this phase.
fn without_a_way_back(wanted: impl Fn(&Phase) -> bool) -> (World, Intent) {
    let mut spec = unlicensed();
    let supported = &mut spec.mattermost.versions.extended_support;
    supported.insert("11.13".to_owned());
    let (mut world, mut intent) = ready(&spec);
    begin(&mut intent, &world, "11.13.0");
    until(&mut world, &mut intent, 2000, wanted);
    (world, intent)
}

/// Nodes of the group on which a server runs.
fn serving(world: &World, group: &str) -> usize {
    let members = world.observed.groups[group].members.keys();
    members
        .filter(|id| {
            let node = world.observed.nodes.get(*id);
            node.is_some_and(|node| node.phase == "serving")
        })
        .count()
}

#[test]
fn an_abort_without_a_way_back_stops_nobody_and_promote_goes_on() {
    let (mut world, mut intent) = without_a_way_back(|phase| *phase == Phase::Baking);
    intent.rollout.as_mut().unwrap().abort = true;
    let mut stuck = 0;
    for _ in 0..50 {
        let decision = turn(&mut world, &mut intent);
        stuck += usize::from(matches!(decision.next, Phase::Stuck { .. }));
        assert_eq!(serving(&world, "demo-g2"), 1, "{:?}", decision.next);
    }
    assert!(stuck > 40, "{stuck}");
    // Again: it is said, and nobody stops.
    intent.rollout.as_mut().unwrap().abort = true;
    for _ in 0..50 {
        let decision = turn(&mut world, &mut intent);
        assert!(matches!(decision.next, Phase::Stuck { .. }));
        assert_eq!(serving(&world, "demo-g2"), 1);
    }
    let rollout = intent.rollout.as_mut().unwrap();
    (rollout.abort, rollout.promote) = (false, true);
    let on = course(&mut world, &mut intent, 2000);
    assert_eq!((on.end, on.closed), (Some(Phase::Done), 0));
}

#[test]
fn an_abort_goes_back_once_the_schema_is_the_former_again() {
    let (mut world, mut intent) = without_a_way_back(|phase| *phase == Phase::Baking);
    intent.rollout.as_mut().unwrap().abort = true;
    until(&mut world, &mut intent, 20, |phase| {
        matches!(phase, Phase::Stuck { .. })
    });
    let before = intent.rollout.as_ref().unwrap().migrations_before;
    world
        .observed
        .databases
        .as_mut()
        .unwrap()
        .migrations_applied = before;
    intent.rollout.as_mut().unwrap().abort = true;
    let back = course(&mut world, &mut intent, 2000);
    assert_eq!(back.end, Some(Phase::RolledBack), "{back:?}");
}

#[test]
fn a_pause_is_not_counted_by_the_deadline_of_its_phase() {
    let (mut world, mut intent) = ready(&clustered(2));
    begin(&mut intent, &world, "11.11.0");
    until(&mut world, &mut intent, 1000, |phase| {
        *phase == Phase::Shifting { weight: 10 }
    });
    intent.rollout.as_mut().unwrap().paused = true;
    let day = 24 * 3600 / TICK_SECONDS;
    for _ in 0..day / 4 {
        let decision = turn(&mut world, &mut intent);
        assert_eq!(decision.next, Phase::Shifting { weight: 10 });
    }
    intent.rollout.as_mut().unwrap().paused = false;
    let on = course(&mut world, &mut intent, 2000);
    assert_eq!(on.end, Some(Phase::Done), "{on:?}");
}

#[test]
fn a_pause_keeps_nobody_on_the_maintenance_page() {
    let (mut world, mut intent) = ready(&unlicensed());
    begin(&mut intent, &world, "11.11.0");
    let undisturbed = course(&mut world.clone(), &mut intent.clone(), 2000);
    until(&mut world, &mut intent, 300, |phase| {
        *phase == Phase::Closed
    });
    intent.rollout.as_mut().unwrap().paused = true;
    let mut closed = 0;
    for _ in 0..500 {
        turn(&mut world, &mut intent);
        closed += usize::from(is_closed(&world));
    }
    assert!(closed <= undisturbed.closed + 1, "{closed} {undisturbed:?}");
    let phase = intent.rollout.as_ref().unwrap().phase.clone();
    assert_eq!(phase, Phase::Shifting { weight: 100 }, "held there");
    intent.rollout.as_mut().unwrap().paused = false;
    assert_eq!(course(&mut world, &mut intent, 2000).end, Some(Phase::Done));
}

#[test]
fn a_listener_that_was_deleted_is_made_again_in_every_phase() {
    for begun in [
        || ready(&clustered(2)),
        || ready(&unlicensed()),
        || without_log(&unlicensed()),
    ] {
        let (world, mut intent) = begun();
        begin(&mut intent, &world, "11.11.0");
        let seen = super::phases(&mut world.clone(), &mut intent.clone(), 2000);
        for phase in seen.iter().skip(1).filter(|phase| *phase != "done") {
            let (mut world, mut intent) = (world.clone(), intent.clone());
            until(&mut world, &mut intent, 2000, |next| word(next) == *phase);
            world.observed.listeners.clear();
            let course = course(&mut world, &mut intent, 2000);
            assert!(
                matches!(course.end, Some(Phase::Done | Phase::RolledBack)),
                "{phase}: {course:?}"
            );
            assert!(!world.observed.listeners.is_empty(), "{phase}");
        }
    }
}

#[test]
fn a_green_group_that_was_deleted_turns_a_cutover_back_at_once() {
    let (world, mut intent) = without_log(&unlicensed());
    begin(&mut intent, &world, "11.11.0");
    let undisturbed = course(&mut world.clone(), &mut intent.clone(), 2000);
    for phase in ["closed", "snapshot"] {
        let (mut world, mut intent) = (world.clone(), intent.clone());
        until(&mut world, &mut intent, 300, |next| word(next) == phase);
        world.observed.groups.remove("demo-g2");
        let course = course(&mut world, &mut intent, 2000);
        assert_eq!(course.end, Some(Phase::RolledBack), "{phase}: {course:?}");
        assert!(
            course.closed <= undisturbed.closed + 10,
            "{phase}: {course:?} {undisturbed:?}"
        );
    }
}

#[test]
fn blue_is_not_replaced_when_somebody_resumes_its_processes() {
    let (mut world, mut intent) = ready(&unlicensed());
    begin(&mut intent, &world, "11.11.0");
    until(&mut world, &mut intent, 300, |phase| {
        *phase == Phase::Canary
    });
    world
        .observed
        .groups
        .get_mut("demo-g1")
        .unwrap()
        .suspended
        .clear();
    turn(&mut world, &mut intent);
    let suspended = &world.observed.groups["demo-g1"].suspended;
    assert!(suspended.contains("ReplaceUnhealthy"), "{suspended:?}");
    assert_eq!(course(&mut world, &mut intent, 2000).end, Some(Phase::Done));
}

#[test]
fn weights_that_hands_changed_go_back_before_green_is_shown() {
    let (mut world, mut intent) = ready(&clustered(2));
    begin(&mut intent, &world, "11.11.0");
    for phase in [Phase::Canary, Phase::Full, Phase::Joined] {
        until(&mut world, &mut intent, 1000, |next| *next == phase);
        let listener = world.observed.listeners.values_mut().next().unwrap();
        let ours = listener.action.clone();
        let ListenerAction::Forward(forward) = &mut listener.action else {
            panic!("it forwards");
        };
        for weight in forward.weights.values_mut() {
            *weight = 50;
        }
        turn(&mut world, &mut intent);
        let listener = world.observed.listeners.values().next().unwrap();
        assert_eq!(listener.action, ours, "{phase:?}");
    }
}

#[test]
fn alarms_of_a_group_that_serves_no_more_are_deleted_and_others_are_not() {
    let (mut world, mut intent) = ready(&clustered(2));
    let alarm = world.observed.alarms["demo-g1-cpu-high"].clone();
    let names = [
        "demo-g7-cpu-high",
        "demo-g7-cpu-low",
        "demo-gate-cpu-high",
        "demo-disk",
    ];
    for name in names {
        let mut alarm = alarm.clone();
        alarm.name = name.to_owned();
        world.observed.alarms.insert(name.to_owned(), alarm);
    }
    for _ in 0..3 {
        turn(&mut world, &mut intent);
    }
    let left: Vec<&str> = world.observed.alarms.keys().map(String::as_str).collect();
    let expected = [
        "demo-disk",
        "demo-g1-cpu-high",
        "demo-g1-cpu-low",
        "demo-gate-cpu-high",
    ];
    assert_eq!(left, expected);
}
