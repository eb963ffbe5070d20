//! Groups: size, balance, suspended processes, deletion, refusals.

use std::collections::BTreeMap;

use crate::support::{HOOK, Instance, REGION, SPEED, World, by_zone, text};

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

    let limits = world.asg("DescribeAccountLimits", &[]).await;
    assert_eq!(text(&limits, "NumberOfAutoScalingGroups"), "1");
    assert_eq!(text(&limits, "MaxNumberOfAutoScalingGroups"), "500");

    let activities = world.activities().await;
    assert_eq!(activities.len(), 5 + 4, "{activities:#?}");
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
async fn a_scheduled_action_runs_at_its_time_unless_suspended() {
    let world = World::start(83, SPEED).await;
    world.create_group((0, 4, 1), &[]).await;
    world.until_in_service(1).await;
    let group = ("AutoScalingGroupName", "web");
    let put = async |name: &str, size: &str| {
        let start = world.lab.clock.now() + std::time::Duration::from_secs(1);
        let start = start.to_string();
        let pairs = [
            group,
            ("ScheduledActionName", name),
            ("StartTime", start.as_str()),
            ("DesiredCapacity", size),
        ];
        world.asg("PutScheduledUpdateGroupAction", &pairs).await;
    };
    put("grow", "3").await;
    let shown = world.asg("DescribeScheduledActions", &[group]).await;
    assert_eq!(text(&shown, "ScheduledActionName"), "grow");
    world.until_in_service(3).await;
    let cause = &world.activities().await[0].cause;
    assert!(cause.contains("a scheduled action update of AutoScalingGroup constraints to min: 0, max: 4, desired: 3 changing the desired capacity from 1 to 3."), "{cause}");

    let process = [group, ("ScalingProcesses.member.1", "ScheduledActions")];
    world.asg("SuspendProcesses", &process).await;
    put("empty", "0").await;
    let forgotten = tokio::time::timeout(std::time::Duration::from_secs(30), async {
        while world
            .asg("DescribeScheduledActions", &[group])
            .await
            .contains("empty")
        {
            world.lab_sleep(5).await;
        }
    });
    forgotten.await.expect("its time passes");
    world.asg("ResumeProcesses", &process).await;
    world.lab_sleep(60).await;
    assert_eq!(world.members().await.len(), 3);
    world.stop().await;
}
