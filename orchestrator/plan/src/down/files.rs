//! The stack's own bucket, when `down --delete-files` said so: emptied, page by page, then deleted. A
//! bucket that the specification names is not ours to delete.

use super::ours;
use crate::action::Action;
use crate::draft::{Draft, is_refused_by_iam};
use crate::stack::own_bucket;
use crate::view::View;

/// Where the rights for it are printed.
const RIGHTS: &str = "`orchestrator iam-policy --delete-files` prints the rights that whoever runs `down --delete-files` needs";

/// A read that the rights do not allow: nothing is learnt by asking again.
fn unreadable<'a>(view: &View<'a>) -> Option<(&'a str, &'a str)> {
    let mut unknown = view.observed.unknown.iter();
    unknown
        .find(|(read, why)| read.starts_with("files_bucket") && is_refused_by_iam(why))
        .map(|(read, why)| (read.as_str(), why.as_str()))
}

/// Asks for the action; where AWS refused it before, says which rights are missing.
fn set(view: &View<'_>, draft: &mut Draft, text: &str, action: Action) {
    let entry = view.intent.journal.get(&action.key());
    let error = entry.and_then(|entry| entry.error.as_deref());
    if error.is_some_and(is_refused_by_iam) {
        draft.set(view, "files", &format!("{text} ({RIGHTS})"), action);
    } else {
        draft.set(view, "files", text, action);
    }
}

/// Whether it is gone, or was never ours.
pub(super) fn bucket(view: &View<'_>, draft: &mut Draft) -> bool {
    if !view.spec().files.is_own_bucket() {
        return true;
    }
    if let Some((read, why)) = unreadable(view) {
        draft.stick(
            "files",
            format!("the bucket is not deleted: {read} could not be read: {why}; {RIGHTS}"),
        );
        return false;
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
        let text = format!("{what} is empty and is deleted");
        set(view, draft, &text, Action::DeleteBucket { bucket });
    } else {
        let text = format!(
            "{what} is being emptied: {} version(s) and marker(s) deleted so far",
            seen.deleted
        );
        set(view, draft, &text, Action::DeleteBucketContents { bucket });
    }
    false
}
