//! VPCs and their attributes.

use std::sync::Arc;

use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};
use crate::ec2::filter::{Fields, Filters, Page, all_exist};
use crate::ec2::launch_data::{one_of, parse_tag_specifications, tags_for};
use crate::ec2::proceed;
use crate::ec2::state::{Regional, Vpc};
use crate::ec2::tags::tag_set;
use crate::iam::ACCOUNT;

use super::{cidr_of, no_vpc};

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
    let page = Page::without_ids(p, (5, 1000), "VpcIds", &ids)?;
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

/// CreateVpc.
pub(crate) fn create_vpc(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let cidr = cidr_of(lab, p, "InvalidVpc.Range")?;
    one_of(p, "InstanceTenancy", &["default"])?;
    let tags = tags_for(&parse_tag_specifications(p, &["vpc"])?, "vpc");
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
