//! Reads that other services make in EC2 with our rights: without one of them a load balancer, a target group
//! or a database is refused by a service that has nothing else against it, minutes into `up`.

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::VpcAttributeName;
use futures_util::FutureExt;

use super::Probe;
use crate::error::Called;

/// A dry run of each that this crate does not make itself. What is asked of a VPC is left out where `vpc` is
/// not known.
pub(super) fn of_services<'a>(ec2: &'a Client, vpc: Option<&str>) -> Vec<Probe<'a>> {
    macro_rules! dry_run {
        ($name:literal, $call:expr) => {{
            let call = $call.dry_run(true);
            let answer = async move { call.send().await.called($name).map(drop) };
            let probe: Probe<'a> = ($name, answer.boxed());
            probe
        }};
    }
    let mut probes = vec![
        dry_run!(
            "ec2:DescribeAccountAttributes",
            ec2.describe_account_attributes()
        ),
        dry_run!("ec2:DescribeAddresses", ec2.describe_addresses()),
        dry_run!(
            "ec2:DescribeAvailabilityZones",
            ec2.describe_availability_zones()
        ),
        dry_run!(
            "ec2:DescribeInternetGateways",
            ec2.describe_internet_gateways()
        ),
    ];
    if let Some(vpc) = vpc {
        let attribute = VpcAttributeName::EnableDnsSupport;
        probes.push(dry_run!(
            "ec2:DescribeVpcAttribute",
            ec2.describe_vpc_attribute()
                .vpc_id(vpc)
                .attribute(attribute)
        ));
    }
    probes
}
