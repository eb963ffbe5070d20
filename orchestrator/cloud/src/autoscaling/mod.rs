//! EC2 Auto Scaling: groups with their hooks, their policies, their instances.

mod effects;
mod group;
mod observe;

use aws_sdk_autoscaling::types::{AutoScalingGroup, Filter, TagDescription};
use plan::observed::{STACK_TAG, Tags};

use crate::connect::Cloud;
use crate::error::{Called, EffectError, Failure};

impl Cloud {
    /// The stack's groups, by tag.
    async fn our_groups(&self) -> Result<Vec<AutoScalingGroup>, Failure> {
        self.look()
            .autoscaling
            .describe_auto_scaling_groups()
            .filters(
                Filter::builder()
                    .name(format!("tag:{STACK_TAG}"))
                    .values(self.stack())
                    .build(),
            )
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
            .await
            .called("autoscaling:DescribeAutoScalingGroups")
    }

    /// The group of that name, whosever it is.
    async fn group_named(&self, name: &str) -> Result<Option<AutoScalingGroup>, Failure> {
        let answer = self
            .look()
            .autoscaling
            .describe_auto_scaling_groups()
            .auto_scaling_group_names(name)
            .send()
            .await
            .called("autoscaling:DescribeAutoScalingGroups")?;
        Ok(answer
            .auto_scaling_groups
            .unwrap_or_default()
            .into_iter()
            .next())
    }

    /// The group of that name when it is ours and there; refused otherwise.
    async fn our_group(
        &self,
        call: &'static str,
        name: &str,
    ) -> Result<AutoScalingGroup, EffectError> {
        let group = self.group_named(name).await?.ok_or_else(|| {
            EffectError::refused(
                call,
                "NoSuchGroup",
                format!("group `{name}` does not exist"),
            )
        })?;
        self.check_ours(name, &tags_of(group.tags()))?;
        Ok(group)
    }
}

fn tags_of(tags: &[TagDescription]) -> Tags {
    tags.iter()
        .filter_map(|tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or("").to_owned())))
        .collect()
}

/// Auto Scaling has one code, `ValidationError`, for whatever is not there.
fn group_not_found(failure: &Failure) -> bool {
    failure.is("ValidationError") && failure.message().contains("not found")
}
