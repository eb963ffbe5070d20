//! Calls that take no time: networks, groups, templates, tags, errors.

use crate::support::{EAST, World};

#[tokio::test]
async fn default_network_is_loopback_and_complete() {
    let world = World::start(101, 60.0).await;
    let vpc = world
        .ok(
            "DescribeVpcs",
            &[
                ("Filter.1.Name", "is-default"),
                ("Filter.1.Value.1", "true"),
            ],
        )
        .await;
    assert_eq!(vpc.text("cidrBlock"), "127.101.0.0/16");
    let subnets = world.ok("DescribeSubnets", &[]).await;
    let mut blocks = subnets.texts("cidrBlock");
    blocks.sort();
    assert_eq!(
        blocks,
        ["127.101.0.0/20", "127.101.16.0/20", "127.101.32.0/20"]
    );
    assert_eq!(
        subnets.texts("availableIpAddressCount"),
        ["4091", "4091", "4091"]
    );
    world
        .refused(
            400,
            "InvalidVpc.Range",
            "CreateVpc",
            &[("CidrBlock", "10.0.0.0/16")],
        )
        .await;
    world.lab.stop().await;
}

#[tokio::test]
async fn rules_are_single_and_duplicates_refused() {
    let world = World::start(103, 60.0).await;
    let group = world
        .ok(
            "CreateSecurityGroup",
            &[("GroupName", "node"), ("GroupDescription", "nodes")],
        )
        .await
        .text("groupId");
    let rule = [
        ("GroupId", group.as_str()),
        ("IpPermissions.1.IpProtocol", "tcp"),
        ("IpPermissions.1.FromPort", "5432"),
        ("IpPermissions.1.ToPort", "5432"),
        ("IpPermissions.1.Groups.1.GroupId", group.as_str()),
        ("IpPermissions.1.IpRanges.1.CidrIp", "127.0.0.9/8"),
    ];
    let made = world.ok("AuthorizeSecurityGroupIngress", &rule).await;
    assert_eq!(made.texts("securityGroupRuleId").len(), 2);
    assert_eq!(made.text("cidrIpv4"), "127.0.0.0/8", "AWS masks host bits");
    let code = "InvalidPermission.Duplicate";
    world
        .refused(400, code, "AuthorizeSecurityGroupIngress", &rule)
        .await;
    world.ok("RevokeSecurityGroupIngress", &rule).await;
    let code = "InvalidPermission.NotFound";
    world
        .refused(400, code, "RevokeSecurityGroupIngress", &rule)
        .await;
    let left = world
        .ok(
            "DescribeSecurityGroupRules",
            &[
                ("Filter.1.Name", "group-id"),
                ("Filter.1.Value.1", group.as_str()),
            ],
        )
        .await;
    assert_eq!(left.texts("isEgress"), ["true"]);
    // A load balancer keeps its group.
    let subnets = lab::ec2::default_subnets(&world.lab, EAST);
    let balancer = [
        ("Name", "front"),
        ("Subnets.member.1", subnets[0].id.as_str()),
        ("Subnets.member.2", subnets[1].id.as_str()),
        ("SecurityGroups.member.1", group.as_str()),
    ];
    let scope = "elasticloadbalancing";
    let made = world
        .call(EAST, scope, "CreateLoadBalancer", &balancer)
        .await;
    let arn = made.text("LoadBalancerArn");
    let id = [("GroupId", group.as_str())];
    world
        .refused(400, "DependencyViolation", "DeleteSecurityGroup", &id)
        .await;
    let arn = [("LoadBalancerArn", arn.as_str())];
    let gone = world.call(EAST, scope, "DeleteLoadBalancer", &arn).await;
    assert_eq!(gone.status, 200, "{}", gone.body);
    world.ok("DeleteSecurityGroup", &id).await;
    world.lab.stop().await;
}

#[tokio::test]
async fn template_versions_inherit_and_repeat() {
    let world = World::start(105, 60.0).await;
    let id = world
        .ok(
            "CreateLaunchTemplate",
            &[
                ("LaunchTemplateName", "node"),
                ("LaunchTemplateData.ImageId", "ami-1"),
                ("LaunchTemplateData.InstanceType", "t3.small"),
                ("LaunchTemplateData.UserData", "c3RhY2s="),
                ("LaunchTemplateData.MetadataOptions.HttpTokens", "required"),
            ],
        )
        .await
        .text("launchTemplateId");
    let version = [
        ("LaunchTemplateId", id.as_str()),
        ("SourceVersion", "$Latest"),
        ("ClientToken", "once"),
        ("LaunchTemplateData.ImageId", "ami-2"),
    ];
    let made = world.ok("CreateLaunchTemplateVersion", &version).await;
    for (name, expected) in [
        ("versionNumber", "2"),
        ("imageId", "ami-2"),
        ("instanceType", "t3.small"),
        ("userData", "c3RhY2s="),
        ("httpTokens", "required"),
        ("defaultVersion", "false"),
    ] {
        assert_eq!(made.text(name), expected, "{name}");
    }
    let again = world.ok("CreateLaunchTemplateVersion", &version).await;
    assert_eq!(again.text("versionNumber"), "2");
    let mut other = version;
    other[3].1 = "ami-3";
    let code = "IdempotentParameterMismatch";
    world
        .refused(400, code, "CreateLaunchTemplateVersion", &other)
        .await;
    let resolve = |version| lab::ec2::resolve_template(&world.lab, EAST, "node", version);
    assert_eq!(resolve("$Default").expect("it exists").2, 1);
    assert_eq!(resolve("$Latest").expect("it exists").2, 2);
    assert_eq!(
        resolve("3").expect_err("it does not exist").code,
        "InvalidLaunchTemplateId.VersionNotFound"
    );
    world
        .ok(
            "ModifyLaunchTemplate",
            &[("LaunchTemplateId", &id), ("SetDefaultVersion", "2")],
        )
        .await;
    assert_eq!(resolve("$Default").expect("it exists").2, 2);
    // A number is never used twice.
    world
        .ok(
            "ModifyLaunchTemplate",
            &[("LaunchTemplateId", &id), ("SetDefaultVersion", "1")],
        )
        .await;
    world
        .ok(
            "DeleteLaunchTemplateVersions",
            &[("LaunchTemplateId", &id), ("LaunchTemplateVersion.1", "2")],
        )
        .await;
    let next = [
        ("LaunchTemplateId", id.as_str()),
        ("LaunchTemplateData.ImageId", "ami-4"),
    ];
    let made = world.ok("CreateLaunchTemplateVersion", &next).await;
    assert_eq!(made.text("versionNumber"), "3");
    assert_eq!(made.text("instanceType"), "", "no source, no inheritance");
    world.lab.stop().await;
}

#[tokio::test]
async fn what_is_not_known_is_refused_by_name() {
    let world = World::start(107, 60.0).await;
    let image = world.empty_image().await;
    let run = |more: (&'static str, &'static str)| {
        let image = image.clone();
        let world = &world;
        async move {
            let pairs = [
                ("ImageId", image.as_str()),
                ("MinCount", "1"),
                ("MaxCount", "1"),
                more,
            ];
            world.ec2("RunInstances", &pairs).await
        }
    };
    for (more, status, code) in [
        (("DryRun", "true"), 412, "DryRunOperation"),
        (
            ("HibernationOptions.Configured", "true"),
            400,
            "UnknownParameter",
        ),
        (("InstanceType", "x9.huge"), 400, "InvalidParameterValue"),
        (
            ("IamInstanceProfile.Name", "nobody"),
            400,
            "InvalidParameterValue",
        ),
        (("KeyName", "nokey"), 400, "InvalidKeyPair.NotFound"),
        (("SubnetId", "subnet-0"), 400, "InvalidSubnetID.NotFound"),
        (("SecurityGroupId.1", "sg-0"), 400, "InvalidGroup.NotFound"),
        (("UserData", "*"), 400, "InvalidUserData.Malformed"),
        (
            ("TagSpecification.1.ResourceType", "vpc"),
            400,
            "InvalidParameterValue",
        ),
        (
            ("Placement.AvailabilityZone", "us-east-1z"),
            400,
            "InvalidParameterValue",
        ),
    ] {
        let answer = run(more).await;
        assert_eq!(
            (answer.status, answer.text("Code").as_str()),
            (status, code),
            "{more:?}: {}",
            answer.body
        );
    }
    let left = world.ok("DescribeInstances", &[]).await;
    assert!(
        left.texts("instanceId").is_empty(),
        "a refusal changes nothing"
    );
    let free = world.ok("DescribeSubnets", &[]).await;
    assert_eq!(free.texts("availableIpAddressCount"), ["4091"; 3]);
    let filter = [("Filter.1.Name", "bogus"), ("Filter.1.Value.1", "x")];
    let code = "InvalidParameterValue";
    world.refused(400, code, "DescribeInstances", &filter).await;
    world
        .refused(400, "InvalidAction", "DescribeNatGateways", &[])
        .await;
    world.lab.stop().await;
}

#[tokio::test]
async fn launches_repeat_by_token_and_page() {
    let world = World::start(109, 60.0).await;
    let image = world.empty_image().await;
    let run = |token: &'static str, count: &'static str| {
        let (world, image) = (&world, image.clone());
        async move {
            let pairs = [
                ("ImageId", image.as_str()),
                ("MinCount", count),
                ("MaxCount", count),
                ("ClientToken", token),
            ];
            world.ec2("RunInstances", &pairs).await
        }
    };
    let first = run("a", "2").await.texts("instanceId");
    assert_eq!(first.len(), 2);
    assert_eq!(run("a", "2").await.texts("instanceId"), first);
    assert_eq!(
        run("a", "3").await.text("Code"),
        "IdempotentParameterMismatch"
    );
    for token in ["b", "c", "d", "e", "f", "g"] {
        assert_eq!(run(token, "1").await.status, 200);
    }
    let mut seen = Vec::new();
    let mut token = String::new();
    loop {
        let mut pairs = vec![("MaxResults", "5")];
        if !token.is_empty() {
            pairs.push(("NextToken", token.as_str()));
        }
        let page = world.ok("DescribeInstances", &pairs).await;
        seen.extend(page.texts("instanceId"));
        token = page.text("nextToken");
        if token.is_empty() {
            break;
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 8);
    world.lab.stop().await;
}
