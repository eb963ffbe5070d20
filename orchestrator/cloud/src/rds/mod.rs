//! RDS: subnet and parameter group, primary and replicas, snapshots.

mod group;
mod instance;
mod observe;
mod offers;
mod snapshot;

use aws_sdk_rds::types::Tag;
use plan::observed::Tags;

use crate::connect::Cloud;
use crate::error::{Called, EffectError, Failure};

impl Cloud {
    /// Refuses a subnet or parameter group that is not ours: their descriptions carry no tags.
    async fn check_rds_ours(&self, name: &str, arn: &str) -> Result<(), EffectError> {
        let answer = self
            .look()
            .rds
            .list_tags_for_resource()
            .resource_name(arn)
            .send()
            .await
            .called("rds:ListTagsForResource")?;
        self.check_ours(name, &tags_of(answer.tag_list()))
    }
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

/// `None` for "not found".
fn found<T>(answer: Result<T, Failure>, not_found: &str) -> Result<Option<T>, Failure> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(failure) if failure.is(not_found) => Ok(None),
        Err(failure) => Err(failure),
    }
}
