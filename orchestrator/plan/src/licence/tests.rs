//! The licence against the model: who is told which version, and what becomes of one that is not taken.

mod text;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use crate::fixtures::{clustered, empty_account, epoch, turn, until, wanting};
use crate::intent::{Intent, Phase};
use crate::observed::{Licence, Observed, ServerLicence};
use crate::rollout::{Ask, request};
use crate::world::World;
use crate::{Action, Decision};

const UNLICENSED: ServerLicence = ServerLicence {
    licensed: false,
    cluster: false,
};
const NO_CLUSTER: ServerLicence = ServerLicence {
    licensed: true,
    cluster: false,
};

fn version(id: &str) -> Licence {
    Licence {
        current: id.to_owned(),
        readable: BTreeSet::from([id.to_owned()]),
        terms: BTreeMap::new(),
    }
}

/// A stack whose servers took version `v1`.
fn licensed(nodes: u32) -> (World, Intent) {
    let spec = clustered(nodes);
    let seen = Observed {
        licence: Some(version("v1")),
        ..empty_account()
    };
    let mut world = World::new(&spec, &seen, epoch());
    let mut intent = wanting(&spec);
    until(&mut world, &mut intent, 100, |phase| *phase == Phase::Ready);
    for _ in 0..4 {
        turn(&mut world, &mut intent);
    }
    assert_eq!(intent.record.licence.proven.as_deref(), Some("v1"));
    (world, intent)
}

/// Another version is put into the secret.
fn put(world: &mut World, id: &str) {
    let licence = world.observed.licence.as_mut().unwrap();
    id.clone_into(&mut licence.current);
    licence.readable.insert(id.to_owned());
}

/// Versions that the nodes were told.
fn told(world: &World) -> Vec<&str> {
    let goals = world.observed.nodes.values();
    goals
        .filter_map(|node| node.goal.as_ref()?.licence())
        .collect()
}

fn notices(decision: &Decision) -> String {
    let reasons = decision
        .reasons
        .iter()
        .filter(|reason| reason.gate == "notice");
    reasons
        .map(|reason| reason.text.as_str())
        .collect::<Vec<_>>()
        .join("\n")
}

fn restores(decision: &Decision) -> usize {
    let restores = |action: &&Action| matches!(action, Action::RestoreSecretVersion { .. });
    decision.actions.iter().filter(restores).count()
}

#[test]
fn l6_a_licence_that_no_server_takes_reaches_one_node_and_the_proven_one_comes_back() {
    for (says, lenient) in [(UNLICENSED, false), (NO_CLUSTER, false), (UNLICENSED, true)] {
        let (mut world, mut intent) = licensed(2);
        world.lenient_agents = lenient;
        put(&mut world, "v2");
        world.licences.insert("v2".to_owned(), says);
        let mut tried = 0;
        let mut last = None;
        for _ in 0..40 {
            last = Some(turn(&mut world, &mut intent));
            let with = told(&world).into_iter().filter(|id| *id == "v2").count();
            assert!(with <= 1, "{:?}", told(&world));
            tried = tried.max(with);
        }
        assert_eq!(tried, 1, "one node shows it");
        let mut last = last.unwrap();
        assert_eq!(world.observed.licence.as_ref().unwrap().current, "v1");
        assert_eq!(told(&world), ["v1", "v1"]);
        let phases: Vec<_> = world
            .observed
            .nodes
            .iter()
            .map(|(id, node)| (id.as_str(), node.phase.as_str(), node.current))
            .collect();
        assert!(
            phases.iter().all(|(_, phase, _)| *phase == "serving"),
            "{phases:?} {:#?}",
            last.reasons
        );
        assert_eq!((last.next.clone(), restores(&last)), (Phase::Ready, 0));
        let text = notices(&last);
        for part in [
            "licence version v2 was not taken by i-",
            "the proven version v1 is in force again",
            "put a right licence into secret `mattermost/licence`",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        // A right one ends the notice.
        put(&mut world, "v3");
        for _ in 0..40 {
            last = turn(&mut world, &mut intent);
        }
        assert_eq!(told(&world), ["v3", "v3"]);
        assert_eq!(intent.record.licence.refused, None);
        assert_eq!((notices(&last).as_str(), last.next), ("", Phase::Ready));
    }
}

#[test]
fn the_others_get_a_new_licence_when_the_first_took_it_and_one_by_one() {
    let (mut world, mut intent) = licensed(3);
    put(&mut world, "v2");
    let mut steps = vec![0];
    for _ in 0..60 {
        turn(&mut world, &mut intent);
        // The record is committed before goals are given.
        let is_proven = intent.record.licence.proven.as_deref() == Some("v2");
        let with = told(&world).into_iter().filter(|id| *id == "v2").count();
        if with > 1 {
            assert!(is_proven, "a second node was told before the first took it");
        }
        if steps.last() != Some(&with) {
            steps.push(with);
        }
        let serving = world.observed.nodes.values();
        let serving = serving
            .filter(|node| node.current && node.phase == "serving")
            .count();
        assert!(serving >= 2, "{serving} of 3 serve");
    }
    assert_eq!(steps, [0, 1, 2, 3]);
}

#[test]
fn a_node_that_comes_while_a_licence_is_tried_gets_the_proven_one() {
    let (mut world, mut intent) = licensed(2);
    put(&mut world, "v2");
    world.licences.insert("v2".to_owned(), UNLICENSED);
    turn(&mut world, &mut intent);
    let group = world.observed.groups.get_mut("demo-g1").unwrap();
    group.desired = 3;
    for _ in 0..40 {
        turn(&mut world, &mut intent);
    }
    assert_eq!(told(&world), ["v1", "v1", "v1"]);
}

#[test]
fn a_refusal_by_aws_is_a_notice_and_no_loop() {
    let (mut world, mut intent) = licensed(2);
    put(&mut world, "v2");
    world.licences.insert("v2".to_owned(), UNLICENSED);
    world.refuses_versions =
        Some("no permission for secretsmanager:UpdateSecretVersionStage".to_owned());
    let mut tries = 0;
    let mut last = None;
    for _ in 0..60 {
        let decision = turn(&mut world, &mut intent);
        tries += restores(&decision);
        last = Some(decision);
    }
    let last = last.unwrap();
    assert_eq!(tries, 3);
    assert_eq!(
        told(&world),
        ["v1", "v1"],
        "the failed node has the proven one"
    );
    assert_eq!(last.next, Phase::Ready, "{:#?}", last.reasons);
    let text = notices(&last);
    assert!(
        text.contains("version v1, which was taken, could not be put in force again: no permission for secretsmanager:UpdateSecretVersionStage"),
        "{text}"
    );
}

#[test]
fn without_the_proven_text_the_others_keep_what_they_have() {
    let (mut world, mut intent) = licensed(2);
    put(&mut world, "v2");
    world.licences.insert("v2".to_owned(), UNLICENSED);
    world
        .observed
        .licence
        .as_mut()
        .unwrap()
        .readable
        .remove("v1");
    world.refuses_versions = Some("ResourceNotFoundException".to_owned());
    for _ in 0..40 {
        turn(&mut world, &mut intent);
    }
    let mut all = told(&world);
    all.sort_unstable();
    assert_eq!(all, ["v1", "v2"]);
}

#[test]
fn a_first_licence_that_is_not_taken_is_said_and_nothing_is_put_back() {
    let spec = clustered(1);
    let seen = Observed {
        licence: Some(version("v1")),
        ..empty_account()
    };
    let mut world = World::new(&spec, &seen, epoch());
    world.lenient_agents = true;
    world.licences.insert("v1".to_owned(), UNLICENSED);
    let mut intent = wanting(&spec);
    for _ in 0..60 {
        let decision = turn(&mut world, &mut intent);
        assert_ne!(decision.next, Phase::Ready);
        assert_eq!(restores(&decision), 0);
    }
    let decision = turn(&mut world, &mut intent);
    let text = notices(&decision);
    assert!(
        text.contains("no earlier version is known that was taken"),
        "{text}"
    );
    assert!(
        decision.reasons.iter().any(|reason| reason.text.contains(
            "runs unlicensed: its server did not take the licence (version v1 of secret `mattermost/licence`)"
        )),
        "{:#?}",
        decision.reasons
    );
}

#[test]
fn goals_from_before_are_told_their_version_one_by_one() {
    let (mut world, mut intent) = crate::fixtures::ready(&clustered(2));
    assert_eq!(told(&world), [""; 0]);
    world.observed.licence = Some(version("v1"));
    for _ in 0..60 {
        turn(&mut world, &mut intent);
        let serving = world.observed.nodes.values();
        assert!(
            serving
                .filter(|node| node.current && node.phase == "serving")
                .count()
                >= 1
        );
    }
    assert_eq!(told(&world), ["v1", "v1"]);
}

#[test]
fn green_nodes_that_do_not_take_the_licence_turn_a_rollout_back_at_once() {
    let (mut world, mut intent) = licensed(2);
    let ask = Ask {
        version: Some("11.11.0".to_owned()),
        sha256: Some("b".repeat(64)),
        ..Ask::default()
    };
    intent.rollout = Some(request(&intent, &world.observed, &ask, world.now).unwrap());
    until(&mut world, &mut intent, 200, |phase| {
        *phase == Phase::Canary
    });
    world.licences.insert("v1".to_owned(), UNLICENSED);
    until(&mut world, &mut intent, 400, |phase| {
        *phase == Phase::RolledBack
    });
    let rollout = intent.rollout.unwrap();
    assert_eq!(rollout.failed.len(), 1, "{:?}", rollout.failed);
    let failure = rollout.failure.join("; ");
    assert!(
        failure.contains("its server did not take the licence"),
        "{failure}"
    );
    assert_eq!(
        intent.record.licence.refused, None,
        "it is the proven version"
    );
}

#[test]
fn nothing_new_is_told_beside_a_rollout() {
    let (mut world, mut intent) = licensed(2);
    let ask = Ask {
        version: Some("11.11.0".to_owned()),
        sha256: Some("b".repeat(64)),
        ..Ask::default()
    };
    intent.rollout = Some(request(&intent, &world.observed, &ask, world.now).unwrap());
    put(&mut world, "v2");
    let mut seen = BTreeSet::new();
    for _ in 0..3000 {
        let decision = turn(&mut world, &mut intent);
        if decision.next == Phase::Done {
            break;
        }
        seen.extend(told(&world).into_iter().map(str::to_owned));
    }
    assert_eq!(seen, BTreeSet::from(["v1".to_owned()]));
    for _ in 0..60 {
        turn(&mut world, &mut intent);
    }
    assert!(told(&world).into_iter().all(|id| id == "v2"));
}
