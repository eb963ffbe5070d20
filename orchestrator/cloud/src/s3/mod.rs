//! S3: the bucket of users' files. No object in it is ever read or written; contents are counted
//! before files are said to have moved, and listed and deleted only when the whole bucket is to go.
//!
//! Every call names the account that must own the bucket: under a name that another account has taken
//! meanwhile nothing is done.

mod count;
mod ensure;
mod look;
mod observe;
mod remove;
mod settings;
mod store;

pub use observe::FilesSeen;
pub use store::{StoreKeys, StoreProbe};

use aws_sdk_s3::Client;
use plan::action::BucketRef;
use plan::observed::Tags;

use crate::connect::Cloud;
use crate::error::EffectError;

/// A bucket as calls name it: whose it must be, and with which client it is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) client: &'a Client,
    pub(crate) name: &'a str,
    /// None: of whomever (a bucket that the specification names).
    pub(crate) owner: Option<&'a str>,
}

impl Asked<'_> {
    /// The region in which it is asked.
    pub(crate) fn region(&self) -> Option<&str> {
        self.client.config().region().map(|region| region.as_ref())
    }

    pub(crate) fn owner(&self) -> Option<String> {
        self.owner.map(str::to_owned)
    }
}

impl Cloud {
    /// The bucket for reads.
    pub(crate) fn asked<'a>(&'a self, bucket: &'a BucketRef) -> Asked<'a> {
        let services = self
            .region(&bucket.region)
            .map_or_else(|| self.look(), |region| &region.look);
        Asked {
            client: &services.s3,
            name: &bucket.name,
            owner: Some(&bucket.owner),
        }
    }

    /// The client for reads of a bucket that the specification names. Its region need be none of the
    /// stack's: then a client is made for it.
    pub(crate) fn s3_in(&self, region: &str) -> Client {
        if let Some(known) = self.region(region) {
            return known.look.s3.clone();
        }
        self.s3_elsewhere(region)
    }

    /// The client for effects on it.
    pub(crate) fn s3_act(&self, bucket: &BucketRef) -> &Client {
        let services = self
            .region(&bucket.region)
            .map_or_else(|| self.act(), |region| &region.act);
        &services.s3
    }

    /// Refuses a bucket that is not ours.
    pub(crate) async fn check_our_bucket(&self, bucket: &BucketRef) -> Result<(), EffectError> {
        let tags: Tags = self.asked(bucket).tags().await?;
        self.check_ours(&bucket.name, &tags)
    }
}
