//! Regions, zones, VPCs, subnets, and what hangs on them.

use std::sync::Arc;

use ipnet::Ipv4Net;

use crate::Lab;
use crate::api::{ApiError, Call, Params, Reply, Xml};
use crate::iam::ACCOUNT;

use super::filter::{Fields, Filters, Page, all_exist};
use super::launch_data::{one_of, parse_tag_specifications, tags_for};
use super::proceed;
use super::state::{Regional, Subnet, Vpc, no_subnet};
use super::tags::tag_set;

/// Every address of the lab lies in here, so that each can be bound without privileges.
const LOOPBACK: &str = "127.0.0.0/8";

fn no_vpc(id: &str) -> ApiError {
    ApiError::new(
        "InvalidVpcID.NotFound",
        format!("The vpc ID '{id}' does not exist"),
    )
}

/// DescribeRegions.
pub(crate) fn regions(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let names = p.list("RegionName");
    p.accept(&["AllRegions"]);
    let filters = Filters::parse(p, &["endpoint", "opt-in-status", "region-name"])?;
    proceed(p)?;
    all_exist(
        &names,
        |name| lab.has_region(name),
        |name| {
            ApiError::new(
                "InvalidParameterValue",
                format!("Invalid region provided: [{name}]"),
            )
        },
    )?;
    let mut entries = Vec::new();
    for region in &lab.config.regions {
        let endpoint = format!("ec2.{}.amazonaws.com", region.name);
        let fields: Fields = vec![
            ("endpoint", endpoint.clone()),
            ("opt-in-status", "opt-in-not-required".to_owned()),
            ("region-name", region.name.clone()),
        ];
        if (names.is_empty() || names.contains(&region.name))
            && filters.pass(&fields, &super::state::Tags::new())
        {
            entries.push(
                Xml::new()
                    .text("regionName", &region.name)
                    .text("regionEndpoint", endpoint)
                    .text("optInStatus", "opt-in-not-required"),
            );
        }
    }
    Ok(Xml::new().list("regionInfo", "item", entries).into())
}

/// DescribeAvailabilityZones.
pub(crate) fn zones(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let (names, ids) = (p.list("ZoneName"), p.list("ZoneId"));
    p.accept(&["AllAvailabilityZones"]);
    let known = [
        "group-name",
        "opt-in-status",
        "region-name",
        "state",
        "zone-id",
        "zone-name",
        "zone-type",
    ];
    let filters = Filters::parse(p, &known)?;
    proceed(p)?;
    let region = lab.ec2.region(&call.region)?;
    all_exist(
        &names,
        |name| region.zones.iter().any(|zone| zone == name),
        |name| {
            ApiError::new(
                "InvalidParameterValue",
                format!("Invalid availability zone: [{name}]"),
            )
        },
    )?;
    let mut entries = Vec::new();
    for zone in &region.zones {
        let id = region.zone_id(zone);
        let group = format!("{}-zg-1", region.name);
        let fields: Fields = vec![
            ("group-name", group.clone()),
            ("opt-in-status", "opt-in-not-required".to_owned()),
            ("region-name", region.name.clone()),
            ("state", "available".to_owned()),
            ("zone-id", id.clone()),
            ("zone-name", zone.clone()),
            ("zone-type", "availability-zone".to_owned()),
        ];
        let named = names.is_empty() && ids.is_empty() || names.contains(zone) || ids.contains(&id);
        if named && filters.pass(&fields, &super::state::Tags::new()) {
            entries.push(
                Xml::new()
                    .text("optInStatus", "opt-in-not-required")
                    .list("messageSet", "item", [])
                    .text("regionName", &region.name)
                    .text("zoneName", zone)
                    .text("zoneId", id)
                    .text("groupName", group)
                    .text("networkBorderGroup", &region.name)
                    .text("zoneType", "availability-zone")
                    .text("zoneState", "available"),
            );
        }
    }
    Ok(Xml::new()
        .list("availabilityZoneInfo", "item", entries)
        .into())
}

/// DescribeAccountAttributes.
pub(crate) fn account_attributes(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let names = p.list("AttributeName");
    proceed(p)?;
    let region = lab.ec2.region(&call.region)?;
    let default_vpc = region
        .default_vpc()
        .map_or_else(|| "none".to_owned(), |vpc| vpc.id.clone());
    let all = [
        ("supported-platforms", "VPC".to_owned()),
        ("default-vpc", default_vpc),
        ("max-instances", "20".to_owned()),
        ("vpc-max-security-groups-per-interface", "5".to_owned()),
        ("max-elastic-ips", "5".to_owned()),
        ("vpc-max-elastic-ips", "5".to_owned()),
    ];
    if let Some(name) = names
        .iter()
        .find(|name| !all.iter().any(|(known, _)| known == name))
    {
        return Err(ApiError::invalid_value(
            "attributeName",
            name,
            "There is no such attribute.",
        ));
    }
    let entries = all
        .iter()
        .filter(|(name, _)| names.is_empty() || names.iter().any(|wanted| wanted == name))
        .map(|(name, value)| {
            let values = [Xml::new().text("attributeValue", value)];
            Xml::new()
                .text("attributeName", name)
                .list("attributeValueSet", "item", values)
        });
    Ok(Xml::new()
        .list("accountAttributeSet", "item", entries)
        .into())
}

fn vpc_xml(region: &Regional, vpc: &Vpc) -> Xml {
    let association = Xml::new()
        .text("associationId", &vpc.cidr_association)
        .text("cidrBlock", vpc.cidr)
        .child("cidrBlockState", Xml::new().text("state", "associated"));
    Xml::new()
        .text("vpcId", &vpc.id)
        .text("ownerId", ACCOUNT)
        .text("state", "available")
        .text("cidrBlock", vpc.cidr)
        .list("cidrBlockAssociationSet", "item", [association])
        .text("dhcpOptionsId", &vpc.dhcp_options)
        .text("instanceTenancy", "default")
        .text("isDefault", vpc.default)
        .list("tagSet", "item", tag_set(&region.tags_of(&vpc.id)))
}

/// DescribeVpcs.
pub(crate) fn vpcs(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let ids = p.list("VpcId");
    let known = [
        "cidr",
        "cidr-block-association.cidr-block",
        "dhcp-options-id",
        "is-default",
        "isDefault",
        "owner-id",
        "state",
        "vpc-id",
    ];
    let filters = Filters::parse(p, &known)?;
    let page = Page::parse(p, 5, 1000)?;
    proceed(p)?;
    let region = lab.ec2.region(&call.region)?;
    all_exist(&ids, |id| region.vpcs.contains_key(id), no_vpc)?;
    let mut entries = Vec::new();
    for vpc in region.vpcs.values() {
        let fields: Fields = vec![
            ("cidr", vpc.cidr.to_string()),
            ("cidr-block-association.cidr-block", vpc.cidr.to_string()),
            ("dhcp-options-id", vpc.dhcp_options.clone()),
            ("is-default", vpc.default.to_string()),
            ("isDefault", vpc.default.to_string()),
            ("owner-id", ACCOUNT.to_owned()),
            ("state", "available".to_owned()),
            ("vpc-id", vpc.id.clone()),
        ];
        if (ids.is_empty() || ids.contains(&vpc.id))
            && filters.pass(&fields, &region.tags_of(&vpc.id))
        {
            entries.push((vpc.id.clone(), vpc_xml(&region, vpc)));
        }
    }
    let (entries, token) = page.cut(entries);
    Ok(Xml::new()
        .list("vpcSet", "item", entries)
        .opt("nextToken", token)
        .into())
}

/// A CIDR block as AWS takes it, inside the lab's addresses.
fn cidr_of(p: &Params, code: &'static str) -> Result<Ipv4Net, ApiError> {
    let text = p.str("CidrBlock")?;
    let cidr: Ipv4Net = text.parse().map_err(|_| {
        ApiError::new(
            "InvalidParameterValue",
            format!(
                "Value ({text}) for parameter cidrBlock is invalid. This is not a valid CIDR block."
            ),
        )
    })?;
    let cidr = cidr.trunc();
    if !(16..=28).contains(&cidr.prefix_len()) {
        return Err(ApiError::new(
            code,
            format!("The CIDR '{text}' is invalid: its size must be between /16 and /28"),
        ));
    }
    let loopback: Ipv4Net = LOOPBACK.parse().expect("a constant");
    if !loopback.contains(&cidr) {
        return Err(ApiError::new(
            code,
            format!("The CIDR '{text}' is invalid: the lab's addresses lie in {LOOPBACK}"),
        ));
    }
    Ok(cidr)
}

/// CreateVpc.
pub(crate) fn create_vpc(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let cidr = cidr_of(p, "InvalidVpc.Range")?;
    one_of(p, "InstanceTenancy", &["default"])?;
    let tags = tags_for(&parse_tag_specifications(p)?, "vpc");
    proceed(p)?;
    let mut region = lab.ec2.region(&call.region)?;
    let id = region.add_vpc(&lab.ids, cidr, false);
    region.tags.insert(id.clone(), tags.into_iter().collect());
    let xml = vpc_xml(&region, &region.vpcs[&id]);
    Ok(Xml::new().child("vpc", xml).into())
}

/// DeleteVpc.
pub(crate) fn delete_vpc(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let id = p.str("VpcId")?;
    proceed(p)?;
    let mut region = lab.ec2.region(&call.region)?;
    if !region.vpcs.contains_key(&id) {
        return Err(no_vpc(&id));
    }
    let has_subnet = region.subnets.values().any(|subnet| subnet.vpc == id);
    let has_group = region
        .groups
        .values()
        .any(|group| group.vpc == id && group.name != "default");
    if has_subnet || has_group {
        return Err(ApiError::new(
            "DependencyViolation",
            format!("The vpc '{id}' has dependencies and cannot be deleted."),
        ));
    }
    region.vpcs.remove(&id);
    region.groups.retain(|_, group| group.vpc != id);
    region.tags.remove(&id);
    Ok(Xml::new().text("return", true).into())
}

/// DescribeVpcAttribute.
pub(crate) fn vpc_attribute(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let id = p.str("VpcId")?;
    let attribute = p.str("Attribute")?;
    proceed(p)?;
    let region = lab.ec2.region(&call.region)?;
    let vpc = region.vpcs.get(&id).ok_or_else(|| no_vpc(&id))?;
    let (name, value) = match attribute.as_str() {
        "enableDnsHostnames" => ("enableDnsHostnames", vpc.dns_hostnames),
        "enableDnsSupport" => ("enableDnsSupport", vpc.dns_support),
        "enableNetworkAddressUsageMetrics" => ("enableNetworkAddressUsageMetrics", false),
        other => {
            return Err(ApiError::invalid_value(
                "attribute",
                other,
                "There is no such attribute.",
            ));
        }
    };
    Ok(Xml::new()
        .text("vpcId", id)
        .child(name, Xml::new().text("value", value))
        .into())
}

/// ModifyVpcAttribute.
pub(crate) fn modify_vpc_attribute(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let id = p.str("VpcId")?;
    let flag = |name: &str| match p.sub(name) {
        None => Ok(None),
        Some(value) => value.opt_bool("Value"),
    };
    let (hostnames, support) = (flag("EnableDnsHostnames")?, flag("EnableDnsSupport")?);
    proceed(p)?;
    let mut region = lab.ec2.region(&call.region)?;
    let vpc = region.vpcs.get_mut(&id).ok_or_else(|| no_vpc(&id))?;
    vpc.dns_hostnames = hostnames.unwrap_or(vpc.dns_hostnames);
    vpc.dns_support = support.unwrap_or(vpc.dns_support);
    Ok(Xml::new().text("return", true).into())
}

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
    let cidr = cidr_of(p, "InvalidSubnet.Range")?;
    let (zone, zone_id) = (p.opt("AvailabilityZone"), p.opt("AvailabilityZoneId"));
    let tags = tags_for(&parse_tag_specifications(p)?, "subnet");
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

/// DescribeRouteTables: each VPC has its main one, with an internet gateway when it is the default VPC.
pub(crate) fn route_tables(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let ids = p.list("RouteTableId");
    let known = [
        "association.main",
        "association.subnet-id",
        "route-table-id",
        "vpc-id",
        "route.gateway-id",
        "owner-id",
    ];
    let filters = Filters::parse(p, &known)?;
    let page = Page::parse(p, 5, 100)?;
    proceed(p)?;
    let region = lab.ec2.region(&call.region)?;
    let exists = |id: &str| region.vpcs.values().any(|vpc| vpc.route_table == id);
    all_exist(&ids, exists, |id| {
        ApiError::new(
            "InvalidRouteTableID.NotFound",
            format!("The routeTable ID '{id}' does not exist"),
        )
    })?;
    let mut entries = Vec::new();
    for vpc in region.vpcs.values() {
        let mut fields: Fields = vec![
            ("association.main", "true".to_owned()),
            ("route-table-id", vpc.route_table.clone()),
            ("vpc-id", vpc.id.clone()),
            ("route.gateway-id", "local".to_owned()),
            ("owner-id", ACCOUNT.to_owned()),
        ];
        let mut routes = vec![route(&vpc.cidr.to_string(), "local", "CreateRouteTable")];
        if let Some(gateway) = &vpc.internet_gateway {
            fields.push(("route.gateway-id", gateway.clone()));
            routes.push(route("0.0.0.0/0", gateway, "CreateRoute"));
        }
        if !(ids.is_empty() || ids.contains(&vpc.route_table))
            || !filters.pass(&fields, &region.tags_of(&vpc.route_table))
        {
            continue;
        }
        let association = Xml::new()
            .text("routeTableAssociationId", &vpc.route_association)
            .text("routeTableId", &vpc.route_table)
            .text("main", true)
            .child("associationState", Xml::new().text("state", "associated"));
        let xml = Xml::new()
            .text("routeTableId", &vpc.route_table)
            .text("vpcId", &vpc.id)
            .text("ownerId", ACCOUNT)
            .list("routeSet", "item", routes)
            .list("associationSet", "item", [association])
            .list("propagatingVgwSet", "item", [])
            .list("tagSet", "item", tag_set(&region.tags_of(&vpc.route_table)));
        entries.push((vpc.route_table.clone(), xml));
    }
    let (entries, token) = page.cut(entries);
    Ok(Xml::new()
        .list("routeTableSet", "item", entries)
        .opt("nextToken", token)
        .into())
}

fn route(destination: &str, gateway: &str, origin: &str) -> Xml {
    Xml::new()
        .text("destinationCidrBlock", destination)
        .text("gatewayId", gateway)
        .text("state", "active")
        .text("origin", origin)
}

/// DescribeInternetGateways.
pub(crate) fn internet_gateways(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let ids = p.list("InternetGatewayId");
    let known = [
        "attachment.state",
        "attachment.vpc-id",
        "internet-gateway-id",
        "owner-id",
    ];
    let filters = Filters::parse(p, &known)?;
    let page = Page::parse(p, 5, 1000)?;
    proceed(p)?;
    let region = lab.ec2.region(&call.region)?;
    let mut entries = Vec::new();
    for vpc in region.vpcs.values() {
        let Some(gateway) = &vpc.internet_gateway else {
            continue;
        };
        let fields: Fields = vec![
            ("attachment.state", "available".to_owned()),
            ("attachment.vpc-id", vpc.id.clone()),
            ("internet-gateway-id", gateway.clone()),
            ("owner-id", ACCOUNT.to_owned()),
        ];
        let tags = region.tags_of(gateway);
        if (ids.is_empty() || ids.contains(gateway)) && filters.pass(&fields, &tags) {
            let attachment = Xml::new().text("vpcId", &vpc.id).text("state", "available");
            let xml = Xml::new()
                .text("internetGatewayId", gateway)
                .text("ownerId", ACCOUNT)
                .list("attachmentSet", "item", [attachment])
                .list("tagSet", "item", tag_set(&tags));
            entries.push((gateway.clone(), xml));
        }
    }
    let (entries, token) = page.cut(entries);
    Ok(Xml::new()
        .list("internetGatewaySet", "item", entries)
        .opt("nextToken", token)
        .into())
}
