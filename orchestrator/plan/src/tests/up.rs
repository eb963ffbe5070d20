//! `up`: from an empty account, against drift, and what it leaves alone.

use crate::fixtures::{
    clustered, empty_account, epoch, ready, spec, turn, unlicensed, until, wanting,
};
use crate::intent::{Intent, Phase};
use crate::observed::{DbStatus, ListenerAction, STACK_TAG, Subnet};
use crate::world::World;
use crate::{Action, plan};

#[test]
fn up_from_nothing_is_ready_and_then_plans_nothing() {
    for spec in [unlicensed(), clustered(1), clustered(3)] {
        let (mut world, mut intent) = ready(&spec);
        for _ in 0..5 {
            let decision = turn(&mut world, &mut intent);
            assert_eq!(decision.next, Phase::Ready, "{:#?}", decision.reasons);
            assert!(decision.actions.is_empty(), "{:#?}", decision.actions);
            assert!(decision.reasons.is_empty(), "{:#?}", decision.reasons);
        }
        let proven = intent.record.proven.clone().unwrap();
        assert_eq!(proven.image_id, "ami-0new");
        assert_eq!(intent.record.group.as_deref(), Some("demo-g1"));
        assert_eq!(intent.record.migrations, Some(1110));
        assert_eq!(
            world.migrations.len(),
            1,
            "one node migrates an empty database"
        );
    }
}

#[test]
fn one_look_of_a_restarted_orchestrator_plans_nothing_either() {
    let (world, intent) = ready(&clustered(2));
    let mut observed = world.observed.clone();
    observed.streaks.clear();
    let mut intent = intent;
    intent.journal.clear();
    let decision = plan(&intent, &observed, world.now);
    assert_eq!(decision.actions, []);
    assert_eq!(decision.next, Phase::Ready, "{:#?}", decision.reasons);
}

#[test]
fn a_replica_is_planned_only_of_a_settled_primary() {
    let spec = unlicensed();
    let mut world = World::new(&spec, &empty_account(), epoch());
    let mut intent = wanting(&spec);
    let replica = |decision: &crate::Decision| {
        decision
            .actions
            .iter()
            .any(|action| matches!(action, Action::EnsureDbReplica { .. }))
    };
    let mut reads = 0;
    for _ in 0..60 {
        let available = world
            .observed
            .db_instances
            .get("demo-db")
            .is_some_and(|seen| seen.status == DbStatus::Available);
        let decision = turn(&mut world, &mut intent);
        reads += u32::from(available);
        if replica(&decision) {
            assert!(reads >= 3, "planned after {reads} reads of `available`");
            return;
        }
    }
    panic!("no replica was planned");
}

/// With a certificate users are served on 443, and sent there from 80.
#[test]
fn a_certificate_brings_https_to_a_new_stack_and_to_one_that_had_none() {
    type Begin<'a> = &'a dyn Fn() -> (World, Intent);
    let secured = spec(&[("# certificate_arn", "certificate_arn")]);
    let empty = || {
        (
            World::new(&secured, &empty_account(), epoch()),
            wanting(&secured),
        )
    };
    let plain = || {
        let (world, mut intent) = ready(&unlicensed());
        intent.spec = secured.clone();
        (world, intent)
    };
    let cases: [(&str, Begin); 2] = [("from nothing", &empty), ("on port 80 before", &plain)];
    for (what, begin) in cases {
        let (mut world, mut intent) = begin();
        let mut made = Vec::new();
        for _ in 0..100 {
            let decision = turn(&mut world, &mut intent);
            let redirects = |action: &Action| match action {
                Action::EnsureListener { port, action, .. } => {
                    Some((*port, *action == ListenerAction::Redirect(443)))
                }
                _ => None,
            };
            made.push(
                decision
                    .actions
                    .iter()
                    .filter_map(redirects)
                    .collect::<Vec<_>>(),
            );
            if decision.next == Phase::Ready && decision.actions.is_empty() {
                break;
            }
        }
        made.retain(|turn| !turn.is_empty());
        assert_eq!(
            made,
            [[(443, false)], [(80, true)]],
            "{what}: users have somewhere to go before they are sent there"
        );
        let seen = &world.observed.listeners;
        assert_eq!(seen.keys().collect::<Vec<_>>(), [&80, &443], "{what}");
        assert_eq!(seen[&443].protocol, "HTTPS", "{what}");
        assert_eq!(
            seen[&443].certificate, secured.load_balancer.certificate_arn,
            "{what}"
        );
        let weights = [("arn:tg/demo-a", 100), ("arn:tg/demo-b", 0)];
        let weights = weights.map(|(group, weight)| (group.to_owned(), weight));
        assert_eq!(
            seen[&443].action,
            ListenerAction::Forward(weights.into()),
            "{what}"
        );
        assert_eq!(seen[&80].protocol, "HTTP", "{what}");
        let doors = &world.observed.security_groups["load-balancer"].ingress;
        let doors: Vec<u16> = doors.iter().map(|rule| rule.from_port).collect();
        assert_eq!(doors, [80, 443], "{what}");
    }
}

/// Elastic Load Balancing takes one subnet of a zone; nodes and database take as many as are named.
#[test]
fn two_subnets_of_a_zone_are_none_for_the_load_balancer() {
    let spec = unlicensed();
    let subnet = |id: &str, zone: &str| Subnet {
        id: id.to_owned(),
        zone: zone.to_owned(),
        free_addresses: 200,
    };
    let mut account = empty_account();
    let network = account.network.as_mut().expect("it has one");
    network.subnets.push(subnet("subnet-3", "us-east-1b"));
    let fine = plan(&wanting(&spec), &account, epoch());
    assert!(!fine.reasons.iter().any(|reason| reason.gate == "network"));
    let network = account.network.as_mut().expect("it has one");
    network
        .public_subnets
        .push(subnet("subnet-3", "us-east-1b"));
    let refused = plan(&wanting(&spec), &account, epoch());
    let text = format!("{:?}", refused.reasons);
    assert!(
        text.contains("subnets `subnet-2` and `subnet-3` both lie in `us-east-1b`")
            && text.contains("network.public_subnets"),
        "{text}"
    );
    let needs_network = |action: &Action| action.key().starts_with("ensure_security_group");
    assert!(!refused.actions.iter().any(needs_network), "{text}");
    assert!(
        fine.actions.iter().any(needs_network),
        "else it proves nothing"
    );
}

/// EC2 keeps `::0/0` as `::/0` and shows capitals in lower case: neither is drift.
#[test]
fn networks_are_compared_as_networks() {
    let mut spec = unlicensed();
    spec.load_balancer.allow = ["0.0.0.0/0", "::0/0", "0:0::/0", "2001:DB8::/32"]
        .map(str::to_owned)
        .to_vec();
    let (mut world, mut intent) = ready(&spec);
    let shown = |world: &World| {
        let rules = &world.observed.security_groups["load-balancer"].ingress;
        let sources = rules.iter().map(|rule| rule.source.clone());
        sources.collect::<Vec<_>>()
    };
    assert_eq!(shown(&world), ["0.0.0.0/0", "2001:db8::/32", "::/0"]);
    let decision = turn(&mut world, &mut intent);
    assert!(decision.actions.is_empty(), "{:#?}", decision.actions);
}

#[test]
fn drift_is_seen_and_mended() {
    type Break = fn(&mut World);
    let cases: [(&str, Break); 8] = [
        ("ensure_security_group/database", |world| {
            world
                .observed
                .security_groups
                .get_mut("database")
                .unwrap()
                .ingress
                .clear();
        }),
        ("ensure_alarm/demo-g1-cpu-high", |world| {
            world.observed.alarms.remove("demo-g1-cpu-high");
        }),
        ("set_weights/arn:listener/80", |world| {
            let weights = [
                ("arn:tg/demo-a".to_owned(), 50),
                ("arn:tg/demo-b".to_owned(), 50),
            ];
            world.observed.listeners.get_mut(&80).unwrap().action =
                ListenerAction::Forward(weights.into());
        }),
        ("ensure_load_balancer/demo", |world| {
            world
                .observed
                .load_balancer
                .as_mut()
                .unwrap()
                .attributes
                .insert("idle_timeout.timeout_seconds".to_owned(), "60".to_owned());
        }),
        ("set_group_size/demo-g1", |world| {
            world.observed.groups.get_mut("demo-g1").unwrap().max = 9;
        }),
        ("set_db_instance/demo-db", |world| {
            world
                .observed
                .db_instances
                .get_mut("demo-db")
                .unwrap()
                .backup_days = 1;
        }),
        ("ensure_group/demo-g1", |world| {
            world
                .observed
                .groups
                .get_mut("demo-g1")
                .unwrap()
                .hooks
                .clear();
        }),
        ("ensure_listener/80", |world| {
            world.observed.listeners.clear();
        }),
    ];
    for (key, change) in cases {
        let (mut world, mut intent) = ready(&clustered(2));
        for entry in intent.journal.values_mut() {
            entry.done = Some(epoch());
        }
        change(&mut world);
        let decision = plan(&intent, &world.observed, world.now);
        let keys: Vec<String> = decision.actions.iter().map(Action::key).collect();
        assert_eq!(keys, [key]);
        until(&mut world, &mut intent, 20, |phase| *phase == Phase::Ready);
    }
}

#[test]
fn what_autoscaling_chose_is_left_alone() {
    let (mut world, mut intent) = ready(&clustered(1));
    world.observed.groups.get_mut("demo-g1").unwrap().desired = 3;
    until(&mut world, &mut intent, 20, |phase| *phase == Phase::Ready);
    for _ in 0..10 {
        assert_eq!(
            turn(&mut world, &mut intent)
                .actions
                .iter()
                .filter(|action| !matches!(action, Action::CompleteLifecycle { .. }))
                .count(),
            0
        );
    }
    assert_eq!(world.observed.groups["demo-g1"].desired, 3);
    assert_eq!(
        world.observed.groups["demo-g1"]
            .members
            .values()
            .filter(|member| member.lifecycle == "InService")
            .count(),
        3
    );
}

#[test]
fn a_name_that_somebody_else_has_is_not_touched() {
    let spec = unlicensed();
    let (mut world, intent) = ready(&spec);
    world
        .observed
        .load_balancer
        .as_mut()
        .unwrap()
        .tags
        .remove(STACK_TAG);
    let decision = plan(&intent, &world.observed, world.now);
    assert!(
        matches!(&decision.next, Phase::Stuck { reason } if reason.contains("not ours")),
        "{decision:#?}"
    );
    assert!(decision.actions.is_empty());
}

#[test]
fn a_failed_read_means_nothing() {
    let (world, intent) = ready(&clustered(2));
    for field in [
        "groups",
        "db_instances",
        "security_groups",
        "listeners",
        "target_groups",
        "template",
        "alarms",
        "policies",
        "secrets",
        "images",
        "load_balancer",
    ] {
        let mut observed = world.observed.clone();
        let mut value = serde_json::to_value(&observed).unwrap();
        let empty = serde_json::to_value(crate::Observed::default()).unwrap();
        value[field] = empty[field].clone();
        observed = serde_json::from_value(value).unwrap();
        observed
            .unknown
            .insert(field.to_owned(), "Throttling".to_owned());
        let decision = plan(&intent, &observed, world.now);
        assert_eq!(decision.actions, [], "{field}");
        assert_eq!(decision.next, Phase::Converging, "{field}");
    }
}

#[test]
fn without_the_record_what_serves_is_left_alone() {
    let (mut world, mut intent) = ready(&clustered(2));
    super::begin(&mut intent, &world, "11.11.0");
    until(&mut world, &mut intent, 2000, |phase| {
        *phase == Phase::Ready
    });
    // The store does not answer yet: the same account, and nothing known of it.
    let decision = plan(&wanting(&clustered(2)), &world.observed, world.now);
    assert_eq!(decision.next, Phase::Converging);
    let about_the_fleet = decision.actions.iter().filter(|action| {
        let key = action.key();
        ["group", "weights", "listener", "alarm", "policy"]
            .iter()
            .any(|word| key.contains(word))
            && !key.contains("security_group")
    });
    assert_eq!(about_the_fleet.count(), 0, "{:#?}", decision.actions);
}

#[test]
fn a_group_that_nobody_owns_is_removed_once_it_gets_no_traffic() {
    let (mut world, mut intent) = ready(&clustered(2));
    super::begin(&mut intent, &world, "11.11.0");
    until(&mut world, &mut intent, 1000, |phase| {
        *phase == Phase::Shifting { weight: 50 }
    });
    intent.rollout = None;
    until(&mut world, &mut intent, 200, |phase| *phase == Phase::Ready);
    assert_eq!(
        world.observed.groups.keys().collect::<Vec<_>>(),
        ["demo-g1"]
    );
    assert!(world.observed.groups["demo-g1"].suspended.is_empty());
}

#[test]
fn a_failed_effect_is_the_reason_and_is_not_repeated_at_once() {
    let spec = unlicensed();
    let world = World::new(&spec, &empty_account(), epoch());
    let mut intent = wanting(&spec);
    let key = "ensure_load_balancer/demo";
    let reach = |intent: &crate::Intent, world: &World| plan(intent, &world.observed, world.now);
    let mut world = world;
    for _ in 0..3 {
        turn(&mut world, &mut intent);
    }
    world.observed.load_balancer = None;
    crate::world::journal(&mut intent, key, world.now);
    crate::world::close(
        &mut intent,
        key,
        world.now,
        Some("OperationNotPermitted: this account has no load balancers".to_owned()),
    );
    intent.journal.get_mut(key).unwrap().failures = 5;
    let decision = reach(&intent, &world);
    assert!(decision.actions.iter().all(|action| action.key() != key));
    assert!(
        decision
            .reasons
            .iter()
            .any(|reason| reason.text.contains("failed 5 time(s)")
                && reason.text.contains("OperationNotPermitted"))
    );
    world.now = world
        .now
        .checked_add(jiff::SignedDuration::from_mins(3))
        .unwrap();
    assert!(
        reach(&intent, &world)
            .actions
            .iter()
            .any(|action| action.key() == key)
    );
}
