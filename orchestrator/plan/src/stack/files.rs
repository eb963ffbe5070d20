//! The bucket of users' files: made before the first node, mended when somebody changed it.
//!
//! ```text
//!   not there ─> created, with our tags ─> private ─> owner enforced ─> encrypted ─> versioned ─> life-cycle ─> TLS only
//!   there: our tag ─> compared, setting by setting         no tag, empty ─> adopted (a crash fell between)
//!          no tag, nodes serve from it ─> stuck: the tag is to be put back
//!          no tag, with objects, or another account's ─> stuck: a person decides
//! ```
//!
//! The bucket is given a KMS key only when KMS said that the key is usable: with a wrong one every upload fails.
//! A bucket that nodes serve from keeps its encryption until then, and a new one gets no nodes. It keeps a key that
//! the stack gave it until the file names that key as a former one: older files lie under it.
//!
//! A bucket that the specification names is looked at and never changed. Of every setting only what we
//! set is compared: what an operator adds (a life-cycle rule, a policy statement) stays.

mod key;
mod place;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::action::{Action, BucketRef, BucketSetting, OLD_VERSIONS_DAYS, UNFINISHED_UPLOADS_DAYS};
use crate::draft::Draft;
use crate::files::{FilesHome, LOSES, key_tag, made_anew};
use crate::observed::{
    BucketLifecycle, FilesBucket, KMS_KEY_TAG, MADE_ANEW_TAG, PART_TAG, STACK_TAG, Tags,
};
use crate::spec::{FileStore, partition_of};
use crate::stack::NOTICE;
use crate::view::View;

pub(crate) use place::{Place, place};

/// What is read of it.
const READ: &str = "files_bucket";
/// Our statement in the bucket's policy.
const TLS_ONLY: &str = "DenyPlainHttp";

/// Whether nodes may be made: their files have a place.
pub(super) fn files(view: &View<'_>, draft: &mut Draft) -> bool {
    let ours = &view.spec().files;
    if ours.store == FileStore::Local {
        draft.wait(
            NOTICE,
            format!(
                "`[files] store = \"local\"`: {LOSES}, at every rollout and every replaced node"
            ),
        );
        return true;
    }
    // An S3-compatible store has other credentials than ours; the nodes try it before they serve.
    if ours.own_keys() {
        return true;
    }
    if ours.is_own_bucket() {
        own(view, draft)
    } else {
        named(view, draft)
    }
}

/// The stack's own bucket, when it can be named: in our account.
pub(crate) fn own_bucket(view: &View<'_>) -> Option<BucketRef> {
    let spec = view.spec();
    if !spec.files.is_own_bucket() {
        return None;
    }
    let owner = view.observed.account.clone()?;
    Some(BucketRef {
        name: spec.files_bucket(&owner)?,
        region: spec.files_region(),
        owner,
    })
}

fn is_unread(view: &View<'_>, setting: &str) -> bool {
    let read = format!("{READ}/{setting}");
    view.observed.unknown.contains_key(READ) || view.observed.unknown.contains_key(&read)
}

/// A bucket that exists, of whomever.
fn named(view: &View<'_>, draft: &mut Draft) -> bool {
    if !draft.knows(view, READ) {
        return false;
    }
    let spec = view.spec();
    let name = spec.files.bucket.as_deref().unwrap_or_default();
    let what = format!("bucket `{name}` of `files.bucket`");
    let why = match &view.observed.files_bucket {
        None => format!(
            "{what} does not exist: make it, or leave `files.bucket` out (the stack makes one)"
        ),
        Some(seen) if seen.denied => format!(
            "{what} answers 403: its policy does not let this role look (`s3:ListBucket`), or the role's policy does not (`orchestrator iam-policy`)"
        ),
        Some(seen) if seen.region != spec.files_region() => format!(
            "{what} lies in `{}`, not in `{}`: name a bucket of the home region, or write `region = \"{}\"` into `[files]` (traffic between regions is paid for)",
            seen.region,
            spec.files_region(),
            seen.region
        ),
        Some(_) => {
            key::tell(view, draft);
            return true;
        }
    };
    if place::serves_elsewhere(view) {
        // A slip in the file: what serves keeps its place, whatever becomes of this one.
        draft.wait(
            READ,
            format!("{why}. What serves keeps users' files where they are"),
        );
    } else {
        draft.stick(READ, why);
    }
    false
}

fn own(view: &View<'_>, draft: &mut Draft) -> bool {
    if view.observed.unknown.contains_key(READ) || view.observed.account.is_none() {
        if draft.knows(view, READ) {
            draft.wait(
                READ,
                "the account, and with it the bucket's name, is not known yet",
            );
        }
        return false;
    }
    let Some(bucket) = own_bucket(view) else {
        return false;
    };
    let what = format!("bucket `{}`", bucket.name);
    let Some(seen) = &view.observed.files_bucket else {
        create(view, draft, bucket, &what);
        return false;
    };
    if !may_be_ours(view, draft, seen, bucket.clone(), &what) {
        return false;
    }
    tell_made_anew(draft, seen, &bucket);
    let mut settings = wanted(view, seen, &bucket);
    let key_is_fine = key::hold(view, draft, &mut settings, seen, &bucket);
    let before = draft.reasons.len();
    for setting in settings {
        let text = format!("{what}: {} is not as it should be", setting.word());
        let action = Action::SetBucket {
            bucket: bucket.clone(),
            setting,
        };
        draft.set(view, READ, &text, action);
    }
    // Says which setting could not be read, when one could not.
    draft.knows(view, READ);
    key_is_fine && draft.reasons.len() == before
}

/// Nodes serve from this bucket: the record says so, whatever the bucket's tags say.
fn is_in_force(view: &View<'_>, bucket: &BucketRef) -> bool {
    match view.record().proven.as_ref().map(FilesHome::of) {
        Some(FilesHome::S3(home)) => home.bucket == bucket.name,
        Some(FilesHome::Local) | None => false,
    }
}

/// The command that gives a bucket our tags back, beside those that it has: it replaces them all.
fn tagging(view: &View<'_>, seen: &FilesBucket, bucket: &BucketRef) -> String {
    let mut tags = seen.tags.clone();
    tags.insert(STACK_TAG.to_owned(), view.names.stack().to_owned());
    tags.insert(PART_TAG.to_owned(), "files".to_owned());
    put_tags(bucket, &tags)
}

/// The command that gives a bucket these tags and no others; AWS's own stay.
fn put_tags(bucket: &BucketRef, tags: &Tags) -> String {
    let set: Vec<Value> = tags
        .iter()
        .filter(|(key, _)| !key.starts_with("aws:"))
        .map(|(key, value)| json!({ "Key": key, "Value": value }))
        .collect();
    format!(
        "aws s3api put-bucket-tagging --bucket {} --expected-bucket-owner {} --tagging '{}'",
        bucket.name,
        bucket.owner,
        json!({ "TagSet": set })
    )
}

fn create(view: &View<'_>, draft: &mut Draft, bucket: BucketRef, what: &str) {
    if is_in_force(view, &bucket) {
        // Made again at once all the same: while it is gone, anybody may take its name. A notice, so that `plan`
        // says it beside what it would make.
        draft.wait(
            NOTICE,
            format!("{what} is gone although nodes serve from it: it is made again, empty; what users uploaded is lost unless you have a copy"),
        );
    } else if view.record_is_missing() {
        // Nodes may have served from it, and then its successor says so.
        draft.wait(
            READ,
            format!("{what} is not there, and is made when the store has said what serves"),
        );
        return;
    }
    let made_anew = made_anew_now(view, &bucket);
    draft.create(view, READ, what, Action::EnsureBucket { bucket, made_anew });
}

/// The moment for the tag of a bucket that nodes serve from and that is empty.
fn made_anew_now(view: &View<'_>, bucket: &BucketRef) -> Option<Timestamp> {
    let now = Timestamp::from_second(view.now.as_second()).ok();
    now.filter(|_| is_in_force(view, bucket))
}

/// Says that files are gone until a person removes the tag.
fn tell_made_anew(draft: &mut Draft, seen: &FilesBucket, bucket: &BucketRef) {
    let Some(gone) = made_anew(&bucket.name, &seen.tags) else {
        return;
    };
    let mut tags = seen.tags.clone();
    tags.remove(MADE_ANEW_TAG);
    draft.wait(
        NOTICE,
        format!(
            "{gone}. This is said until the tag `{MADE_ANEW_TAG}` is removed: `{}`",
            put_tags(bucket, &tags)
        ),
    );
}

/// Ours by its tag, or an empty one without any: it was made, and the tag was lost on the way.
fn may_be_ours(
    view: &View<'_>,
    draft: &mut Draft,
    seen: &FilesBucket,
    bucket: BucketRef,
    what: &str,
) -> bool {
    if seen.denied {
        draft.stick(
            READ,
            format!("{what} answers 403: another account has taken the name, or this role may not look (`orchestrator iam-policy` prints what it needs). Choose another stack name, or name a bucket in `files.bucket`"),
        );
        return false;
    }
    if is_unread(view, "tags") {
        draft.knows(view, READ);
        return false;
    }
    if view.is_ours(&seen.tags) {
        return true;
    }
    if seen.tags.is_empty() && seen.empty == Some(true) {
        draft.set(
            view,
            READ,
            &format!("{what} is empty and has no tags: it becomes ours"),
            Action::EnsureBucket {
                made_anew: made_anew_now(view, &bucket),
                bucket,
            },
        );
    } else if is_in_force(view, &bucket) {
        draft.stick(
            "tags_lost",
            format!(
                "{what} holds the files of this stack, whose nodes serve from it, and does not carry the tag `{STACK_TAG}={}` (any more): put it back, with `{PART_TAG}=files`: `{}`. Nothing of the bucket is touched until then",
                view.names.stack(),
                tagging(view, seen, &bucket)
            ),
        );
    } else if is_unread(view, "empty") {
        draft.knows(view, READ);
    } else {
        draft.stick(
            "name_taken",
            format!(
                "{what} exists, holds objects or tags of others, and does not carry the tag `{STACK_TAG}={}`. Name it in `files.bucket` to use it as it is, or empty and delete it; nothing of it is touched",
                view.names.stack()
            ),
        );
    }
    false
}

/// What is to be set, in the order in which it is to be safe: closed before anything lies in it.
fn wanted(view: &View<'_>, seen: &FilesBucket, bucket: &BucketRef) -> Vec<BucketSetting> {
    let kms_key = view.spec().files.kms_key.clone();
    let lifecycle = BucketLifecycle {
        old_versions_days: Some(OLD_VERSIONS_DAYS),
        unfinished_uploads_days: Some(UNFINISHED_UPLOADS_DAYS),
        bare_markers: true,
    };
    let policy = policy_with_ours(seen.policy.as_deref(), bucket);
    let settings = [
        (
            seen.public_access_blocked,
            Some(BucketSetting::PublicAccessBlock),
        ),
        (
            seen.ownership.as_deref() == Some("BucketOwnerEnforced"),
            Some(BucketSetting::Ownership),
        ),
        (
            encrypts(seen, kms_key.as_deref()),
            Some(BucketSetting::Encryption { kms_key }),
        ),
        (
            seen.versioning.as_deref() == Some("Enabled"),
            Some(BucketSetting::Versioning),
        ),
        (
            seen.lifecycle == Some(lifecycle),
            Some(BucketSetting::Lifecycle),
        ),
        (
            policy.is_none(),
            policy.map(|document| BucketSetting::Policy { document }),
        ),
    ];
    settings
        .into_iter()
        .filter(|(fine, _)| !fine)
        .filter_map(|(_, setting)| setting)
        .filter(|setting| !is_unread(view, setting.word()))
        .collect()
}

/// As wanted, and the bucket remembers which key it was given.
fn encrypts(seen: &FilesBucket, kms_key: Option<&str>) -> bool {
    let Some(encryption) = &seen.encryption else {
        return false;
    };
    let remembers = seen.tags.get(KMS_KEY_TAG).map(String::as_str) == Some(key_tag(kms_key));
    remembers
        && encryption.client_keys_blocked
        && match kms_key {
            None => encryption.algorithm == "AES256",
            Some(key) => {
                encryption.algorithm == "aws:kms"
                    && encryption.kms_key.as_deref() == Some(key)
                    && encryption.bucket_key
            }
        }
}

/// The policy with our statement in it; none when it is there already. Other statements stay.
fn policy_with_ours(seen: Option<&str>, bucket: &BucketRef) -> Option<String> {
    let partition = partition_of(&bucket.region);
    let arn = format!("arn:{partition}:s3:::{}", bucket.name);
    let ours = json!({
        "Sid": TLS_ONLY,
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [arn, format!("{arn}/*")],
        "Condition": { "Bool": { "aws:SecureTransport": "false" } },
    });
    let document: Option<Value> = seen.and_then(|text| serde_json::from_str(text).ok());
    let mut statements = match document.as_ref().map(|document| &document["Statement"]) {
        Some(Value::Array(statements)) => statements.clone(),
        Some(one @ Value::Object(_)) => vec![one.clone()],
        _ => Vec::new(),
    };
    if statements.contains(&ours) {
        return None;
    }
    statements.retain(|statement| statement["Sid"] != TLS_ONLY);
    statements.push(ours);
    Some(json!({ "Version": "2012-10-17", "Statement": statements }).to_string())
}
