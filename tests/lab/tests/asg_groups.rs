//! Groups against EC2: size, balance, health, hooks, protection, suspended processes, deletion.

mod asg_support;

use std::collections::BTreeMap;

use asg_support::{Instance, REGION, World, text};

/// Everything passes this much faster than at AWS.
const SPEED: f64 = 200.0;

const HOOK: [(&str, &str); 5] = [
    ("AutoScalingGroupName", "web"),
    ("LifecycleHookName", "ready"),
    ("LifecycleTransition", "autoscaling:EC2_INSTANCE_LAUNCHING"),
    ("HeartbeatTimeout", "7200"),
    ("DefaultResult", "ABANDON"),
];

fn by_zone(members: &[Instance]) -> BTreeMap<&str, usize> {
    let mut zones = BTreeMap::new();
    for member in members {
        *zones.entry(member.zone.as_str()).or_default() += 1;
    }
    zones
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_grows_and_shrinks_balanced_and_says_why() {
    let world = World::start(61, SPEED).await;
    world.create_group((0, 6, 3), &[]).await;
    let three = world.until_in_service(3).await;
    assert_eq!(by_zone(&three).len(), 3, "one in each zone: {three:?}");
    let size = [("AutoScalingGroupName", "web"), ("DesiredCapacity", "5")];
    world.asg("SetDesiredCapacity", &size).await;
    let five = world.until_in_service(5).await;
    let zones = by_zone(&five);
    assert!(
        zones.values().all(|count| (1..=2).contains(count)),
        "{zones:?}"
    );
    let size = [("AutoScalingGroupName", "web"), ("DesiredCapacity", "1")];
    world.asg("SetDesiredCapacity", &size).await;
    world.until_in_service(1).await;

    let activities = world.activities().await;
    assert_eq!(activities.len(), 5 + 4);
    assert!(
        activities.iter().all(|one| one.status == "Successful"),
        "{activities:#?}"
    );
    let first = activities.last().unwrap();
    assert!(
        first
            .description
            .starts_with("Launching a new EC2 instance: i-")
    );
    assert!(first.cause.contains(
        "a user request created an AutoScalingGroup changing the desired capacity from 0 to 3.  At "
    ));
    assert!(first.cause.contains("increasing the capacity from"));
    let last = &activities[0];
    assert!(last.description.starts_with("Terminating EC2 instance: i-"));
    assert!(last.cause.contains("a user request explicitly set group desired capacity changing the desired capacity from 5 to 1."));
    assert!(last.cause.contains("was selected for termination."));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_are_refused_with_awss_codes() {
    let world = World::start(62, SPEED).await;
    world.create_group((1, 3, 1), &[]).await;
    world.until_in_service(1).await;
    let group = ("AutoScalingGroupName", "web");
    let template = ("LaunchTemplate.LaunchTemplateName", "node");
    let zone = ("AvailabilityZones.member.1", "us-east-1a");
    for (action, pairs, code, words) in [
        (
            "CreateAutoScalingGroup",
            vec![group, template, zone, ("MinSize", "0"), ("MaxSize", "1")],
            "AlreadyExists",
            "web already exists",
        ),
        (
            "CreateAutoScalingGroup",
            vec![
                ("AutoScalingGroupName", "other"),
                template,
                zone,
                ("MinSize", "1"),
                ("MaxSize", "3"),
                ("DesiredCapacity", "4"),
            ],
            "ValidationError",
            "Desired capacity:4 must be between the specified min size:1 and max size:3",
        ),
        (
            "CreateAutoScalingGroup",
            vec![
                ("AutoScalingGroupName", "other"),
                zone,
                ("MinSize", "1"),
                ("MaxSize", "3"),
            ],
            "ValidationError",
            "LaunchTemplate",
        ),
        (
            "CreateAutoScalingGroup",
            vec![
                ("AutoScalingGroupName", "other"),
                ("LaunchTemplate.LaunchTemplateName", "none"),
                zone,
                ("MinSize", "1"),
                ("MaxSize", "3"),
            ],
            "ValidationError",
            "valid fully-formed launch template",
        ),
        (
            "CreateAutoScalingGroup",
            vec![
                ("AutoScalingGroupName", "other"),
                template,
                ("VPCZoneIdentifier", "subnet-none"),
                ("MinSize", "1"),
                ("MaxSize", "3"),
            ],
            "ValidationError",
            "subnet-none",
        ),
        (
            "CreateAutoScalingGroup",
            vec![
                ("AutoScalingGroupName", "other"),
                template,
                zone,
                ("MinSize", "1"),
                ("MaxSize", "3"),
                ("MixedInstancesPolicy.LaunchTemplate.X", "1"),
            ],
            "UnknownParameter",
            "MixedInstancesPolicy",
        ),
        (
            "SetDesiredCapacity",
            vec![group, ("DesiredCapacity", "9")],
            "ValidationError",
            "above max value 3",
        ),
        (
            "SetDesiredCapacity",
            vec![("AutoScalingGroupName", "other"), ("DesiredCapacity", "1")],
            "ValidationError",
            "not found",
        ),
        (
            "UpdateAutoScalingGroup",
            vec![group, ("MinSize", "2"), ("DesiredCapacity", "1")],
            "ValidationError",
            "must be between",
        ),
        (
            "DeleteAutoScalingGroup",
            vec![group],
            "ResourceInUse",
            "instances",
        ),
        (
            "SuspendProcesses",
            vec![group, ("ScalingProcesses.member.1", "Everything")],
            "ValidationError",
            "AZRebalance",
        ),
        (
            "PutScalingPolicy",
            vec![
                group,
                ("PolicyName", "p"),
                ("PolicyType", "TargetTrackingScaling"),
            ],
            "ValidationError",
            "not implemented",
        ),
        (
            "CompleteLifecycleAction",
            vec![
                group,
                ("LifecycleHookName", "none"),
                ("InstanceId", "i-1"),
                ("LifecycleActionResult", "CONTINUE"),
            ],
            "ValidationError",
            "No Lifecycle Hook found",
        ),
        (
            "DescribeAutoScalingGroups",
            vec![
                ("Filters.member.1.Name", "colour"),
                ("Filters.member.1.Values.member.1", "red"),
            ],
            "ValidationError",
            "colour",
        ),
        (
            "StartInstanceRefresh",
            vec![group],
            "InvalidAction",
            "StartInstanceRefresh",
        ),
    ] {
        let error = world.try_asg(action, &pairs).await.expect_err(action);
        assert_eq!(error.code, code, "{action}: {error}");
        assert!(error.message.contains(words), "{action}: {error}");
        assert_eq!(error.status, 400);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_launch_hook_holds_until_it_is_answered() {
    let world = World::start(63, SPEED).await;
    world.create_group((0, 3, 0), &[]).await;
    world.asg("PutLifecycleHook", &HOOK).await;
    let size = [("AutoScalingGroupName", "web"), ("DesiredCapacity", "2")];
    world.asg("SetDesiredCapacity", &size).await;
    let waiting = world
        .until("two waiting", |members| {
            members.len() == 2 && members.iter().all(|one| one.state == "Pending:Wait")
        })
        .await;
    let target = lab::asg::target_lifecycle_state(&world.lab, REGION, &waiting[0].id);
    assert_eq!(target.as_deref(), Some("InService"));
    assert!(
        world
            .activities()
            .await
            .iter()
            .all(|one| one.status == "MidLifecycleAction")
    );
    // A minute of lab time and ten passes of the loop change nothing.
    world.lab_sleep(150).await;
    assert_eq!(world.members().await, waiting);

    let answer = |id: &str, result: &str| {
        [
            ("AutoScalingGroupName", "web".to_owned()),
            ("LifecycleHookName", "ready".to_owned()),
            ("InstanceId", id.to_owned()),
            ("LifecycleActionResult", result.to_owned()),
        ]
    };
    let send = async |id: &str, result: &str| {
        let pairs = answer(id, result);
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(k, v)| (*k, v.as_str())).collect();
        world.try_asg("CompleteLifecycleAction", &pairs).await
    };
    send(&waiting[0].id, "CONTINUE").await.unwrap();
    send(&waiting[1].id, "ABANDON").await.unwrap();
    let good = waiting[0].id.clone();
    let after = world
        .until("one in service, the other replaced", |members| {
            members.len() == 2
                && members
                    .iter()
                    .any(|one| one.id == good && one.state == "InService")
                && members
                    .iter()
                    .any(|one| one.id != good && one.state == "Pending:Wait")
                && members.iter().all(|one| one.id != waiting[1].id)
        })
        .await;
    assert_eq!(after.len(), 2);
    let again = send(&good, "CONTINUE").await.unwrap_err();
    assert!(
        again
            .message
            .contains("No active Lifecycle Action found with instance ID"),
        "{again}"
    );
    let cancelled: Vec<_> = world
        .activities()
        .await
        .into_iter()
        .filter(|one| one.status == "Cancelled")
        .collect();
    assert_eq!(cancelled.len(), 1);
    assert!(
        cancelled[0]
            .message
            .contains("Lifecycle Action Completed with ABANDON Result"),
        "{cancelled:?}"
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_that_stops_abandons_and_one_that_goes_on_holds() {
    let world = World::start(64, SPEED).await;
    let mut hook = HOOK;
    hook[3].1 = "60";
    world.create_group((0, 3, 0), &[]).await;
    world.asg("PutLifecycleHook", &hook).await;
    let size = [("AutoScalingGroupName", "web"), ("DesiredCapacity", "1")];
    world.asg("SetDesiredCapacity", &size).await;
    let held = world
        .until("one waiting", |members| {
            members.len() == 1 && members[0].state == "Pending:Wait"
        })
        .await[0]
        .id
        .clone();
    let beat = [
        ("AutoScalingGroupName", "web"),
        ("LifecycleHookName", "ready"),
        ("InstanceId", held.as_str()),
    ];
    for _ in 0..12 {
        world.lab_sleep(10).await;
        world.asg("RecordLifecycleActionHeartbeat", &beat).await;
    }
    assert_eq!(world.members().await[0].state, "Pending:Wait");
    world
        .until("replaced after the heartbeat", |members| {
            members.iter().any(|one| one.id != held)
        })
        .await;
    let timed_out = world
        .activities()
        .await
        .into_iter()
        .any(|one| one.status == "Cancelled" && one.message.contains("Heartbeat Timeout"));
    assert!(timed_out);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_termination_hook_holds_the_instance() {
    let world = World::start(65, SPEED).await;
    world.create_group((0, 3, 1), &[]).await;
    let mut hook = HOOK;
    hook[2].1 = "autoscaling:EC2_INSTANCE_TERMINATING";
    world.asg("PutLifecycleHook", &hook).await;
    let id = world.until_in_service(1).await[0].id.clone();
    let size = [("AutoScalingGroupName", "web"), ("DesiredCapacity", "0")];
    world.asg("SetDesiredCapacity", &size).await;
    world
        .until("held", |members| {
            members.len() == 1 && members[0].state == "Terminating:Wait"
        })
        .await;
    let target = lab::asg::target_lifecycle_state(&world.lab, REGION, &id);
    assert_eq!(target.as_deref(), Some("Terminated"));
    world.lab_sleep(120).await;
    assert_eq!(
        lab::ec2::instance(&world.lab, REGION, &id).unwrap().state,
        "running"
    );
    world
        .asg(
            "CompleteLifecycleAction",
            &[
                ("AutoScalingGroupName", "web"),
                ("LifecycleHookName", "ready"),
                ("InstanceId", &id),
                ("LifecycleActionResult", "CONTINUE"),
            ],
        )
        .await;
    world.until("gone", <[Instance]>::is_empty).await;
    assert_eq!(
        lab::ec2::instance(&world.lab, REGION, &id).unwrap().state,
        "terminated"
    );
    world
        .asg("DeleteAutoScalingGroup", &[("AutoScalingGroupName", "web")])
        .await;
    let gone = world
        .asg(
            "DescribeScalingActivities",
            &[
                ("AutoScalingGroupName", "web"),
                ("IncludeDeletedGroups", "true"),
            ],
        )
        .await;
    assert!(gone.contains("<AutoScalingGroupState>Deleted</AutoScalingGroupState>"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dead_and_the_declared_sick_are_replaced_unless_suspended() {
    let world = World::start(66, SPEED).await;
    world.create_group((2, 4, 2), &[]).await;
    let members = world.until_in_service(2).await;
    let dead = members[0].id.clone();
    lab::ec2::terminate(&world.lab, REGION, &dead)
        .await
        .unwrap();
    world
        .until("the dead one replaced", |members| {
            members.len() == 2
                && members
                    .iter()
                    .all(|one| one.id != dead && one.state == "InService")
        })
        .await;
    let causes = world.activities().await;
    assert!(causes.iter().any(|one| one.cause.contains(
        "in response to an EC2 health check indicating it has been terminated or stopped"
    )));
    assert!(causes.iter().any(|one| {
        one.cause
            .contains("in response to an unhealthy instance needing to be replaced")
    }));

    let suspend = [
        ("AutoScalingGroupName", "web"),
        ("ScalingProcesses.member.1", "ReplaceUnhealthy"),
    ];
    world.asg("SuspendProcesses", &suspend).await;
    let sick = world.members().await[0].id.clone();
    world
        .asg(
            "SetInstanceHealth",
            &[("InstanceId", &sick), ("HealthStatus", "Unhealthy")],
        )
        .await;
    world.lab_sleep(120).await;
    let held = world.members().await;
    assert!(
        held.iter()
            .any(|one| one.id == sick && one.health == "Unhealthy" && one.state == "InService"),
        "{held:?}"
    );
    world.asg("ResumeProcesses", &suspend).await;
    world
        .until("the sick one replaced", |members| {
            members.len() == 2
                && members
                    .iter()
                    .all(|one| one.id != sick && one.state == "InService")
        })
        .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suspended_launch_and_terminate_hold_the_size() {
    let world = World::start(67, SPEED).await;
    world.create_group((0, 4, 2), &[]).await;
    world.until_in_service(2).await;
    let both = [
        ("AutoScalingGroupName", "web"),
        ("ScalingProcesses.member.1", "Launch"),
        ("ScalingProcesses.member.2", "Terminate"),
    ];
    world.asg("SuspendProcesses", &both).await;
    let shown = world.asg("DescribeAutoScalingGroups", &[]).await;
    assert!(
        shown.contains("<ProcessName>Launch</ProcessName><SuspensionReason>User suspended at ")
    );
    for size in ["4", "0"] {
        world
            .asg(
                "SetDesiredCapacity",
                &[("AutoScalingGroupName", "web"), ("DesiredCapacity", size)],
            )
            .await;
        world.lab_sleep(60).await;
        assert_eq!(world.members().await.len(), 2, "desired {size}");
    }
    world
        .asg("ResumeProcesses", &[("AutoScalingGroupName", "web")])
        .await;
    world.until("empty", <[Instance]>::is_empty).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn protection_and_template_version_decide_who_goes() {
    let world = World::start(68, SPEED).await;
    world
        .create_group((0, 6, 3), &[("LaunchTemplate.Version", "$Latest")])
        .await;
    let old = world.until_in_service(3).await;
    world
        .ec2(
            "CreateLaunchTemplateVersion",
            &[
                ("LaunchTemplateName", "node"),
                ("SourceVersion", "1"),
                ("LaunchTemplateData.InstanceType", "t3.medium"),
            ],
        )
        .await;
    world
        .asg(
            "SetDesiredCapacity",
            &[("AutoScalingGroupName", "web"), ("DesiredCapacity", "6")],
        )
        .await;
    let six = world.until_in_service(6).await;
    assert_eq!(
        six.iter().filter(|one| one.version == "2").count(),
        3,
        "{six:?}"
    );
    let kept = old[1].id.clone();
    world
        .asg(
            "SetInstanceProtection",
            &[
                ("AutoScalingGroupName", "web"),
                ("InstanceIds.member.1", &kept),
                ("ProtectedFromScaleIn", "true"),
            ],
        )
        .await;
    world
        .asg(
            "SetDesiredCapacity",
            &[("AutoScalingGroupName", "web"), ("DesiredCapacity", "3")],
        )
        .await;
    let three = world.until_in_service(3).await;
    assert!(
        three.iter().any(|one| one.id == kept),
        "protected: {three:?}"
    );
    assert_eq!(
        three.iter().filter(|one| one.version == "2").count(),
        2,
        "{three:?}"
    );
    assert_eq!(by_zone(&three).len(), 3, "{three:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zones_even_out_when_rebalancing_is_not_suspended() {
    let world = World::start(69, SPEED).await;
    world.create_group((0, 6, 0), &[]).await;
    let group = ("AutoScalingGroupName", "web");
    let one_zone = [group, ("AvailabilityZones.member.1", "us-east-1a")];
    world.asg("UpdateAutoScalingGroup", &one_zone).await;
    world
        .asg(
            "SuspendProcesses",
            &[group, ("ScalingProcesses.member.1", "AZRebalance")],
        )
        .await;
    world
        .asg("SetDesiredCapacity", &[group, ("DesiredCapacity", "3")])
        .await;
    world.until_in_service(3).await;
    let all = [
        group,
        ("AvailabilityZones.member.1", "us-east-1a"),
        ("AvailabilityZones.member.2", "us-east-1b"),
        ("AvailabilityZones.member.3", "us-east-1c"),
    ];
    world.asg("UpdateAutoScalingGroup", &all).await;
    world.lab_sleep(60).await;
    assert_eq!(
        by_zone(&world.members().await),
        BTreeMap::from([("us-east-1a", 3)])
    );
    world.asg("ResumeProcesses", &[group]).await;
    let even = world
        .until("one in each zone", |members| {
            members.len() == 3
                && by_zone(members).len() == 3
                && members.iter().all(|one| one.state == "InService")
        })
        .await;
    assert_eq!(even.len(), 3);
    let balanced = world.activities().await;
    assert!(balanced.iter().any(|one| {
        one.cause
            .contains("instances were launched to balance instances in zones")
    }));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terminate_instance_decrements_or_replaces() {
    let world = World::start(70, SPEED).await;
    world.create_group((1, 4, 2), &[]).await;
    let two = world.until_in_service(2).await;
    let answer = world
        .asg(
            "TerminateInstanceInAutoScalingGroup",
            &[
                ("InstanceId", &two[0].id),
                ("ShouldDecrementDesiredCapacity", "true"),
            ],
        )
        .await;
    assert!(text(&answer, "Cause").contains("was taken out of service in response to a user request, shrinking the capacity from 2 to 1."));
    let one = world.until_in_service(1).await;
    assert_eq!(one[0].id, two[1].id);
    let refused = world
        .try_asg(
            "TerminateInstanceInAutoScalingGroup",
            &[
                ("InstanceId", &one[0].id),
                ("ShouldDecrementDesiredCapacity", "true"),
            ],
        )
        .await
        .unwrap_err();
    assert!(refused.message.contains("min size"), "{refused}");
    world
        .asg(
            "TerminateInstanceInAutoScalingGroup",
            &[
                ("InstanceId", &one[0].id),
                ("ShouldDecrementDesiredCapacity", "false"),
            ],
        )
        .await;
    world
        .until("replaced", |members| {
            members.len() == 1 && members[0].id != one[0].id && members[0].state == "InService"
        })
        .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn force_delete_takes_everything_hooks_or_not() {
    let world = World::start(71, SPEED).await;
    world.create_group((0, 4, 0), &[]).await;
    let mut hook = HOOK;
    hook[2].1 = "autoscaling:EC2_INSTANCE_TERMINATING";
    world.asg("PutLifecycleHook", &hook).await;
    world
        .asg(
            "SetDesiredCapacity",
            &[("AutoScalingGroupName", "web"), ("DesiredCapacity", "2")],
        )
        .await;
    let two = world.until_in_service(2).await;
    world
        .asg(
            "DeleteAutoScalingGroup",
            &[("AutoScalingGroupName", "web"), ("ForceDelete", "true")],
        )
        .await;
    let shown = world.asg("DescribeAutoScalingGroups", &[]).await;
    assert!(shown.contains("<Status>Delete in progress</Status>"));
    world.until("gone", <[Instance]>::is_empty).await;
    for member in two {
        assert_eq!(
            lab::ec2::instance(&world.lab, REGION, &member.id)
                .unwrap()
                .state,
            "terminated"
        );
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn standby_and_detach_take_an_instance_out_alive() {
    let world = World::start(72, SPEED).await;
    world.create_group((0, 4, 2), &[]).await;
    let two = world.until_in_service(2).await;
    let first = [
        ("AutoScalingGroupName", "web"),
        ("InstanceIds.member.1", two[0].id.as_str()),
        ("ShouldDecrementDesiredCapacity", "true"),
    ];
    world.asg("EnterStandby", &first).await;
    world
        .until("standby", |members| {
            members
                .iter()
                .any(|one| one.id == two[0].id && one.state == "Standby")
        })
        .await;
    world.lab_sleep(60).await;
    assert_eq!(
        world.members().await.len(),
        2,
        "nobody is launched in its place"
    );
    world.asg("ExitStandby", &first[..2]).await;
    world.until_in_service(2).await;
    world.asg("DetachInstances", &first).await;
    world.until_in_service(1).await;
    assert_eq!(
        lab::ec2::instance(&world.lab, REGION, &two[0].id)
            .unwrap()
            .state,
        "running"
    );
    assert_eq!(
        lab::asg::lifecycle_state(&world.lab, REGION, &two[0].id),
        None
    );
    world.asg("AttachInstances", &first[..2]).await;
    world.until_in_service(2).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_are_shown_filtered_and_propagated() {
    let world = World::start(73, SPEED).await;
    let tags = [
        ("Tags.member.1.Key", "stack"),
        ("Tags.member.1.Value", "chat"),
        ("Tags.member.1.PropagateAtLaunch", "true"),
        ("Tags.member.2.Key", "secret"),
        ("Tags.member.2.Value", "none"),
        ("Tags.member.2.PropagateAtLaunch", "false"),
    ];
    world.create_group((0, 4, 1), &tags).await;
    let id = world.until_in_service(1).await[0].id.clone();
    let tags: BTreeMap<String, String> = lab::ec2::instance(&world.lab, REGION, &id)
        .unwrap()
        .tags
        .into_iter()
        .collect();
    assert_eq!(tags.get("stack").map(String::as_str), Some("chat"));
    assert_eq!(
        tags.get("aws:autoscaling:groupName").map(String::as_str),
        Some("web")
    );
    assert!(!tags.contains_key("secret"));
    for (name, value, found) in [
        ("tag:stack", "chat", true),
        ("tag:stack", "mail", false),
        ("tag-key", "secret", true),
        ("tag-value", "none", true),
        ("tag-value", "some", false),
    ] {
        let shown = world
            .asg(
                "DescribeAutoScalingGroups",
                &[
                    ("Filters.member.1.Name", name),
                    ("Filters.member.1.Values.member.1", value),
                ],
            )
            .await;
        assert_eq!(
            shown.contains("<AutoScalingGroupName>web<"),
            found,
            "{name}={value}"
        );
    }
    world
        .asg(
            "DeleteTags",
            &[
                ("Tags.member.1.ResourceId", "web"),
                ("Tags.member.1.ResourceType", "auto-scaling-group"),
                ("Tags.member.1.Key", "secret"),
            ],
        )
        .await;
    let left = world.asg("DescribeTags", &[]).await;
    assert!(left.contains("<Key>stack</Key>") && !left.contains("secret"));
    world.stop().await;
}
