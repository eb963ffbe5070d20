//! A bucket that was deleted while nodes served from it, and made anew.

use crate::observed::{MADE_ANEW_TAG, Tags};

/// What a person must know of such a bucket, by its tags. None: it is no such bucket, or somebody has removed the
/// tag, and with it said that this is known.
pub fn made_anew(bucket: &str, tags: &Tags) -> Option<String> {
    let at = tags.get(MADE_ANEW_TAG)?;
    Some(format!(
        "bucket `{bucket}` was deleted and made anew at {at}: what users had uploaded before is gone, unless you have a copy"
    ))
}
