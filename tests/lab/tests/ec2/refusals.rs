//! What EC2 refuses at the call, and where it offers what.

use http::Method;
use serde_json::json;

use crate::support::{EAST, World};

#[tokio::test]
async fn the_same_permission_twice_in_one_call_is_an_error_of_its_own() {
    let world = World::start(182, 60.0).await;
    let group = [("GroupName", "node"), ("GroupDescription", "nodes")];
    let group = world
        .ok("CreateSecurityGroup", &group)
        .await
        .text("groupId");
    let range = "IpPermissions.1.IpRanges";
    let (first, second) = (format!("{range}.1.CidrIp"), format!("{range}.2.CidrIp"));
    let described = format!("{range}.2.Description");
    let twice = [
        ("GroupId", group.as_str()),
        ("IpPermissions.1.IpProtocol", "tcp"),
        ("IpPermissions.1.FromPort", "443"),
        ("IpPermissions.1.ToPort", "443"),
        (first.as_str(), "127.1.0.0/16"),
        // The same network with host bits, and with a description: still the same permission.
        (second.as_str(), "127.1.2.3/16"),
        (described.as_str(), "again"),
    ];
    let answer = world.ec2("AuthorizeSecurityGroupIngress", &twice).await;
    assert_eq!(answer.text("Code"), "InvalidParameterValue");
    assert_eq!(
        answer.text("Message"),
        "The same permission must not appear multiple times"
    );
    // Nothing of it was done, and once is fine.
    world.ok("AuthorizeSecurityGroupIngress", &twice[..5]).await;
    let code = "InvalidPermission.Duplicate";
    world
        .refused(400, code, "AuthorizeSecurityGroupIngress", &twice[..5])
        .await;
    world.lab.stop().await;
}

#[tokio::test]
async fn ids_and_a_size_of_page_do_not_go_together() {
    let world = World::start(184, 60.0).await;
    let image = world.empty_image().await;
    for (action, id, set) in [
        ("DescribeInstances", "InstanceId", "instancesSet"),
        ("DescribeInstanceStatus", "InstanceId", "instancesSet"),
        ("DescribeVolumes", "VolumeId", "volumeSet"),
        ("DescribeSnapshots", "SnapshotId", "snapshotSet"),
        ("DescribeImages", "ImageId", "imageIdsSet"),
        ("DescribeVpcs", "VpcId", "VpcIds"),
    ] {
        let first = format!("{id}.1");
        let pairs = [(first.as_str(), image.as_str()), ("MaxResults", "5")];
        let answer = world.ec2(action, &pairs).await;
        assert_eq!(
            answer.text("Code"),
            "InvalidParameterCombination",
            "{action}"
        );
        let words = format!("The parameter {set} cannot be used with the parameter ");
        assert!(
            answer.text("Message").starts_with(&words),
            "{}",
            answer.body
        );
        world.ok(action, &[("MaxResults", "5")]).await;
    }
    world.ok("DescribeImages", &[("ImageId.1", &image)]).await;
    world.lab.stop().await;
}

#[tokio::test]
async fn a_zone_offers_some_types_only() {
    let world = World::start(186, 60.0).await;
    let image = world.empty_image().await;
    let offered = async |kind: &str, instance_type: &str| {
        let pairs = [
            ("LocationType", kind),
            ("Filter.1.Name", "instance-type"),
            ("Filter.1.Value.1", instance_type),
        ];
        let shown = world.ok("DescribeInstanceTypeOfferings", &pairs).await;
        shown.texts("location")
    };
    let offer = async |zone: &str, offered: bool| {
        let body = json!({ "instance_type": "t3.small", "offered": offered });
        let path = format!("ec2/zones/{zone}/types");
        world.control(Method::POST, &path, body).await;
    };
    let zones = ["us-east-1a", "us-east-1b", "us-east-1c"];
    assert_eq!(offered("availability-zone", "t3.small").await, zones);
    // Zones differ by their newest types from the start.
    assert_eq!(offered("availability-zone", "c7g.large").await, zones[..2]);
    offer("us-east-1a", false).await;
    assert_eq!(offered("availability-zone", "t3.small").await, zones[1..]);
    assert_eq!(
        offered("availability-zone-id", "t3.small").await,
        ["use1-az2", "use1-az3"]
    );
    assert_eq!(offered("region", "t3.small").await, [EAST]);
    let run = |zone: &'static str| {
        let mut pairs = vec![
            ("ImageId", image.as_str()),
            ("InstanceType", "t3.small"),
            ("MinCount", "1"),
            ("MaxCount", "1"),
        ];
        if !zone.is_empty() {
            pairs.push(("Placement.AvailabilityZone", zone));
        }
        let world = &world;
        async move { world.ec2("RunInstances", &pairs).await }
    };
    let refused = run("us-east-1a").await;
    assert_eq!(
        (refused.status, refused.text("Code").as_str()),
        (400, "Unsupported")
    );
    assert_eq!(
        refused.text("Message"),
        "Your requested instance type (t3.small) is not supported in your requested Availability Zone (us-east-1a). Please retry your request by not specifying an Availability Zone or choosing us-east-1b, us-east-1c."
    );
    let launched = run("").await;
    assert_eq!(launched.text("availabilityZone"), "us-east-1b");
    for zone in ["us-east-1b", "us-east-1c"] {
        offer(zone, false).await;
    }
    assert!(offered("region", "t3.small").await.is_empty());
    assert_eq!(run("").await.text("Code"), "Unsupported");
    offer("us-east-1a", true).await;
    assert_eq!(run("us-east-1a").await.status, 200);
    world.lab.stop().await;
}

#[tokio::test]
async fn volumes_say_what_they_do_in_a_second() {
    let world = World::start(188, 60.0).await;
    let image = world.empty_image().await;
    let device = |name: &str| format!("BlockDeviceMapping.1.{name}");
    for (ebs, iops, throughput) in [
        (vec![], "3000", "125"),
        (
            vec![
                ("VolumeType", "gp3"),
                ("Iops", "4000"),
                ("Throughput", "250"),
            ],
            "4000",
            "250",
        ),
        (vec![("VolumeType", "gp2"), ("VolumeSize", "8")], "100", ""),
        (
            vec![("VolumeType", "gp2"), ("VolumeSize", "200")],
            "600",
            "",
        ),
        (vec![("VolumeType", "io1"), ("Iops", "900")], "900", ""),
        (vec![("VolumeType", "st1")], "", ""),
    ] {
        let mut more = Vec::new();
        if !ebs.is_empty() {
            more.push((device("DeviceName"), "/dev/xvda"));
        }
        more.extend(
            ebs.iter()
                .map(|(name, value)| (device(&format!("Ebs.{name}")), *value)),
        );
        let mut pairs = vec![
            ("ImageId", image.as_str()),
            ("MinCount", "1"),
            ("MaxCount", "1"),
        ];
        pairs.extend(more.iter().map(|(name, value)| (name.as_str(), *value)));
        let instance = world.ok("RunInstances", &pairs).await.text("instanceId");
        let attached = [
            ("Filter.1.Name", "attachment.instance-id"),
            ("Filter.1.Value.1", instance.as_str()),
        ];
        let volume = world.ok("DescribeVolumes", &attached).await;
        assert_eq!(volume.text("iops"), iops, "{ebs:?}");
        assert_eq!(volume.text("throughput"), throughput, "{ebs:?}");
    }
    world.lab.stop().await;
}
