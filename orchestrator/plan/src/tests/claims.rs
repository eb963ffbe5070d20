//! What Auto Scaling and nodes say: launches that fail, and a count of migrations that is a lie.

use super::{begin, phases};
use crate::fixtures::{clustered, ready, turn, until};
use crate::intent::Phase;
use crate::plan;
use crate::world::World;

/// The image of what serves is deregistered, and so many nodes end.
fn without_its_image(min: u32, ended: usize) -> (World, crate::intent::Intent) {
    let (mut world, mut intent) = ready(&clustered(min));
    let proven = intent.record.proven.clone().unwrap().image_id;
    for images in world.observed.images.values_mut() {
        images.remove(&proven);
    }
    let members = world.observed.groups["demo-g1"].members.clone();
    for id in members.keys().take(ended) {
        world.observed.instances.get_mut(id).unwrap().state = "terminated".to_owned();
        world.observed.nodes.remove(id);
    }
    for _ in 0..8 {
        turn(&mut world, &mut intent);
    }
    (world, intent)
}

fn to_image(world: &World, intent: &mut crate::intent::Intent, image: &str) {
    let ask = crate::rollout::Ask {
        image_id: Some(image.to_owned()),
        ..crate::rollout::Ask::default()
    };
    let rollout = crate::rollout::request(intent, &world.observed, &ask, world.now).unwrap();
    intent.rollout = Some(rollout);
}

#[test]
fn a_rollout_to_a_good_image_leaves_a_group_that_cannot_launch() {
    // One of two nodes is there still; then none.
    for ended in [1, 2] {
        let (mut world, mut intent) = without_its_image(2, ended);
        let decision = plan(&intent, &world.observed, world.now);
        let reasons = format!("{:?}", decision.reasons);
        assert!(
            reasons.contains("The image id does not exist")
                && reasons.contains("`orchestrator rollout --image"),
            "{reasons}"
        );
        to_image(&world, &mut intent, "ami-0old");
        let seen = phases(&mut world, &mut intent, 3000);
        assert_eq!(seen.last().map(String::as_str), Some("done"), "{seen:?}");
        let group = &world.observed.groups[intent.record.group.as_deref().unwrap()];
        assert_eq!(group.members.len(), 2);
    }
}

#[test]
fn a_green_group_that_cannot_launch_ends_the_rollout_early() {
    let (mut world, mut intent) = ready(&clustered(1));
    to_image(&world, &mut intent, "ami-0old");
    until(&mut world, &mut intent, 200, |phase| {
        *phase == Phase::Canary
    });
    let members = world.observed.groups["demo-g2"].members.clone();
    assert!(members.is_empty(), "{members:?}");
    for images in world.observed.images.values_mut() {
        images.remove("ami-0old");
    }
    let began = world.now;
    let seen = phases(&mut world, &mut intent, 200);
    assert_eq!(seen.last().map(String::as_str), Some("rolled_back"));
    let failure = intent.rollout.unwrap().failure.join("; ");
    assert!(
        failure.contains("the last 5 launches failed; Auto Scaling says: The image id"),
        "{failure}"
    );
    // Long before the deadline.
    let deadline = f64::from(intent.spec.rollout.node_deadline_seconds);
    assert!((world.now - began).total(jiff::Unit::Second).unwrap() < deadline);
}

#[test]
fn a_node_that_lies_about_migrations_changes_nothing() {
    let liar = |world: &mut World| {
        for node in world.observed.nodes.values_mut() {
            node.migrations_applied = u32::MAX;
        }
    };
    let spec = clustered(2);
    let mut world = World::new(
        &spec,
        &crate::fixtures::empty_account(),
        crate::fixtures::epoch(),
    );
    let mut intent = crate::fixtures::wanting(&spec);
    for _ in 0..60 {
        turn(&mut world, &mut intent);
        liar(&mut world);
    }
    let applied = world.observed.migrations_applied();
    assert!(applied.is_some() && intent.record.migrations == applied);
    begin(&mut intent, &world, "11.11.0");
    for _ in 0..3000 {
        let next = turn(&mut world, &mut intent).next;
        liar(&mut world);
        if next == Phase::Done {
            break;
        }
    }
    let rollout = intent.rollout.clone().unwrap();
    assert_eq!(rollout.phase, Phase::Done, "{:?}", rollout.failure);
    assert_eq!(
        intent.record.migrations,
        world.observed.migrations_applied()
    );
    // A number that was believed before is read anew, and no goal keeps it.
    intent.record.migrations = Some(u32::MAX);
    until(&mut world, &mut intent, 50, |phase| *phase == Phase::Ready);
    assert_eq!(
        intent.record.migrations,
        world.observed.migrations_applied()
    );
}
