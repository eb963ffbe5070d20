//! Launch templates as Auto Scaling takes them: what would launch nothing is refused at the call, and what
//! stops launching later is told by the activities.

use http::Method;
use serde_json::json;

use crate::support::{REGION, SPEED, World, between, by_zone, text};

const REFUSAL: &str = "You must use a valid fully-formed launch template. ";
const GROUP: (&str, &str) = ("AutoScalingGroupName", "web");

/// Takes a type out of a zone, or puts it back.
async fn offer(world: &World, zone: &str, instance_type: &str, offered: bool) {
    let body = json!({ "instance_type": instance_type, "offered": offered });
    let path = ["zones", zone, "types"];
    lab::ec2::control(&world.lab, &Method::POST, &path, body)
        .await
        .expect("a zone and a type");
}

/// An image that is still pending: a copy that was just asked for.
async fn pending_image(world: &World, image: &str) -> String {
    world.lab.clock.set_speed(1.0);
    let copy = [
        ("SourceRegion", REGION),
        ("SourceImageId", image),
        ("Name", "copy"),
    ];
    text(&world.ec2("CopyImage", &copy).await, "imageId")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_that_launches_nothing_is_refused_at_the_call() {
    let world = World::start(180, SPEED).await;
    world.create_group((0, 3, 0), &[]).await;
    let shown = world.ec2("DescribeImages", &[("Owner.1", "self")]).await;
    let image = text(&shown, "imageId");
    let pending = pending_image(&world, &image).await;
    offer(&world, "us-east-1b", "t3.large", false).await;
    let good = ("ImageId", image.as_str());
    let small = ("InstanceType", "t3.small");
    let cases = [
        (
            vec![small],
            "The request must contain the parameter ImageId".to_owned(),
        ),
        (
            vec![("ImageId", "ami-00000000000000000"), small],
            "The image id '[ami-00000000000000000]' does not exist".to_owned(),
        ),
        (
            vec![("ImageId", pending.as_str()), small],
            format!("AMI '{pending}' is pending, and cannot be run"),
        ),
        (
            vec![good, small, ("SecurityGroupId.1", "sg-0")],
            "The security group 'sg-0' does not exist".to_owned(),
        ),
        (
            vec![good, ("InstanceType", "x9.huge")],
            "Invalid value 'x9.huge' for InstanceType.".to_owned(),
        ),
        (
            vec![good, ("InstanceType", "t4g.small")],
            "The architecture 'arm64' of the specified instance type does not match the architecture 'x86_64' of the specified AMI.".to_owned(),
        ),
        (
            vec![good, small, ("KeyName", "nokey")],
            "The key pair 'nokey' does not exist".to_owned(),
        ),
        (
            vec![good, small, ("IamInstanceProfile.Name", "nobody")],
            "Value (nobody) for parameter iamInstanceProfile.name is invalid.".to_owned(),
        ),
        (
            vec![good, ("InstanceType", "t3.large")],
            "Your requested instance type (t3.large) is not supported in your requested Availability Zone (us-east-1b).".to_owned(),
        ),
    ];
    for (index, (data, words)) in cases.into_iter().enumerate() {
        let name = format!("bad{index}");
        let keys: Vec<String> = data
            .iter()
            .map(|(key, _)| format!("LaunchTemplateData.{key}"))
            .collect();
        let mut template = vec![("LaunchTemplateName", name.as_str())];
        template.extend(
            keys.iter()
                .zip(&data)
                .map(|(key, (_, value))| (key.as_str(), *value)),
        );
        world.ec2("CreateLaunchTemplate", &template).await;
        let reference = ("LaunchTemplate.LaunchTemplateName", name.as_str());
        let create = [
            ("AutoScalingGroupName", "other"),
            reference,
            ("MinSize", "0"),
            ("MaxSize", "0"),
            ("AvailabilityZones.member.1", "us-east-1a"),
            ("AvailabilityZones.member.2", "us-east-1b"),
        ];
        let update = [GROUP, reference];
        for (action, pairs) in [
            ("CreateAutoScalingGroup", &create[..]),
            ("UpdateAutoScalingGroup", &update[..]),
        ] {
            let error = world.try_asg(action, pairs).await.expect_err(&words);
            assert_eq!(error.code, "ValidationError", "{error}");
            let wanted = format!("{REFUSAL}{words}");
            assert!(error.message.starts_with(&wanted), "{action}: {error}");
        }
    }
    let shown = world.asg("DescribeAutoScalingGroups", &[]).await;
    assert!(!shown.contains("other"), "{shown}");
    assert!(
        !shown.contains("bad"),
        "the group keeps its template: {shown}"
    );
    // Where the type is offered the same template is good.
    let elsewhere = [
        ("AutoScalingGroupName", "other"),
        ("LaunchTemplate.LaunchTemplateName", "bad8"),
        ("MinSize", "0"),
        ("MaxSize", "0"),
        ("AvailabilityZones.member.1", "us-east-1a"),
    ];
    world.asg("CreateAutoScalingGroup", &elsewhere).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_type_that_a_zone_no_longer_offers_launches_in_the_others() {
    let world = World::start(181, SPEED).await;
    world.create_group((0, 3, 0), &[]).await;
    offer(&world, "us-east-1b", "t3.small", false).await;
    let size = [GROUP, ("DesiredCapacity", "3")];
    world.asg("SetDesiredCapacity", &size).await;
    let three = world.until_in_service(3).await;
    assert!(!by_zone(&three).contains_key("us-east-1b"), "{three:?}");
    let activities = world.activities().await;
    let failed = activities.iter().find(|one| one.status == "Failed");
    let failed = failed.expect("a launch was tried in the zone");
    assert_eq!(
        failed.message,
        "Your requested instance type (t3.small) is not supported in your requested Availability Zone (us-east-1b). Please retry your request by not specifying an Availability Zone or choosing us-east-1a, us-east-1c.  Launching EC2 instance failed."
    );
    offer(&world, "us-east-1b", "t3.small", true).await;
    world
        .until("one in each zone", |members| {
            members.len() == 3
                && by_zone(members).len() == 3
                && members.iter().all(|one| one.state == "InService")
        })
        .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_lists_are_empty_and_unknown_hooks_are_left_out() {
    let world = World::start(183, SPEED).await;
    // As awsQuery writes a list without members.
    let empty = [
        ("Tags", ""),
        ("TargetGroupARNs", ""),
        ("LifecycleHookSpecificationList", ""),
        ("TerminationPolicies", ""),
    ];
    world.create_group((0, 1, 0), &empty).await;
    let all = [("AutoScalingGroupNames", ""), ("Filters", "")];
    let shown = world.asg("DescribeAutoScalingGroups", &all).await;
    assert_eq!(text(&shown, "AutoScalingGroupName"), "web");
    assert_eq!(between(&shown, "<Tags>", "</Tags>"), Some(""));
    world.asg("PutLifecycleHook", &crate::support::HOOK).await;
    let hooks = async |name: &str| {
        let pairs = [GROUP, ("LifecycleHookNames.member.1", name)];
        world.asg("DescribeLifecycleHooks", &pairs).await
    };
    assert_eq!(text(&hooks("ready").await, "LifecycleHookName"), "ready");
    assert_eq!(hooks("nope").await, "<LifecycleHooks></LifecycleHooks>");
    let nobody = [("AutoScalingGroupName", "nobody")];
    let error = world.try_asg("DescribeLifecycleHooks", &nobody).await;
    assert_eq!(error.expect_err("no group").code, "ValidationError");
    world.stop().await;
}
