//! `doctor`'s look at images: the one that the file names, and those that the stack's groups launch from. Once a
//! stack serves, the file's image is for the next rollout only: what replaces a lost node is the template's.

use std::collections::BTreeMap;

use cloud::ReadError;
use plan::observed::{Image, Observed};

use super::{Check, Outcome};
use crate::core::Core;

/// The file's image, and its check.
pub(super) async fn of_the_file(core: &Core) -> (Check, Option<Image>) {
    let named = &core.spec.fleet.image;
    match core.cloud.resolve_image(named).await {
        Ok(image) => {
            let detail = format!("`{named}` is {} ({})", image.id, image.state);
            (Check::new("image", Outcome::Ok, detail), Some(image))
        }
        Err(error) => {
            let detail = format!(
                "{}\nhint: `packer build packer/` makes one",
                crate::chain(&error)
            );
            (Check::new("image", Outcome::Fail, detail), None)
        }
    }
}

/// A check for each image that a group of the stack launches from.
pub(super) async fn of_groups(core: &Core, observed: &Observed) -> Vec<Check> {
    let mut checks = Vec::new();
    for (image, groups) in launched_from(observed) {
        let found = core.cloud.resolve_image(image).await;
        checks.push(judge(image, &groups, found));
    }
    checks
}

/// Image by the groups that have nodes, or are to have some, of it.
fn launched_from(observed: &Observed) -> BTreeMap<&str, Vec<&str>> {
    let mut images: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let versions = observed.template.iter().map(|template| &template.versions);
    for versions in versions {
        for group in observed.groups.values().filter(|group| group.max > 0) {
            if let Some(version) = versions.get(&group.template_version) {
                let groups = images.entry(&version.image_id).or_default();
                groups.push(&group.name);
            }
        }
    }
    images
}

fn judge(id: &str, groups: &[&str], found: Result<Image, ReadError>) -> Check {
    let groups = groups.join(", ");
    let name = format!("image of {groups}");
    match found {
        Ok(image) if image.state == "available" => {
            Check::new(name, Outcome::Ok, format!("{id} is available"))
        }
        Ok(image) => Check::new(
            name,
            Outcome::Fail,
            format!("{id} is `{}`: {}", image.state, gone(&groups)),
        ),
        Err(ReadError::NotFound { .. }) => Check::new(
            name,
            Outcome::Fail,
            format!("{id} is not there any more: {}", gone(&groups)),
        ),
        Err(error) => Check::new(name, Outcome::Warn, crate::chain(&error)),
    }
}

fn gone(groups: &str) -> String {
    format!(
        "no node of {groups} can be replaced, and a lost one stays lost. `orchestrator rollout --image AMI` goes to one that is there; `fleet.image` alone changes nothing of a group that serves"
    )
}

#[cfg(test)]
mod tests {
    use plan::observed::{Group, Template, TemplateVersion};

    use super::*;

    #[test]
    fn images_of_groups_that_launch_are_looked_at() {
        let mut observed = Observed::default();
        let mut template = Template::default();
        for (version, image) in [(1, "ami-old"), (2, "ami-new"), (3, "ami-unused")] {
            let it = TemplateVersion {
                image_id: image.to_owned(),
                ..TemplateVersion::default()
            };
            template.versions.insert(version, it);
        }
        observed.template = Some(template);
        for (name, version, max) in [
            ("chat-g1", 1, 0),
            ("chat-g2", 2, 3),
            ("chat-g3", 2, 1),
            ("chat-g4", 9, 1),
        ] {
            let group = Group {
                name: name.to_owned(),
                template_version: version,
                max,
                ..Group::default()
            };
            observed.groups.insert(name.to_owned(), group);
        }
        let images = launched_from(&observed);
        assert_eq!(
            images.into_iter().collect::<Vec<_>>(),
            [("ami-new", vec!["chat-g2", "chat-g3"])]
        );
    }

    #[test]
    fn an_image_that_is_gone_fails_with_the_way_on() {
        let gone = judge(
            "ami-1",
            &["chat-g2"],
            Err(ReadError::NotFound {
                what: "x".to_owned(),
            }),
        );
        assert_eq!(gone.result, Outcome::Fail);
        assert!(
            gone.detail.contains("`orchestrator rollout --image AMI`"),
            "{}",
            gone.detail
        );
        for (state, outcome) in [
            ("available", Outcome::Ok),
            ("deregistered", Outcome::Fail),
            ("pending", Outcome::Fail),
        ] {
            let image = Image {
                state: state.to_owned(),
                ..Image::default()
            };
            assert_eq!(judge("ami-1", &["chat-g2"], Ok(image)).result, outcome);
        }
    }
}
