//! Whether the nodes of a target have a place for users' files. The file says one place and a target its own, which
//! was decided when its rollout was asked for: of another than the file's nothing is observed.

use crate::files::FilesHome;
use crate::intent::Target;
use crate::stack::Base;
use crate::view::View;

/// What is known of a target's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The file's, and it is ready.
    Ready,
    /// The file's, and it is not ready; why is among the reasons.
    Unready,
    /// Not the file's (any more), but what serves uses it.
    Serves,
    /// Neither the file's nor that of what serves: where the target has it, and where the file.
    Nobodys {
        /// The target's.
        target: Box<FilesHome>,
        /// The file's.
        file: Box<FilesHome>,
    },
}

/// The place of this target's nodes.
pub(crate) fn place(view: &View<'_>, base: &Base, target: &Target) -> Place {
    let home = FilesHome::of(target);
    let file = FilesHome::wanted(view.spec(), view.observed.account.as_deref());
    match file.filter(|file| !file.is_same_place(&home)) {
        None if base.files_ready => Place::Ready,
        None => Place::Unready,
        Some(_) if serves_from(view, &home) => Place::Serves,
        Some(file) => Place::Nobodys {
            target: Box::new(home),
            file: Box::new(file),
        },
    }
}

/// Whether what serves keeps users' files there.
fn serves_from(view: &View<'_>, home: &FilesHome) -> bool {
    let proven = view.record().proven.as_ref().map(FilesHome::of);
    proven.is_some_and(|proven| proven.is_same_place(home))
}

/// Whether nodes serve, and keep users' files elsewhere than the file says now.
pub(super) fn serves_elsewhere(view: &View<'_>) -> bool {
    let file = FilesHome::wanted(view.spec(), view.observed.account.as_deref());
    file.is_some_and(|file| view.record().proven.is_some() && !serves_from(view, &file))
}
