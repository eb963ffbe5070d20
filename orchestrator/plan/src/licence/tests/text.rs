//! What is said, and who waits, while the licence's secret gives no text.

use std::collections::BTreeSet;

use super::{licensed, notices, told, turn, version};
use crate::Decision;
use crate::fixtures::{clustered, empty_account, epoch, until, wanting};
use crate::intent::{Intent, Phase};
use crate::observed::{NoText, Observed, UnreadLicence};
use crate::rollout::{Ask, request};
use crate::view::View;
use crate::world::World;

const SECRET: &str = "mattermost/licence";

fn unread(why: NoText, readable: &[&str]) -> UnreadLicence {
    UnreadLicence {
        why,
        readable: readable.iter().map(|id| (*id).to_owned()).collect(),
    }
}

/// What stands under a gate.
fn under(decision: &Decision, gate: &str) -> String {
    let reasons = decision.reasons.iter();
    let texts: Vec<&str> = reasons
        .filter(|reason| reason.gate == gate)
        .map(|reason| reason.text.as_str())
        .collect();
    texts.join("\n")
}

fn turns(world: &mut World, intent: &mut Intent, count: usize) -> Decision {
    for _ in 1..count {
        turn(world, intent);
    }
    turn(world, intent)
}

fn ask(world: &World, intent: &mut Intent) {
    let ask = Ask {
        version: Some("11.11.0".to_owned()),
        sha256: Some("b".repeat(64)),
        ..Ask::default()
    };
    intent.rollout = Some(request(intent, &world.observed, &ask, world.now).unwrap());
}

#[test]
fn a_first_up_names_the_licence_that_is_missing_from_the_beginning() {
    let spec = clustered(2);
    let seen = Observed {
        licence_unread: Some(unread(NoText::Missing, &[])),
        ..empty_account()
    };
    let mut world = World::new(&spec, &seen, epoch());
    let mut intent = wanting(&spec);
    let first = turn(&mut world, &mut intent);
    assert_eq!(first.reasons[0].gate, "licence_missing");
    for part in [
        "secret `mattermost/licence` does not exist",
        "create-secret --name mattermost/licence",
        "no node is configured without it",
    ] {
        let text = &first.reasons[0].text;
        assert!(text.contains(part), "{part}: {text}");
    }

    let last = turns(&mut world, &mut intent, 60);
    assert_eq!(last.next, Phase::Converging);
    let nodes = &world.observed.nodes;
    assert_eq!(nodes.len(), 2);
    for (instance, node) in nodes {
        assert_eq!((node.phase.as_str(), node.current), ("enrolled", false));
        let sentence =
            format!("{instance} waits for the licence: secret `{SECRET}` does not exist");
        let text = under(&last, "nodes");
        assert!(text.contains(&sentence), "{text}");
    }
    assert!(under(&last, "licence_missing").contains(" for i-"));
    let forecast = crate::forecast(&intent, &world.observed, world.now);
    let text = forecast.to_string();
    assert!(!forecast.reaches_its_end && text.contains(SECRET), "{text}");
    assert!(!text.contains("nothing to do"), "{text}");

    world.observed.licence = Some(version("v1"));
    world.observed.licence_unread = None;
    until(&mut world, &mut intent, 60, |phase| *phase == Phase::Ready);
    assert_eq!(told(&world), ["v1", "v1"]);
}

#[test]
fn a_node_that_waits_for_a_deleted_licence_is_named_although_enough_others_serve() {
    let (mut world, mut intent) = licensed(1);
    world.observed.licence = None;
    world.observed.licence_unread = Some(unread(NoText::Deleting, &[]));
    let decision = turn(&mut world, &mut intent);
    assert_eq!(decision.next, Phase::Ready);
    let text = notices(&decision);
    for part in [
        "is scheduled for deletion",
        "restore-secret --secret-id mattermost/licence",
        "nodes that serve keep theirs",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }

    for group in world.observed.groups.values_mut() {
        group.desired = 2;
    }
    let last = turns(&mut world, &mut intent, 10);
    assert_eq!(last.next, Phase::Converging, "{:#?}", last.reasons);
    let mut waiting = world.observed.nodes.iter();
    let (instance, _) = waiting.find(|(_, node)| node.phase == "enrolled").unwrap();
    let text = under(&last, "licence_missing");
    assert!(text.contains(instance) && text.contains(SECRET), "{text}");
    let forecast = crate::forecast(&intent, &world.observed, world.now).to_string();
    assert!(!forecast.contains("nothing to do"), "{forecast}");
    assert!(forecast.contains("restore-secret"), "{forecast}");

    world.observed.licence = Some(version("v1"));
    world.observed.licence_unread = None;
    let decision = turns(&mut world, &mut intent, 20);
    assert_eq!((decision.next, told(&world).len()), (Phase::Ready, 2));
}

#[test]
fn a_new_version_without_text_is_a_notice_and_nodes_keep_and_get_the_former_one() {
    // As it was read before, and after a restart, when only the proven one can be read by its id.
    for seen in [Some(version("v1")), None] {
        let (mut world, mut intent) = licensed(1);
        world.observed.licence = seen;
        world.observed.licence_unread = Some(unread(NoText::Bytes, &["v1"]));
        for group in world.observed.groups.values_mut() {
            group.desired = 2;
        }
        let decision = turns(&mut world, &mut intent, 20);
        assert_eq!(decision.next, Phase::Ready, "{:#?}", decision.reasons);
        assert_eq!(told(&world), ["v1", "v1"]);
        let text = notices(&decision);
        for part in [
            "secret `mattermost/licence` holds bytes",
            "`--secret-string`",
            "nodes keep version v1",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        ask(&world, &mut intent);
        until(&mut world, &mut intent, 60, |phase| {
            *phase == Phase::Imaging
        });
    }
}

#[test]
fn a_rollout_does_not_begin_without_a_text_for_its_nodes() {
    let (mut world, mut intent) = licensed(1);
    world.observed.licence = None;
    world.observed.licence_unread = Some(unread(NoText::Denied("AccessDenied".to_owned()), &[]));
    ask(&world, &mut intent);
    let last = turns(&mut world, &mut intent, 8);
    let rollout = intent.rollout.as_ref().unwrap();
    assert_eq!(rollout.phase, Phase::Preflight);
    let text = under(&last, "licence_missing");
    assert!(
        text.contains("may not be read: AccessDenied") && text.contains("`ReadNamedSecrets`"),
        "{text}"
    );
    world.observed.licence_unread = None;
    world.observed.licence = Some(version("v1"));
    until(&mut world, &mut intent, 20, |phase| {
        *phase == Phase::Imaging
    });
}

#[test]
fn a_version_that_is_not_at_hand_is_named_where_a_node_waits_for_it() {
    let (mut world, intent) = licensed(1);
    let (instance, node) = world.observed.nodes.iter_mut().next().unwrap();
    let (instance, goal) = (instance.clone(), node.goal.clone().unwrap());
    let why = |world: &World| {
        let view = View::new(&intent, &world.observed, world.now);
        crate::nodes::verified(&view, &instance, &goal)
    };
    let seen = world.observed.licence.as_mut().unwrap();
    seen.readable = BTreeSet::new();
    assert_eq!(why(&world), Ok(()), "it serves with it");
    world.observed.nodes.get_mut(&instance).unwrap().current = false;
    let error = why(&world).unwrap_err();
    assert!(
        error.contains("version v1 of secret `mattermost/licence`"),
        "{error}"
    );
    // Nobody looked yet: nothing is known of it.
    world.observed.licence = None;
    let error = why(&world).unwrap_err();
    assert!(error.contains("has not taken up its goal yet"), "{error}");
}
