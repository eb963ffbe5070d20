//! What people have set on groups and nodes: named where it is waited for, lifted where it is ours to lift.

use super::begin;
use crate::Decision;
use crate::fixtures::{clustered, ready, turn, until};
use crate::intent::{Intent, Phase, Want};
use crate::world::World;

fn suspend(world: &mut World, group: &str, process: &str, suspended: bool) {
    let group = world.observed.groups.get_mut(group).unwrap();
    if suspended {
        group.suspended.insert(process.to_owned());
    } else {
        group.suspended.remove(process);
    }
}

fn says(decision: &Decision, words: &str) -> bool {
    decision.reasons.iter().any(|it| it.text.contains(words))
}

/// So many turns in one phase, whose last decision is given.
fn stays(world: &mut World, intent: &mut Intent, turns: usize, phase: &Phase) -> Decision {
    let mut last = turn(world, intent);
    for _ in 0..turns {
        last = turn(world, intent);
        assert_eq!(last.next, *phase, "{:#?}", last.reasons);
    }
    last
}

#[test]
fn a_suspended_end_of_nodes_is_named_before_a_rollout_begins() {
    let (mut world, mut intent) = ready(&clustered(2));
    suspend(&mut world, "demo-g1", "Terminate", true);
    begin(&mut intent, &world, "11.11.0");
    turn(&mut world, &mut intent);
    let decision = stays(&mut world, &mut intent, 20, &Phase::Preflight);
    assert!(
        says(&decision, "`Terminate` of `demo-g1` is suspended by hand"),
        "{:#?}",
        decision.reasons
    );
    assert!(says(
        &decision,
        "resume-processes --auto-scaling-group-name demo-g1 --scaling-processes Terminate"
    ));
    // It is not ours to lift.
    assert!(
        world.observed.groups["demo-g1"]
            .suspended
            .contains("Terminate")
    );
    suspend(&mut world, "demo-g1", "Terminate", false);
    until(&mut world, &mut intent, 3000, |phase| *phase == Phase::Done);
}

#[test]
fn suspended_before_the_drain_it_is_named_there() {
    let (mut world, mut intent) = ready(&clustered(2));
    begin(&mut intent, &world, "11.11.0");
    until(&mut world, &mut intent, 3000, |phase| {
        *phase == Phase::Baking
    });
    suspend(&mut world, "demo-g1", "Terminate", true);
    until(&mut world, &mut intent, 3000, |phase| {
        *phase == Phase::Draining
    });
    let decision = stays(&mut world, &mut intent, 10, &Phase::Draining);
    assert!(
        says(
            &decision,
            "`Terminate` of `demo-g1` is suspended by hand: no node is ended"
        ),
        "{:#?}",
        decision.reasons
    );
    suspend(&mut world, "demo-g1", "Terminate", false);
    until(&mut world, &mut intent, 3000, |phase| *phase == Phase::Done);
}

#[test]
fn protected_nodes_of_blue_leave_all_the_same() {
    let (mut world, mut intent) = ready(&clustered(2));
    let group = world.observed.groups.get_mut("demo-g1").unwrap();
    for member in group.members.values_mut() {
        member.protected = true;
    }
    begin(&mut intent, &world, "11.11.0");
    until(&mut world, &mut intent, 3000, |phase| {
        *phase == Phase::Baking
    });
    // Until blue is to leave, somebody's protection stays.
    let protected = |world: &World| {
        let members = world.observed.groups["demo-g1"].members.values();
        members.filter(|member| member.protected).count()
    };
    assert_eq!(protected(&world), 2);
    let decision = until(&mut world, &mut intent, 3000, |phase| {
        *phase == Phase::Draining
    });
    let decision = if says(&decision, "protection") {
        decision
    } else {
        turn(&mut world, &mut intent)
    };
    assert!(
        says(&decision, "protection from scale-in is lifted of i-"),
        "{:#?}",
        decision.reasons
    );
    until(&mut world, &mut intent, 3000, |phase| *phase == Phase::Done);
    assert_eq!(protected(&world), 0);
}

#[test]
fn down_ends_protected_nodes_too() {
    let (mut world, mut intent) = ready(&clustered(1));
    let group = world.observed.groups.get_mut("demo-g1").unwrap();
    for member in group.members.values_mut() {
        member.protected = true;
    }
    intent.want = Want::Down {
        delete_database: false,
        delete_files: false,
    };
    until(&mut world, &mut intent, 300, |phase| *phase == Phase::Gone);
}

#[test]
fn a_suspended_launch_is_named_where_a_node_is_waited_for() {
    let (mut world, mut intent) = ready(&clustered(2));
    suspend(&mut world, "demo-g1", "Launch", true);
    let id = world.observed.groups["demo-g1"]
        .members
        .keys()
        .next()
        .unwrap()
        .clone();
    world.end("demo-g1", &id);
    let mut decision = turn(&mut world, &mut intent);
    for _ in 0..60 {
        decision = turn(&mut world, &mut intent);
    }
    assert_eq!(world.observed.groups["demo-g1"].members.len(), 1);
    assert!(
        says(
            &decision,
            "`Launch` of `demo-g1` is suspended by hand: no node is launched"
        ),
        "{:#?}",
        decision.reasons
    );
    suspend(&mut world, "demo-g1", "Launch", false);
    until(&mut world, &mut intent, 300, |phase| *phase == Phase::Ready);
}
