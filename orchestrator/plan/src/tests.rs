//! The planner against the model: what it makes of an empty account, of drift, of rollouts, of `down`.

use crate::fixtures::{clustered, empty_account, epoch, ready, turn, unlicensed, until, wanting};
use crate::intent::{Intent, Mode, Phase, Want};
use crate::observed::{ListenerAction, STACK_TAG};
use crate::rollout::{Ask, request, word};
use crate::world::World;
use crate::{Action, lint, plan};

fn begin(intent: &mut Intent, world: &World, version: &str) {
    let ask = Ask {
        version: Some(version.to_owned()),
        sha256: Some("b".repeat(64)),
        ..Ask::default()
    };
    intent.rollout = Some(request(intent, &ask, world.now).unwrap());
}

/// Phases in the order in which they are entered, until an end.
fn phases(world: &mut World, intent: &mut Intent, most: usize) -> Vec<String> {
    let mut seen = vec![];
    for _ in 0..most {
        let decision = turn(world, intent);
        let word = word(&decision.next);
        if seen.last() != Some(&word) {
            seen.push(word);
        }
        if matches!(
            decision.next,
            Phase::Done | Phase::RolledBack | Phase::Stuck { .. }
        ) {
            return seen;
        }
    }
    panic!(
        "no end in {most} turns: {seen:?}\n{:#?}",
        plan(intent, &world.observed, world.now).reasons
    );
}

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
            .is_some_and(|seen| seen.status == "available");
        let decision = turn(&mut world, &mut intent);
        reads += u32::from(available);
        if replica(&decision) {
            assert!(reads >= 3, "planned after {reads} reads of `available`");
            return;
        }
    }
    panic!("no replica was planned");
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
            ]
            .into();
            world.observed.listeners.get_mut(&80).unwrap().action =
                ListenerAction::Forward(weights);
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
            world.observed.groups.get_mut("demo-g1").unwrap().max = 9
        }),
        ("set_db_instance/demo-db", |world| {
            world
                .observed
                .db_instances
                .get_mut("demo-db")
                .unwrap()
                .backup_days = 1
        }),
        ("ensure_group/demo-g1", |world| {
            world
                .observed
                .groups
                .get_mut("demo-g1")
                .unwrap()
                .hooks
                .clear()
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
fn no_traffic_is_not_health() {
    let (mut world, mut intent) = ready(&clustered(2));
    world.requests = 0;
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
            "pinned",
            "green_created",
            "prepared",
            "closed",
            "snapshot",
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
fn down_removes_what_is_ours_and_keeps_the_database() {
    let (mut world, mut intent) = ready(&clustered(2));
    intent.want = Want::Down {
        delete_database: false,
    };
    until(&mut world, &mut intent, 200, |phase| *phase == Phase::Gone);
    let seen = &world.observed;
    assert_eq!(seen.db_instances.len(), 2);
    assert_eq!(
        seen.secrets.keys().collect::<Vec<_>>(),
        [
            "demo/database/master",
            "demo/database/mattermost",
            "demo/database/orchestrator"
        ]
    );
    assert_eq!(
        seen.security_groups.keys().collect::<Vec<_>>(),
        ["database"]
    );
    assert!(
        seen.groups.is_empty()
            && seen.load_balancer.is_none()
            && seen.target_groups.is_empty()
            && seen.template.is_none()
    );
    assert!(
        seen.alarms.is_empty()
            && seen.images["us-west-2"].is_empty()
            && seen.images["us-east-1"].len() == 2
    );
    // And up again on the same database.
    intent.want = Want::Up;
    intent.journal.clear();
    until(&mut world, &mut intent, 200, |phase| *phase == Phase::Ready);
}

#[test]
fn down_with_the_database_leaves_a_final_snapshot() {
    let (mut world, mut intent) = ready(&clustered(2));
    intent.want = Want::Down {
        delete_database: true,
    };
    until(&mut world, &mut intent, 200, |phase| *phase == Phase::Gone);
    let seen = &world.observed;
    assert!(
        seen.db_instances.is_empty() && seen.secrets.is_empty() && seen.security_groups.is_empty()
    );
    assert!(seen.db_subnet_group.is_none() && seen.db_parameter_group.is_none());
    assert_eq!(
        seen.db_snapshots.keys().collect::<Vec<_>>(),
        ["demo-final-g1"]
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
fn lint_refuses_what_no_planner_should_ask() {
    let (world, intent) = ready(&clustered(2));
    let listener = "arn:listener/80".to_owned();
    let cases = [
        (
            Action::DeleteGroup {
                group: "demo-g1".to_owned(),
                force: true,
            },
            "last_serving_group",
        ),
        (
            Action::SetGroupSize {
                group: "demo-g1".to_owned(),
                min: 0,
                max: 0,
                desired: 0,
            },
            "under_floor",
        ),
        (
            Action::SetWeights {
                listener: listener.clone(),
                weights: [("arn:tg/demo-b".to_owned(), 100)].into(),
            },
            "unhealthy",
        ),
        (
            Action::SetWeights {
                listener: listener.clone(),
                weights: [("arn:tg/demo-a".to_owned(), 0)].into(),
            },
            "no_owner",
        ),
        (
            Action::SetWeights {
                listener: listener.clone(),
                weights: [
                    ("arn:tg/demo-a".to_owned(), 50),
                    ("arn:tg/demo-b".to_owned(), 50),
                ]
                .into(),
            },
            "two_owners",
        ),
        (
            Action::SetFixedResponse {
                listener,
                status: 503,
                body: String::new(),
            },
            "no_owner",
        ),
        (
            Action::DeleteDbInstance {
                id: "demo-db".to_owned(),
                final_snapshot: Some("x".to_owned()),
            },
            "keeps_database",
        ),
        (
            Action::DeleteTargetGroup {
                arn: "arn:tg/demo-a".to_owned(),
            },
            "has_weight",
        ),
        (
            Action::DeleteTemplateVersions {
                name: "demo-node".to_owned(),
                versions: [1].into(),
            },
            "proven",
        ),
        (
            Action::DeleteImage {
                region: "us-east-1".to_owned(),
                image: "ami-0new".to_owned(),
            },
            "not_ours",
        ),
        (
            Action::DeleteLoadBalancer {
                arn: "arn:lb/demo".to_owned(),
            },
            "not_going_down",
        ),
    ];
    let mut decision = plan(&intent, &world.observed, world.now);
    for (action, rule) in cases {
        decision.actions = vec![action.clone()];
        let refusals = lint(&decision, &world.observed, &intent).unwrap_err();
        assert_eq!(refusals[0].rule, rule, "{action:?}: {refusals:?}");
    }
}
