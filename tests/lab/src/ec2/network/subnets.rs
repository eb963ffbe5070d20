//! Subnets.

use std::sync::Arc;

use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};
use crate::ec2::filter::{Fields, Filters, Page, all_exist};
use crate::ec2::launch_data::{parse_tag_specifications, tags_for};
use crate::ec2::proceed;
use crate::ec2::state::{Regional, Subnet, no_subnet};
use crate::ec2::tags::tag_set;
use crate::iam::ACCOUNT;

use super::{cidr_of, no_vpc};

fn subnet_xml(region: &Regional, subnet: &Subnet) -> Xml {
    Xml::new()
        .text("subnetId", &subnet.id)
        .text(
            "subnetArn",
            format!("arn:aws:ec2:{}:{ACCOUNT}:subnet/{}", region.name, subnet.id),
        )
        .text("state", "available")
        .text("ownerId", ACCOUNT)
        .text("vpcId", &subnet.vpc)
        .text("cidrBlock", subnet.cidr)
        .list("ipv6CidrBlockAssociationSet", "item", [])
        .text("assignIpv6AddressOnCreation", false)
        .text("availableIpAddressCount", region.free_addresses(subnet))
        .text("availabilityZone", &subnet.zone)
        .text("availabilityZoneId", region.zone_id(&subnet.zone))
        .text("defaultForAz", subnet.default)
        .text("mapPublicIpOnLaunch", subnet.map_public_ip)
        .text("enableDns64", false)
        .text("ipv6Native", false)
        .list("tagSet", "item", tag_set(&region.tags_of(&subnet.id)))
}

/// DescribeSubnets.
pub(crate) fn subnets(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let ids = p.list("SubnetId");
    let known = [
        "availability-zone",
        "availabilityZone",
        "availability-zone-id",
        "available-ip-address-count",
        "cidr-block",
        "cidr",
        "cidrBlock",
        "default-for-az",
        "defaultForAz",
        "map-public-ip-on-launch",
        "owner-id",
        "state",
        "subnet-arn",
        "subnet-id",
        "vpc-id",
    ];
    let filters = Filters::parse(p, &known)?;
    let page = Page::parse(p, 5, 1000)?;
    proceed(p)?;
    let region = lab.ec2.region(&call.region)?;
    all_exist(&ids, |id| region.subnets.contains_key(id), no_subnet)?;
    let mut entries = Vec::new();
    for subnet in region.subnets.values() {
        let cidr = subnet.cidr.to_string();
        let fields: Fields = vec![
            ("availability-zone", subnet.zone.clone()),
            ("availabilityZone", subnet.zone.clone()),
            ("availability-zone-id", region.zone_id(&subnet.zone)),
            (
                "available-ip-address-count",
                region.free_addresses(subnet).to_string(),
            ),
            ("cidr-block", cidr.clone()),
            ("cidr", cidr.clone()),
            ("cidrBlock", cidr),
            ("default-for-az", subnet.default.to_string()),
            ("defaultForAz", subnet.default.to_string()),
            ("map-public-ip-on-launch", subnet.map_public_ip.to_string()),
            ("owner-id", ACCOUNT.to_owned()),
            ("state", "available".to_owned()),
            (
                "subnet-arn",
                format!("arn:aws:ec2:{}:{ACCOUNT}:subnet/{}", region.name, subnet.id),
            ),
            ("subnet-id", subnet.id.clone()),
            ("vpc-id", subnet.vpc.clone()),
        ];
        if (ids.is_empty() || ids.contains(&subnet.id))
            && filters.pass(&fields, &region.tags_of(&subnet.id))
        {
            entries.push((subnet.id.clone(), subnet_xml(&region, subnet)));
        }
    }
    let (entries, token) = page.cut(entries);
    Ok(Xml::new()
        .list("subnetSet", "item", entries)
        .opt("nextToken", token)
        .into())
}

/// CreateSubnet.
pub(crate) fn create_subnet(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let vpc_id = p.str("VpcId")?;
    let cidr = cidr_of(lab, p, "InvalidSubnet.Range")?;
    let (zone, zone_id) = (p.opt("AvailabilityZone"), p.opt("AvailabilityZoneId"));
    let tags = tags_for(&parse_tag_specifications(p, &["subnet"])?, "subnet");
    proceed(p)?;
    let mut region = lab.ec2.region(&call.region)?;
    let vpc = region.vpcs.get(&vpc_id).ok_or_else(|| no_vpc(&vpc_id))?;
    if !vpc.cidr.contains(&cidr) {
        return Err(ApiError::new(
            "InvalidSubnet.Range",
            format!(
                "The CIDR '{cidr}' is invalid: it is not inside the VPC's {}",
                vpc.cidr
            ),
        ));
    }
    let overlaps = |other: &&Subnet| {
        other.vpc == vpc_id && (other.cidr.contains(&cidr) || cidr.contains(&other.cidr))
    };
    if let Some(other) = region.subnets.values().find(overlaps) {
        return Err(ApiError::new(
            "InvalidSubnet.Conflict",
            format!(
                "The CIDR '{cidr}' conflicts with another subnet: {}",
                other.id
            ),
        ));
    }
    let zone = match (zone, zone_id) {
        (Some(zone), _) => Some(zone),
        (None, Some(id)) => region
            .zones
            .iter()
            .find(|zone| region.zone_id(zone) == id)
            .cloned()
            .or(Some(id)),
        (None, None) => region.zones.first().cloned(),
    };
    let zone = zone
        .filter(|zone| region.zones.contains(zone))
        .ok_or_else(|| {
            ApiError::new(
                "InvalidParameterValue",
                format!(
                    "Value for parameter availabilityZone is invalid. Subnets can currently only be created in the following availability zones: {}.",
                    region.zones.join(", ")
                ),
            )
        })?;
    let subnet = Subnet {
        id: lab.ids.ec2("subnet"),
        vpc: vpc_id,
        zone,
        cidr,
        default: false,
        map_public_ip: false,
    };
    region
        .tags
        .insert(subnet.id.clone(), tags.into_iter().collect());
    let xml = subnet_xml(&region, &subnet);
    region.subnets.insert(subnet.id.clone(), subnet);
    Ok(Xml::new().child("subnet", xml).into())
}

/// DeleteSubnet.
pub(crate) fn delete_subnet(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let id = p.str("SubnetId")?;
    proceed(p)?;
    let mut region = lab.ec2.region(&call.region)?;
    if !region.subnets.contains_key(&id) {
        return Err(no_subnet(&id));
    }
    if region.addresses.values().any(|owner| *owner == id) {
        return Err(ApiError::new(
            "DependencyViolation",
            format!("The subnet '{id}' has dependencies and cannot be deleted."),
        ));
    }
    region.subnets.remove(&id);
    region.tags.remove(&id);
    Ok(Xml::new().text("return", true).into())
}

/// ModifySubnetAttribute.
pub(crate) fn modify_subnet_attribute(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let id = p.str("SubnetId")?;
    let public = match p.sub("MapPublicIpOnLaunch") {
        None => None,
        Some(value) => value.opt_bool("Value")?,
    };
    proceed(p)?;
    let mut region = lab.ec2.region(&call.region)?;
    let subnet = region.subnets.get_mut(&id).ok_or_else(|| no_subnet(&id))?;
    subnet.map_public_ip = public.unwrap_or(subnet.map_public_ip);
    Ok(Xml::new().text("return", true).into())
}
