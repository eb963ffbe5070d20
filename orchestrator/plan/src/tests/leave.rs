//! Nodes that leave: when they may close their connections, and how long the load balancer waits for it.

use crate::fixtures::{clustered, ready};
use crate::intent::Intent;
use crate::world::World;
use crate::{Action, Decision, NodeGoal, plan};

const DELAY: &str = "deregistration_delay.timeout_seconds";

/// Two nodes that serve 1,000 clients each, and both leave; targets still get requests.
fn two_leave() -> (World, Intent, Vec<String>) {
    let (mut world, intent) = ready(&clustered(2));
    let group = world.observed.groups.get_mut("demo-g1").unwrap();
    let ids: Vec<String> = group.members.keys().cloned().collect();
    for member in group.members.values_mut() {
        member.lifecycle = "Terminating".to_owned();
    }
    for id in &ids {
        world.observed.nodes.get_mut(id).unwrap().connections = 1000;
    }
    (world, intent, ids)
}

fn targets(world: &mut World, state: &str) {
    for group in world.observed.target_groups.values_mut() {
        for seen in group.targets.values_mut() {
            state.clone_into(seen);
        }
    }
}

fn told_to_drain(decision: &Decision) -> Vec<&String> {
    let goals = decision.nodes.iter();
    goals
        .filter(|(_, goal)| **goal == NodeGoal::Drain)
        .map(|(id, _)| id)
        .collect()
}

#[test]
fn connections_are_kept_while_the_load_balancer_sends_and_closed_by_one_node_at_a_time() {
    let (mut world, intent, ids) = two_leave();
    let decision = plan(&intent, &world.observed, world.now);
    assert_eq!(told_to_drain(&decision), [""; 0]);
    let why = "is leaving: a target of `demo-a` still";
    assert!(
        decision
            .reasons
            .iter()
            .any(|reason| reason.text.contains(why)),
        "{:#?}",
        decision.reasons
    );

    targets(&mut world, "draining");
    let decision = plan(&intent, &world.observed, world.now);
    assert_eq!(told_to_drain(&decision), [&ids[0]]);
    let node = world.observed.nodes.get_mut(&ids[0]).unwrap();
    node.goal = Some(NodeGoal::Drain);
    node.phase = "draining".to_owned();
    let decision = plan(&intent, &world.observed, world.now);
    assert_eq!(told_to_drain(&decision), [&ids[0]], "the other waits");
    world.observed.nodes.get_mut(&ids[0]).unwrap().phase = "drained".to_owned();
    let decision = plan(&intent, &world.observed, world.now);
    assert_eq!(told_to_drain(&decision), [&ids[0], &ids[1]]);
}

#[test]
fn a_node_whose_delay_is_over_or_whose_elder_is_gone_waits_for_nobody() {
    let (mut world, intent, ids) = two_leave();
    let group = world.observed.groups.get_mut("demo-g1").unwrap();
    for member in group.members.values_mut() {
        member.lifecycle = "Terminating:Wait".to_owned();
    }
    let decision = plan(&intent, &world.observed, world.now);
    assert_eq!(told_to_drain(&decision), [&ids[0], &ids[1]]);

    let (mut world, intent, ids) = two_leave();
    targets(&mut world, "draining");
    let node = world.observed.nodes.get_mut(&ids[0]).unwrap();
    node.goal = Some(NodeGoal::Drain);
    node.connected = false;
    let decision = plan(&intent, &world.observed, world.now);
    assert_eq!(told_to_drain(&decision), [&ids[0], &ids[1]]);
}

fn delay(decision: &Decision) -> Option<&str> {
    decision.actions.iter().find_map(|action| match action {
        Action::EnsureTargetGroup { attributes, .. } => attributes.get(DELAY).map(String::as_str),
        _ => None,
    })
}

/// 60 connections a second are closed where 100 clients may come back.
#[test]
fn the_load_balancer_waits_for_the_node_with_the_most_connections() {
    let (mut world, intent) = ready(&clustered(2));
    let id = world.observed.nodes.keys().next().unwrap().clone();
    let hold = |world: &mut World, connections: u32| {
        world.observed.nodes.get_mut(&id).unwrap().connections = connections;
        plan(&intent, &world.observed, world.now)
    };
    assert_eq!(delay(&hold(&mut world, 2_000)), None, "60 s are enough");
    assert_eq!(delay(&hold(&mut world, 8_000)), Some("180"));
    assert_eq!(delay(&hold(&mut world, 1_000_000)), Some("3600"));

    for group in world.observed.target_groups.values_mut() {
        group.attributes.insert(DELAY.to_owned(), "180".to_owned());
    }
    assert_eq!(delay(&hold(&mut world, 8_000)), None);
    // Somebody leaves: what it was promised is not taken back.
    let group = world.observed.groups.get_mut("demo-g1").unwrap();
    let member = group.members.values_mut().next().unwrap();
    member.lifecycle = "Terminating".to_owned();
    assert_eq!(delay(&hold(&mut world, 100)), None);
    let group = world.observed.groups.get_mut("demo-g1").unwrap();
    let member = group.members.values_mut().next().unwrap();
    member.lifecycle = "InService".to_owned();
    assert_eq!(delay(&hold(&mut world, 100)), Some("60"));
}
