//! Rollouts with both colours at once: the way, and the ways back.

use super::{begin, phases};
use crate::fixtures::{clustered, ready, turn, until};
use crate::intent::{Intent, Phase};
use crate::plan;
use crate::rollout::word;
use crate::world::World;

#[test]
fn a_rollout_goes_through_every_phase() {
    let (mut world, mut intent) = ready(&clustered(2));
    begin(&mut intent, &world, "11.11.0");
    let seen = phases(&mut world, &mut intent, 2000);
    assert_eq!(
        seen,
        [
            "preflight",
            "imaging",
            "snapshot",
            "pinned",
            "green_created",
            "canary",
            "full",
            "joined",
            "shifting(10)",
            "shifting(50)",
            "shifting(100)",
            "baking",
            "promoted",
            "draining",
            "retained",
            "done"
        ]
    );
    assert_eq!(intent.record.slot, crate::intent::Slot::B);
    assert_eq!(intent.record.group.as_deref(), Some("demo-g2"));
    assert_eq!(world.migrations.len(), 2);
    assert!(
        world.migrations[1].1,
        "a snapshot is available before the migration"
    );
    until(&mut world, &mut intent, 20, |phase| *phase == Phase::Ready);
    assert_eq!(world.observed.groups["demo-g1"].max, 0);
    assert!(
        world
            .observed
            .groups
            .values()
            .all(|group| group.suspended.is_empty())
    );
    // And back, as a rollout of its own.
    begin(&mut intent, &world, "11.10.0");
    assert_eq!(
        phases(&mut world, &mut intent, 2000)
            .last()
            .map(String::as_str),
        Some("done")
    );
    assert_eq!(intent.record.slot, crate::intent::Slot::A);
}

#[test]
fn a_bad_release_turns_back_by_itself_and_says_why() {
    let (mut world, mut intent) = ready(&clustered(2));
    let before = intent.record.clone();
    world.bad.insert("11.11.0".to_owned());
    begin(&mut intent, &world, "11.11.0");
    let seen = phases(&mut world, &mut intent, 500);
    assert_eq!(
        seen[5..],
        [
            "canary",
            "returning_traffic",
            "removing_green",
            "rolled_back"
        ]
    );
    let failure = intent.rollout.as_ref().unwrap().failure.join("\n");
    assert!(
        failure.contains("panic: bad release") && failure.contains("starting"),
        "{failure}"
    );
    until(&mut world, &mut intent, 20, |phase| *phase == Phase::Ready);
    assert_eq!(intent.record.proven, before.proven);
    assert_eq!(
        world.observed.groups.keys().collect::<Vec<_>>(),
        ["demo-g1"]
    );
    let group = &world.observed.groups["demo-g1"];
    assert_eq!((group.min, group.max), (2, 3));
    assert!(
        group.suspended.is_empty() && group.tags.len() == 2,
        "{group:#?}"
    );
}

#[test]
fn errors_in_green_return_the_traffic() {
    let (mut world, mut intent) = ready(&clustered(2));
    world.errors.insert("demo-b".to_owned(), 40);
    begin(&mut intent, &world, "11.11.0");
    let seen = phases(&mut world, &mut intent, 2000);
    assert_eq!(
        seen[8..],
        [
            "shifting(10)",
            "returning_traffic",
            "removing_green",
            "rolled_back"
        ]
    );
    assert!(intent.rollout.unwrap().failure[0].contains("2 of the last 2 windows were bad"));
}

#[test]
fn a_green_node_lost_after_it_was_verified_turns_back() {
    let (mut world, mut intent) = ready(&clustered(2));
    begin(&mut intent, &world, "11.11.0");
    until(&mut world, &mut intent, 1000, |phase| {
        *phase == Phase::Shifting { weight: 50 }
    });
    let lost = world.observed.groups["demo-g2"]
        .members
        .keys()
        .next()
        .unwrap()
        .clone();
    world.observed.instances.get_mut(&lost).unwrap().state = "terminated".to_owned();
    let seen = phases(&mut world, &mut intent, 500);
    assert_eq!(
        seen.last().map(String::as_str),
        Some("rolled_back"),
        "{seen:?}"
    );
}

#[test]
fn abort_pause_and_promote() {
    let (mut world, mut intent) = ready(&clustered(2));
    begin(&mut intent, &world, "11.11.0");
    until(&mut world, &mut intent, 1000, |phase| *phase == Phase::Full);
    intent.rollout.as_mut().unwrap().paused = true;
    for _ in 0..40 {
        assert_eq!(turn(&mut world, &mut intent).next, Phase::Full);
    }
    intent.rollout.as_mut().unwrap().paused = false;
    until(&mut world, &mut intent, 1000, |phase| {
        *phase == Phase::Baking
    });
    intent.rollout.as_mut().unwrap().promote = true;
    until(&mut world, &mut intent, 3, |phase| {
        *phase == Phase::Promoted
    });
    // An abort after the point of no return changes nothing.
    intent.rollout.as_mut().unwrap().abort = true;
    assert_eq!(
        phases(&mut world, &mut intent, 500)
            .last()
            .map(String::as_str),
        Some("done")
    );

    let (mut world, mut intent) = ready(&clustered(2));
    begin(&mut intent, &world, "11.11.0");
    until(&mut world, &mut intent, 1000, |phase| {
        *phase == Phase::Baking
    });
    intent.rollout.as_mut().unwrap().abort = true;
    assert_eq!(
        phases(&mut world, &mut intent, 500),
        ["returning_traffic", "removing_green", "rolled_back"]
    );
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let (mut world, mut intent) = ready(&clustered(3));
    begin(&mut intent, &world, "11.11.0");
    for _ in 0..300 {
        let one = serde_json::to_vec(&plan(&intent, &world.observed, world.now)).unwrap();
        let copy: Intent = serde_json::from_slice(&serde_json::to_vec(&intent).unwrap()).unwrap();
        let observed =
            serde_json::from_slice(&serde_json::to_vec(&world.observed).unwrap()).unwrap();
        assert_eq!(
            one,
            serde_json::to_vec(&plan(&copy, &observed, world.now)).unwrap()
        );
        turn(&mut world, &mut intent);
    }
}

#[test]
fn an_image_rollout_copies_it_and_migrates_nothing() {
    let (mut world, mut intent) = ready(&clustered(1));
    let ask = crate::rollout::Ask {
        image_id: Some("ami-0old".to_owned()),
        ..crate::rollout::Ask::default()
    };
    intent.rollout =
        Some(crate::rollout::request(&intent, &world.observed, &ask, world.now).unwrap());
    assert_eq!(
        phases(&mut world, &mut intent, 2000)
            .last()
            .map(String::as_str),
        Some("done")
    );
    assert_eq!(world.migrations.len(), 1);
    assert!(world.observed.db_snapshots.is_empty());
    assert_eq!(world.observed.images["us-west-2"].len(), 2);
    assert_eq!(intent.record.image_id.as_deref(), Some("ami-0old"));

    let ask = crate::rollout::Ask {
        image_id: Some("ami-0gone".to_owned()),
        ..crate::rollout::Ask::default()
    };
    until(&mut world, &mut intent, 20, |phase| *phase == Phase::Ready);
    intent.rollout =
        Some(crate::rollout::request(&intent, &world.observed, &ask, world.now).unwrap());
    assert_eq!(
        phases(&mut world, &mut intent, 200)
            .last()
            .map(String::as_str),
        Some("rolled_back")
    );
    let failure = &intent.rollout.as_ref().unwrap().failure[0];
    assert!(failure.contains("`ami-0gone` is not in `us-east-1`"));

    // The copy of the image before goes with the group that was kept of it.
    until(&mut world, &mut intent, 20, |phase| *phase == Phase::Ready);
    assert_eq!(world.observed.images["us-west-2"].len(), 2);
    world.now = crate::view::later(world.now, intent.spec.rollout.retention_seconds);
    until(&mut world, &mut intent, 50, |phase| *phase == Phase::Ready);
    let copies: Vec<_> = world.observed.images["us-west-2"].values().collect();
    let [copy] = copies.as_slice() else {
        panic!("{copies:#?}");
    };
    let source = ("us-east-1".to_owned(), "ami-0old".to_owned());
    assert_eq!(copy.source.as_ref(), Some(&source));
    assert!(
        world.observed.images["us-east-1"].len() > 1,
        "the operator's own stay"
    );
}

#[test]
fn another_instance_type_alone_is_rolled_out_blue_green() {
    let (mut world, mut intent) = ready(&clustered(2));
    intent.spec.fleet.instance_type = "m7i.xlarge".to_owned();
    // Until then a node that is replaced is what was proven.
    let decision = until(&mut world, &mut intent, 20, |phase| *phase == Phase::Ready);
    let notice = &decision.reasons[0].text;
    assert!(
        notice.contains("(instance type m7i.large → m7i.xlarge): `orchestrator rollout` brings"),
        "{notice}"
    );
    let ask = crate::rollout::Ask::default();
    let rollout = crate::rollout::request(&intent, &world.observed, &ask, world.now).unwrap();
    assert_eq!(rollout.from.version, rollout.to.version);
    intent.rollout = Some(rollout);
    let seen = phases(&mut world, &mut intent, 2000);
    assert!(seen.contains(&"shifting(50)".to_owned()), "{seen:?}");
    assert_eq!(seen.last().map(String::as_str), Some("done"));
    assert_eq!(world.migrations.len(), 1, "only the first `up` migrated");
    let number = intent.record.proven.clone().unwrap().template_version;
    let versions = &world.observed.template.as_ref().unwrap().versions;
    assert_eq!(versions[&number.unwrap()].instance_type, "m7i.xlarge");
    let owner = intent.record.group.clone().unwrap();
    assert_eq!(Some(world.observed.groups[&owner].template_version), number);
    // And then nothing waits any more.
    let decision = until(&mut world, &mut intent, 20, |phase| *phase == Phase::Ready);
    assert_eq!(decision.reasons, []);
}

#[test]
fn old_snapshots_go_once_the_group_before_is_released() {
    let (mut world, mut intent) = ready(&clustered(1));
    let ids =
        |world: &World| -> Vec<String> { world.observed.db_snapshots.keys().cloned().collect() };
    for minor in 11..=14 {
        begin(&mut intent, &world, &format!("11.{minor}.0"));
        let seen = phases(&mut world, &mut intent, 2000);
        assert_eq!(seen.last().map(String::as_str), Some("done"));
        until(&mut world, &mut intent, 20, |phase| *phase == Phase::Ready);
    }
    let four = [
        "demo-before-g2",
        "demo-before-g3",
        "demo-before-g4",
        "demo-before-g5",
    ];
    // Every group that was replaced is kept for its window still.
    assert_eq!(intent.record.retained.len(), 4);
    assert_eq!(ids(&world), four);
    world.now = crate::view::later(world.now, intent.spec.rollout.retention_seconds);
    let text = crate::forecast(&intent, &world.observed, world.now).to_string();
    for line in ["- DB snapshot", "demo-before-g2", "demo-before-g3"] {
        assert!(text.contains(line), "{text}");
    }
    assert!(!text.contains("demo-before-g4"), "{text}");
    until(&mut world, &mut intent, 50, |phase| *phase == Phase::Ready);
    assert_eq!(intent.record.retained, []);
    assert_eq!(ids(&world), four[2..]);
}

/// Looks and decisions without effects, and the phases that they lead to.
fn hindered(world: &mut World, intent: &mut Intent, turns: usize, seen: &mut Vec<String>) {
    for _ in 0..turns {
        let decision = plan(intent, &world.observed, world.now);
        world.commit(intent, &decision);
        world.now += jiff::SignedDuration::from_secs(60);
        let word = word(&decision.next);
        if seen.last() != Some(&word) {
            seen.push(word);
        }
    }
}

#[test]
fn an_abort_is_one_try_of_a_stuck_rollout() {
    let (mut world, mut intent) = ready(&clustered(2));
    begin(&mut intent, &world, "11.11.0");
    until(&mut world, &mut intent, 1000, |phase| {
        *phase == Phase::Shifting { weight: 10 }
    });
    turn(&mut world, &mut intent);
    turn(&mut world, &mut intent);
    let mut seen = vec![];
    for tries in 1..4 {
        intent.rollout.as_mut().unwrap().abort = true;
        hindered(&mut world, &mut intent, 200, &mut seen);
        assert_eq!(seen, ["returning_traffic", "stuck"].repeat(tries));
    }
    intent.rollout.as_mut().unwrap().abort = true;
    until(&mut world, &mut intent, 500, |phase| {
        *phase == Phase::RolledBack
    });
}
