//! Instances: health, protection, termination, standby, tags.

use std::collections::BTreeMap;

use crate::support::{REGION, SPEED, World, by_zone, text};

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
