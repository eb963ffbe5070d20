//! What people do to a bucket by hand.

use aws_sdk_s3::Client;
use aws_sdk_s3::types::{
    BucketLocationConstraint, BucketVersioningStatus, CreateBucketConfiguration, ObjectOwnership,
    OwnershipControls, OwnershipControlsRule, ServerSideEncryption, ServerSideEncryptionByDefault,
    ServerSideEncryptionConfiguration, ServerSideEncryptionRule, VersioningConfiguration,
};
use lab::fault::Effect;

use crate::support::World;

/// Every setting that the stack's own bucket has, each away or another.
pub async fn undo_all(client: &Client, bucket: &str) {
    let deleted = client.delete_public_access_block().bucket(bucket).send();
    deleted.await.expect("no public access block");
    let rule = OwnershipControlsRule::builder().object_ownership(ObjectOwnership::ObjectWriter);
    let controls = OwnershipControls::builder().rules(rule.build().expect("an ownership"));
    client
        .put_bucket_ownership_controls()
        .bucket(bucket)
        .ownership_controls(controls.build().expect("a rule"))
        .send()
        .await
        .expect("another ownership");
    let default = ServerSideEncryptionByDefault::builder()
        .sse_algorithm(ServerSideEncryption::AwsKms)
        .build()
        .expect("an algorithm");
    let rule = ServerSideEncryptionRule::builder().apply_server_side_encryption_by_default(default);
    let encryption = ServerSideEncryptionConfiguration::builder().rules(rule.build());
    client
        .put_bucket_encryption()
        .bucket(bucket)
        .server_side_encryption_configuration(encryption.build().expect("a rule"))
        .send()
        .await
        .expect("another encryption");
    let suspended = VersioningConfiguration::builder()
        .status(BucketVersioningStatus::Suspended)
        .build();
    client
        .put_bucket_versioning()
        .bucket(bucket)
        .versioning_configuration(suspended)
        .send()
        .await
        .expect("suspended");
    let deleted = client.delete_bucket_lifecycle().bucket(bucket).send();
    deleted.await.expect("no life-cycle");
    let deleted = client.delete_bucket_policy().bucket(bucket).send();
    deleted.await.expect("no policy");
}

/// Algorithm, key, and whether there is a bucket key.
pub async fn encryption(client: &Client, bucket: &str) -> (String, Option<String>, Option<bool>) {
    let answer = client.get_bucket_encryption().bucket(bucket).send();
    let answer = answer.await.expect("an answer");
    let rules = answer.server_side_encryption_configuration();
    let rule = rules.expect("a configuration").rules().first();
    let rule = rule.expect("a rule");
    let default = rule.apply_server_side_encryption_by_default();
    let default = default.expect("a default");
    (
        default.sse_algorithm().as_str().to_owned(),
        default.kms_master_key_id().map(str::to_owned),
        rule.bucket_key_enabled(),
    )
}

pub async fn delete_tags(client: &Client, bucket: &str) {
    let deleted = client.delete_bucket_tagging().bucket(bucket).send();
    deleted.await.expect("no tags");
}

pub async fn create_in(client: &Client, bucket: &str, region: &str) {
    let place = CreateBucketConfiguration::builder()
        .location_constraint(BucketLocationConstraint::from(region))
        .build();
    client
        .create_bucket()
        .bucket(bucket)
        .create_bucket_configuration(place)
        .send()
        .await
        .expect("made");
}

/// The name is another account's from now on.
pub async fn give_away(world: &World, bucket: &str) {
    let answer = reqwest::Client::new()
        .post(format!("{}/lab/s3/foreign", world.endpoint))
        .header("content-type", "application/json")
        .body(serde_json::json!({ "bucket": bucket }).to_string())
        .send()
        .await
        .expect("an answer");
    assert!(answer.status().is_success(), "{answer:?}");
}

/// As S3 answers for a name that nobody has.
pub fn no_such_bucket() -> Effect {
    Effect::Error {
        code: "NoSuchBucket".to_owned(),
        message: "The specified bucket does not exist".to_owned(),
    }
}
