//! Regions, zones, VPCs, subnets, and what hangs on them.

mod regions;
mod routes;
mod subnets;
mod vpcs;

use ipnet::Ipv4Net;

use crate::Lab;
use crate::api::{ApiError, Params};

pub(crate) use regions::{account_attributes, addresses, regions, zones};
pub(crate) use routes::{internet_gateways, route_tables};
pub(crate) use subnets::{create_subnet, delete_subnet, modify_subnet_attribute, subnets};
pub(crate) use vpcs::{create_vpc, delete_vpc, modify_vpc_attribute, vpc_attribute, vpcs};

fn no_vpc(id: &str) -> ApiError {
    ApiError::new(
        "InvalidVpcID.NotFound",
        format!("The vpc ID '{id}' does not exist"),
    )
}

/// A CIDR block as AWS takes it, inside the lab's addresses.
fn cidr_of(lab: &Lab, p: &Params, code: &'static str) -> Result<Ipv4Net, ApiError> {
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
    let own = lab.config.addresses();
    if !own.iter().any(|net| net.contains(&cidr)) {
        let own: Vec<String> = own.iter().map(Ipv4Net::to_string).collect();
        return Err(ApiError::new(
            code,
            format!(
                "The CIDR '{text}' is invalid: the lab's addresses lie in {}",
                own.join(" and ")
            ),
        ));
    }
    Ok(cidr)
}
