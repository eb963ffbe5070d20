//! Regions, zones, and what the account may.

use std::sync::Arc;

use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};
use crate::ec2::filter::{Fields, Filters, all_exist};
use crate::ec2::proceed;
use crate::ec2::state::Tags;

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
        if (names.is_empty() || names.contains(&region.name)) && filters.pass(&fields, &Tags::new())
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
        if named && filters.pass(&fields, &Tags::new()) {
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

/// DescribeAddresses: nobody here has an Elastic IP address.
pub(crate) fn addresses(call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let named = [
        (
            "AllocationId",
            "InvalidAllocationID.NotFound",
            "allocation ID",
        ),
        ("PublicIp", "InvalidAddress.NotFound", "address"),
    ];
    for (parameter, code, what) in named {
        if let Some(name) = p.list(parameter).first() {
            let message = format!("The {what} '{name}' does not exist");
            return Err(ApiError::new(code, message));
        }
    }
    Filters::parse(p, &["allocation-id", "domain", "instance-id", "public-ip"])?;
    proceed(p)?;
    Ok(Xml::new().list("addressesSet", "item", []).into())
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
