//! DB subnet groups: at least two zones of one VPC.

use super::model::SubnetGroup;
use super::{names, not_found, page, render, tags};
use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};
use crate::ec2;

/// The group made of the default VPC's subnets when an instance names none.
const DEFAULT: &str = "default";

/// A group by name, or the default one.
pub fn resolve(lab: &Lab, region: &str, name: Option<&str>) -> Result<SubnetGroup, ApiError> {
    let wanted = name.unwrap_or(DEFAULT).to_ascii_lowercase();
    let known = lab
        .rds
        .with(region, |state| state.subnet_groups.get(&wanted).cloned());
    if let Some(group) = known {
        return Ok(group);
    }
    if wanted != DEFAULT {
        return Err(missing(&wanted));
    }
    let subnets = ec2::default_subnets(lab, region);
    let Some(vpc) = subnets.first().map(|subnet| subnet.vpc_id.clone()) else {
        return Err(ApiError::new(
            "InvalidSubnet",
            "No default subnet detected in VPC. Please contact AWS Support to recreate default Subnets.",
        ));
    };
    let group = SubnetGroup {
        name: DEFAULT.to_owned(),
        description: "default".to_owned(),
        vpc,
        subnets: subnets
            .into_iter()
            .map(|subnet| (subnet.id, subnet.zone))
            .collect(),
        tags: Vec::new(),
    };
    lab.rds.with(region, |state| {
        state
            .subnet_groups
            .entry(DEFAULT.to_owned())
            .or_insert_with(|| group.clone());
    });
    Ok(group)
}

fn missing(name: &str) -> ApiError {
    not_found(
        "DBSubnetGroupNotFoundFault",
        &format!("DB subnet group '{name}' does not exist."),
    )
}

/// Looks the subnets up: all in one VPC, two zones at least.
fn cover(
    lab: &Lab,
    region: &str,
    ids: &[String],
) -> Result<(String, Vec<(String, String)>), ApiError> {
    let mut vpc: Option<String> = None;
    let mut subnets = Vec::new();
    for id in ids {
        let subnet = ec2::subnet(lab, region, id).ok_or_else(|| {
            ApiError::new(
                "InvalidSubnet",
                format!("Some input subnets in : [{id}] are invalid."),
            )
        })?;
        match &vpc {
            Some(known) if *known != subnet.vpc_id => {
                return Err(ApiError::new(
                    "InvalidSubnet",
                    format!(
                        "The subnets must all be in one VPC: {id} is in {}, the others in {known}.",
                        subnet.vpc_id
                    ),
                ));
            }
            _ => vpc = Some(subnet.vpc_id.clone()),
        }
        if !subnets.iter().any(|(known, _)| *known == subnet.id) {
            subnets.push((subnet.id, subnet.zone));
        }
    }
    let mut zones: Vec<&String> = subnets.iter().map(|(_, zone)| zone).collect();
    zones.sort();
    zones.dedup();
    match vpc {
        Some(vpc) if zones.len() >= 2 => Ok((vpc, subnets)),
        _ => Err(ApiError::new(
            "DBSubnetGroupDoesNotCoverEnoughAZs",
            format!(
                "The DB subnet group doesn't meet Availability Zone (AZ) coverage requirement. Current AZ coverage: {}. Add subnets to cover at least 2 AZs.",
                zones
                    .iter()
                    .map(|zone| zone.as_str())
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        )),
    }
}

/// `CreateDBSubnetGroup`.
pub fn create(lab: &Lab, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let name = names::subnet_group(&p.str("DBSubnetGroupName")?)?;
    let description = p.str("DBSubnetGroupDescription")?;
    let ids = p.list("SubnetIds");
    let tags = tags::read(p)?;
    p.finish()?;
    let (vpc, subnets) = cover(lab, &call.region, &ids)?;
    let group = SubnetGroup {
        name: name.clone(),
        description,
        vpc,
        subnets,
        tags,
    };
    let xml = render::subnet_group(&call.region, &group);
    lab.rds.with(&call.region, |state| {
        if state.subnet_groups.contains_key(&name) {
            return Err(ApiError::new(
                "DBSubnetGroupAlreadyExists",
                format!("The DB subnet group '{name}' already exists."),
            ));
        }
        state.subnet_groups.insert(name, group);
        Ok(())
    })?;
    Ok(Xml::new().child("DBSubnetGroup", xml).into())
}

/// `ModifyDBSubnetGroup`.
pub fn modify(lab: &Lab, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let name = p.str("DBSubnetGroupName")?.to_ascii_lowercase();
    let description = p.opt("DBSubnetGroupDescription");
    let ids = p.list("SubnetIds");
    p.finish()?;
    let (vpc, subnets) = cover(lab, &call.region, &ids)?;
    lab.rds.with(&call.region, |state| {
        let used: Vec<String> = state
            .instances
            .values()
            .filter(|instance| instance.subnet_group == name)
            .flat_map(|instance| {
                std::iter::once(instance.zone.clone()).chain(instance.secondary_zone.clone())
            })
            .collect();
        let group = state
            .subnet_groups
            .get_mut(&name)
            .ok_or_else(|| missing(&name))?;
        if group.vpc != vpc {
            return Err(ApiError::new(
                "InvalidSubnet",
                format!("The subnets are in {vpc}; the DB subnet group {name} is in {}.", group.vpc),
            ));
        }
        if let Some(zone) = used
            .iter()
            .find(|zone| !subnets.iter().any(|(_, known)| known == *zone))
        {
            return Err(ApiError::new(
                "SubnetAlreadyInUse",
                format!("The DB subnet group {name} has an instance in {zone}, which would be without a subnet."),
            ));
        }
        group.subnets = subnets;
        if let Some(description) = description {
            group.description = description;
        }
        Ok(Xml::new()
            .child("DBSubnetGroup", render::subnet_group(&call.region, group))
            .into())
    })
}

/// `DeleteDBSubnetGroup`.
pub fn delete(lab: &Lab, call: &Call) -> Result<Reply, ApiError> {
    let name = call.params.str("DBSubnetGroupName")?.to_ascii_lowercase();
    call.params.finish()?;
    lab.rds.with(&call.region, |state| {
        if !state.subnet_groups.contains_key(&name) {
            return Err(missing(&name));
        }
        if let Some(user) = state
            .instances
            .values()
            .find(|instance| instance.subnet_group == name)
        {
            return Err(ApiError::new(
                "InvalidDBSubnetGroupStateFault",
                format!(
                    "Cannot delete the subnet group '{name}' because at least one database instance: {} is still using it.",
                    user.id
                ),
            ));
        }
        state.subnet_groups.remove(&name);
        Ok(Xml::new().into())
    })
}

/// `DescribeDBSubnetGroups`.
pub fn describe(lab: &Lab, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let name = p.opt("DBSubnetGroupName").map(|n| n.to_ascii_lowercase());
    super::refuse_filters(p, &[])?;
    let paging = page::Request::read(p)?;
    p.finish()?;
    let groups: Vec<SubnetGroup> = lab.rds.with(&call.region, |state| {
        state
            .subnet_groups
            .values()
            .filter(|group| name.as_deref().is_none_or(|wanted| wanted == group.name))
            .cloned()
            .collect()
    });
    if let Some(name) = name
        && groups.is_empty()
    {
        return Err(missing(&name));
    }
    let (shown, marker) = paging.cut(groups);
    Ok(Xml::new()
        .opt("Marker", marker)
        .list(
            "DBSubnetGroups",
            "DBSubnetGroup",
            shown
                .iter()
                .map(|group| render::subnet_group(&call.region, group)),
        )
        .into())
}
