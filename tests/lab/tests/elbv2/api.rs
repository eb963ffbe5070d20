//! Names, duplicates, paging, protection: what the API refuses and what it repeats.

use crate::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn creating_twice_gives_the_same_or_is_refused() {
    let world = World::start().await;
    let (balancer, _) = world.balancer("chat").await;
    let subnets = world.subnets();
    let mut fields = vec![
        ("Name", "chat"),
        ("Subnets.member.1", subnets[1].as_str()),
        ("Subnets.member.2", subnets[0].as_str()),
    ];
    let again = world.call("CreateLoadBalancer", &fields).await;
    assert_eq!(text_of(&again, "LoadBalancerArn").unwrap(), balancer);
    fields.push(("Scheme", "internal"));
    let refused = world.try_call("CreateLoadBalancer", &fields).await;
    assert_eq!(refused.unwrap_err(), "DuplicateLoadBalancerName");

    let group = world.group("blue").await;
    assert_eq!(world.group("blue").await, group);
    let vpc = world.vpc();
    let other = [
        ("Name", "blue"),
        ("Protocol", "HTTP"),
        ("Port", "81"),
        ("VpcId", &vpc),
    ];
    let refused = world.try_call("CreateTargetGroup", &other).await;
    assert_eq!(refused.unwrap_err(), "DuplicateTargetGroupName");

    let listener = world.listener(&balancer, &[(&group, 1)]).await;
    assert_eq!(world.listener(&balancer, &[(&group, 1)]).await, listener);
    let mut fields = weights(&[(&group, 7)]);
    fields.extend([
        ("LoadBalancerArn".to_owned(), balancer.clone()),
        ("Protocol".to_owned(), "HTTP".to_owned()),
        ("Port".to_owned(), PORT.to_string()),
    ]);
    let refused = world.try_call("CreateListener", &borrowed(&fields)).await;
    assert_eq!(refused.unwrap_err(), "DuplicateListener");
    world.lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_use_or_protected_stays() {
    let world = World::start().await;
    let (balancer, address) = world.balancer("chat").await;
    let group = world.group("blue").await;
    let listener = world.listener(&balancer, &[(&group, 0)]).await;
    let delete_group = [("TargetGroupArn", group.as_str())];
    let delete_balancer = [("LoadBalancerArn", balancer.as_str())];
    assert_eq!(
        world
            .try_call("DeleteTargetGroup", &delete_group)
            .await
            .unwrap_err(),
        "ResourceInUse"
    );
    world
        .set_balancer(&balancer, "deletion_protection.enabled", "true")
        .await;
    assert_eq!(
        world
            .try_call("DeleteLoadBalancer", &delete_balancer)
            .await
            .unwrap_err(),
        "OperationNotPermitted"
    );
    world
        .set_balancer(&balancer, "deletion_protection.enabled", "false")
        .await;
    assert_eq!(get(address, "/").await.status, 503);
    for _ in 0..2 {
        world.call("DeleteLoadBalancer", &delete_balancer).await;
    }
    eventually("nobody listens any more", async || {
        tokio::net::TcpStream::connect(address).await.is_err()
    })
    .await;
    for _ in 0..2 {
        world.call("DeleteTargetGroup", &delete_group).await;
    }
    for (action, field, arn, code) in [
        (
            "DescribeLoadBalancers",
            "LoadBalancerArns.member.1",
            &balancer,
            "LoadBalancerNotFound",
        ),
        (
            "DescribeTargetGroups",
            "TargetGroupArns.member.1",
            &group,
            "TargetGroupNotFound",
        ),
        (
            "DescribeListeners",
            "ListenerArns.member.1",
            &listener,
            "ListenerNotFound",
        ),
        (
            "DeleteListener",
            "ListenerArn",
            &listener,
            "ListenerNotFound",
        ),
        (
            "DescribeTags",
            "ResourceArns.member.1",
            &group,
            "TargetGroupNotFound",
        ),
        (
            "DescribeTargetHealth",
            "TargetGroupArn",
            &group,
            "TargetGroupNotFound",
        ),
    ] {
        assert_eq!(
            world.try_call(action, &[(field, arn)]).await.unwrap_err(),
            code,
            "{action}"
        );
    }
    world.lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_are_refused_by_aws_codes() {
    let world = World::start().await;
    let subnets = world.subnets();
    let vpc = world.vpc();
    let (one, two) = (subnets[0].as_str(), subnets[1].as_str());
    for (action, fields, code) in [
        (
            "CreateLoadBalancer",
            vec![("Name", "x"), ("Subnets.member.1", one)],
            "ValidationError",
        ),
        (
            "CreateLoadBalancer",
            vec![
                ("Name", "x"),
                ("Subnets.member.1", one),
                ("Subnets.member.2", "subnet-0"),
            ],
            "SubnetNotFound",
        ),
        (
            "CreateLoadBalancer",
            vec![
                ("Name", "-x"),
                ("Subnets.member.1", one),
                ("Subnets.member.2", two),
            ],
            "ValidationError",
        ),
        (
            "CreateLoadBalancer",
            vec![
                ("Name", "x"),
                ("Subnets.member.1", one),
                ("Subnets.member.2", two),
                ("SecurityGroups.member.1", "sg-0"),
            ],
            "InvalidSecurityGroup",
        ),
        (
            "CreateTargetGroup",
            vec![
                ("Name", "x"),
                ("Protocol", "TCP"),
                ("Port", "80"),
                ("VpcId", &vpc),
            ],
            "InvalidConfigurationRequest",
        ),
        (
            "CreateTargetGroup",
            vec![
                ("Name", "x"),
                ("Protocol", "HTTP"),
                ("Port", "80"),
                ("VpcId", &vpc),
                ("HealthCheckIntervalSeconds", "4"),
            ],
            "ValidationError",
        ),
        (
            "DescribeLoadBalancers",
            vec![("Names.member.1", "none")],
            "LoadBalancerNotFound",
        ),
        (
            "DescribeLoadBalancers",
            vec![("Colour", "red")],
            "UnknownParameter",
        ),
        ("CreateTrustStore", vec![], "InvalidAction"),
    ] {
        let refused = world.try_call(action, &fields).await.unwrap_err();
        assert_eq!(refused, code, "{action} {fields:?}");
    }
    let group = world.group("blue").await;
    let fields = [
        ("TargetGroupArn", group.as_str()),
        ("Targets.member.1.Id", "i-0123"),
    ];
    let refused = world.try_call("RegisterTargets", &fields).await;
    assert_eq!(refused.unwrap_err(), "ValidationError", "not an address");
    world.lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_come_in_pages_and_tags_stay() {
    let world = World::start().await;
    let mut expected = Vec::new();
    for name in ["a", "b", "c"] {
        expected.push(world.group(name).await);
    }
    let (mut seen, mut marker) = (Vec::new(), None::<String>);
    loop {
        let mut fields = vec![("PageSize", "2")];
        fields.extend(marker.as_deref().map(|it| ("Marker", it)));
        let xml = world.call("DescribeTargetGroups", &fields).await;
        let groups = xml.split("<TargetGroupArn>").skip(1);
        seen.extend(groups.map(|rest| rest[..rest.find('<').unwrap()].to_owned()));
        marker = text_of(&xml, "NextMarker");
        if marker.is_none() {
            break;
        }
    }
    expected.sort();
    assert_eq!(seen, expected);

    let arn = expected[0].as_str();
    let fields = [
        ("ResourceArns.member.1", arn),
        ("Tags.member.1.Key", "colour"),
        ("Tags.member.1.Value", "blue"),
    ];
    world.call("AddTags", &fields).await;
    let described = [("ResourceArns.member.1", arn)];
    let xml = world.call("DescribeTags", &described).await;
    assert!(
        xml.contains("<Key>colour</Key><Value>blue</Value>"),
        "{xml}"
    );
    let fields = [
        ("ResourceArns.member.1", arn),
        ("TagKeys.member.1", "colour"),
    ];
    world.call("RemoveTags", &fields).await;
    let xml = world.call("DescribeTags", &described).await;
    assert!(!xml.contains("colour"), "{xml}");
    world.lab.stop().await;
}
