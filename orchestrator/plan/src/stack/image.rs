//! Images: the specification's name resolved once, and copies in every region that a zone lies in.

use std::collections::BTreeSet;

use crate::action::Action;
use crate::draft::Draft;
use crate::observed::Image;
use crate::view::View;

/// The image that the stack runs, when the home region has it `available`. A name is resolved once and
/// recorded by id.
pub(super) fn resolve(view: &View<'_>, draft: &mut Draft) -> Option<String> {
    if !draft.knows(view, "images") {
        return None;
    }
    let id = chosen(view);
    let Some(id) = id else {
        let home = view.spec().home_region();
        let named = &view.spec().fleet.image;
        draft.stick("image", format!("no image of this account in `{home}` is named `{named}`: build one with Packer, or name another in `fleet.image`"));
        return None;
    };
    home_image(view, draft, &id)?;
    if view.record().proven.is_none() || draft.record.image_id.is_none() {
        draft.record.image_id = Some(id.clone());
    }
    Some(id)
}

/// The id of the image that nodes are launched from, whether it is there or not. None: nothing fits the
/// specification's name.
pub(super) fn chosen(view: &View<'_>) -> Option<String> {
    let recorded = view
        .record()
        .proven
        .as_ref()
        .map(|proven| proven.image_id.clone());
    let named = &view.spec().fleet.image;
    let home = view.spec().home_region();
    // Until something is proven the file decides: an id at once, a name once, unless its image went.
    let resolved = view.record().image_id.clone().filter(|id| {
        let images = view.observed.images.get(&home);
        let image = images.and_then(|images| images.get(id));
        image.is_some_and(|image| fits(named.as_bytes(), image.name.as_bytes()))
    });
    recorded
        .or_else(|| named.starts_with("ami-").then(|| named.clone()))
        .or(resolved)
        .or_else(|| newest(view, named))
}

/// The image in the home region, once `available`.
pub(crate) fn home_image<'a>(view: &View<'a>, draft: &mut Draft, id: &str) -> Option<&'a Image> {
    let home = view.spec().home_region();
    let image = view
        .observed
        .images
        .get(&home)
        .and_then(|images| images.get(id));
    match image.map(|image| (image, image.state.as_str())) {
        Some((image, "available")) => Some(image),
        Some((_, "failed" | "error" | "invalid" | "deregistered")) => {
            draft.stick(
                "image",
                format!(
                    "image `{id}` in `{home}` cannot be used: {}",
                    reason_of(image)
                ),
            );
            None
        }
        Some((_, state)) => {
            draft.wait(
                "image_not_available",
                format!("image `{id}` in `{home}` is `{state}`, not `available` yet"),
            );
            None
        }
        None => {
            let way_out = if view.record().proven.is_some() {
                // The file does not decide what serves.
                "no node can be launched; `orchestrator rollout --image AMI` brings one that is there"
            } else {
                "name one that is in `fleet.image`, and restart"
            };
            draft.stick(
                "image",
                format!("image `{id}` is not in `{home}`: {way_out}"),
            );
            None
        }
    }
}

fn reason_of(image: Option<&Image>) -> String {
    image.map_or_else(String::new, |image| {
        let why = image
            .state_reason
            .as_deref()
            .unwrap_or("EC2 gives no reason");
        format!("`{}`: {why}", image.state)
    })
}

/// The newest available image whose name fits; `*` and `?` stand for what they do in EC2's filters.
fn newest(view: &View<'_>, name: &str) -> Option<String> {
    let home = view.spec().home_region();
    view.observed
        .images
        .get(&home)?
        .values()
        .filter(|image| image.state == "available" && fits(name.as_bytes(), image.name.as_bytes()))
        .max_by_key(|image| (image.created, image.id.clone()))
        .map(|image| image.id.clone())
}

fn fits(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            fits(rest, name)
                || name
                    .split_first()
                    .is_some_and(|(_, name)| fits(pattern, name))
        }
        (Some((b'?', rest)), Some((_, name))) => fits(rest, name),
        (Some((letter, rest)), Some((other, name))) => letter == other && fits(rest, name),
        _ => false,
    }
}

/// The copy of a home image in another region, whatever its state; an available one before others.
pub(crate) fn copy_of<'a>(view: &View<'a>, region: &str, source: &str) -> Option<&'a Image> {
    let home = view.spec().home_region();
    let name = view.names.image_copy(source);
    view.observed
        .images
        .get(region)?
        .values()
        .filter(|image| match &image.source {
            Some((region, id)) => *region == home && id == source,
            None => image.name == name && view.is_ours(&image.tags),
        })
        .max_by_key(|image| {
            (
                image.state == "available",
                image.state != "failed",
                image.id.clone(),
            )
        })
}

/// Removes copies of images that nothing runs any more and that no kept group goes back to. The images
/// themselves, in the home region, are the operator's.
pub(super) fn janitor(view: &View<'_>, draft: &mut Draft) {
    // What is retained no longer is not in the draft's record any more.
    let record = &draft.record;
    let Some(proven) = &record.proven else {
        return;
    };
    if view.record_is_missing() || view.unknown("images").is_some() {
        return;
    }
    let used: BTreeSet<String> = record
        .retained
        .iter()
        .map(|kept| &kept.target.image_id)
        .chain(&record.image_id)
        .chain([&proven.image_id])
        .cloned()
        .collect();
    let home = view.spec().home_region();
    for region in view.spec().regions().iter().skip(1) {
        for (id, image) in view.observed.images.get(region).into_iter().flatten() {
            let Some((_, source)) = image.source.as_ref().filter(|(from, _)| *from == home) else {
                continue;
            };
            if image.state != "available" || !view.is_ours(&image.tags) || used.contains(source) {
                continue;
            }
            let action = Action::DeleteImage {
                region: region.clone(),
                image: id.clone(),
            };
            let text = format!("copy of `{source}` in `{region}`, which nothing runs, is deleted");
            draft.set(view, "orphan", &text, action);
        }
    }
}

/// Whether every region of the stack has the image `available`; makes the copies that are missing.
pub(crate) fn copies(view: &View<'_>, draft: &mut Draft, source: &str) -> bool {
    let mut all = true;
    for region in view.spec().regions().iter().skip(1) {
        if !draft.knows(view, "images") {
            return false;
        }
        let what = format!("copy of `{source}` in `{region}`");
        match copy_of(view, region, source).map(|image| (image, image.state.as_str())) {
            Some((_, "available")) => continue,
            Some((image, "failed" | "error" | "invalid")) if view.is_ours(&image.tags) => {
                let text = format!(
                    "{what} failed and is made again: {}",
                    reason_of(Some(image))
                );
                let action = Action::DeleteImage {
                    region: region.clone(),
                    image: image.id.clone(),
                };
                draft.set(view, "image_copy", &text, action);
            }
            Some((image, state)) => {
                draft.wait(
                    "image_copy",
                    format!("{what}, `{}`, is `{state}`, not `available` yet", image.id),
                );
            }
            None => {
                let action = Action::EnsureImageCopy {
                    region: region.clone(),
                    source_region: view.spec().home_region(),
                    source_image: source.to_owned(),
                    name: view.names.image_copy(source),
                };
                draft.create(view, "image_copy", &what, action);
            }
        }
        all = false;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn names_fit_as_in_ec2_filters() {
        for (pattern, name, expected) in [
            ("mattermost-base-11.10.0", "mattermost-base-11.10.0", true),
            (
                "mattermost-base-*",
                "mattermost-base-11.10.0-20261122",
                true,
            ),
            ("mattermost-base-11.?.0*", "mattermost-base-11.9.0", true),
            ("mattermost-base-11.?.0*", "mattermost-base-11.10.0", false),
            ("mattermost", "mattermost-base", false),
            ("*", "", true),
        ] {
            assert_eq!(
                fits(pattern.as_bytes(), name.as_bytes()),
                expected,
                "{pattern} {name}"
            );
        }
    }
}
