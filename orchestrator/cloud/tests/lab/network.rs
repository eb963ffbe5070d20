//! Network and security groups.

use std::collections::BTreeSet;

use plan::Action;
use plan::observed::{Observed, Rule};

use crate::support::World;
use crate::values::tcp;

fn security_group(seen: &Observed, part: &str, ingress: &[Rule]) -> Action {
    Action::EnsureSecurityGroup {
        part: part.to_owned(),
        name: format!("demo-{part}"),
        vpc_id: seen.network.as_ref().expect("a network").vpc_id.clone(),
        ingress: ingress.iter().cloned().collect(),
    }
}

pub async fn ensure(world: &World) {
    let seen = world.look().await;
    let network = seen.network.as_ref().expect("the default VPC");
    // In the order of the specification's zones, one a zone, of the home region only.
    let zones: Vec<&str> = network
        .subnets
        .iter()
        .map(|subnet| subnet.zone.as_str())
        .collect();
    assert_eq!(zones, ["us-east-1b", "us-east-1a"]);
    assert_eq!(network.subnets, network.public_subnets);

    world
        .twice(security_group(
            &seen,
            "load-balancer",
            &[tcp(80, "0.0.0.0/0"), tcp(443, "0.0.0.0/0")],
        ))
        .await;
    let seen = world.look().await;
    let balancer = seen.security_groups["load-balancer"].clone();
    world
        .twice(security_group(&seen, "fleet", &[tcp(8065, &balancer.id)]))
        .await;
    // A port that the specification opens, by both protocols.
    let media = |protocol: &str, source: &str| Rule {
        protocol: protocol.to_owned(),
        ..tcp(8443, source)
    };
    let open = [
        tcp(8065, &balancer.id),
        media("udp", "0.0.0.0/0"),
        media("udp", "::/0"),
        media("tcp", "0.0.0.0/0"),
    ];
    world.twice(security_group(&seen, "fleet", &open)).await;
    let fleet = world.look().await.security_groups["fleet"].clone();
    assert_eq!(fleet.ingress, BTreeSet::from(open));
    world
        .twice(security_group(&seen, "fleet", &[tcp(8065, &balancer.id)]))
        .await;
    let fleet = fleet.id;
    // Networks of both kinds: what EC2 shows is what was asked for.
    let both = [
        tcp(5432, "10.0.0.0/8"),
        tcp(5432, "2001:db8::/32"),
        tcp(5432, "::/0"),
    ];
    world.twice(security_group(&seen, "database", &both)).await;
    assert_eq!(
        world.look().await.security_groups["database"].ingress,
        BTreeSet::from(both)
    );
    // Wanted rules replace others, whatever was there.
    world
        .twice(security_group(
            &seen,
            "database",
            &[tcp(5432, "10.0.0.0/8")],
        ))
        .await;
    world
        .twice(security_group(
            &seen,
            "database",
            &[tcp(5432, &fleet), tcp(5432, "127.0.0.1/32")],
        ))
        .await;
    let seen = world.look().await;
    assert_eq!(
        seen.security_groups["database"].ingress,
        BTreeSet::from([tcp(5432, &fleet), tcp(5432, "127.0.0.1/32")])
    );
    assert_eq!(
        seen.security_groups["load-balancer"].name,
        "demo-load-balancer"
    );
}
