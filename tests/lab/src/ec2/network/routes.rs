//! Route tables and internet gateways: shown as AWS makes them with a VPC.

use std::sync::Arc;

use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};
use crate::ec2::filter::{Fields, Filters, Page, all_exist};
use crate::ec2::proceed;
use crate::ec2::tags::tag_set;
use crate::iam::ACCOUNT;

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
