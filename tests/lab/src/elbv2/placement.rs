//! Where a load balancer is: its subnets, and a node with an address in each.

use std::sync::Arc;

use super::load_balancers::ip_address_type;
use super::state::Node;
use super::{listeners, targets};
use crate::Lab;
use crate::api::{ApiError, Call, Params, Reply};

/// The ids in `Subnets` or `SubnetMappings`.
pub(super) fn parse_subnets(params: &Params) -> Vec<String> {
    let mut subnets = params.list("Subnets");
    for mapping in params.structs("SubnetMappings") {
        subnets.extend(mapping.opt("SubnetId"));
    }
    subnets
}

/// The VPC, and zone and subnet of each node to be.
pub(super) fn check_subnets(
    lab: &Lab,
    region: &str,
    subnets: &[String],
) -> Result<(String, Vec<(String, String)>), ApiError> {
    let mut zones: Vec<(String, String)> = Vec::new();
    let mut vpc_id: Option<String> = None;
    for id in subnets {
        let subnet = crate::ec2::subnet(lab, region, id).ok_or_else(|| {
            ApiError::new(
                "SubnetNotFound",
                format!("The subnet ID '{id}' does not exist"),
            )
        })?;
        if vpc_id.get_or_insert(subnet.vpc_id.clone()) != &subnet.vpc_id {
            return Err(ApiError::new(
                "InvalidSubnet",
                "All subnets must belong to the same VPC",
            ));
        }
        if zones.iter().any(|(zone, _)| *zone == subnet.zone) {
            return Err(ApiError::new(
                "InvalidConfigurationRequest",
                "A load balancer cannot be attached to multiple subnets in the same Availability Zone",
            ));
        }
        zones.push((subnet.zone, id.clone()));
    }
    match vpc_id {
        Some(vpc_id) if zones.len() >= 2 => {
            zones.sort();
            Ok((vpc_id, zones))
        }
        _ => Err(ApiError::new(
            "ValidationError",
            "At least two subnets in two different Availability Zones must be specified",
        )),
    }
}

/// An address in each subnet; all or none.
pub(super) fn allocate(
    lab: &Lab,
    region: &str,
    zones: Vec<(String, String)>,
) -> Result<Vec<Node>, ApiError> {
    let mut nodes: Vec<Node> = Vec::new();
    for (zone, subnet_id) in zones {
        match crate::ec2::allocate_address(lab, region, &subnet_id) {
            Ok(address) => nodes.push(Node {
                zone,
                subnet_id,
                address,
            }),
            Err(error) => {
                release(lab, region, &nodes);
                return Err(ApiError::new("InvalidSubnet", error.message));
            }
        }
    }
    Ok(nodes)
}

/// Gives the addresses back.
pub(super) fn release(lab: &Lab, region: &str, nodes: &[Node]) {
    for node in nodes {
        crate::ec2::release_address(lab, region, node.address);
    }
}

/// `SetSubnets`: zones that stay keep their node, its address and its connections.
pub(super) async fn set_subnets(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let params = &call.params;
    let arn = params.str("LoadBalancerArn")?;
    let subnets = parse_subnets(params);
    ip_address_type(params)?;
    params.finish()?;
    let (vpc_id, zones) = check_subnets(lab, &call.region, &subnets)?;
    let old = lab.elbv2.with(&call.region, |state| {
        let balancer = state.load_balancer(&arn)?;
        if balancer.vpc_id == vpc_id {
            Ok(balancer.nodes.clone())
        } else {
            Err(ApiError::new(
                "InvalidSubnet",
                format!("The subnets must belong to VPC '{}'", balancer.vpc_id),
            ))
        }
    })?;
    let is_kept = |node: &Node| subnets.contains(&node.subnet_id);
    let new_zones: Vec<_> = zones
        .into_iter()
        .filter(|(_, subnet)| !old.iter().any(|node| node.subnet_id == *subnet))
        .collect();
    let mut nodes: Vec<Node> = old.iter().filter(|node| is_kept(node)).cloned().collect();
    nodes.extend(allocate(lab, &call.region, new_zones)?);
    nodes.sort_by(|one, other| one.zone.cmp(&other.zone));
    let (dropped, reopen, xml) = lab.elbv2.with(&call.region, |state| {
        let balancer = state.load_balancer(&arn)?;
        let dropped: Vec<Node> = old.iter().filter(|node| !is_kept(node)).cloned().collect();
        balancer.nodes = nodes;
        let xml = balancer.zones_xml();
        let reopen: Vec<String> = state.listeners_of(&arn).map(|it| it.arn.clone()).collect();
        Ok::<_, ApiError>((dropped, reopen, xml))
    })?;
    for listener in reopen {
        listeners::open(lab, &call.region, &listener).await;
    }
    release(lab, &call.region, &dropped);
    targets::settle(lab, &call.region);
    Ok(xml.text("IpAddressType", "ipv4").into())
}
