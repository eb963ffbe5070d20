//! The life-cycle of objects, by the lab's clock.
//!
//! AWS looks at a bucket once a day and counts from the midnight after; the lab looks once an hour of its
//! own and counts exact days. What is done is the same.

use std::sync::Arc;
use std::time::Duration;

use s3s::dto::{ExpirationStatus, LifecycleRule, LifecycleRuleFilter, Tag};
use serde_json::{Value, json};

use super::state::{Bucket, Tags, Upload, Version, Versioning};
use super::xml_tree::malformed;
use super::{not_implemented, versions};
use crate::Lab;
use crate::api::ApiError;

/// What rules count in.
pub(super) const DAY: Duration = Duration::from_hours(24);
/// Lab time between two looks.
const EVERY: Duration = Duration::from_hours(1);
/// Most rules of a bucket (S3 user guide, "Setting an S3 Lifecycle configuration").
const MOST_RULES: usize = 1000;

/// Looks for ever.
pub(super) async fn run(lab: Arc<Lab>) {
    loop {
        lab.clock.sleep(EVERY).await;
        apply(&lab);
    }
}

/// What was done in one look.
#[derive(Debug, Default)]
struct Done {
    expired: usize,
    removed: usize,
    aborted: usize,
}

/// Applies every rule of every bucket once; says how much was done.
pub(super) fn apply(lab: &Lab) -> Value {
    let now = lab.s3.now(&lab.clock);
    let mut done = Done::default();
    let mut state = lab.s3.lock();
    for bucket in state.buckets.values_mut() {
        for rule in bucket.lifecycle.clone() {
            if rule.status.as_str() == ExpirationStatus::ENABLED {
                follow(lab, bucket, &rule, now, &mut done);
            }
        }
    }
    json!({ "expired": done.expired, "removed": done.removed, "aborted": done.aborted })
}

fn days(number: i32) -> Duration {
    DAY * number.max(0).unsigned_abs()
}

fn follow(lab: &Lab, bucket: &mut Bucket, rule: &LifecycleRule, now: Duration, done: &mut Done) {
    let selected: Vec<String> = bucket
        .objects
        .iter()
        .filter(|(key, _)| key.starts_with(prefix(rule)))
        .map(|(key, _)| key.clone())
        .collect();
    for key in &selected {
        if let Some(limit) = rule.expiration.as_ref().and_then(|it| it.days).map(days) {
            let old =
                |it: &Version| it.content.is_some() && now >= it.born + limit && meant(rule, it);
            let present = bucket.objects.get(key).and_then(|all| all.last());
            if present.is_some_and(old) {
                versions::delete(lab, bucket, key, None);
                done.expired += 1;
            }
        }
        done.removed += remove_noncurrent(bucket, key, rule, now);
        let tidy = rule
            .expiration
            .as_ref()
            .and_then(|it| it.expired_object_delete_marker);
        if tidy == Some(true) && is_lone_marker(bucket, key) {
            bucket.objects.remove(key);
            done.removed += 1;
        }
    }
    let limit = rule.abort_incomplete_multipart_upload.as_ref();
    if let Some(limit) = limit.and_then(|it| it.days_after_initiation).map(days) {
        let before = bucket.uploads.len();
        let old = |it: &Upload| it.key.starts_with(prefix(rule)) && now >= it.born + limit;
        bucket.uploads.retain(|_, upload| !old(upload));
        done.aborted += before - bucket.uploads.len();
    }
}

/// Removes the versions that were replaced long enough ago, but for as many newer ones as are kept.
fn remove_noncurrent(bucket: &mut Bucket, key: &str, rule: &LifecycleRule, now: Duration) -> usize {
    let Some(expiration) = &rule.noncurrent_version_expiration else {
        return 0;
    };
    let Some(limit) = expiration.noncurrent_days.map(days) else {
        return 0;
    };
    let kept = expiration.newer_noncurrent_versions.unwrap_or(0).max(0) as usize;
    let versions = bucket.objects.get(key).map_or(&[][..], Vec::as_slice);
    let noncurrent = versions.iter().rev().skip(1).skip(kept);
    let old: Vec<String> = noncurrent
        .filter(|it| it.noncurrent.is_some_and(|since| now >= since + limit) && meant(rule, it))
        .map(|it| it.id.clone())
        .collect();
    old.iter()
        .filter(|id| versions::remove(bucket, key, id).is_some())
        .count()
}

/// A marker that hides nothing any more.
fn is_lone_marker(bucket: &Bucket, key: &str) -> bool {
    let versions = bucket.objects.get(key).map_or(&[][..], Vec::as_slice);
    bucket.versioning != Versioning::Never && matches!(versions, [only] if only.content.is_none())
}

/// The keys that a rule is for.
fn prefix(rule: &LifecycleRule) -> &str {
    let filter = rule.filter.as_ref();
    let of_filter = filter.and_then(|it| {
        let and = it.and.as_ref().and_then(|and| and.prefix.as_ref());
        it.prefix.as_ref().or(and)
    });
    of_filter
        .or(rule.prefix.as_ref())
        .map_or("", String::as_str)
}

/// Whether a rule's filter means a version: by tags and size. A marker has neither.
fn meant(rule: &LifecycleRule, version: &Version) -> bool {
    let none = (Tags::new(), 0);
    let (tags, size) = match &version.content {
        Some(content) => (&content.about.tags, content.size as i64),
        None => (&none.0, none.1),
    };
    let has = |tag: &Tag| {
        let key = tag.key.as_deref().unwrap_or_default();
        tags.get(key).map(String::as_str) == tag.value.as_deref()
    };
    let Some(filter) = &rule.filter else {
        return true;
    };
    let and = filter.and.as_ref();
    let least = filter
        .object_size_greater_than
        .or(and.and_then(|it| it.object_size_greater_than));
    let most = filter
        .object_size_less_than
        .or(and.and_then(|it| it.object_size_less_than));
    let mut tags_wanted = filter
        .tag
        .iter()
        .chain(and.into_iter().flat_map(|it| it.tags.iter().flatten()));
    tags_wanted.all(has) && least.is_none_or(|it| size > it) && most.is_none_or(|it| size < it)
}

/// Rules that the lab can follow, each with an id.
pub(super) fn checked(
    lab: &Lab,
    rules: Vec<LifecycleRule>,
) -> Result<Vec<LifecycleRule>, ApiError> {
    if rules.is_empty() || rules.len() > MOST_RULES {
        return Err(malformed("there must be 1 to 1000 rules"));
    }
    let mut checked = Vec::new();
    for mut rule in rules {
        check(&rule)?;
        rule.id = rule
            .id
            .filter(|id| !id.is_empty())
            .or_else(|| Some(lab.ids.uuid()));
        let same = |other: &LifecycleRule| other.id == rule.id;
        if checked.iter().any(same) {
            let id = rule.id.unwrap_or_default();
            let message =
                format!("Rule ID must be unique. Found same ID for more than one rule: {id}");
            return Err(ApiError::new("InvalidArgument", message));
        }
        checked.push(rule);
    }
    Ok(checked)
}

fn check(rule: &LifecycleRule) -> Result<(), ApiError> {
    let known = [ExpirationStatus::ENABLED, ExpirationStatus::DISABLED];
    if !known.contains(&rule.status.as_str()) {
        return Err(malformed("`Status` is Enabled or Disabled"));
    }
    if rule.filter.is_none() && rule.prefix.is_none() {
        return Err(malformed("a rule has a `Filter`"));
    }
    if rule.transitions.is_some() || rule.noncurrent_version_transitions.is_some() {
        return Err(not_implemented("a life-cycle's transitions"));
    }
    if rule.expiration.as_ref().is_some_and(|it| it.date.is_some()) {
        return Err(not_implemented("a life-cycle's expiration by date"));
    }
    let positive = |name: &str, number: Option<i32>| match number {
        Some(number) if number < 1 => Err(ApiError::new(
            "InvalidArgument",
            format!("'{name}' for the action must be a positive integer"),
        )),
        _ => Ok(()),
    };
    positive("Days", rule.expiration.as_ref().and_then(|it| it.days))?;
    let noncurrent = rule.noncurrent_version_expiration.as_ref();
    positive(
        "NoncurrentDays",
        noncurrent.and_then(|it| it.noncurrent_days),
    )?;
    let unfinished = rule.abort_incomplete_multipart_upload.as_ref();
    positive(
        "DaysAfterInitiation",
        unfinished.and_then(|it| it.days_after_initiation),
    )?;
    if unfinished.is_some() && rule.filter.as_ref().is_some_and(has_tags_or_sizes) {
        return Err(ApiError::new(
            "InvalidRequest",
            "AbortIncompleteMultipartUpload cannot be specified with Tags or object sizes.",
        ));
    }
    if rule.expiration.is_none() && noncurrent.is_none() && unfinished.is_none() {
        return Err(ApiError::new(
            "InvalidRequest",
            "At least one action needs to be specified in a rule.",
        ));
    }
    Ok(())
}

fn has_tags_or_sizes(filter: &LifecycleRuleFilter) -> bool {
    let in_and = filter.and.as_ref().is_some_and(|and| {
        and.tags.as_ref().is_some_and(|tags| !tags.is_empty())
            || and.object_size_greater_than.is_some()
            || and.object_size_less_than.is_some()
    });
    in_and
        || filter.tag.is_some()
        || filter.object_size_greater_than.is_some()
        || filter.object_size_less_than.is_some()
}
