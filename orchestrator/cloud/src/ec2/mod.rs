//! EC2: network, security groups, the launch template, images, instances.

mod image;
mod instance;
mod key_pair;
mod network;
mod offers;
mod routes;
mod security_group;
mod template;

pub(crate) use network::{Found, InUse};

use aws_sdk_ec2::types::{Filter, ResourceType, Tag, TagSpecification};
use plan::observed::{STACK_TAG, Tags};

use crate::connect::Cloud;

/// A filter with one value.
fn filter(name: &str, value: &str) -> Filter {
    filter_any(name, vec![value.to_owned()])
}

/// A filter that any of these values passes.
fn filter_any(name: &str, values: Vec<String>) -> Filter {
    Filter::builder()
        .name(name)
        .set_values(Some(values))
        .build()
}

impl Cloud {
    /// Everything that carries our stack's tag.
    fn ec2_stack_filter(&self) -> Filter {
        filter(&format!("tag:{STACK_TAG}"), self.stack())
    }
}

fn tags_of(tags: &[Tag]) -> Tags {
    tags.iter()
        .filter_map(|tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or("").to_owned())))
        .collect()
}

pub(crate) fn tag_specification(kind: ResourceType, tags: &Tags) -> TagSpecification {
    TagSpecification::builder()
        .resource_type(kind)
        .set_tags(Some(tag_list(tags)))
        .build()
}

fn tag_list(tags: &Tags) -> Vec<Tag> {
    tags.iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect()
}

/// An SDK time as ours; none when it lies outside of what a time-stamp can say.
fn timestamp(time: Option<&aws_smithy_types::DateTime>) -> Option<jiff::Timestamp> {
    time.and_then(|time| jiff::Timestamp::new(time.secs(), time.subsec_nanos().cast_signed()).ok())
}
