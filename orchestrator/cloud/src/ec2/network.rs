//! VPC and subnets, as the specification names them or as the region's default is.

use aws_sdk_ec2::types;
use plan::observed::{Network, Subnet};

use super::filter;
use crate::connect::Cloud;
use crate::error::{Called, Failure, ReadError};
use crate::scope::Scope;

impl Cloud {
    /// The VPC with its subnets in zone order. `Ok(None)`: no VPC is named and the region has no
    /// default one. A VPC or subnet that is named and does not exist is an error.
    pub(crate) async fn observe_network(
        &self,
        scope: &Scope,
    ) -> Result<Option<Network>, ReadError> {
        let Some(vpc_id) = self.vpc(scope.spec.network.vpc.as_deref()).await? else {
            return Ok(None);
        };
        let spec = &scope.spec.network;
        let subnets = self.subnets(scope, &vpc_id, &spec.subnets).await?;
        let public_subnets = if spec.public_subnets.is_empty() {
            subnets.clone()
        } else {
            self.subnets(scope, &vpc_id, &spec.public_subnets).await?
        };
        Ok(Some(Network {
            vpc_id,
            subnets,
            public_subnets,
        }))
    }

    async fn vpc(&self, named: Option<&str>) -> Result<Option<String>, ReadError> {
        let call = self.look().ec2.describe_vpcs();
        let answer = match named {
            Some(id) => call.vpc_ids(id),
            None => call.filters(filter("is-default", "true")),
        }
        .send()
        .await
        .called("ec2:DescribeVpcs");
        match answer {
            Ok(answer) => Ok(answer
                .vpcs()
                .first()
                .and_then(|vpc| vpc.vpc_id())
                .map(str::to_owned)),
            Err(failure) if failure.is("InvalidVpcID.NotFound") => Err(ReadError::NotFound {
                what: format!("VPC `{}`", named.unwrap_or("default")),
            }),
            Err(failure) => Err(failure.into()),
        }
    }

    async fn subnets(
        &self,
        scope: &Scope,
        vpc_id: &str,
        named: &[String],
    ) -> Result<Vec<Subnet>, ReadError> {
        let call = self
            .look()
            .ec2
            .describe_subnets()
            .filters(filter("vpc-id", vpc_id));
        let found = if named.is_empty() {
            call
        } else {
            let ids = types::Filter::builder()
                .name("subnet-id")
                .set_values(Some(named.to_vec()))
                .build();
            call.filters(ids)
        }
        .into_paginator()
        .items()
        .send()
        .collect::<Result<Vec<_>, _>>()
        .await
        .called("ec2:DescribeSubnets")?;
        if let Some(missing) = named.iter().find(|id| {
            !found
                .iter()
                .any(|subnet| subnet.subnet_id() == Some(id.as_str()))
        }) {
            return Err(ReadError::NotFound {
                what: format!("subnet `{missing}` in VPC `{vpc_id}`"),
            });
        }
        Ok(pick(
            &found,
            &scope.zones_in(self.home_region()),
            named.is_empty(),
        )?)
    }
}

/// The subnets in zone order. Unless they were named, one a zone: the zone's default subnet, else the
/// one with the least id (an ALB and a DB subnet group take one a zone; the least id stays the same
/// from look to look). Subnets of other zones come last when they were named, and not at all otherwise.
fn pick(found: &[types::Subnet], zones: &[&str], one_a_zone: bool) -> Result<Vec<Subnet>, Failure> {
    let mut ranked = found
        .iter()
        .map(|subnet| {
            let zone = subnet
                .availability_zone()
                .ok_or_else(|| Failure::incomplete("ec2:DescribeSubnets", "AvailabilityZone"))?;
            let id = subnet
                .subnet_id()
                .ok_or_else(|| Failure::incomplete("ec2:DescribeSubnets", "SubnetId"))?;
            let rank = zones
                .iter()
                .position(|name| *name == zone)
                .unwrap_or(usize::MAX);
            Ok((
                rank,
                zone,
                !subnet.default_for_az().unwrap_or(false),
                id,
                subnet.available_ip_address_count().unwrap_or(0),
            ))
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    ranked.sort_unstable();
    if one_a_zone {
        ranked.retain(|(rank, ..)| *rank != usize::MAX);
        ranked.dedup_by_key(|(_, zone, ..)| *zone);
    }
    Ok(ranked
        .into_iter()
        .map(|(_, zone, _, id, free)| Subnet {
            id: id.to_owned(),
            zone: zone.to_owned(),
            free_addresses: u32::try_from(free).unwrap_or(0),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types;

    use super::pick;

    fn subnet(id: &str, zone: &str, default: bool) -> types::Subnet {
        types::Subnet::builder()
            .subnet_id(id)
            .availability_zone(zone)
            .default_for_az(default)
            .available_ip_address_count(7)
            .build()
    }

    fn ids(found: &[types::Subnet], zones: &[&str], one_a_zone: bool) -> Vec<String> {
        pick(found, zones, one_a_zone)
            .expect("complete")
            .into_iter()
            .map(|subnet| subnet.id)
            .collect()
    }

    #[test]
    fn one_a_zone_in_the_order_of_the_zones() {
        let found = vec![
            subnet("subnet-3", "x-1a", false),
            subnet("subnet-2", "x-1a", true),
            subnet("subnet-1", "x-1a", false),
            subnet("subnet-5", "x-1b", false),
            subnet("subnet-4", "x-1b", false),
            subnet("subnet-6", "x-1c", true),
        ];
        assert_eq!(
            ids(&found, &["x-1b", "x-1a"], true),
            ["subnet-4", "subnet-2"]
        );
        assert_eq!(
            ids(&found, &["x-1b", "x-1a"], false),
            [
                "subnet-4", "subnet-5", "subnet-2", "subnet-1", "subnet-3", "subnet-6"
            ]
        );
    }

    #[test]
    fn an_incomplete_answer_is_no_answer() {
        let found = vec![types::Subnet::builder().subnet_id("subnet-1").build()];
        assert!(pick(&found, &["x-1a"], true).is_err());
    }
}
