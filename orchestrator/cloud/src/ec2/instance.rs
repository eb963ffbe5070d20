//! Instances of the stack.

use std::collections::BTreeMap;

use aws_sdk_ec2::types;
use plan::observed::Instance;

use super::{filter, tags_of, timestamp};
use crate::connect::Cloud;
use crate::error::{Called, Failure, ReadError};

/// Set by EC2 on what a template launched.
const TEMPLATE_ID_TAG: &str = "aws:ec2launchtemplate:id";
const TEMPLATE_VERSION_TAG: &str = "aws:ec2launchtemplate:version";
/// Set by Auto Scaling on its instances.
const GROUP_TAG: &str = "aws:autoscaling:groupName";

impl Cloud {
    /// Every instance with our tag, terminated ones as long as EC2 shows them (about an hour).
    pub(crate) async fn observe_instances(&self) -> Result<BTreeMap<String, Instance>, ReadError> {
        Ok(self.instances(self.ec2_stack_filter()).await?)
    }

    /// One instance, as EC2 sees it now; none when EC2 does not know it. It need not be ours.
    pub async fn observe_instance(&self, id: &str) -> Result<Option<Instance>, ReadError> {
        Ok(self.instances(filter("instance-id", id)).await?.remove(id))
    }

    async fn instances(&self, which: types::Filter) -> Result<BTreeMap<String, Instance>, Failure> {
        let reservations = self
            .look()
            .ec2
            .describe_instances()
            .filters(which)
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
            .await
            .called("ec2:DescribeInstances")?;
        Ok(reservations
            .iter()
            .flat_map(types::Reservation::instances)
            .filter_map(|instance| Some((instance.instance_id()?.to_owned(), seen(instance))))
            .collect())
    }
}

fn seen(instance: &types::Instance) -> Instance {
    let mut tags = tags_of(instance.tags());
    let version = tags
        .remove(TEMPLATE_VERSION_TAG)
        .and_then(|version| version.parse().ok());
    Instance {
        id: instance.instance_id().unwrap_or("").to_owned(),
        state: instance
            .state()
            .and_then(|state| state.name())
            .map_or("", |name| name.as_str())
            .to_owned(),
        zone: instance
            .placement()
            .and_then(|placement| placement.availability_zone())
            .unwrap_or("")
            .to_owned(),
        private_ip: instance.private_ip_address().map(str::to_owned),
        image_id: instance.image_id().unwrap_or("").to_owned(),
        vpc_id: instance.vpc_id().unwrap_or("").to_owned(),
        template: tags.remove(TEMPLATE_ID_TAG).zip(version),
        group: tags.remove(GROUP_TAG),
        launched: timestamp(instance.launch_time()),
    }
}
