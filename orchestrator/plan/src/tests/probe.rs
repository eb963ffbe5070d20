//! The load balancer is asked for green before users are sent there, and by itself while they are.

use super::{begin, phases};
use crate::action::Action;
use crate::fixtures::{TOKEN, clustered, ready, turn, unlicensed, until};
use crate::intent::{Intent, Phase, RolloutIntent, RolloutProbe};
use crate::lint;
use crate::observed::{ListenerAction, ListenerRule, PROBE_HEADER, RuleCondition};
use crate::spec::Spec;
use crate::world::World;
use crate::{Decision, plan};

fn begun(spec: &Spec) -> (World, Intent) {
    let (mut world, mut intent) = ready(spec);
    begin(&mut intent, &world, "11.11.0");
    world.look();
    (world, intent)
}

fn probe(intent: &Intent) -> &RolloutProbe {
    let rollout = intent.rollout.as_ref().expect("a rollout");
    rollout.probe.as_ref().expect("it is probed")
}

fn told(decision: &Decision) -> Option<&str> {
    let mut reasons = decision.reasons.iter();
    let found = reasons.find(|reason| reason.gate == "probe");
    found.map(|reason| reason.text.as_str())
}

fn enter(world: &mut World, intent: &mut Intent, phase: &Phase) {
    until(world, intent, 500, |next| next == phase);
}

#[test]
fn no_user_comes_to_a_green_that_the_load_balancer_does_not_lead_to() {
    let (mut world, mut intent) = begun(&clustered(2));
    enter(&mut world, &mut intent, &Phase::Joined);
    world.failing_probes = Some("it has expired".to_owned());
    let mut last = turn(&mut world, &mut intent);
    for _ in 0..40 {
        last = turn(&mut world, &mut intent);
    }
    assert_eq!(last.next, Phase::Joined);
    assert_eq!(
        told(&last),
        Some(
            "asked for green, 11.11.0, through the load balancer, the certificate fails: it has expired"
        )
    );
    world.failing_probes = None;
    let shifting = Phase::Shifting { weight: 10 };
    enter(&mut world, &mut intent, &shifting);
    // Half a minute old answers are none.
    let (mut world, mut intent) = begun(&clustered(2));
    enter(&mut world, &mut intent, &Phase::Joined);
    for _ in 0..40 {
        world.look();
        let stale = world.now - jiff::SignedDuration::from_secs(31);
        if let Some(seen) = &mut world.observed.probes.green {
            seen.at = stale;
        }
        let decision = plan(&intent, &world.observed, world.now);
        assert_eq!(decision.next, Phase::Joined);
        world.commit(&mut intent, &decision);
        world.perform(&mut intent, &decision);
        world.tick();
    }
}

#[test]
fn users_wait_behind_the_page_until_green_answers_through_it() {
    let (mut world, mut intent) = begun(&unlicensed());
    enter(&mut world, &mut intent, &Phase::Full);
    world.failing_probes = Some("it has expired".to_owned());
    for _ in 0..40 {
        let decision = turn(&mut world, &mut intent);
        assert_eq!(decision.next, Phase::Full);
        let listener = &world.observed.listeners[&80].action;
        assert!(matches!(listener, ListenerAction::Fixed(503, _)));
    }
    world.failing_probes = None;
    let seen = phases(&mut world, &mut intent, 2000);
    assert_eq!(seen.last().map(String::as_str), Some("done"));
}

#[test]
fn a_page_that_green_cannot_be_asked_behind_comes_down_in_a_minute() {
    let (mut world, mut intent) = begun(&unlicensed());
    enter(&mut world, &mut intent, &Phase::Full);
    world.is_out_of_reach = true;
    let shifting = Phase::Shifting { weight: 100 };
    until(&mut world, &mut intent, 12, |next| *next == shifting);
    let waived = probe(&intent).waived.as_deref().expect("waived");
    assert!(waived.contains("does not any more"), "{waived}");
    // With users served there is time: it waits, and turns back when its time is over.
    let (mut world, mut intent) = begun(&clustered(2));
    enter(&mut world, &mut intent, &Phase::Joined);
    world.is_out_of_reach = true;
    let seen = phases(&mut world, &mut intent, 2000);
    assert_eq!(seen.last().map(String::as_str), Some("rolled_back"));
    assert_eq!(probe(&intent).waived, None);
}

#[test]
fn what_this_host_never_reached_is_not_waited_for_and_the_row_says_so() {
    for (out_of_reach, why) in [
        (true, "this host does not reach it: no connection"),
        (
            false,
            "what serves now does not pass, either: the certificate: it is of nobody",
        ),
    ] {
        let (mut world, mut intent) = begun(&clustered(2));
        world.is_out_of_reach = out_of_reach;
        world.failing_probes = (!out_of_reach).then(|| "it is of nobody".to_owned());
        let mut said = Vec::new();
        for _ in 0..2000 {
            let decision = turn(&mut world, &mut intent);
            said.extend(told(&decision).map(str::to_owned));
            if decision.next.ends_a_rollout() {
                break;
            }
        }
        let rollout = intent.rollout.as_ref().expect("a rollout");
        assert_eq!(rollout.phase, Phase::Done, "{:?}", rollout.failure);
        let waived = probe(&intent).waived.as_deref().expect("waived");
        assert!(waived.starts_with(why), "{waived}");
        let text = format!("green is not probed through the load balancer: {waived}");
        assert!(said.contains(&text), "{said:#?}");
    }
}

/// Nobody is awake: the orchestrator's own requests are the evidence, where they reach the load balancer.
#[test]
fn a_quiet_night_is_promoted_by_our_own_requests() {
    for (out_of_reach, last) in [(false, "done"), (true, "rolled_back")] {
        let (mut world, mut intent) = begun(&clustered(2));
        world.requests = 0;
        world.is_out_of_reach = out_of_reach;
        let seen = phases(&mut world, &mut intent, 3000);
        assert_eq!(seen.last().map(String::as_str), Some(last), "{seen:?}");
    }
}

/// A certificate that expires: no request comes through, and the load balancer's numbers are silent.
#[test]
fn our_own_requests_see_what_the_load_balancer_does_not_count() {
    let (mut world, mut intent) = begun(&clustered(2));
    let shifting = Phase::Shifting { weight: 50 };
    enter(&mut world, &mut intent, &shifting);
    world.requests = 0;
    world.failing_probes = Some("it has expired".to_owned());
    let seen = phases(&mut world, &mut intent, 1000);
    assert_eq!(seen.last().map(String::as_str), Some("rolled_back"));
    let failure = intent.rollout.expect("a rollout").failure.join("\n");
    assert!(failure.contains("it has expired"), "{failure}");
    assert!(failure.contains("probes, of which"), "{failure}");
}

fn rules(world: &World) -> Vec<&ListenerRule> {
    world.observed.rules.values().collect()
}

#[test]
fn the_rule_goes_with_the_rollout_whatever_its_end() {
    for (spec, aborted) in [
        (clustered(2), false),
        (clustered(2), true),
        (unlicensed(), false),
        (unlicensed(), true),
    ] {
        let (mut world, mut intent) = begun(&spec);
        let mut had = false;
        for _ in 0..2000 {
            let decision = turn(&mut world, &mut intent);
            had |= !rules(&world).is_empty();
            let phase = decision.next;
            if matches!(phase, Phase::Canary | Phase::Full | Phase::Joined) {
                assert_eq!(rules(&world).len(), 1, "{phase:?}");
            }
            if aborted && phase == Phase::Full {
                intent.rollout.as_mut().expect("a rollout").abort = true;
            }
            if phase.ends_a_rollout() {
                let end = if aborted {
                    Phase::RolledBack
                } else {
                    Phase::Done
                };
                assert_eq!(phase, end);
                break;
            }
        }
        assert!(had && rules(&world).is_empty(), "{:?}", rules(&world));
    }
}

#[test]
fn a_rule_that_somebody_deletes_is_made_again_and_one_too_many_goes() {
    let (mut world, mut intent) = begun(&clustered(2));
    enter(&mut world, &mut intent, &Phase::Canary);
    let (arn, rule) = world.observed.rules.pop_first().expect("a rule");
    for _ in 0..20 {
        turn(&mut world, &mut intent);
    }
    let made = rules(&world)[0].clone();
    assert_ne!(made.arn, arn);
    assert_eq!(probe(&intent).rule.as_ref(), Some(&made.arn));
    let second = ListenerRule {
        priority: 2,
        ..rule
    };
    world.observed.rules.insert(arn.clone(), second);
    turn(&mut world, &mut intent);
    assert_eq!(rules(&world), [&made]);
    // Led elsewhere by hand.
    let blue = ListenerAction::Forward([("arn:tg/demo-a".to_owned(), 1)].into());
    world.observed.rules.get_mut(&made.arn).expect("it").action = blue;
    turn(&mut world, &mut intent);
    assert_eq!(rules(&world), [&made]);
}

#[test]
fn a_rule_without_a_rollout_is_pruned_and_anybody_else_s_is_not() {
    let (mut world, mut intent) = begun(&clustered(2));
    enter(&mut world, &mut intent, &Phase::Joined);
    let theirs = ListenerRule {
        arn: "arn:rule/theirs".to_owned(),
        listener: "arn:listener/80".to_owned(),
        priority: 7,
        condition: RuleCondition::Header {
            name: PROBE_HEADER.to_lowercase(),
            value: TOKEN.to_owned(),
        },
        action: ListenerAction::Redirect(443),
        tags: crate::observed::Tags::new(),
    };
    world
        .observed
        .rules
        .insert(theirs.arn.clone(), theirs.clone());
    // Given up: the record alone says what is to be.
    intent.rollout = None;
    until(&mut world, &mut intent, 400, |phase| *phase == Phase::Ready);
    assert_eq!(rules(&world), [&theirs]);
}

#[test]
fn a_row_from_before_is_read_and_goes_on_as_it_did() {
    let (mut world, mut intent) = begun(&clustered(2));
    let rollout = intent.rollout.as_ref().expect("a rollout");
    let mut row = serde_json::to_value(rollout).expect("JSON");
    row.as_object_mut().expect("an object").remove("probe");
    let row: RolloutIntent = serde_json::from_value(row).expect("a row");
    assert_eq!(row.probe, None);
    intent.rollout = Some(row);
    let mut had = false;
    for _ in 0..2000 {
        let decision = turn(&mut world, &mut intent);
        had |= !rules(&world).is_empty();
        if decision.next.ends_a_rollout() {
            break;
        }
    }
    assert_eq!(intent.rollout.expect("a rollout").phase, Phase::Done);
    assert!(!had);
}

#[test]
fn the_veto_knows_the_rule() {
    let (mut world, mut intent) = begun(&clustered(2));
    enter(&mut world, &mut intent, &Phase::Canary);
    world.look();
    let decision = plan(&intent, &world.observed, world.now);
    let refused = |action: Action| {
        let decision = Decision {
            actions: vec![action],
            ..decision.clone()
        };
        let refusals = lint(&decision, &world.observed, &intent).err();
        let mut rules = refusals.into_iter().flatten().map(|refusal| refusal.rule);
        rules.next()
    };
    let ensure = |token: &str, target_group: &str| Action::EnsureProbeRule {
        listener: "arn:listener/80".to_owned(),
        token: token.to_owned(),
        target_group: target_group.to_owned(),
    };
    let rule = rules(&world)[0].arn.clone();
    assert_eq!(refused(ensure(TOKEN, "arn:tg/demo-b")), None);
    for (action, word) in [
        (ensure(TOKEN, "arn:tg/demo-a"), "not_green"),
        (ensure(&"0".repeat(64), "arn:tg/demo-b"), "not_probed"),
        (
            Action::DeleteProbeRule {
                arn: "arn:rule/theirs".to_owned(),
            },
            "not_ours",
        ),
    ] {
        assert_eq!(refused(action).as_deref(), Some(word));
    }
    assert_eq!(refused(Action::DeleteProbeRule { arn: rule }), None);
}

#[test]
fn the_plan_says_whether_green_will_be_probed() {
    let (mut world, intent) = begun(&clustered(2));
    world.is_out_of_reach = true;
    world.look();
    let rollout = intent.rollout.as_ref().expect("a rollout");
    let told = |world: &World| {
        let forecast = crate::forecast_rollout(&intent, rollout, &world.observed, world.now);
        assert!(forecast.reaches_its_end, "{forecast}");
        forecast.to_string()
    };
    let text = told(&world);
    let note = "note: green is not probed through the load balancer: this host does not reach it";
    assert!(text.contains(note), "{text}");
    assert!(
        text.contains("windows with too few requests of users stay open"),
        "{text}"
    );
    world.is_out_of_reach = false;
    world.look();
    let text = told(&world);
    assert!(!text.contains("not probed"), "{text}");
    assert!(text.contains("X-Mattermost-Probe"), "{text}");
}
