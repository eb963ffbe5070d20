//! The stack's own bucket, when `down --delete-files` said so: emptied, page by page, then deleted. A
//! bucket that the specification names is not ours to delete.

use super::ours;
use crate::action::Action;
use crate::draft::Draft;
use crate::stack::own_bucket;
use crate::view::View;

/// Whether it is gone, or was never ours.
pub(super) fn bucket(view: &View<'_>, draft: &mut Draft) -> bool {
    if !view.spec().files.is_own_bucket() {
        return true;
    }
    if !draft.knows(view, "files_bucket") {
        return false;
    }
    let Some(bucket) = own_bucket(view) else {
        draft.wait(
            "files",
            "the account, and with it the bucket's name, is not known yet",
        );
        return false;
    };
    // Of another one, or of a stack that went before, nothing is touched.
    let seen = view
        .observed
        .files_bucket
        .as_ref()
        .filter(|seen| !seen.denied && ours(view, &seen.tags));
    let Some(seen) = seen else { return true };
    let what = format!("bucket `{}`", bucket.name);
    if seen.empty == Some(true) {
        draft.set(
            view,
            "files",
            &format!("{what} is empty and is deleted"),
            Action::DeleteBucket { bucket },
        );
    } else {
        let text = format!(
            "{what} is being emptied: {} version(s) and marker(s) deleted so far",
            seen.deleted
        );
        draft.set(
            view,
            "files",
            &text,
            Action::DeleteBucketContents { bucket },
        );
    }
    false
}
