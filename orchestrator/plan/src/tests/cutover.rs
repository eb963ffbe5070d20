//! Rollouts without a cluster licence.

use super::{begin, phases};
use crate::decision::NodeGoal;
use crate::fixtures::{ready, turn, unlicensed, until, without_log};
use crate::intent::{Mode, Phase};
use crate::observed::ListenerAction;
use crate::plan;
use crate::rollout::word;
use crate::spec::Spec;
use crate::world::{TICK_SECONDS, World};

#[test]
fn a_cutover_stops_blue_before_green_starts() {
    let (mut world, mut intent) = ready(&unlicensed());
    begin(&mut intent, &world, "11.11.0");
    assert_eq!(intent.rollout.as_ref().unwrap().mode, Mode::Cutover);
    let mut both = 0;
    let mut seen: Vec<String> = vec![];
    for _ in 0..2000 {
        let decision = turn(&mut world, &mut intent);
        let serving = |group: &str| {
            world.observed.groups.get(group).is_some_and(|group| {
                group.members.keys().any(|id| {
                    world
                        .observed
                        .nodes
                        .get(id)
                        .is_some_and(|node| node.phase == "serving")
                })
            })
        };
        both += u32::from(serving("demo-g1") && serving("demo-g2"));
        let word = word(&decision.next);
        if seen.last() != Some(&word) {
            seen.push(word);
        }
        if decision.next == Phase::Done {
            break;
        }
    }
    assert_eq!(both, 0, "never two servers at once");
    assert_eq!(
        seen,
        [
            "preflight",
            "imaging",
            "snapshot",
            "pinned",
            "green_created",
            "prepared",
            "closed",
            "canary",
            "full",
            "shifting(100)",
            "baking",
            "promoted",
            "draining",
            "retained",
            "done"
        ]
    );
    until(&mut world, &mut intent, 20, |phase| *phase == Phase::Ready);
}

#[test]
fn a_cutover_that_fails_starts_blue_again() {
    let (mut world, mut intent) = ready(&unlicensed());
    world.bad.insert("11.11.0".to_owned());
    begin(&mut intent, &world, "11.11.0");
    let seen = phases(&mut world, &mut intent, 2000);
    assert_eq!(
        seen[7..],
        [
            "canary",
            "returning_traffic",
            "removing_green",
            "rolled_back"
        ]
    );
    until(&mut world, &mut intent, 20, |phase| *phase == Phase::Ready);
}

#[test]
fn a_blue_node_that_dies_behind_the_closed_door_is_replaced_on_the_way_back() {
    let (mut world, mut intent) = ready(&unlicensed());
    world.bad.insert("11.11.0".to_owned());
    begin(&mut intent, &world, "11.11.0");
    until(&mut world, &mut intent, 300, |phase| {
        *phase == Phase::Canary
    });
    for id in world.observed.groups["demo-g1"].members.clone().keys() {
        world.observed.instances.get_mut(id).unwrap().state = "terminated".to_owned();
    }
    assert_eq!(
        phases(&mut world, &mut intent, 2000)
            .last()
            .map(String::as_str),
        Some("rolled_back")
    );
    until(&mut world, &mut intent, 20, |phase| *phase == Phase::Ready);
}

const BUCKET: &str = "demo-files-123456789012-us-east-1";

#[test]
fn a_bucket_that_green_cannot_use_turns_back_before_anybody_is_sent_away() {
    let (mut world, mut intent) = ready(&unlicensed());
    world.unusable.insert(BUCKET.to_owned());
    begin(&mut intent, &world, "11.11.0");
    let blue = world.observed.groups["demo-g1"].members.clone();
    let seen = phases(&mut world, &mut intent, 2000);
    assert_eq!(
        seen[5..],
        [
            "prepared",
            "returning_traffic",
            "removing_green",
            "rolled_back"
        ],
        "{seen:?}"
    );
    let failure = intent.rollout.as_ref().unwrap().failure.join("\n");
    assert!(
        failure.contains("(file_store_denied): S3 answered 403"),
        "{failure}"
    );
    // Blue was never stopped, so it still serves.
    assert_eq!(world.observed.groups["demo-g1"].members, blue);
    until(&mut world, &mut intent, 20, |phase| *phase == Phase::Ready);
}

#[test]
fn blue_comes_back_also_when_its_bucket_is_of_no_use() {
    let (mut world, mut intent) = ready(&unlicensed());
    world.bad.insert("11.11.0".to_owned());
    begin(&mut intent, &world, "11.11.0");
    until(&mut world, &mut intent, 300, |phase| {
        *phase == Phase::Canary
    });
    world.unusable.insert(BUCKET.to_owned());
    let blue: Vec<String> = world.observed.groups["demo-g1"]
        .members
        .keys()
        .cloned()
        .collect();
    let mut told = String::new();
    for _ in 0..2000 {
        let decision = turn(&mut world, &mut intent);
        for reason in decision.reasons {
            told.push_str(&reason.text);
        }
        if decision.next == Phase::RolledBack {
            break;
        }
        assert!(
            !matches!(decision.next, Phase::Stuck { .. }),
            "{:?}",
            decision.next
        );
    }
    assert!(told.contains("uploads fail until that is mended"), "{told}");
    // The same node answers, and the load balancer sends users to it.
    let members = &world.observed.groups["demo-g1"].members;
    assert!(members.keys().eq(blue.iter()), "{members:?}");
    assert_eq!(world.observed.nodes[&blue[0]].phase, "failed");
    let closed = world
        .observed
        .listeners
        .values()
        .any(|seen| matches!(seen.action, ListenerAction::Fixed(..)));
    assert!(!closed, "{:?}", world.observed.listeners);
    // Mended: it is what was proven again.
    world.unusable.clear();
    let node = world.observed.nodes.get_mut(&blue[0]).unwrap();
    (node.phase, node.failure) = ("starting".to_owned(), None);
    until(&mut world, &mut intent, 40, |phase| *phase == Phase::Ready);
}

/// RDS takes its time, and the prepared node waits in its launch hook meanwhile.
#[test]
fn a_snapshot_that_takes_longer_than_a_boot_does_not_cost_the_prepared_node() {
    let mut spec = unlicensed();
    spec.fleet.boot_seconds = 300;
    let (mut world, mut intent) = without_log(&spec);
    world.snapshot_ticks = 3 * 300 / u32::try_from(TICK_SECONDS).unwrap();
    begin(&mut intent, &world, "11.11.0");
    until(&mut world, &mut intent, 300, |phase| {
        *phase == Phase::Snapshot
    });
    let members = |world: &World| -> Vec<String> {
        world.observed.groups["demo-g2"]
            .members
            .keys()
            .cloned()
            .collect()
    };
    let prepared = members(&world);
    assert_eq!(prepared.len(), 1);
    until(&mut world, &mut intent, 2000, |phase| *phase == Phase::Done);
    assert_eq!(members(&world), prepared, "the same node serves");
    let beats = intent
        .journal
        .iter()
        .filter(|(key, _)| key.starts_with("heartbeat_lifecycle/"))
        .count();
    assert_eq!(
        beats,
        1,
        "one key for the node: {:?}",
        intent.journal.keys()
    );
}

/// One extended support release before 11.7, whose schema it cannot run on.
fn extended() -> Spec {
    let mut spec = unlicensed();
    "10.11.0".clone_into(&mut spec.mattermost.version);
    spec
}

fn set_migrations(world: &mut World, migrations: Option<u32>) {
    let databases = world.observed.databases.as_mut().unwrap();
    databases.migrations_applied = migrations;
}

#[test]
fn blue_starts_on_no_schema_that_could_not_be_read() {
    let (mut world, mut intent) = ready(&extended());
    world.bad.insert("11.7.0".to_owned());
    begin(&mut intent, &world, "11.7.0");
    while world.observed.migrations_applied() == intent.record.migrations {
        turn(&mut world, &mut intent);
    }
    let applied = world.observed.migrations_applied();
    set_migrations(&mut world, None);
    until(&mut world, &mut intent, 1000, |phase| {
        *phase == Phase::ReturningTraffic
    });
    for _ in 0..10 {
        let decision = turn(&mut world, &mut intent);
        assert_eq!(decision.next, Phase::ReturningTraffic);
        for id in world.observed.groups["demo-g1"].members.keys() {
            assert_eq!(decision.nodes[id], NodeGoal::Drain);
        }
    }
    set_migrations(&mut world, applied);
    let seen = phases(&mut world, &mut intent, 10);
    assert!(seen[0].contains("stuck"), "{seen:?}");
    // Somebody restored the snapshot.
    set_migrations(&mut world, intent.record.migrations);
    intent.rollout.as_mut().unwrap().abort = true;
    until(&mut world, &mut intent, 500, |phase| {
        *phase == Phase::RolledBack
    });
    until(&mut world, &mut intent, 20, |phase| *phase == Phase::Ready);
}

/// No effect is made and no agent acts, so that green is not seen to stop before the deadline.
#[test]
fn a_stuck_cutover_starts_no_server() {
    let (mut world, mut intent) = ready(&unlicensed());
    begin(&mut intent, &world, "11.11.0");
    until(&mut world, &mut intent, 1000, |phase| {
        *phase == Phase::Baking
    });
    intent.rollout.as_mut().unwrap().abort = true;
    turn(&mut world, &mut intent);
    let mut stuck = 0;
    for _ in 0..200 {
        let decision = plan(&intent, &world.observed, world.now);
        world.commit(&mut intent, &decision);
        world.now += jiff::SignedDuration::from_secs(60);
        stuck += u32::from(matches!(decision.next, Phase::Stuck { .. }));
        for (id, goal) in &decision.nodes {
            assert_eq!(*goal, NodeGoal::Drain, "{id}");
        }
    }
    assert!(stuck > 10);
    // A node that Auto Scaling makes meanwhile has no goal yet.
    for node in world.observed.nodes.values_mut() {
        node.goal = None;
    }
    let serving: Vec<String> = plan(&intent, &world.observed, world.now)
        .nodes
        .into_iter()
        .filter(|(_, goal)| matches!(goal, NodeGoal::Serve { .. }))
        .map(|(id, _)| id)
        .collect();
    let green: Vec<String> = world.observed.groups["demo-g2"]
        .members
        .keys()
        .cloned()
        .collect();
    assert_eq!(serving, green, "the listener still sends to green");
}

#[test]
fn a_listener_that_could_not_be_read_starts_no_server() {
    let (mut world, mut intent) = ready(&unlicensed());
    begin(&mut intent, &world, "11.11.0");
    until(&mut world, &mut intent, 300, |phase| {
        *phase == Phase::Closed
    });
    let blue = world.observed.groups["demo-g1"].clone();
    let id = blue.members.keys().next().unwrap();
    while world.observed.nodes[id].goal != Some(NodeGoal::Drain) {
        turn(&mut world, &mut intent);
    }
    assert_eq!(intent.rollout.as_ref().unwrap().phase, Phase::Closed);
    let mut blind = world.observed.clone();
    blind.listeners.clear();
    blind
        .unknown
        .insert("listeners".to_owned(), "Throttling".to_owned());
    let decision = plan(&intent, &blind, world.now);
    assert_eq!(decision.nodes[id], NodeGoal::Drain);
}
