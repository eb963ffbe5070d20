//! Groups behind a load balancer that really probes, and launches that EC2 refuses.

use std::net::Ipv4Addr;

use crate::support::{Instance, REGION, World, between, text};
use lab::api::{Call, Params, Reply, Service};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A probe every five lab seconds is one every 50 ms.
const PROBED: f64 = 100.0;
const PORT: u16 = 8065;

/// What a healthy node answers to any request.
async fn serve(address: Ipv4Addr) -> JoinHandle<()> {
    let listener = TcpListener::bind((address, PORT))
        .await
        .expect("the instance's address is this test's own");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
                let _ = stream.write_all(answer).await;
            });
        }
    })
}

fn address(world: &World, id: &str) -> Ipv4Addr {
    lab::ec2::instance(&world.lab, REGION, id)
        .expect("the instance is known")
        .private_ip
}

async fn elb(world: &World, action: &str, pairs: &[(&str, &str)]) -> String {
    let params = Params::from_form(
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
        true,
    );
    let call = Call {
        params,
        ..World::call(Service::Elbv2, action)
    };
    match lab::elbv2::dispatch(&world.lab, &call).await {
        Ok(Reply::Xml(xml)) => xml.render().to_owned(),
        other => panic!("{action}: {other:?}"),
    }
}

/// A load balancer with one target group of a two-minute deregistration delay; its ARN.
async fn target_group(world: &World) -> String {
    let subnets = lab::ec2::default_subnets(&world.lab, REGION);
    let vpc = subnets[0].vpc_id.clone();
    let made = elb(
        world,
        "CreateLoadBalancer",
        &[
            ("Name", "front"),
            ("Subnets.member.1", &subnets[0].id),
            ("Subnets.member.2", &subnets[1].id),
        ],
    )
    .await;
    let balancer = text(&made, "LoadBalancerArn");
    let made = elb(
        world,
        "CreateTargetGroup",
        &[
            ("Name", "nodes"),
            ("Protocol", "HTTP"),
            ("Port", "8065"),
            ("VpcId", &vpc),
            ("HealthCheckIntervalSeconds", "5"),
            ("HealthCheckTimeoutSeconds", "4"),
            ("HealthyThresholdCount", "2"),
            ("UnhealthyThresholdCount", "2"),
        ],
    )
    .await;
    let group = text(&made, "TargetGroupArn");
    elb(
        world,
        "ModifyTargetGroupAttributes",
        &[
            ("TargetGroupArn", &group),
            (
                "Attributes.member.1.Key",
                "deregistration_delay.timeout_seconds",
            ),
            ("Attributes.member.1.Value", "120"),
        ],
    )
    .await;
    elb(
        world,
        "CreateListener",
        &[
            ("LoadBalancerArn", &balancer),
            ("Protocol", "HTTP"),
            ("Port", "18080"),
            ("DefaultActions.member.1.Type", "forward"),
            ("DefaultActions.member.1.TargetGroupArn", &group),
        ],
    )
    .await;
    group
}

fn target(world: &World, group: &str, id: &str) -> Option<String> {
    lab::elbv2::target_state(&world.lab, REGION, group, id)
}

async fn until_target(world: &World, group: &str, id: &str, state: &str) {
    world
        .until(&format!("{id} {state}"), |_| {
            target(world, group, id).as_deref() == Some(state)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_turns_unhealthy_is_drained_and_replaced() {
    let world = World::start(78, PROBED).await;
    let group = target_group(&world).await;
    let settings = [
        ("TargetGroupARNs.member.1", group.as_str()),
        ("HealthCheckType", "ELB"),
        ("HealthCheckGracePeriod", "60"),
    ];
    world.create_group((0, 4, 2), &settings).await;
    let two = world.until_in_service(2).await;
    // Nobody has been healthy yet, so the load balancer's word does not count.
    until_target(&world, &group, &two[0].id, "unhealthy").await;
    world.lab_sleep(120).await;
    assert_eq!(world.members().await, two);

    // The first to be healthy makes the word count, against the other; so not while they come up.
    let check = [
        ("AutoScalingGroupName", "web"),
        ("ScalingProcesses.member.1", "HealthCheck"),
    ];
    world.asg("SuspendProcesses", &check).await;
    let mut servers = Vec::new();
    for member in &two {
        servers.push(serve(address(&world, &member.id)).await);
    }
    for member in &two {
        until_target(&world, &group, &member.id, "healthy").await;
    }
    world.asg("ResumeProcesses", &check).await;
    servers[0].abort();
    let sick = two[0].id.clone();
    let leaving = world
        .until("the sick one leaves", |members| {
            members
                .iter()
                .any(|one| one.id == sick && one.state.starts_with("Terminating"))
        })
        .await;
    let shown = leaving.iter().find(|one| one.id == sick).unwrap();
    assert_eq!(shown.health, "Unhealthy");
    // The newcomer serves nothing either and goes the same way; the healthy one stays.
    let after = world
        .until("the sick one is gone, another is there", |members| {
            members.len() >= 2 && members.iter().all(|one| one.id != sick)
        })
        .await;
    let kept = after.iter().find(|one| one.id == two[1].id);
    assert_eq!(kept.map(|one| one.state.as_str()), Some("InService"));
    assert!(members_causes(&world).await.contains(
        "an instance was taken out of service in response to an ELB system health check failure."
    ));
    world.stop().await;
}

async fn members_causes(world: &World) -> String {
    let activities = world.activities().await.into_iter();
    activities
        .map(|one| one.cause)
        .collect::<Vec<_>>()
        .join("\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scale_in_waits_for_the_deregistration_delay() {
    let world = World::start(79, PROBED).await;
    let group = target_group(&world).await;
    let attached = [("TargetGroupARNs.member.1", group.as_str())];
    world.create_group((0, 4, 1), &attached).await;
    let id = world.until_in_service(1).await[0].id.clone();
    let server = serve(address(&world, &id)).await;
    until_target(&world, &group, &id, "healthy").await;
    let began = world.lab.clock.lab_time();
    world
        .asg(
            "SetDesiredCapacity",
            &[("AutoScalingGroupName", "web"), ("DesiredCapacity", "0")],
        )
        .await;
    until_target(&world, &group, &id, "draining").await;
    let status = &world.activities().await[0].status;
    assert_eq!(status, "WaitingForELBConnectionDraining");
    world
        .until("EC2 ends it", |_| {
            lab::ec2::instance(&world.lab, REGION, &id).is_none_or(|view| view.state != "running")
        })
        .await;
    let took = world.lab.clock.lab_time().saturating_sub(began).as_secs();
    assert!(took >= 120, "ended after {took} s of a delay of 120 s");
    world.until("gone", <[Instance]>::is_empty).await;
    server.abort();
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_launched_without_add_to_load_balancer_stays_out() {
    let world = World::start(80, PROBED).await;
    let group = target_group(&world).await;
    world.create_group((0, 4, 1), &[]).await;
    let first = world.until_in_service(1).await[0].id.clone();
    let name = ("AutoScalingGroupName", "web");
    let attach = [name, ("TargetGroupARNs.member.1", group.as_str())];
    world.asg("AttachLoadBalancerTargetGroups", &attach).await;
    world
        .until("the first is registered", |_| {
            target(&world, &group, &first).is_some()
        })
        .await;
    let process = [name, ("ScalingProcesses.member.1", "AddToLoadBalancer")];
    world.asg("SuspendProcesses", &process).await;
    world
        .asg("SetDesiredCapacity", &[name, ("DesiredCapacity", "2")])
        .await;
    let two = world.until_in_service(2).await;
    let second = two.iter().find(|one| one.id != first).unwrap().id.clone();
    world.asg("ResumeProcesses", &process).await;
    world
        .asg("SetDesiredCapacity", &[name, ("DesiredCapacity", "3")])
        .await;
    let three = world.until_in_service(3).await;
    let third = three
        .iter()
        .find(|one| one.id != first && one.id != second)
        .unwrap();
    world
        .until("the third is registered", |_| {
            target(&world, &group, &third.id).is_some()
        })
        .await;
    assert_eq!(target(&world, &group, &second), None);

    world.asg("DetachLoadBalancerTargetGroups", &attach).await;
    world
        .until("nobody is registered", |_| {
            three
                .iter()
                .all(|one| target(&world, &group, &one.id).is_none())
        })
        .await;
    let states = world.asg("DescribeLoadBalancerTargetGroups", &[name]).await;
    let left = between(
        &states,
        "<LoadBalancerTargetGroups>",
        "</LoadBalancerTargetGroups>",
    );
    assert!(
        left.is_none_or(|left| left.is_empty() || left.contains("Removing")),
        "{states}"
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_without_capacity_is_passed_over_and_evened_out_later() {
    let world = World::start(81, 300.0).await;
    let fault = json!({ "kind": "insufficient_capacity", "zone": "us-east-1b", "times": 3 });
    let post = http::Method::POST;
    lab::ec2::control(&world.lab, &post, &["faults"], fault)
        .await
        .unwrap();
    world.create_group((0, 6, 3), &[]).await;
    let even = world
        .until("three, one in each zone", |members| {
            members.len() == 3
                && members.iter().all(|one| one.state == "InService")
                && ["a", "b", "c"]
                    .iter()
                    .all(|zone| members.iter().any(|one| one.zone.ends_with(zone)))
        })
        .await;
    assert_eq!(even.len(), 3);
    let failed: Vec<_> = world
        .activities()
        .await
        .into_iter()
        .filter(|one| one.status == "Failed")
        .collect();
    assert_eq!(failed.len(), 3, "{failed:#?}");
    assert!(
        failed
            .iter()
            .all(|one| one.message.ends_with("Launching EC2 instance failed.")),
        "{failed:#?}"
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_dies_while_it_waits_is_a_failed_launch() {
    let world = World::start(82, PROBED).await;
    world.create_group((0, 4, 0), &[]).await;
    let name = ("AutoScalingGroupName", "web");
    let hook = [
        name,
        ("LifecycleHookName", "ready"),
        ("LifecycleTransition", "autoscaling:EC2_INSTANCE_LAUNCHING"),
    ];
    world.asg("PutLifecycleHook", &hook).await;
    world
        .asg("SetDesiredCapacity", &[name, ("DesiredCapacity", "1")])
        .await;
    let waiting = |members: &[Instance]| members.iter().any(|one| one.state == "Pending:Wait");
    let first = world.until("one waits", waiting).await[0].id.clone();
    lab::ec2::terminate(&world.lab, REGION, &first)
        .await
        .unwrap();
    world
        .until("another waits", |members| {
            members.len() == 1 && members[0].id != first && members[0].state == "Pending:Wait"
        })
        .await;
    let failed = world
        .activities()
        .await
        .into_iter()
        .find(|one| one.status == "Failed")
        .expect("a failed launch");
    assert!(
        failed
            .message
            .contains("Instance became unhealthy while waiting"),
        "{failed:?}"
    );
    world.stop().await;
}
