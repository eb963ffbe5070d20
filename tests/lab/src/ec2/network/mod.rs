//! Regions, zones, VPCs, subnets, and what hangs on them.

mod regions;
mod routes;
mod subnets;
mod vpcs;

use ipnet::Ipv4Net;

use crate::api::{ApiError, Params};

pub(crate) use regions::{account_attributes, regions, zones};
pub(crate) use routes::{internet_gateways, route_tables};
pub(crate) use subnets::{create_subnet, delete_subnet, modify_subnet_attribute, subnets};
pub(crate) use vpcs::{create_vpc, delete_vpc, modify_vpc_attribute, vpc_attribute, vpcs};

/// Every address of the lab lies in here, so that each can be bound without privileges.
const LOOPBACK: &str = "127.0.0.0/8";

fn no_vpc(id: &str) -> ApiError {
    ApiError::new(
        "InvalidVpcID.NotFound",
        format!("The vpc ID '{id}' does not exist"),
    )
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
