//! Subnets that nobody named: what was chosen once stays.

use std::collections::BTreeMap;

use aws_sdk_ec2::Client;
use plan::Action;

use crate::doctor::ec2;
use crate::support::World;

/// Two subnets in each of these zones of a VPC of its own: by zone, the lesser id first.
async fn made(client: &Client, vpc: &str) -> BTreeMap<&'static str, Vec<String>> {
    let mut found: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (third, zone) in [
        (0, "us-east-1a"),
        (16, "us-east-1b"),
        (32, "us-east-1a"),
        (48, "us-east-1b"),
    ] {
        let subnet = client
            .create_subnet()
            .vpc_id(vpc)
            .availability_zone(zone)
            .cidr_block(format!("127.38.{third}.0/20"))
            .send()
            .await
            .expect("a subnet");
        let id = subnet.subnet().and_then(|subnet| subnet.subnet_id());
        found
            .entry(zone)
            .or_default()
            .push(id.expect("an id").to_owned());
    }
    for ids in found.values_mut() {
        ids.sort();
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subnet_that_comes_later_moves_nothing() {
    let mut world = World::start().await;
    let client = ec2(&world);
    let vpc = client.create_vpc().cidr_block("127.38.0.0/16").send().await;
    let vpc = vpc.expect("a VPC");
    let vpc = vpc.vpc().and_then(|vpc| vpc.vpc_id()).expect("an id");
    let subnets = made(&client, vpc).await;
    world.scope.spec.network.vpc = Some(vpc.to_owned());
    let zones = ["us-east-1b", "us-east-1a"];
    let expected = |index: usize| zones.map(|zone| subnets[zone][index].clone());

    let seen = world.look().await.network.expect("a network");
    let ids =
        |list: &[plan::observed::Subnet]| list.iter().map(|it| it.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&seen.subnets), expected(0));
    // The stack lies in the others, as if these were new.
    world
        .twice(Action::EnsureDbSubnetGroup {
            name: world.scope.spec.names().db_subnet_group(),
            subnets: expected(1).into(),
        })
        .await;
    let seen = world.look().await.network.expect("a network");
    assert_eq!(ids(&seen.subnets), expected(1));
    assert_eq!(ids(&seen.public_subnets), expected(1));
    world.stop().await;
}
