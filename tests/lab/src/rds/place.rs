//! Where an instance stands: subnet, zones, address, security groups, parameter group.

use std::net::Ipv4Addr;

use super::model::SubnetGroup;
use super::{bad_combination, not_found, subnet_groups};
use crate::Lab;
use crate::api::ApiError;
use crate::ec2;

/// A place in a subnet group, with its address taken.
#[derive(Debug)]
pub struct Place {
    pub subnet_group: String,
    pub zone: String,
    pub secondary_zone: Option<String>,
    pub address: Ipv4Addr,
    /// The VPC's own, for an instance that names none.
    pub default_security_group: Option<String>,
}

/// What a caller asks for.
#[derive(Debug, Default)]
pub struct Wish {
    pub subnet_group: Option<String>,
    pub zone: Option<String>,
    pub multi_az: bool,
}

/// Takes a place. The last check of a request: only what follows it cannot fail, or gives the
/// address back.
pub fn take(lab: &Lab, region: &str, wish: &Wish) -> Result<Place, ApiError> {
    if wish.multi_az && wish.zone.is_some() {
        return Err(bad_combination(
            "Requesting a specific availability zone is not valid for Multi-AZ instances.",
        ));
    }
    let group = subnet_groups::resolve(lab, region, wish.subnet_group.as_deref())?;
    let zones = group.zones();
    let zone = match &wish.zone {
        Some(zone) if zones.contains(zone) => zone.clone(),
        Some(zone) => {
            return Err(ApiError::new(
                "InvalidVPCNetworkStateFault",
                format!(
                    "DB subnet group {} has no subnet in {zone}; it covers {}.",
                    group.name,
                    zones.join(", ")
                ),
            ));
        }
        None => zones[pick(lab, zones.len())].clone(),
    };
    let secondary_zone = if wish.multi_az {
        Some(secondary(lab, &group, &zone)?)
    } else {
        None
    };
    let subnet = subnet_in(&group, &zone);
    let address = ec2::allocate_address(lab, region, subnet)?;
    Ok(Place {
        subnet_group: group.name,
        zone,
        secondary_zone,
        address,
        default_security_group: ec2::default_security_group(lab, region, &group.vpc),
    })
}

/// A zone for the standby: any other one of the group.
pub fn secondary(lab: &Lab, group: &SubnetGroup, zone: &str) -> Result<String, ApiError> {
    let mut others = group.zones();
    others.retain(|other| other != zone);
    if others.is_empty() {
        return Err(ApiError::new(
            "DBSubnetGroupDoesNotCoverEnoughAZs",
            format!(
                "DB Subnet Group {} doesn't meet availability zone coverage requirement for Multi-AZ.",
                group.name
            ),
        ));
    }
    Ok(others[pick(lab, others.len())].clone())
}

fn pick(lab: &Lab, count: usize) -> usize {
    ((lab.ids.fraction() * count as f64) as usize).min(count.saturating_sub(1))
}

fn subnet_in<'a>(group: &'a SubnetGroup, zone: &str) -> &'a str {
    group
        .subnets
        .iter()
        .find(|(_, known)| known == zone)
        .map_or("", |(id, _)| id.as_str())
}

/// Refuses security groups that do not exist.
pub fn check_security_groups(lab: &Lab, region: &str, ids: &[String]) -> Result<(), ApiError> {
    match ids
        .iter()
        .find(|id| !ec2::security_group_exists(lab, region, id))
    {
        None => Ok(()),
        Some(id) => Err(ApiError::new(
            "InvalidParameterValue",
            format!("Invalid security group , groupId= {id}, groupName=."),
        )),
    }
}

/// The parameter group to use: as named, or the default of `major`; its family must fit.
pub fn parameter_group(
    lab: &Lab,
    region: &str,
    name: Option<&str>,
    major: &str,
) -> Result<String, ApiError> {
    let family = format!("postgres{major}");
    let default = format!("default.{family}");
    let Some(name) = name.map(str::to_ascii_lowercase) else {
        return Ok(default);
    };
    if name == default {
        return Ok(default);
    }
    let found = lab.rds.with(region, |state| {
        state
            .parameter_groups
            .get(&name)
            .map(|group| group.family.clone())
    });
    match found {
        None => Err(not_found(
            "DBParameterGroupNotFound",
            &format!("DBParameterGroup not found: {name}"),
        )),
        Some(known) if known != family => Err(bad_combination(format!(
            "The Parameter Group {name} with DBParameterGroupFamily {known} cannot be used for this instance. Please use a Parameter Group with DBParameterGroupFamily {family}"
        ))),
        Some(_) => Ok(name),
    }
}
