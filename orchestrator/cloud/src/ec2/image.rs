//! AMIs: the source in the home region and its copies elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{self, ResourceType};
use jiff::Timestamp;
use plan::observed::{Image, PART_TAG};

use super::{filter, filter_any, tag_specification, tags_of};
use crate::apply::Outcome;
use crate::connect::{Cloud, Region};
use crate::error::{Called, EffectError, Failure, ReadError};
use crate::scope::Scope;
use crate::token::client_token;

/// Tag of a copy: `<region>/<image id>` of what it is a copy of. EC2's own field says it too, but only
/// the tag can be filtered by.
const SOURCE_TAG: &str = "mattermost:source";
/// How long the same copy counts as asked for once. Longer than EC2 takes to show what it made (seconds,
/// by its guide to eventual consistency), and no longer than whoever deletes a stack and makes it again
/// should wait for EC2 to stop answering with the deleted copy.
const TOKEN_SECONDS: i64 = 300;

impl Cloud {
    /// The stack's images in one region; in the home region the specification's too, by id or by name.
    pub(crate) async fn observe_images(
        &self,
        scope: &Scope,
        region: &str,
    ) -> Result<BTreeMap<String, Image>, ReadError> {
        let clients = self.known_region(region)?;
        let tagged = described(
            clients
                .look
                .ec2
                .describe_images()
                .owners("self")
                .filters(self.ec2_stack_filter()),
        );
        let source = async {
            if region != self.home_region() {
                return Ok(Vec::new());
            }
            self.images_among(clients, &scope.images).await
        };
        let (tagged, source) = futures_util::try_join!(tagged, source)?;
        Ok(tagged
            .iter()
            .filter(|image| is_there(image))
            .chain(&source)
            .map(|image| (image.image_id().unwrap_or("").to_owned(), seen(image)))
            .collect())
    }

    /// The image with this id, or the newest available one of our own account with this name (which
    /// may hold `*` and `?`), in the home region.
    pub async fn resolve_image(&self, name_or_id: &str) -> Result<Image, ReadError> {
        let clients = self.known_region(self.home_region())?;
        let found = self.images_named(clients, name_or_id).await?;
        let newest = found
            .iter()
            .filter(|image| {
                name_or_id.starts_with("ami-")
                    || image
                        .state()
                        .is_some_and(|state| state.as_str() == "available")
            })
            .max_by_key(|image| image.creation_date());
        newest.map(seen).ok_or_else(|| ReadError::NotFound {
            what: format!("image `{name_or_id}` in {}", self.home_region()),
        })
    }

    /// Those of these ids and names that are there.
    async fn images_among(
        &self,
        clients: &Region,
        wanted: &BTreeSet<String>,
    ) -> Result<Vec<types::Image>, Failure> {
        let (ids, names): (Vec<String>, Vec<String>) = wanted
            .iter()
            .cloned()
            .partition(|one| one.starts_with("ami-"));
        let call = || clients.look.ec2.describe_images();
        let mut found = Vec::new();
        // A filter, not an id list: an id that does not exist is an empty answer, not an error.
        if !ids.is_empty() {
            found.extend(described(call().filters(filter_any("image-id", ids))).await?);
        }
        if !names.is_empty() {
            let named = call().owners("self").filters(filter_any("name", names));
            found.extend(described(named).await?);
        }
        found.retain(is_there);
        Ok(found)
    }

    async fn images_named(
        &self,
        clients: &Region,
        name_or_id: &str,
    ) -> Result<Vec<types::Image>, Failure> {
        self.images_among(clients, &BTreeSet::from([name_or_id.to_owned()]))
            .await
    }

    fn known_region(&self, region: &str) -> Result<&Region, ReadError> {
        self.region(region).ok_or_else(|| ReadError::NotFound {
            what: format!("region `{region}` among those of the specification"),
        })
    }

    /// A copy of `source_image` in `region`, unless one is there or under way.
    pub(crate) async fn ensure_image_copy(
        &self,
        region: &str,
        source_region: &str,
        source_image: &str,
        name: &str,
        now: Timestamp,
    ) -> Result<Outcome, EffectError> {
        const CALL: &str = "ec2:CopyImage";
        let Some(clients) = self.region(region) else {
            return Err(unknown_region(CALL, region));
        };
        let source = format!("{source_region}/{source_image}");
        let copies = described(
            clients
                .look
                .ec2
                .describe_images()
                .owners("self")
                .filters(self.ec2_stack_filter())
                .filters(filter(&format!("tag:{SOURCE_TAG}"), &source)),
        )
        .await?;
        let dead = |image: &&types::Image| {
            image.state().is_some_and(|state| {
                matches!(
                    state.as_str(),
                    "failed" | "error" | "invalid" | "deregistered"
                )
            })
        };
        if copies.iter().any(|image| !dead(&image)) {
            return Ok(Outcome::Unchanged);
        }
        // Two executors at a time make one copy. A copy that failed, or was deleted before, must not
        // be answered again for ever: the failed ones and the time are in the token.
        let failed: Vec<&str> = copies.iter().filter_map(types::Image::image_id).collect();
        let window = (now.as_second() / TOKEN_SECONDS).to_string();
        let token = client_token(&[self.stack(), region, &source, &failed.join(","), &window]);
        let tags = self.our_tags([
            (PART_TAG, "image"),
            (SOURCE_TAG, source.as_str()),
            ("Name", name),
        ]);
        clients
            .act
            .ec2
            .copy_image()
            .source_region(source_region)
            .source_image_id(source_image)
            .name(name)
            .description(format!("Copy of {source_image} from {source_region}"))
            .client_token(token)
            .tag_specifications(tag_specification(ResourceType::Image, &tags))
            .tag_specifications(tag_specification(ResourceType::Snapshot, &tags))
            .send()
            .await
            .called(CALL)?;
        Ok(Outcome::Changed)
    }

    /// Deregisters an image of ours; its snapshots go with it, in the same call, so that no crash
    /// between two calls leaves them behind.
    pub(crate) async fn delete_image(
        &self,
        region: &str,
        image: &str,
    ) -> Result<Outcome, EffectError> {
        const CALL: &str = "ec2:DeregisterImage";
        let Some(clients) = self.region(region) else {
            return Err(unknown_region(CALL, region));
        };
        let found = self.images_named(clients, image).await?;
        let Some(found) = found.first() else {
            return Ok(Outcome::Unchanged);
        };
        self.check_ours(image, &tags_of(found.tags()))?;
        let answer = clients
            .act
            .ec2
            .deregister_image()
            .image_id(image)
            .delete_associated_snapshots(true)
            .send()
            .await
            .called(CALL);
        Outcome::gone(
            answer.map(drop),
            &["InvalidAMIID.NotFound", "InvalidAMIID.Unavailable"],
        )
    }
}

fn unknown_region(call: &'static str, region: &str) -> EffectError {
    EffectError::refused(
        call,
        "UnknownRegion",
        format!("`{region}` is not among the regions of the specification"),
    )
}

async fn described(
    call: aws_sdk_ec2::operation::describe_images::builders::DescribeImagesFluentBuilder,
) -> Result<Vec<types::Image>, Failure> {
    call.into_paginator()
        .items()
        .send()
        .collect::<Result<Vec<_>, _>>()
        .await
        .called("ec2:DescribeImages")
}

/// EC2 shows an image for a while after it was deregistered. To whoever asks what there is, it is gone.
fn is_there(image: &types::Image) -> bool {
    image
        .state()
        .is_none_or(|state| state.as_str() != "deregistered")
}

fn seen(image: &types::Image) -> Image {
    let tags = tags_of(image.tags());
    let source = tags
        .get(SOURCE_TAG)
        .and_then(|source| source.split_once('/'))
        .or_else(|| Some((image.source_image_region()?, image.source_image_id()?)))
        .map(|(region, id)| (region.to_owned(), id.to_owned()));
    Image {
        id: image.image_id().unwrap_or("").to_owned(),
        name: image.name().unwrap_or("").to_owned(),
        state: image.state().map_or("", |state| state.as_str()).to_owned(),
        state_reason: image
            .state_reason()
            .and_then(|reason| reason.message())
            .map(str::to_owned),
        architecture: image
            .architecture()
            .map_or("", |architecture| architecture.as_str())
            .to_owned(),
        source,
        snapshots: image
            .block_device_mappings()
            .iter()
            .filter_map(|device| device.ebs()?.snapshot_id().map(str::to_owned))
            .collect(),
        created: image.creation_date().and_then(|date| date.parse().ok()),
        tags,
    }
}
