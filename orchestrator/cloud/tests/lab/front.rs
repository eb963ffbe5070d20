//! Target groups, load balancer, listener, weights.

use std::collections::BTreeSet;

use cloud::Outcome;
use plan::Action;
use plan::observed::{Forward, HealthCheck, ListenerAction};

use crate::support::World;
use crate::values::{health, map};

pub async fn ensure(world: &World) {
    let seen = world.look().await;
    let network = seen.network.as_ref().expect("a network");
    let target_group = |slot: &str, health: HealthCheck| Action::EnsureTargetGroup {
        name: format!("demo-{slot}"),
        vpc_id: network.vpc_id.clone(),
        health,
        attributes: map([("deregistration_delay.timeout_seconds", "60")]),
    };
    for slot in ["a", "b"] {
        world
            .twice(target_group(slot, health("/api/v4/system/ping", "200")))
            .await;
    }
    // Another site path, and every value that somebody changed by hand.
    let moved = HealthCheck {
        port: "8067".to_owned(),
        interval_seconds: 30,
        timeout_seconds: 6,
        healthy: 5,
        unhealthy: 2,
        ..health("/api/v4/system/ping", "200,302")
    };
    for other in [moved, health("/mattermost/api/v4/system/ping", "200")] {
        world.twice(target_group("b", other.clone())).await;
        let seen = world.look().await;
        assert_eq!(seen.target_groups["demo-b"].health, other);
    }
    let balancer = |idle: &str| Action::EnsureLoadBalancer {
        name: "demo".to_owned(),
        scheme: "internet-facing".to_owned(),
        subnets: network
            .subnets
            .iter()
            .map(|subnet| subnet.id.clone())
            .collect(),
        security_groups: BTreeSet::from([seen.security_groups["load-balancer"].id.clone()]),
        attributes: map([("idle_timeout.timeout_seconds", idle)]),
    };
    world.twice(balancer("300")).await;
    world.twice(balancer("310")).await;
    let seen = world
        .until("the load balancer is active", |seen| {
            seen.load_balancer
                .as_ref()
                .is_some_and(|balancer| balancer.state == "active")
        })
        .await;
    let balancer = seen.load_balancer.as_ref().expect("a load balancer");
    assert_eq!(balancer.attributes["idle_timeout.timeout_seconds"], "310");
    assert_eq!(balancer.subnets.len(), 2);
    let (a, b) = (&seen.target_groups["demo-a"], &seen.target_groups["demo-b"]);
    assert_eq!(
        (a.port, &a.health),
        (8065, &health("/api/v4/system/ping", "200"))
    );
    assert_eq!(a.attributes["deregistration_delay.timeout_seconds"], "60");

    let weights =
        |blue: u32, green: u32| Forward::from([(a.arn.clone(), blue), (b.arn.clone(), green)]);
    let listener = Action::EnsureListener {
        port: 80,
        protocol: "HTTP".to_owned(),
        certificate: None,
        load_balancer: balancer.arn.clone(),
        action: ListenerAction::Forward(weights(1, 0)),
    };
    world.twice(listener.clone()).await;
    let arn = world.look().await.listeners[&80].arn.clone();
    for (blue, green, sticky_seconds) in [
        (90, 10, Some(480)),
        (50, 50, Some(480)),
        (50, 50, None),
        (50, 50, Some(300)),
        (0, 100, None),
    ] {
        let forward = Forward {
            sticky_seconds,
            ..weights(blue, green)
        };
        world
            .twice(Action::SetWeights {
                listener: arn.clone(),
                weights: forward.clone(),
            })
            .await;
        assert_eq!(
            world.look().await.listeners[&80].action,
            ListenerAction::Forward(forward)
        );
    }
    // The listener as such says nothing of weights.
    assert_eq!(world.once(&listener).await, Outcome::Unchanged);
    world
        .twice(Action::SetFixedResponse {
            listener: arn.clone(),
            status: 503,
            body: "<p>back soon".to_owned(),
        })
        .await;
    assert_eq!(
        world.look().await.listeners[&80].action,
        ListenerAction::Fixed(503, "<p>back soon".to_owned())
    );
    world
        .twice(Action::SetWeights {
            listener: arn,
            weights: weights(1, 0),
        })
        .await;
}
