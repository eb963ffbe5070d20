//! What CloudWatch has of a load balancer, and when.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use lab::iam::{OPERATOR_KEY, OPERATOR_SECRET};
use serde_json::{Value, json};

use crate::support::*;

/// Lab seconds a second: a minute is a second.
const SPEED: f64 = 60.0;

/// The points of a load balancer's metric around now: when the minute began, in seconds of 1970, and its sum.
async fn points(world: &World, balancer: &str, metric: &str) -> Vec<(f64, f64)> {
    let now = world.lab.clock.now();
    let (_, name) = balancer.split_once("loadbalancer/").unwrap();
    let body = json!({
        "Namespace": "AWS/ApplicationELB",
        "MetricName": metric,
        "Dimensions": [{ "Name": "LoadBalancer", "Value": name }],
        "StartTime": now.as_second() - 20,
        "EndTime": now.as_second() + 1,
        "Period": 60,
        "Statistics": ["Sum"],
    })
    .to_string();
    let host = world.endpoint.to_string();
    let keys = (OPERATOR_KEY, OPERATOR_SECRET);
    let headers = lab::api::sign_for_tests(keys, (REGION, "monitoring"), &host, &body, now);
    let mut request = Request::post("/")
        .header("content-type", "application/x-amz-json-1.0")
        .header(
            "x-amz-target",
            "GraniteServiceVersion20100801.GetMetricStatistics",
        )
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let answer = Client::connect(world.endpoint).await.send(request).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let answer: Value = serde_json::from_str(&answer.text).unwrap();
    let points = answer["Datapoints"].as_array().unwrap();
    points
        .iter()
        .map(|point| {
            (
                point["Timestamp"].as_f64().unwrap(),
                point["Sum"].as_f64().unwrap(),
            )
        })
        .filter(|(_, sum)| *sum > 0.0)
        .collect()
}

fn sum(points: &[(f64, f64)]) -> f64 {
    points.iter().map(|(_, sum)| sum).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minute_comes_late_and_stands_at_its_beginning() {
    let world = World::start().await;
    let backend = Backend::start("blue").await;
    let serving = world.serving(&[&backend]).await;
    // A minute of two seconds: whoever collects what was counted may be late by half of it.
    let speed = SPEED / 2.0;
    let minute_lasts = 60.0 / speed;
    world.lab.clock.set_speed(speed);
    let seconds = || world.lab.clock.now().as_microsecond() as f64 / 1e6;
    // The minute in which the speed changed is as long as the sleeper of before made it.
    let changed = seconds();
    let mut client = Client::connect(serving.address).await;
    eventually("a minute at this speed", async || {
        let points = points(&world, &serving.balancer, "ActiveConnectionCount").await;
        points.iter().any(|(minute, _)| *minute > changed)
    })
    .await;
    let began = seconds();
    for _ in 0..20 {
        assert_eq!(client.get("/").await.status, 200);
    }
    let ended = seconds();
    let mut found = Vec::new();
    eventually("the minute is whole", async || {
        found = points(&world, &serving.balancer, "RequestCount").await;
        // At the soonest half a minute after the end of the minute in which the first of them came.
        assert!(
            found.is_empty() || seconds() > began + minute_lasts / 2.0,
            "{found:?}"
        );
        sum(&found) >= 20.0
    })
    .await;
    assert!((sum(&found) - 20.0).abs() < 0.5, "{found:?}");
    for (minute, _) in &found {
        let of_the_requests = *minute <= ended && *minute + minute_lasts >= began;
        assert!(of_the_requests, "{minute} is not in {began}..{ended}");
    }
    world.lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_finds_no_target_is_the_load_balancer_s_error_and_no_group_s_request() {
    let world = World::start().await;
    let (balancer, address) = world.balancer("chat").await;
    let group = world.group("blue").await;
    world.listener(&balancer, &[(&group, 1)]).await;
    let mut client = Client::connect(address).await;
    for _ in 0..5 {
        assert_eq!(client.get("/").await.status, 503);
    }
    eventually("the errors are counted", async || {
        sum(&points(&world, &balancer, "HTTPCode_ELB_5XX_Count").await) >= 5.0
    })
    .await;
    assert_eq!(points(&world, &balancer, "RequestCount").await, []);
    world.lab.stop().await;
}
