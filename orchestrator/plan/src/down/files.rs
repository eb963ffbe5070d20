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
    let Some(seen) = view.observed.files_bucket.as_ref() else {
        return true;
    };
    let what = format!("bucket `{}`", bucket.name);
    // Of another one nothing is touched, and nothing is called deleted that is there.
    if seen.denied || !ours(view, &seen.tags) {
        let why = if seen.denied {
            "it answers 403: the rights of `orchestrator iam-policy --delete-files` are missing, or it is another account's"
        } else {
            "it does not carry the stack's tag"
        };
        draft.stick(
            "files",
            format!("{what} is there and is not deleted: {why}"),
        );
        return false;
    }
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
