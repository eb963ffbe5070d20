//! What the region offers: instance types, and the zones that have them.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::LocationType;
use plan::observed::TypeOffer;

use super::filter;
use crate::connect::Cloud;
use crate::error::{Called, ReadError};

impl Cloud {
    /// The type in the home region. One that EC2 does not know has no architecture.
    pub(crate) async fn observe_type_offer(&self, name: &str) -> Result<TypeOffer, ReadError> {
        // Filters, not names: of a type that is not there the answer is empty then, not an error.
        let kinds = self
            .look()
            .ec2
            .describe_instance_types()
            .filters(filter("instance-type", name))
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>();
        let zones = self
            .look()
            .ec2
            .describe_instance_type_offerings()
            .location_type(LocationType::AvailabilityZone)
            .filters(filter("instance-type", name))
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>();
        let (kinds, zones) = futures_util::join!(kinds, zones);
        let architectures: BTreeSet<String> = kinds
            .called("ec2:DescribeInstanceTypes")?
            .iter()
            .filter_map(|kind| kind.processor_info())
            .flat_map(|processor| processor.supported_architectures())
            .map(|architecture| architecture.as_str().to_owned())
            .collect();
        Ok(TypeOffer {
            name: name.to_owned(),
            architectures,
            zones: zones
                .called("ec2:DescribeInstanceTypeOfferings")?
                .iter()
                .filter_map(|offering| offering.location().map(str::to_owned))
                .collect(),
        })
    }
}
