//! The group, its hooks, policies, alarms and nodes.

use std::collections::{BTreeMap, BTreeSet};

use cloud::Outcome;
use plan::Action;
use plan::action::{GroupWanted, LAUNCH_HOOK, TERMINATE_HOOK};
use plan::observed::Observed;

use crate::support::{HOME, World, operator};
use crate::values::{map, set};

fn group(seen: &Observed, launch_heartbeat: u32) -> GroupWanted {
    GroupWanted {
        name: "demo-g1".to_owned(),
        template: "demo-node".to_owned(),
        version: 2,
        subnets: seen
            .network
            .iter()
            .flat_map(|network| &network.subnets)
            .map(|subnet| subnet.id.clone())
            .collect(),
        target_groups: BTreeSet::from([seen.target_groups["demo-a"].arn.clone()]),
        min: 0,
        max: 3,
        desired: 0,
        launch_heartbeat,
        terminate_heartbeat: 900,
        grace_seconds: 300,
        tags: map([("mattermost:generation", "1")]),
    }
}

pub async fn ensure(world: &World) {
    let seen = world.look().await;
    world.twice(Action::EnsureGroup(group(&seen, 7200))).await;
    // Drift of a hook is mended.
    world.twice(Action::EnsureGroup(group(&seen, 7100))).await;
    world
        .twice(Action::SetGroupTemplate {
            group: "demo-g1".to_owned(),
            template: "demo-node".to_owned(),
            version: 3,
        })
        .await;
    world
        .twice(Action::SetSuspended {
            group: "demo-g1".to_owned(),
            processes: set(["AlarmNotification", "AZRebalance"]),
        })
        .await;
    world
        .twice(Action::SetSuspended {
            group: "demo-g1".to_owned(),
            processes: set(["ScheduledActions"]),
        })
        .await;
    world
        .twice(Action::SetGroupTags {
            group: "demo-g1".to_owned(),
            tags: map([
                ("mattermost:pinned", "1/3/1"),
                ("mattermost:generation", "2"),
            ]),
            remove: BTreeSet::new(),
        })
        .await;
    world
        .twice(Action::SetGroupTags {
            group: "demo-g1".to_owned(),
            tags: BTreeMap::new(),
            remove: set(["mattermost:pinned"]),
        })
        .await;
    for (name, adjustment) in [("demo-g1-scale-out", 1), ("demo-g1-scale-in", -1)] {
        let policy = Action::EnsureScalingPolicy {
            group: "demo-g1".to_owned(),
            name: name.to_owned(),
            adjustment,
            warmup_seconds: 300,
        };
        world.once(&policy).await;
        world.once(&policy).await;
    }
    let seen = world.look().await;
    let fleet = &seen.groups["demo-g1"];
    assert_eq!((fleet.min, fleet.max, fleet.desired), (0, 3, 0));
    assert_eq!(fleet.template_version, 3);
    assert_eq!(fleet.health_check, "ELB");
    assert_eq!(fleet.suspended, set(["ScheduledActions"]));
    assert_eq!(fleet.tags["mattermost:generation"], "2");
    assert!(!fleet.tags.contains_key("mattermost:pinned"));
    assert_eq!(
        fleet.hooks[LAUNCH_HOOK],
        ("autoscaling:EC2_INSTANCE_LAUNCHING".to_owned(), 7100)
    );
    assert_eq!(
        fleet.hooks[TERMINATE_HOOK],
        ("autoscaling:EC2_INSTANCE_TERMINATING".to_owned(), 900)
    );
    let policies = &seen.policies["demo-g1"];
    assert_eq!(policies["demo-g1-scale-out"].adjustment, 1);
    assert_eq!(policies["demo-g1-scale-in"].adjustment, -1);

    let alarm = |threshold: f64| Action::EnsureAlarm {
        name: "demo-g1-cpu-high".to_owned(),
        group: "demo-g1".to_owned(),
        threshold,
        comparison: "GreaterThanThreshold".to_owned(),
        periods: 2,
        policy_arn: policies["demo-g1-scale-out"].arn.clone(),
    };
    world.twice(alarm(90.0)).await;
    world.twice(alarm(95.0)).await;
    let seen = world.look().await;
    let seen_alarm = &seen.alarms["demo-g1-cpu-high"];
    assert!((seen_alarm.threshold - 95.0).abs() < f64::EPSILON);
    assert_eq!((seen_alarm.period, seen_alarm.evaluation_periods), (60, 2));
    assert_eq!(seen_alarm.actions.len(), 1);

    nodes(world).await;
}

/// As somebody protects a node by hand.
async fn protect(world: &World, id: &str) {
    let client = aws_sdk_autoscaling::Client::from_conf(
        aws_sdk_autoscaling::config::Builder::new()
            .behavior_version(aws_sdk_autoscaling::config::BehaviorVersion::latest())
            .region(aws_sdk_autoscaling::config::Region::new(HOME))
            .endpoint_url(&world.endpoint)
            .credentials_provider(operator())
            .build(),
    );
    client
        .set_instance_protection()
        .auto_scaling_group_name("demo-g1")
        .instance_ids(id)
        .protected_from_scale_in(true)
        .send()
        .await
        .expect("protected");
}

/// Two nodes come, wait at their hooks, serve, and one is replaced.
async fn nodes(world: &World) {
    let size = |desired: u32| Action::SetGroupSize {
        group: "demo-g1".to_owned(),
        min: desired,
        max: 3,
        desired,
    };
    world.twice(size(1)).await;
    let seen = world
        .until("a node waits at its launch hook", |seen| {
            seen.groups["demo-g1"]
                .members
                .values()
                .any(|member| member.lifecycle == "Pending:Wait")
        })
        .await;
    let (id, member) = seen.groups["demo-g1"]
        .members
        .first_key_value()
        .expect("one member");
    assert_eq!(member.template_version, 3);
    let instance = &seen.instances[id];
    assert_eq!(instance.group.as_deref(), Some("demo-g1"));
    assert_eq!(
        instance.template.as_ref().map(|(_, version)| *version),
        Some(3)
    );
    assert_eq!(instance.image_id, world.image);
    let (of, as_member) = world
        .cloud
        .observe_member(id)
        .await
        .expect("a read")
        .expect("a member");
    assert_eq!(
        (of.as_str(), as_member.lifecycle.as_str()),
        ("demo-g1", "Pending:Wait")
    );
    assert_eq!(
        world
            .cloud
            .observe_instance(id)
            .await
            .expect("a read")
            .as_ref(),
        Some(instance)
    );
    let complete = |hook: &str| Action::CompleteLifecycle {
        group: "demo-g1".to_owned(),
        hook: hook.to_owned(),
        instance: id.clone(),
        result: "CONTINUE".to_owned(),
    };
    let heartbeat = Action::HeartbeatLifecycle {
        group: "demo-g1".to_owned(),
        hook: LAUNCH_HOOK.to_owned(),
        instance: id.clone(),
    };
    assert_eq!(world.once(&heartbeat).await, Outcome::Changed);
    world.twice(complete(LAUNCH_HOOK)).await;
    assert_eq!(world.once(&heartbeat).await, Outcome::Unchanged);
    world
        .until("the node is in service and a target", |seen| {
            seen.groups["demo-g1"]
                .members
                .get(id)
                .map(|m| m.lifecycle.as_str())
                == Some("InService")
                && seen.target_groups["demo-a"].targets.contains_key(id)
        })
        .await;
    protect(world, id).await;
    assert!(world.look().await.groups["demo-g1"].members[id].protected);
    // Of members that are not there, nothing is asked.
    world
        .twice(Action::LiftScaleInProtection {
            group: "demo-g1".to_owned(),
            instances: set([id.as_str(), "i-0123456789abcdef0"]),
        })
        .await;
    assert!(!world.look().await.groups["demo-g1"].members[id].protected);
    world
        .twice(Action::TerminateInstance {
            group: "demo-g1".to_owned(),
            instance: id.clone(),
        })
        .await;
    world
        .until("the node waits at its terminate hook", |seen| {
            seen.groups["demo-g1"]
                .members
                .get(id)
                .map(|m| m.lifecycle.as_str())
                == Some("Terminating:Wait")
        })
        .await;
    world.twice(complete(TERMINATE_HOOK)).await;
    let seen = world
        .until("another takes its place", |seen| {
            let members = &seen.groups["demo-g1"].members;
            !members.contains_key(id) && members.len() == 1
        })
        .await;
    assert!(!seen.groups["demo-g1"].activities.is_empty());
}
