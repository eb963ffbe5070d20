//! CreateTags, DeleteTags, DescribeTags, on every kind of resource.

use std::sync::Arc;

use crate::Lab;
use crate::api::{ApiError, Call, Params, Reply, Xml};

use super::filter::{Filters, Page};
use super::state::{Regional, Tags};

/// Tags on one resource, at most (EC2 user guide, "Tag restrictions").
const MAX_TAGS: usize = 50;

/// Reads `NAME.N.Key` and `NAME.N.Value`, within AWS's restrictions.
pub(crate) fn parse_tags(p: &Params, name: &str) -> Result<Vec<(String, String)>, ApiError> {
    let mut tags = Vec::new();
    for tag in p.structs(name) {
        let key = tag.str("Key")?;
        let value = tag.opt("Value").unwrap_or_default();
        if key.is_empty() || key.chars().count() > 128 {
            return Err(ApiError::new(
                "InvalidParameterValue",
                format!("Tag key '{key}' must have between 1 and 128 characters"),
            ));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(ApiError::new(
                "InvalidParameterValue",
                format!("Tag keys starting with 'aws:' are reserved for internal use: '{key}'"),
            ));
        }
        if value.chars().count() > 256 {
            return Err(ApiError::new(
                "InvalidParameterValue",
                format!("The value of tag '{key}' has more than 256 characters"),
            ));
        }
        tags.push((key, value));
    }
    Ok(tags)
}

/// `<tagSet>` for a resource.
pub(crate) fn tag_set(tags: &Tags) -> Vec<Xml> {
    tags.iter()
        .map(|(key, value)| Xml::new().text("key", key).text("value", value))
        .collect()
}

/// What kind of resource an id names, as `resource-type` shows it; none when it does not exist.
fn resource_type(region: &Regional, id: &str) -> Option<&'static str> {
    let kinds = [
        ("instance", region.instances.contains_key(id)),
        ("image", region.images.contains_key(id)),
        ("snapshot", region.snapshots.contains_key(id)),
        ("volume", region.volumes.contains_key(id)),
        ("launch-template", region.templates.contains_key(id)),
        ("security-group", region.groups.contains_key(id)),
        ("subnet", region.subnets.contains_key(id)),
        ("vpc", region.vpcs.contains_key(id)),
        ("key-pair", region.key_pairs.contains_key(id)),
        (
            "security-group-rule",
            id.starts_with("sgr-")
                && region
                    .groups
                    .values()
                    .any(|group| group.rules.iter().any(|rule| rule.id == id)),
        ),
        (
            "route-table",
            region.vpcs.values().any(|vpc| vpc.route_table == id),
        ),
        (
            "internet-gateway",
            region
                .vpcs
                .values()
                .any(|vpc| vpc.internet_gateway.as_deref() == Some(id)),
        ),
        (
            "network-interface",
            region
                .instances
                .values()
                .any(|instance| instance.network_interface == id),
        ),
    ];
    kinds
        .into_iter()
        .find_map(|(kind, exists)| exists.then_some(kind))
}

fn not_found(id: &str) -> ApiError {
    let what = match id.split('-').next().unwrap_or_default() {
        "i" => "InvalidInstanceID.NotFound",
        "ami" => "InvalidAMIID.NotFound",
        "snap" => "InvalidSnapshot.NotFound",
        "vol" => "InvalidVolume.NotFound",
        "lt" => "InvalidLaunchTemplateId.NotFound",
        "sg" => "InvalidGroup.NotFound",
        "sgr" => "InvalidSecurityGroupRuleId.NotFound",
        "subnet" => "InvalidSubnetID.NotFound",
        "vpc" => "InvalidVpcID.NotFound",
        "key" => "InvalidKeyPair.NotFound",
        "rtb" => "InvalidRouteTableID.NotFound",
        "igw" => "InvalidInternetGatewayID.NotFound",
        "eni" => "InvalidNetworkInterfaceID.NotFound",
        _ => "InvalidID",
    };
    ApiError::new(what, format!("The ID '{id}' does not exist"))
}

/// CreateTags.
pub(crate) fn create(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let resources = p.list("ResourceId");
    let tags = parse_tags(p, "Tag")?;
    if resources.is_empty() {
        return Err(ApiError::missing("resourceIdSet"));
    }
    if tags.is_empty() {
        return Err(ApiError::missing("tagSet"));
    }
    super::proceed(p)?;
    let mut region = lab.ec2.region(&call.region)?;
    for id in &resources {
        if resource_type(&region, id).is_none() {
            return Err(not_found(id));
        }
        let mut own = region.tags_of(id);
        own.extend(tags.iter().cloned());
        if own.keys().filter(|key| !key.starts_with("aws:")).count() > MAX_TAGS {
            return Err(ApiError::new(
                "TagLimitExceeded",
                format!("'{id}' would have more than {MAX_TAGS} tags"),
            ));
        }
    }
    for id in resources {
        region.tags.entry(id).or_default().extend(tags.clone());
    }
    Ok(Xml::new().text("return", true).into())
}

/// DeleteTags: a tag with a value is removed only when it has that value; without tags, all go that
/// are not AWS's own.
pub(crate) fn delete(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let resources = p.list("ResourceId");
    let mut wanted = Vec::new();
    for tag in p.structs("Tag") {
        wanted.push((tag.str("Key")?, tag.opt("Value")));
    }
    super::proceed(p)?;
    let mut region = lab.ec2.region(&call.region)?;
    if let Some(id) = resources
        .iter()
        .find(|id| resource_type(&region, id).is_none())
    {
        return Err(not_found(id));
    }
    for id in resources {
        if let Some(tags) = region.tags.get_mut(&id) {
            tags.retain(|key, value| {
                let hit = wanted.is_empty()
                    || wanted.iter().any(|(name, exact)| {
                        name == key && exact.as_ref().is_none_or(|exact| exact == value)
                    });
                key.starts_with("aws:") || !hit
            });
        }
    }
    Ok(Xml::new().text("return", true).into())
}

/// DescribeTags.
pub(crate) fn describe(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let filters = Filters::parse(p, &["key", "value", "resource-id", "resource-type"])?;
    let page = Page::parse(p, 5, 1000)?;
    super::proceed(p)?;
    let region = lab.ec2.region(&call.region)?;
    let mut entries = Vec::new();
    for (id, tags) in &region.tags {
        let Some(kind) = resource_type(&region, id) else {
            continue;
        };
        for (key, value) in tags {
            let fields = vec![
                ("key", key.clone()),
                ("value", value.clone()),
                ("resource-id", id.clone()),
                ("resource-type", kind.to_owned()),
            ];
            let own = Tags::from([(key.clone(), value.clone())]);
            if filters.pass(&fields, &own) {
                let xml = Xml::new()
                    .text("resourceId", id)
                    .text("resourceType", kind)
                    .text("key", key)
                    .text("value", value);
                entries.push((format!("{id} {key}"), xml));
            }
        }
    }
    let (entries, token) = page.cut(entries);
    Ok(Xml::new()
        .list("tagSet", "item", entries)
        .opt("nextToken", token)
        .into())
}
