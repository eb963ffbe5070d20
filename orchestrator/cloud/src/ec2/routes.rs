//! Where a subnet's traffic to the internet goes.

use aws_sdk_ec2::types::{Route, RouteState, RouteTable};
use plan::observed::Network;

use super::filter;
use crate::connect::Cloud;
use crate::error::{Called, ReadError};

/// Everybody on the internet.
const EVERYWHERE: &str = "0.0.0.0/0";

impl Cloud {
    /// The load balancer's subnets that have no route to an internet gateway: one that faces the internet is made
    /// there without an error, and nobody reaches it.
    pub async fn without_internet_gateway(
        &self,
        network: &Network,
    ) -> Result<Vec<String>, ReadError> {
        let tables = self
            .look()
            .ec2
            .describe_route_tables()
            .filters(filter("vpc-id", &network.vpc_id))
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
            .await
            .called("ec2:DescribeRouteTables")?;
        Ok(network
            .public_subnets
            .iter()
            .filter(|subnet| {
                table_of(&tables, &subnet.id)
                    .is_none_or(|table| !table.routes().iter().any(leads_outside))
            })
            .map(|subnet| subnet.id.clone())
            .collect())
    }
}

/// The table that a subnet is associated with; without an association of its own, the VPC's main one.
fn table_of<'a>(tables: &'a [RouteTable], subnet: &str) -> Option<&'a RouteTable> {
    let named = |table: &&RouteTable| {
        let mut associations = table.associations().iter();
        associations.any(|one| one.subnet_id() == Some(subnet))
    };
    let main = |table: &&RouteTable| {
        let mut associations = table.associations().iter();
        associations.any(|one| one.main().unwrap_or(false))
    };
    tables
        .iter()
        .find(named)
        .or_else(|| tables.iter().find(main))
}

/// A NAT gateway's route leads outside, too, and nobody comes in by it.
fn leads_outside(route: &Route) -> bool {
    route.destination_cidr_block() == Some(EVERYWHERE)
        && route
            .gateway_id()
            .is_some_and(|gateway| gateway.starts_with("igw-"))
        && route.state() != Some(&RouteState::Blackhole)
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::RouteTableAssociation;

    use super::*;

    fn table(id: &str, subnet: Option<&str>, gateway: Option<&str>) -> RouteTable {
        let association = RouteTableAssociation::builder()
            .set_subnet_id(subnet.map(str::to_owned))
            .main(subnet.is_none());
        let route = Route::builder()
            .destination_cidr_block(EVERYWHERE)
            .set_gateway_id(gateway.map(str::to_owned));
        RouteTable::builder()
            .route_table_id(id)
            .associations(association.build())
            .routes(route.build())
            .build()
    }

    #[test]
    fn a_subnet_without_a_table_of_its_own_has_the_main_one() {
        let tables = [
            table("rtb-main", None, None),
            table("rtb-public", Some("subnet-1"), Some("igw-1")),
        ];
        let id = |subnet| table_of(&tables, subnet).and_then(|table| table.route_table_id());
        assert_eq!(id("subnet-1"), Some("rtb-public"));
        assert_eq!(id("subnet-2"), Some("rtb-main"));
    }

    #[test]
    fn only_an_internet_gateway_lets_somebody_in() {
        for (gateway, expected) in [
            (Some("igw-1"), true),
            (Some("vgw-1"), false),
            (Some("local"), false),
            (None, false),
        ] {
            let found = table("rtb-1", None, gateway)
                .routes()
                .iter()
                .any(leads_outside);
            assert_eq!(found, expected, "{gateway:?}");
        }
        let gone = Route::builder()
            .destination_cidr_block(EVERYWHERE)
            .gateway_id("igw-1")
            .state(RouteState::Blackhole);
        assert!(!leads_outside(&gone.build()));
    }
}
