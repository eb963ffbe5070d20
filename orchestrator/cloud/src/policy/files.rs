//! The bucket of users' files: what the nodes may do in it, and what the orchestrator may do to it.

use plan::Spec;
use plan::spec::FileStore;
use serde_json::{Value, json};

use super::{Place, allow, document};

/// Reads of a bucket and its settings; of objects only that there are any.
const LOOKS: [&str; 11] = [
    "s3:GetBucketLocation",
    "s3:GetBucketOwnershipControls",
    "s3:GetBucketPolicy",
    "s3:GetBucketPublicAccessBlock",
    "s3:GetBucketTagging",
    "s3:GetBucketVersioning",
    "s3:GetEncryptionConfiguration",
    "s3:GetLifecycleConfiguration",
    "s3:ListBucket",
    "s3:ListBucketMultipartUploads",
    "s3:ListBucketVersions",
];

/// What makes and mends one.
const KEEPS: [&str; 9] = [
    "s3:CreateBucket",
    "s3:PutBucketOwnershipControls",
    "s3:PutBucketPolicy",
    "s3:PutBucketPublicAccessBlock",
    "s3:PutBucketTagging",
    "s3:PutBucketVersioning",
    "s3:PutEncryptionConfiguration",
    "s3:PutLifecycleConfiguration",
    "s3:TagResource",
];

/// The bucket, when AWS's policies say who may touch it.
fn bucket(spec: &Spec, place: &Place<'_>) -> Option<String> {
    if spec.files.own_keys() {
        return None;
    }
    let name = spec.files_bucket(place.account)?;
    Some(place.arn_in("s3", "", "", &name))
}

/// Makes, looks at and mends the stack's own bucket; of one that the file names it only looks. No
/// object is read, written or deleted, and no bucket is deleted. Of its KMS key it asks only whether it is usable.
pub(super) fn orchestrator(spec: &Spec, place: &Place<'_>) -> Vec<Value> {
    let Some(bucket) = bucket(spec, place) else {
        return Vec::new();
    };
    let mut actions = LOOKS.to_vec();
    if spec.files.is_own_bucket() {
        actions.extend(KEEPS);
    }
    let mut statements = vec![allow("Files", &actions, &json!(bucket), None)];
    if let Some(key) = &spec.files.kms_key {
        let look = ["kms:DescribeKey"];
        statements.push(allow("LookAtKeyOfFiles", &look, &json!(key), None));
    }
    statements
}

/// What `down --delete-files` needs besides: for a person, for an hour. None: there is no bucket of the
/// stack's own.
pub(super) fn deletion(spec: &Spec, place: &Place<'_>) -> Option<Value> {
    if spec.files.store == FileStore::Local || !spec.files.is_own_bucket() {
        return None;
    }
    let bucket = bucket(spec, place)?;
    Some(document(&[
        allow(
            "DeleteFiles",
            &["s3:AbortMultipartUpload", "s3:DeleteObjectVersion"],
            &json!(format!("{bucket}/*")),
            None,
        ),
        allow(
            "DeleteBucketOfFiles",
            &["s3:DeleteBucket"],
            &json!(bucket),
            None,
        ),
    ]))
}

/// The nodes' role: that bucket, below that prefix, and nothing else of AWS. Versions are not deleted:
/// a stolen node cannot destroy what was uploaded before.
pub(super) fn node(spec: &Spec, place: &Place<'_>) -> Value {
    let Some(bucket) = bucket(spec, place) else {
        // An empty policy is not valid, so that the one statement says what must never be.
        return document(&[nothing_else(&["sts:GetCallerIdentity"])]);
    };
    let prefix = spec.files.key_prefix();
    let listed = (!prefix.is_empty()).then(|| {
        json!({ "StringLike": { "s3:prefix": [
            prefix.trim_end_matches('/'), prefix, format!("{prefix}*")
        ] } })
    });
    let mut statements = vec![
        allow("ListFiles", &["s3:ListBucket"], &json!(bucket), listed),
        allow("FindFiles", &["s3:GetBucketLocation"], &json!(bucket), None),
        allow(
            "UseFiles",
            &[
                "s3:AbortMultipartUpload",
                "s3:DeleteObject",
                "s3:GetObject",
                "s3:ListMultipartUploadParts",
                "s3:PutObject",
            ],
            &json!(format!("{bucket}/{prefix}*")),
            None,
        ),
    ];
    let mut all = vec![
        "s3:AbortMultipartUpload",
        "s3:DeleteObject",
        "s3:GetBucketLocation",
        "s3:GetObject",
        "s3:ListBucket",
        "s3:ListMultipartUploadParts",
        "s3:PutObject",
        "sts:GetCallerIdentity",
    ];
    let (keys, used) = keys(spec);
    statements.extend(keys);
    all.extend(used);
    statements.push(nothing_else(&all));
    document(&statements)
}

/// What nodes do with the bucket's keys, through S3 alone; and the permissions for it, which are not denied.
fn keys(spec: &Spec) -> (Vec<Value>, Vec<&'static str>) {
    let through = format!("s3.{}.amazonaws.com", spec.files_region());
    let through = json!({ "StringEquals": { "kms:ViaService": through } });
    let (mut statements, mut used) = (Vec::new(), Vec::new());
    let files = &spec.files;
    if let Some(key) = &files.kms_key {
        // A large file comes in parts, and putting them together reads them.
        let actions = ["kms:Decrypt", "kms:GenerateDataKey"];
        let through = Some(through.clone());
        statements.push(allow("EncryptFiles", &actions, &json!(key), through));
        used.extend(actions);
    }
    let former = &files.former_kms_keys;
    if !former.is_empty() {
        let actions = ["kms:Decrypt"];
        statements.push(allow(
            "ReadOlderFiles",
            &actions,
            &json!(former),
            Some(through),
        ));
        if files.kms_key.is_none() {
            used.extend(actions);
        }
    }
    (statements, used)
}

fn nothing_else(but: &[&str]) -> Value {
    json!({
        "Sid": "NothingElseOfAws",
        "Effect": "Deny",
        "NotAction": but,
        "Resource": "*"
    })
}
