//! Stacks from before, and their way to what lasts.

mod disk;
mod proof;

use super::*;
use crate::action::Action;
use crate::decision::{Decision, NodeGoal};
use crate::fixtures::{clustered, epoch, ready, turn, unlicensed, until};
use crate::intent::{Mode, Phase, RolloutIntent};
use crate::lint;
use crate::rollout::{Ask, Refused, request, word};
use crate::stack::NOTICE;
use crate::world::World;

const SALT: &str = "FileSettings.PublicLinkSalt";

fn file(salt: &str) -> BTreeMap<String, String> {
    [
        (SALT, salt.repeat(32)),
        ("SqlSettings.AtRestEncryptKey", "b1".repeat(32)),
        ("TeamSettings.SiteName", "c2".repeat(32)),
    ]
    .map(|(name, digest)| (name.to_owned(), digest))
    .into()
}

/// A stack as it was stored before anything of this was known: no home of settings, none of files.
fn old(spec: &Spec) -> (World, Intent) {
    let (mut world, mut intent) = ready(spec);
    intent.record.configuration = None;
    intent.record.salts.clear();
    intent.record.proven.as_mut().unwrap().files = None;
    world.observed.databases.as_mut().unwrap().configuration = None;
    for node in world.observed.nodes.values_mut() {
        node.configuration_file = file("a0");
        let Some(NodeGoal::Serve {
            configuration,
            files,
            ..
        }) = &mut node.goal
        else {
            continue;
        };
        (*configuration, *files) = (ConfigurationHome::File, None);
    }
    until(&mut world, &mut intent, 60, |phase| *phase == Phase::Ready);
    (world, intent)
}

fn ask(world: &World, intent: &Intent, ask: &Ask) -> Result<RolloutIntent, Refused> {
    request(intent, &world.observed, ask, world.now)
}

fn moves() -> Ask {
    Ask {
        moves: true,
        ..Ask::default()
    }
}

fn begin(world: &World, intent: &mut Intent) {
    intent.rollout = Some(ask(world, intent, &moves()).unwrap());
}

/// Phases until the end, each once in a row.
fn phases(world: &mut World, intent: &mut Intent) -> Vec<String> {
    let mut seen: Vec<String> = Vec::new();
    for _ in 0..600 {
        let decision = turn(world, intent);
        let word = word(&decision.next);
        if seen.last() != Some(&word) {
            seen.push(word);
        }
        if decision.next.ends_a_rollout() {
            return seen;
        }
    }
    panic!("no end: {seen:?}");
}

fn notices(decision: &Decision) -> Vec<&str> {
    let reasons = decision.reasons.iter();
    reasons
        .filter(|reason| reason.gate == NOTICE)
        .map(|reason| reason.text.as_str())
        .collect()
}

#[test]
fn an_old_stack_is_ready_and_says_what_it_needs() {
    let (mut world, mut intent) = old(&unlicensed());
    let decision = turn(&mut world, &mut intent);
    assert_eq!(decision.next, Phase::Ready);
    assert!(
        notices(&decision)
            .iter()
            .any(|text| text.contains("`orchestrator move`")),
        "{:?}",
        decision.reasons
    );
    let goals: Vec<_> = decision.nodes.values().collect();
    assert!(matches!(
        goals[..],
        [NodeGoal::Serve {
            configuration: ConfigurationHome::File,
            files: None,
            copy: None,
            ..
        }]
    ));
}

#[test]
fn no_rollout_begins_before_the_move() {
    let (world, intent) = old(&unlicensed());
    for asked in [
        Ask::default(),
        Ask {
            version: Some("11.11.0".to_owned()),
            files_moved: true,
            lose_files: true,
            ..Ask::default()
        },
    ] {
        let refusal = ask(&world, &intent, &asked).unwrap_err();
        assert_eq!(refusal.code, "not_moved");
        assert!(refusal.text.contains("`orchestrator move`"));
    }
}

#[test]
fn what_needs_no_move_is_not_moved() {
    let (world, intent) = ready(&unlicensed());
    assert_eq!(unmoved(&intent.record, &intent.spec), None);
    assert_eq!(
        ask(&world, &intent, &moves()).unwrap_err().code,
        "nothing_to_move"
    );
    assert_eq!(unmoved(&Record::default(), &intent.spec), None);
}

#[test]
fn an_old_agent_is_named() {
    let (mut world, intent) = old(&unlicensed());
    let id = world.observed.nodes.keys().next().unwrap().clone();
    world.observed.nodes.get_mut(&id).unwrap().can_move = false;
    let refusal = ask(&world, &intent, &moves()).unwrap_err();
    assert_eq!(refusal.code, "agent_too_old");
    assert!(refusal.text.contains(&id));
}

#[test]
fn a_move_brings_files_and_settings_to_where_they_last() {
    for spec in [unlicensed(), clustered(2)] {
        let (mut world, mut intent) = old(&spec);
        let members = world.observed.groups["demo-g1"].members.clone();
        begin(&world, &mut intent);
        assert_eq!(intent.rollout.as_ref().unwrap().mode, Mode::Move);
        let seen = phases(&mut world, &mut intent);
        assert_eq!(
            seen,
            [
                "preflight",
                "copying",
                "pinned",
                "closed",
                "moving",
                "moved",
                "reopened",
                "done"
            ]
        );
        assert_eq!(
            intent.record.configuration,
            Some(ConfigurationHome::Database)
        );
        let proven = intent.record.proven.clone().unwrap();
        assert!(matches!(FilesHome::of(&proven), FilesHome::S3(_)));
        until(&mut world, &mut intent, 60, |phase| *phase == Phase::Ready);
        let group = &world.observed.groups["demo-g1"];
        assert!(group.members.keys().eq(members.keys()), "the same nodes");
        assert!(group.suspended.is_empty() && !crate::rollout::pin::is_pinned(group));
        assert_eq!(unmoved(&intent.record, &intent.spec), None);
    }
}

#[test]
fn servers_stop_only_behind_the_page_and_one_alone_moves_settings() {
    let (mut world, mut intent) = old(&clustered(2));
    begin(&world, &mut intent);
    let mut movers = std::collections::BTreeSet::new();
    for _ in 0..600 {
        let decision = turn(&mut world, &mut intent);
        for (id, goal) in &decision.nodes {
            let NodeGoal::Move { order, .. } = goal else {
                continue;
            };
            assert!(crate::view::View::new(&intent, &world.observed, epoch()).is_closed());
            assert!(order.files.is_some() && !order.alone);
            if order.configuration {
                movers.insert(id.clone());
            }
        }
        if decision.next == Phase::Done {
            break;
        }
    }
    assert_eq!(movers.len(), 1, "{movers:?}");
}

#[test]
fn a_node_that_cannot_copy_serves_again_as_before() {
    let (mut world, mut intent) = old(&unlicensed());
    world.unmovable.extend(world.observed.nodes.keys().cloned());
    let before = intent.record.clone();
    begin(&world, &mut intent);
    let seen = phases(&mut world, &mut intent);
    assert_eq!(
        seen[4..],
        [
            "moving",
            "returning_traffic",
            "removing_green",
            "rolled_back"
        ]
    );
    let failure = intent.rollout.as_ref().unwrap().failure.join("; ");
    assert!(failure.contains("S3 answered 403"), "{failure}");
    assert_eq!(intent.record.proven, before.proven);
    assert_eq!(intent.record.configuration(), ConfigurationHome::File);
    until(&mut world, &mut intent, 60, |phase| *phase == Phase::Ready);
    // The reason is gone: the second time it goes through.
    world.unmovable.clear();
    begin(&world, &mut intent);
    assert_eq!(phases(&mut world, &mut intent).last().unwrap(), "done");
}

#[test]
fn an_abort_before_the_door_opens_changes_nothing() {
    for wanted in [Phase::Copying, Phase::Closed, Phase::Moving, Phase::Moved] {
        let (mut world, mut intent) = old(&unlicensed());
        let before = intent.record.proven.clone();
        begin(&world, &mut intent);
        until(&mut world, &mut intent, 200, |phase| *phase == wanted);
        intent.rollout.as_mut().unwrap().abort = true;
        assert_eq!(
            phases(&mut world, &mut intent).last().unwrap(),
            "rolled_back"
        );
        assert_eq!(intent.record.proven, before, "{wanted:?}");
        until(&mut world, &mut intent, 60, |phase| *phase == Phase::Ready);
        let goals = world
            .observed
            .nodes
            .values()
            .filter_map(|node| node.goal.clone());
        for goal in goals {
            assert!(
                matches!(
                    &goal,
                    NodeGoal::Serve {
                        configuration: ConfigurationHome::File,
                        copy: None,
                        ..
                    }
                ),
                "{goal:?}"
            );
        }
    }
}

#[test]
fn a_lower_maximum_does_not_end_a_node_that_is_not_moved() {
    let (mut world, mut intent) = old(&clustered(2));
    intent.spec.fleet.min = 1;
    intent.spec.fleet.max = 1;
    for _ in 0..20 {
        let decision = turn(&mut world, &mut intent);
        assert!(!decision.actions.iter().any(|action| matches!(
            action,
            Action::SetGroupSize { .. } | Action::TerminateInstance { .. }
        )));
    }
    assert_eq!(world.observed.groups["demo-g1"].members.len(), 2);
}

#[test]
fn the_second_opinion_refuses_to_end_a_node_that_is_not_moved() {
    let (mut world, mut intent) = old(&unlicensed());
    let mut decision = turn(&mut world, &mut intent);
    let group = "demo-g1".to_owned();
    let instance = world.observed.groups[&group]
        .members
        .keys()
        .next()
        .unwrap()
        .clone();
    decision.actions = vec![Action::TerminateInstance { group, instance }];
    let refusals = lint(&decision, &world.observed, &intent).unwrap_err();
    assert!(refusals.iter().any(|refusal| refusal.rule == "not_moved"));
    intent.record.configuration = Some(ConfigurationHome::Database);
    intent.record.proven.as_mut().unwrap().files =
        FilesHome::wanted(&intent.spec, Some("123456789012"));
    assert_eq!(lint(&decision, &world.observed, &intent), Ok(()));
}

#[test]
fn the_plan_names_whose_settings_win() {
    let (mut world, intent) = old(&clustered(2));
    let ids: Vec<String> = world.observed.groups["demo-g1"]
        .members
        .keys()
        .cloned()
        .collect();
    world
        .observed
        .nodes
        .get_mut(&ids[1])
        .unwrap()
        .configuration_file = file("a1");
    let rollout = ask(&world, &intent, &moves()).unwrap();
    let forecast = crate::forecast_rollout(&intent, &rollout, &world.observed, world.now);
    let text = forecast.to_string();
    assert!(forecast.reaches_its_end, "{text}");
    for word in ["config.json of", SALT, "maintenance page", "nodes' disks"] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn a_bucket_named_by_settings_is_used_and_nothing_is_copied() {
    let (world, mut intent) = old(&unlicensed());
    let proven = intent.record.proven.as_mut().unwrap();
    for (name, value) in [
        ("MM_FILESETTINGS_DRIVERNAME", "amazons3"),
        (
            "MM_FILESETTINGS_AMAZONS3BUCKET",
            "demo-files-123456789012-us-east-1",
        ),
    ] {
        proven.settings.insert(name.to_owned(), value.to_owned());
    }
    let rollout = ask(&world, &intent, &moves()).unwrap();
    assert_eq!(destination(&rollout.from, &rollout.to), None);
    assert_eq!(
        unmoved(&intent.record, &intent.spec),
        Some(Unmoved {
            files: false,
            configuration: true
        })
    );
}
