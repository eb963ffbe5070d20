//! The metrics that a rollout is judged by.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use plan::observed::TargetTraffic;

use crate::support::{HOME, World};

const ARN: &str = "arn:aws:elasticloadbalancing:us-east-1:123456789012";
const BALANCER: &str = "app/demo/50dc6c495c0c9188";

/// What CloudWatch has of one target group.
struct Counted<'a> {
    name: &'a str,
    requests: u32,
    errors: u32,
    seconds: f64,
}

fn put(world: &World, group: Option<&str>, metric: &str, value: f64) {
    let mut dimensions = vec![("LoadBalancer", BALANCER)];
    dimensions.extend(group.map(|group| ("TargetGroup", group)));
    lab::cloudwatch::put(
        &world.lab,
        HOME,
        "AWS/ApplicationELB",
        metric,
        &dimensions,
        value,
        "Count",
    );
}

fn count(world: &World, group: &Counted<'_>) -> (String, String) {
    let resource = format!("targetgroup/{}/73e2d6bc24d8a067", group.name);
    let of = Some(resource.as_str());
    put(world, of, "RequestCount", f64::from(group.requests));
    put(
        world,
        of,
        "HTTPCode_Target_5XX_Count",
        f64::from(group.errors),
    );
    put(world, of, "TargetResponseTime", group.seconds);
    (group.name.to_owned(), format!("{ARN}:{resource}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_counter_is_read_as_its_owner_s() {
    let world = World::start().await;
    let before = world.lab.clock.now();
    let (blue, green) = (
        Counted {
            name: "demo-a",
            requests: 900,
            errors: 3,
            seconds: 0.25,
        },
        Counted {
            name: "demo-b",
            requests: 100,
            errors: 7,
            seconds: 0.5,
        },
    );
    let arns = BTreeMap::from([&blue, &green].map(|group| count(&world, group)));
    put(&world, None, "HTTPCode_ELB_5XX_Count", 11.0);
    let balancer = format!("{ARN}:loadbalancer/{BALANCER}");
    // A minute at this speed is a fifth of a second.
    let read = |from: Timestamp, seconds: i64| {
        let (cloud, arns, balancer) = (&world.cloud, &arns, &balancer);
        async move {
            let until = from + SignedDuration::from_secs(seconds);
            let read = cloud.traffic(balancer, arns, from, until).await;
            read.expect("the metrics are read")
        }
    };
    let seen = read(before - SignedDuration::from_secs(1), 60).await;
    let of = |group: &Counted<'_>| TargetTraffic {
        requests: group.requests.into(),
        target_errors: group.errors.into(),
        p95_seconds: Some(group.seconds),
    };
    assert_eq!(seen.groups["demo-a"], of(&blue));
    assert_eq!(seen.groups["demo-b"], of(&green));
    assert_eq!((seen.balancer_errors, seen.requests()), (11, 1000));
    // The minute that began before the window is another window's.
    let after = read(world.lab.clock.now(), 60).await;
    assert_eq!((after.balancer_errors, after.requests()), (0, 0));
    world.lab.stop().await;
}
