//! Elastic Load Balancing v2: the load balancer, its listeners with their rules, the two target groups.

mod action;
mod listener;
mod load_balancer;
mod observe;
mod rule;
mod target_group;

use std::collections::BTreeMap;

use aws_sdk_elasticloadbalancingv2::types::{Tag, TagDescription};
use plan::observed::Tags;

pub(crate) use load_balancer::LoadBalancerSettings;

use crate::connect::Cloud;
use crate::error::{Called, EffectError, Failure};

impl Cloud {
    /// Tags of one resource; none when it does not exist.
    async fn elb_tags(&self, arn: &str) -> Result<Option<Tags>, Failure> {
        match self.tag_descriptions(&[arn.to_owned()]).await {
            Ok(found) => Ok(tags_among(&found, arn)),
            Err(failure) if not_found(&failure) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Tags of at most 20 resources (reference of `DescribeTags`), all of which must be there.
    async fn tag_descriptions(&self, arns: &[String]) -> Result<Vec<TagDescription>, Failure> {
        let answer = self
            .look()
            .elb
            .describe_tags()
            .set_resource_arns(Some(arns.to_vec()))
            .send()
            .await
            .called("elasticloadbalancing:DescribeTags");
        Ok(answer?.tag_descriptions.unwrap_or_default())
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

/// Those of one resource.
fn tags_among(found: &[TagDescription], arn: &str) -> Option<Tags> {
    let of_it = found.iter().find(|it| it.resource_arn() == Some(arn));
    of_it.map(|it| tags_of(it.tags()))
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
