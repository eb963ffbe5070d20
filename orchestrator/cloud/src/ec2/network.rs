//! VPC and subnets, as the specification names them or as the region's default is.

use std::collections::BTreeSet;

use aws_sdk_ec2::types;
use plan::observed::{Network, Subnet};

use super::filter;
use crate::connect::Cloud;
use crate::error::{Called, Failure, ReadError};
use crate::scope::Scope;

/// The VPC with every subnet that may be taken.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    vpc_id: String,
    subnets: Candidates,
    /// None: the load balancer takes of the same.
    public_subnets: Option<Candidates>,
}

#[derive(Clone, Debug)]
struct Candidates {
    found: Vec<types::Subnet>,
    /// Named one by one: all are meant. Otherwise one a zone.
    named: bool,
}

/// Subnets that resources of the stack lie in, those that count most first: what was chosen once stays, whatever
/// subnets come later.
#[derive(Clone, Debug, Default)]
pub(crate) struct InUse {
    /// By groups, then by the DB subnet group.
    pub nodes: Vec<BTreeSet<String>>,
    /// By the load balancer.
    pub load_balancer: Vec<BTreeSet<String>>,
}

impl Found {
    /// The subnets in zone order.
    pub(crate) fn settle(&self, zones: &[&str], used: &InUse) -> Result<Network, ReadError> {
        let subnets = pick(&self.subnets, zones, &used.nodes)?;
        let public = self.public_subnets.as_ref().unwrap_or(&self.subnets);
        let chosen = subnets.iter().map(|subnet| subnet.id.clone()).collect();
        // Before there is a load balancer: where the nodes are, if it takes of the same.
        let mut first = used.load_balancer.clone();
        first.push(chosen);
        Ok(Network {
            vpc_id: self.vpc_id.clone(),
            public_subnets: pick(public, zones, &first)?,
            subnets,
        })
    }
}

impl Cloud {
    /// The VPC with its subnets. `Ok(None)`: no VPC is named and the region has no
    /// default one. A VPC or subnet that is named and does not exist is an error.
    pub(crate) async fn observe_network(&self, scope: &Scope) -> Result<Option<Found>, ReadError> {
        let Some(vpc_id) = self.vpc(scope.spec.network.vpc.as_deref()).await? else {
            return Ok(None);
        };
        let spec = &scope.spec.network;
        let subnets = self.subnets(&vpc_id, &spec.subnets).await?;
        let public_subnets = if spec.public_subnets.is_empty() {
            None
        } else {
            Some(self.subnets(&vpc_id, &spec.public_subnets).await?)
        };
        Ok(Some(Found {
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

    async fn subnets(&self, vpc_id: &str, named: &[String]) -> Result<Candidates, ReadError> {
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
        Ok(Candidates {
            found,
            named: !named.is_empty(),
        })
    }
}

/// The subnets in zone order. Unless they were named, one a zone: one that is in use, else the zone's default
/// subnet, else the one with the least id (an ALB and a DB subnet group take one a zone; the least id stays the
/// same from look to look, until somebody makes another subnet). Subnets of other zones come last when they were
/// named, and not at all otherwise.
fn pick(
    Candidates { found, named }: &Candidates,
    zones: &[&str],
    used: &[BTreeSet<String>],
) -> Result<Vec<Subnet>, Failure> {
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
            let use_rank = used.iter().position(|used| used.contains(id));
            Ok((
                rank,
                zone,
                use_rank.unwrap_or(used.len()),
                !subnet.default_for_az().unwrap_or(false),
                id,
                subnet.available_ip_address_count().unwrap_or(0),
            ))
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    ranked.sort_unstable();
    if !named {
        ranked.retain(|(rank, ..)| *rank != usize::MAX);
        ranked.dedup_by_key(|(_, zone, ..)| *zone);
    }
    Ok(ranked
        .into_iter()
        .map(|(_, zone, _, _, id, free)| Subnet {
            id: id.to_owned(),
            zone: zone.to_owned(),
            free_addresses: u32::try_from(free).unwrap_or(0),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types;

    use super::{BTreeSet, Candidates, Found, InUse, pick};

    fn subnet(id: &str, zone: &str, default: bool) -> types::Subnet {
        types::Subnet::builder()
            .subnet_id(id)
            .availability_zone(zone)
            .default_for_az(default)
            .available_ip_address_count(7)
            .build()
    }

    fn ids(found: &[types::Subnet], zones: &[&str], one_a_zone: bool) -> Vec<String> {
        let candidates = Candidates {
            found: found.to_vec(),
            named: !one_a_zone,
        };
        pick(&candidates, zones, &[])
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
        let candidates = Candidates {
            found,
            named: false,
        };
        assert!(pick(&candidates, &["x-1a"], &[]).is_err());
    }

    /// Groups count before the DB subnet group, which keeps what it once had.
    #[test]
    fn what_was_chosen_once_stays_whatever_comes_later() {
        let found = Found {
            vpc_id: "vpc-1".to_owned(),
            subnets: Candidates {
                found: vec![
                    subnet("subnet-1", "x-1a", false),
                    subnet("subnet-2", "x-1a", true),
                    subnet("subnet-3", "x-1a", false),
                    subnet("subnet-4", "x-1b", false),
                    subnet("subnet-5", "x-1b", false),
                ],
                named: false,
            },
            public_subnets: None,
        };
        let set = |ids: &[&str]| {
            ids.iter()
                .map(|id| (*id).to_owned())
                .collect::<BTreeSet<_>>()
        };
        let settled = |used: &InUse| {
            let network = found.settle(&["x-1a", "x-1b"], used).expect("complete");
            [network.subnets, network.public_subnets]
                .map(|list| list.into_iter().map(|subnet| subnet.id).collect::<Vec<_>>())
        };
        let fresh = InUse::default();
        assert_eq!(settled(&fresh), [["subnet-2", "subnet-4"]; 2]);
        let database = InUse {
            nodes: vec![set(&[]), set(&["subnet-3", "subnet-5"])],
            ..InUse::default()
        };
        assert_eq!(settled(&database), [["subnet-3", "subnet-5"]; 2]);
        let both = InUse {
            nodes: vec![
                set(&["subnet-1", "subnet-5"]),
                set(&["subnet-3", "subnet-4"]),
            ],
            load_balancer: vec![set(&["subnet-3", "subnet-4"])],
        };
        assert_eq!(
            settled(&both),
            [["subnet-1", "subnet-5"], ["subnet-3", "subnet-4"]]
        );
    }
}
