//! The KMS key of the bucket: given only when KMS showed it as usable, taken away only when the file names it as a
//! former one.

use super::is_in_force;
use crate::action::{BucketRef, BucketSetting};
use crate::draft::Draft;
use crate::files::{unnamed_key, unnamed_key_stays};
use crate::kms_key::{KeyVerdict, judge_kms_key};
use crate::observed::FilesBucket;
use crate::stack::NOTICE;
use crate::view::View;

/// What is known of the key that the specification names; none: it names none.
fn key(view: &View<'_>) -> Option<KeyVerdict> {
    let arn = view.spec().files.kms_key.as_deref()?;
    Some(judge_kms_key(arn, &view.observed.files_key))
}

/// Of a key that is not ours to give, so that nothing waits for it: says why it is not known to be usable.
pub(super) fn tell(view: &View<'_>, draft: &mut Draft) {
    if let Some(why) = key(view).as_ref().and_then(KeyVerdict::problem) {
        draft.wait(NOTICE, why);
    }
}

/// Takes the encryption out of what is to be set while its key is not known to be usable, or the one that the bucket
/// has may not be taken from it, and says why. Whether nodes may use the bucket all the same: those of a new stack
/// would keep files without the key that was asked for.
pub(super) fn hold(
    view: &View<'_>,
    draft: &mut Draft,
    settings: &mut Vec<BucketSetting>,
    seen: &FilesBucket,
    bucket: &BucketRef,
) -> bool {
    let verdict = key(view);
    let why = verdict.as_ref().and_then(KeyVerdict::problem);
    let former = unnamed_key(&view.spec().files, seen);
    if why.is_none() && former.is_none() {
        return true;
    }
    let before = settings.len();
    settings.retain(|setting| !matches!(setting, BucketSetting::Encryption { .. }));
    let held = settings.len() < before;
    if let Some(former) = former {
        draft.wait("files_key", unnamed_key_stays(&bucket.name, former));
    }
    match why {
        Some(why) if held => draft.wait(
            "files_key",
            format!(
                "bucket `{}` keeps its encryption as it is: {why}",
                bucket.name
            ),
        ),
        // The bucket has it already: nothing waits, and whoever reads the status knows why uploads fail.
        Some(why) => draft.wait(NOTICE, why),
        None => {}
    }
    !held || is_in_force(view, bucket)
}
