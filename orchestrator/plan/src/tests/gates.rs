//! Gates of a rollout, one by one: what must not happen although it would be the next thing.

use super::{begin, phases};
use crate::fixtures::{clustered, ready, turn, until};
use crate::intent::Phase;
use crate::observed::Observed;
use crate::plan;
use crate::spec::Spec;
use crate::world::World;

#[test]
fn no_traffic_is_not_health() {
    let (mut world, mut intent) = ready(&clustered(2));
    world.requests = 0;
    // Nor does this host get through.
    world.is_out_of_reach = true;
    begin(&mut intent, &world, "11.11.0");
    let seen = phases(&mut world, &mut intent, 3000);
    assert_eq!(
        seen[8..],
        [
            "shifting(10)",
            "returning_traffic",
            "removing_green",
            "rolled_back"
        ]
    );
    assert!(
        intent
            .rollout
            .unwrap()
            .failure
            .iter()
            .any(|line| line.contains("no data is not health"))
    );
}

#[test]
fn a_request_is_refused_with_what_would_be_right() {
    let (world, intent) = ready(&clustered(1));
    let refuse = |version: &str, sha256: Option<&str>| {
        let ask = crate::rollout::Ask {
            version: Some(version.to_owned()),
            sha256: sha256.map(str::to_owned),
            ..crate::rollout::Ask::default()
        };
        crate::rollout::request(&intent, &world.observed, &ask, crate::fixtures::epoch())
            .unwrap_err()
            .code
    };
    let digest = "b".repeat(64);
    assert_eq!(refuse("11.10.0", None), "nothing_to_do");
    assert_eq!(refuse("11.11", Some(&digest)), "version");
    assert_eq!(refuse("11.11.0", None), "digest");
    assert_eq!(refuse("11.11.0", Some("abc")), "digest");
    assert_eq!(refuse("12.3.0", Some(&digest)), "version_skew");
}

type Edit = fn(&mut Spec);

/// Asks for a rollout without naming anything, with the specification changed.
fn asked_plainly(change: Edit) -> Result<(), String> {
    let (world, mut intent) = ready(&clustered(1));
    change(&mut intent.spec);
    let ask = crate::rollout::Ask::default();
    let rollout = crate::rollout::request(&intent, &world.observed, &ask, world.now);
    rollout.map(drop).map_err(|refused| refused.code)
}

#[test]
fn a_plain_rollout_brings_what_the_specification_changed() {
    let nothing = Err("nothing_to_do".to_owned());
    let cases: [(&str, Edit, _); 8] = [
        ("nothing", |_| {}, nothing.clone()),
        (
            "instance type",
            |spec| spec.fleet.instance_type = "m7i.xlarge".to_owned(),
            Ok(()),
        ),
        (
            "instance profile",
            |spec| spec.fleet.instance_profile = "other-node".to_owned(),
            Ok(()),
        ),
        (
            "key pair",
            |spec| spec.fleet.key_pair = Some("operators".to_owned()),
            Ok(()),
        ),
        (
            "settings",
            |spec| {
                let settings = &mut spec.mattermost.settings;
                settings.insert("MM_X".to_owned(), "1".to_owned());
            },
            Ok(()),
        ),
        ("size", |spec| spec.fleet.max = 9, nothing.clone()),
        (
            "addresses",
            |spec| spec.orchestrator.addresses.push("10.0.0.9:7443".to_owned()),
            nothing.clone(),
        ),
        (
            "version",
            |spec| spec.mattermost.version = "11.11.0".to_owned(),
            nothing,
        ),
    ];
    for (what, change, expected) in cases {
        assert_eq!(asked_plainly(change), expected, "{what}");
    }
    let (mut world, intent) = ready(&clustered(1));
    world.observed.template = None;
    let ask = crate::rollout::Ask::default();
    let refused = crate::rollout::request(&intent, &world.observed, &ask, world.now);
    assert_eq!(refused.unwrap_err().code, "launch_unknown");
}

#[test]
fn a_canary_that_dies_at_any_moment_leads_to_one_migration_at_most() {
    let (world, intent) = ready(&clustered(1));
    let mut ends = std::collections::BTreeSet::new();
    for turns in 1..14 {
        let (mut world, mut intent) = (world.clone(), intent.clone());
        begin(&mut intent, &world, "11.11.0");
        until(&mut world, &mut intent, 200, |phase| {
            *phase == Phase::Canary
        });
        for _ in 0..turns {
            turn(&mut world, &mut intent);
        }
        for id in world.observed.groups["demo-g2"].members.clone().keys() {
            world.observed.instances.get_mut(id).unwrap().state = "terminated".to_owned();
        }
        let seen = phases(&mut world, &mut intent, 2000);
        assert!(
            world.migrations.len() <= 2,
            "turn {turns}: {:?}",
            world.migrations
        );
        ends.insert(seen.last().cloned().unwrap());
    }
    // Before the migration another node takes over; after it the rollout turns back.
    assert_eq!(
        ends.into_iter().collect::<Vec<_>>(),
        ["done", "rolled_back"]
    );
}

#[test]
fn a_half_done_migration_is_never_repeated() {
    let (mut world, mut intent) = ready(&clustered(1));
    begin(&mut intent, &world, "11.11.0");
    until(&mut world, &mut intent, 200, |phase| {
        *phase == Phase::Canary
    });
    for _ in 0..3 {
        turn(&mut world, &mut intent);
    }
    // Some of its migrations are applied when it dies, and its last word does not say so.
    world
        .observed
        .databases
        .as_mut()
        .unwrap()
        .migrations_applied = Some(1111);
    let canary = intent.rollout.as_ref().unwrap().migrator.clone().unwrap();
    world.observed.instances.get_mut(&canary).unwrap().state = "terminated".to_owned();
    world.observed.nodes.remove(&canary);
    assert_eq!(
        phases(&mut world, &mut intent, 500)
            .last()
            .map(String::as_str),
        Some("rolled_back")
    );
    assert_eq!(world.migrations.len(), 1);
    let failure = intent.rollout.unwrap().failure.join("; ");
    assert!(
        failure.contains("1111 migrations are applied")
            && failure.contains("restore the database to 2027"),
        "{failure}"
    );
}

#[test]
fn migrations_that_could_not_be_read_are_not_none() {
    let (mut world, mut intent) = ready(&clustered(1));
    begin(&mut intent, &world, "11.11.0");
    until(&mut world, &mut intent, 200, |phase| {
        *phase == Phase::Canary
    });
    for _ in 0..3 {
        turn(&mut world, &mut intent);
    }
    let canary = intent.rollout.as_ref().unwrap().migrator.clone().unwrap();
    world.observed.instances.get_mut(&canary).unwrap().state = "terminated".to_owned();
    world.observed.nodes.remove(&canary);
    let applied = |world: &mut World, migrations| {
        world
            .observed
            .databases
            .as_mut()
            .unwrap()
            .migrations_applied = migrations;
    };
    applied(&mut world, None);
    for _ in 0..10 {
        assert_eq!(turn(&mut world, &mut intent).next, Phase::Canary);
        assert_eq!(world.migrations.len(), 1);
    }
    applied(&mut world, intent.record.migrations);
    until(&mut world, &mut intent, 1000, |phase| *phase == Phase::Done);
}

#[test]
fn what_could_not_be_measured_holds_a_rollout_back() {
    let mut spec = clustered(1);
    spec.database.replicas = 1;
    let (mut world, mut intent) = ready(&spec);
    begin(&mut intent, &world, "11.11.0");
    until(&mut world, &mut intent, 5, |phase| {
        *phase == Phase::Preflight
    });
    let replica = spec.names().replica(1);
    let reasons = |change: &dyn Fn(&mut Observed)| {
        let mut seen = world.observed.clone();
        change(&mut seen);
        let reasons = plan(&intent, &seen, world.now).reasons.into_iter();
        reasons.map(|reason| reason.text).collect::<Vec<_>>()
    };
    assert_eq!(reasons(&|_| {}), [""; 0]);
    let lag = |lag| {
        reasons(&|seen| {
            seen.replica_lag_seconds.insert(replica.clone(), lag);
        })
    };
    assert_eq!(lag(-1.0), ["replication to `demo-db-replica-1` is broken"]);
    assert_eq!(
        lag(61.0),
        ["replica `demo-db-replica-1` is 61 s behind, 60 s are allowed"]
    );
    assert_eq!(
        reasons(&|seen| seen.replica_lag_seconds.clear()),
        ["how far replica `demo-db-replica-1` is behind is not measured yet"]
    );
    for field in ["replica_lag_seconds", "alarms"] {
        assert_eq!(
            reasons(&|seen| {
                seen.unknown
                    .insert(field.to_owned(), "Throttling".to_owned());
            })[0],
            format!("{field} could not be read: Throttling")
        );
    }
}

#[test]
fn traffic_goes_only_where_targets_are_healthy() {
    let (mut world, mut intent) = ready(&clustered(2));
    begin(&mut intent, &world, "11.11.0");
    until(&mut world, &mut intent, 1000, |phase| {
        *phase == Phase::Shifting { weight: 10 }
    });
    for state in [
        "initial",
        "unhealthy",
        "draining",
        "unused",
        "a word that AWS added",
    ] {
        let mut observed = world.observed.clone();
        for target in observed
            .target_groups
            .get_mut("demo-b")
            .unwrap()
            .targets
            .values_mut()
        {
            state.clone_into(target);
        }
        let decision = plan(&intent, &observed, world.now);
        assert!(
            decision.actions.is_empty(),
            "{state}: {:?}",
            decision.actions
        );
        assert_eq!(decision.reasons[0].gate, "green_not_verified");
        assert!(decision.reasons[0].deadline.is_some());
    }
    let mut observed = world.observed.clone();
    observed.streaks.clear();
    assert!(
        plan(&intent, &observed, world.now).actions.is_empty(),
        "one healthy read is not enough"
    );
    let decision = plan(&intent, &world.observed, world.now);
    assert_eq!(
        decision
            .actions
            .iter()
            .map(crate::Action::key)
            .collect::<Vec<_>>(),
        ["set_weights/arn:listener/80"]
    );
}

#[test]
fn blue_leaves_one_node_at_a_time_and_only_without_traffic() {
    let (mut world, mut intent) = ready(&clustered(3));
    begin(&mut intent, &world, "11.11.0");
    until(&mut world, &mut intent, 2000, |phase| {
        *phase == Phase::Draining
    });
    // Somebody gives blue a share again: nobody leaves before that is mended.
    let weights = [
        ("arn:tg/demo-a".to_owned(), 50),
        ("arn:tg/demo-b".to_owned(), 50),
    ];
    world.observed.listeners.get_mut(&80).unwrap().action =
        crate::observed::ListenerAction::Forward(weights.into());
    assert_eq!(
        turn(&mut world, &mut intent).actions[0].key(),
        "set_weights/arn:listener/80"
    );
    let mut most = 0;
    for _ in 0..200 {
        let leaving = world.observed.groups["demo-g1"]
            .members
            .values()
            .filter(|member| member.lifecycle.starts_with("Terminating"))
            .count();
        most = most.max(leaving);
        if turn(&mut world, &mut intent).next == Phase::Done {
            break;
        }
    }
    assert_eq!(most, 1);
    assert!(world.observed.groups["demo-g1"].members.is_empty());
}
