//! Elastic Load Balancing v2: the load balancer, its listeners with their rules, the two target groups.

mod action;
mod listener;
mod load_balancer;
mod observe;
mod rule;
mod target_group;

use std::collections::BTreeMap;

use aws_sdk_elasticloadbalancingv2::types::Tag;
use plan::observed::Tags;

pub(crate) use load_balancer::LoadBalancerSettings;

use crate::connect::Cloud;
use crate::error::{Called, EffectError, Failure};

impl Cloud {
    /// Tags of one resource; none when it does not exist.
    async fn elb_tags(&self, arn: &str) -> Result<Option<Tags>, Failure> {
        let answer = self
            .look()
            .elb
            .describe_tags()
            .resource_arns(arn)
            .send()
            .await
            .called("elasticloadbalancing:DescribeTags");
        match answer {
            Ok(answer) => Ok(answer
                .tag_descriptions()
                .iter()
                .find(|description| description.resource_arn() == Some(arn))
                .map(|description| tags_of(description.tags()))),
            Err(failure) if not_found(&failure) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Refuses a resource that is there and not ours; says whether it is there.
    async fn elb_is_there_and_ours(&self, arn: &str) -> Result<bool, EffectError> {
        match self.elb_tags(arn).await? {
            None => Ok(false),
            Some(tags) => self.check_ours(arn, &tags).map(|()| true),
        }
    }
}

fn not_found(failure: &Failure) -> bool {
    [
        "LoadBalancerNotFound",
        "TargetGroupNotFound",
        "ListenerNotFound",
        "RuleNotFound",
    ]
    .iter()
    .any(|code| failure.is(code))
}

fn tags_of(tags: &[Tag]) -> Tags {
    tags.iter()
        .filter_map(|tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or("").to_owned())))
        .collect()
}

fn tag_list(tags: &Tags) -> Vec<Tag> {
    tags.iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect()
}

/// The wanted attributes that are not as wanted.
fn differing<'a>(
    wanted: &'a BTreeMap<String, String>,
    there: &BTreeMap<String, String>,
) -> Vec<(&'a str, &'a str)> {
    wanted
        .iter()
        .filter(|(key, value)| there.get(*key) != Some(value))
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect()
}
