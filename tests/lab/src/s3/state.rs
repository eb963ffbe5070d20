//! What there is: buckets, versions, uploads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use s3s::dto::LifecycleRule;
use serde_json::{Value, json};

use super::blob::Blob;
use super::digest::{Algorithm, Checksum};
use super::encryption::{BucketEncryption, Sealed};
use super::no_such_bucket;
use crate::api::ApiError;
use crate::authorize::Document;

/// The id of a version that was written while versioning was off or suspended.
pub(super) const NULL: &str = "null";

pub(super) type Tags = BTreeMap<String, String>;

/// Everything, by bucket name.
#[derive(Debug, Default)]
pub(super) struct State {
    pub buckets: BTreeMap<String, Bucket>,
    /// Names that belong to other accounts.
    pub foreign: BTreeSet<String>,
    /// Names of deleted buckets, and until when they are held, in lab time.
    pub held: BTreeMap<String, Duration>,
    /// How long a deleted bucket's name is held.
    pub name_held_for: Duration,
    /// Requests count as sent without TLS.
    pub plain: bool,
}

impl State {
    pub fn bucket(&self, name: &str) -> Result<&Bucket, ApiError> {
        self.buckets.get(name).ok_or_else(|| no_such_bucket(name))
    }

    pub fn bucket_mut(&mut self, name: &str) -> Result<&mut Bucket, ApiError> {
        let found = self.buckets.get_mut(name);
        found.ok_or_else(|| no_such_bucket(name))
    }

    /// For people and tests.
    pub fn show(&self) -> Value {
        let buckets = self.buckets.iter().map(|(name, bucket)| {
            let versions = || bucket.objects.values().flatten();
            let markers = versions().filter(|it| it.content.is_none()).count();
            let shown = json!({
                "region": bucket.region,
                "versions": versions().count() - markers,
                "markers": markers,
                "uploads": bucket.uploads.len(),
            });
            (name.clone(), shown)
        });
        json!({ "buckets": Value::Object(buckets.collect()), "foreign": self.foreign })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Versioning {
    /// Was never on.
    Never,
    Enabled,
    Suspended,
}

/// A bucket policy.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    /// As sent.
    pub text: String,
    pub document: Arc<Document>,
}

/// The four switches of the public access block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PublicAccessBlock {
    pub block_acls: bool,
    pub ignore_acls: bool,
    pub block_policy: bool,
    pub restrict: bool,
}

impl PublicAccessBlock {
    /// New buckets since April 2023.
    pub const ALL: Self = Self {
        block_acls: true,
        ignore_acls: true,
        block_policy: true,
        restrict: true,
    };
}

#[derive(Debug)]
pub(super) struct Bucket {
    pub region: String,
    pub made: Timestamp,
    pub tags: Tags,
    pub public_access_block: Option<PublicAccessBlock>,
    pub ownership: Option<String>,
    pub encryption: BucketEncryption,
    pub versioning: Versioning,
    pub lifecycle: Vec<LifecycleRule>,
    pub policy: Option<Policy>,
    /// By key; the newest version last. Never an empty list.
    pub objects: BTreeMap<String, Vec<Version>>,
    /// By upload id.
    pub uploads: BTreeMap<String, Upload>,
}

/// A version of an object, or a delete marker.
#[derive(Clone, Debug)]
pub(super) struct Version {
    pub id: String,
    pub modified: Timestamp,
    /// By S3's clock.
    pub born: Duration,
    /// When a newer one came, by S3's clock.
    pub noncurrent: Option<Duration>,
    /// None is a delete marker.
    pub content: Option<Content>,
}

/// Bytes and what is said of them.
#[derive(Clone, Debug)]
pub(super) struct Content {
    /// One, or one for each part of a multipart upload.
    pub blobs: Vec<Arc<Blob>>,
    pub size: u64,
    /// Without its quotation marks.
    pub etag: String,
    pub checksum: Option<Checksum>,
    pub about: About,
    pub sealed: Sealed,
}

/// What the writer said of an object.
#[derive(Clone, Debug, Default)]
pub(super) struct About {
    pub content_type: Option<String>,
    pub cache_control: Option<String>,
    pub content_disposition: Option<String>,
    pub content_encoding: Option<String>,
    pub content_language: Option<String>,
    pub expires: Option<s3s::dto::Timestamp>,
    pub storage_class: Option<String>,
    pub metadata: BTreeMap<String, String>,
    pub tags: Tags,
}

/// A multipart upload under way.
#[derive(Clone, Debug)]
pub(super) struct Upload {
    pub key: String,
    pub made: Timestamp,
    /// By S3's clock.
    pub born: Duration,
    pub about: About,
    pub sealed: Sealed,
    pub algorithm: Option<Algorithm>,
    /// Of the whole object, not of its parts' checksums.
    pub full_object: bool,
    pub parts: BTreeMap<i32, PartRecord>,
    /// ARN of who began it.
    pub initiator: String,
}

#[derive(Clone, Debug)]
pub(super) struct PartRecord {
    pub blob: Arc<Blob>,
    pub size: u64,
    pub etag: String,
    pub checksum: Option<Checksum>,
    pub modified: Timestamp,
}

impl Bucket {
    pub fn new(region: String, made: Timestamp, tags: Tags, ownership: String) -> Self {
        Self {
            region,
            made,
            tags,
            public_access_block: Some(PublicAccessBlock::ALL),
            ownership: Some(ownership),
            encryption: BucketEncryption::new_bucket(),
            versioning: Versioning::Never,
            lifecycle: Vec::new(),
            policy: None,
            objects: BTreeMap::new(),
            uploads: BTreeMap::new(),
        }
    }
}
