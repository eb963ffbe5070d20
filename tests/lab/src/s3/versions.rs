//! The versions of a key: found, added, marked as deleted, removed.
//!
//! ```text
//!  versioning   write                        delete                      delete of a version
//!  never        replaces `null`              removes `null`              removes it
//!  enabled      a new version                a marker with a new id      removes it, marker or not
//!  suspended    replaces `null`              a marker `null`             removes it
//! ```

use super::access::Exchange;
use super::no_such_key;
use super::state::{Bucket, Content, NULL, Version, Versioning};
use crate::Lab;
use crate::api::ApiError;

/// A version that was looked for and has content.
#[derive(Debug)]
pub(super) struct Found {
    pub id: String,
    /// The id as an answer shows it; none where versioning was never on.
    pub shown_id: Option<String>,
    pub modified: jiff::Timestamp,
    pub content: Content,
}

/// What a deletion did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Deleted {
    /// The marker's id, or the removed version's.
    pub version_id: Option<String>,
    /// A marker was made, or removed.
    pub marker: bool,
}

/// A version by id, or the present one. Who may not list the bucket is not told that a key is missing.
pub(super) fn find(
    exchange: &Exchange,
    bucket: &str,
    key: &str,
    version: Option<&str>,
) -> Result<Found, ApiError> {
    let found = look(exchange, bucket, key, version);
    match found {
        Err(error) if error.code == "NoSuchKey" && !exchange.may_list(bucket) => {
            Err(ApiError::new("AccessDenied", "Access Denied").status(403))
        }
        found => found,
    }
}

fn look(
    exchange: &Exchange,
    bucket: &str,
    key: &str,
    wanted: Option<&str>,
) -> Result<Found, ApiError> {
    let state = exchange.lab.s3.lock();
    let bucket = state.bucket(bucket)?;
    let versions = bucket.objects.get(key);
    let found = match wanted {
        None => versions
            .and_then(|all| all.last())
            .ok_or_else(|| no_such_key(key))?,
        Some(wanted) => versions
            .into_iter()
            .flatten()
            .find(|version| version.id == wanted)
            .ok_or_else(|| no_such_version(wanted))?,
    };
    let shown_id = (bucket.versioning != Versioning::Never).then(|| found.id.clone());
    let Some(content) = found.content.clone() else {
        exchange.head("x-amz-delete-marker", "true");
        exchange.head("x-amz-version-id", found.id.clone());
        if wanted.is_none() {
            return Err(no_such_key(key));
        }
        exchange.head("allow", "DELETE");
        let message = "The specified method is not allowed against this resource.";
        return Err(ApiError::new("MethodNotAllowed", message).status(405));
    };
    Ok(Found {
        id: found.id.clone(),
        shown_id,
        modified: found.modified,
        content,
    })
}

fn no_such_version(id: &str) -> ApiError {
    let known = |letter: char| letter.is_ascii_hexdigit();
    if id == NULL || (id.len() == 32 && id.chars().all(known)) {
        let message = format!("The specified version does not exist: {id}");
        return ApiError::new("NoSuchVersion", message).status(404);
    }
    ApiError::new("InvalidArgument", "Invalid version id specified")
}

/// Adds a version with content; gives the id that the answer shows.
pub(super) fn add(lab: &Lab, bucket: &mut Bucket, key: &str, content: Content) -> Option<String> {
    let id = match bucket.versioning {
        Versioning::Enabled => lab.ids.hex(32),
        Versioning::Never | Versioning::Suspended => NULL.to_owned(),
    };
    push(lab, bucket, key, id.clone(), Some(content));
    (bucket.versioning != Versioning::Never).then_some(id)
}

/// Deletes a key, or one version of it. What is not there is deleted, too.
pub(super) fn delete(lab: &Lab, bucket: &mut Bucket, key: &str, version: Option<&str>) -> Deleted {
    if let Some(wanted) = version {
        let removed = remove(bucket, key, wanted);
        return Deleted {
            version_id: Some(wanted.to_owned()),
            marker: removed.is_some_and(|version| version.content.is_none()),
        };
    }
    let id = match bucket.versioning {
        Versioning::Never => {
            remove(bucket, key, NULL);
            return Deleted::default();
        }
        Versioning::Enabled => lab.ids.hex(32),
        Versioning::Suspended => NULL.to_owned(),
    };
    push(lab, bucket, key, id.clone(), None);
    Deleted {
        version_id: Some(id),
        marker: true,
    }
}

/// Removes a version for good; the one before it is the present one again.
pub(super) fn remove(bucket: &mut Bucket, key: &str, id: &str) -> Option<Version> {
    let versions = bucket.objects.get_mut(key)?;
    let at = versions.iter().position(|version| version.id == id)?;
    let removed = versions.remove(at);
    if let Some(last) = versions.last_mut() {
        last.noncurrent = None;
    } else {
        bucket.objects.remove(key);
    }
    Some(removed)
}

fn push(lab: &Lab, bucket: &mut Bucket, key: &str, id: String, content: Option<Content>) {
    let now = lab.s3.now(&lab.clock);
    if id == NULL {
        remove(bucket, key, NULL);
    }
    let versions = bucket.objects.entry(key.to_owned()).or_default();
    if let Some(last) = versions.last_mut() {
        last.noncurrent.get_or_insert(now);
    }
    versions.push(Version {
        id,
        modified: lab.clock.now(),
        born: now,
        noncurrent: None,
        content,
    });
}
