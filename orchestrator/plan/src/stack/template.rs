//! The launch template: numbered versions, each found again by the digest of its content.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use crate::action::{Action, TemplateContent};
use crate::draft::Draft;
use crate::intent::{Record, Target};
use crate::observed::{Observed, PART_TAG, STACK_TAG, Tags, TemplateVersion};
use crate::spec::Fleet;
use crate::stack::is_ours;
use crate::view::View;

/// Version of the user data's form; the agent refuses others.
const USER_DATA_VERSION: u32 = 1;

/// What the nodes of an image are launched with. None: the node CA is not known yet.
pub(crate) fn content(
    view: &View<'_>,
    image_id: &str,
    security_group: &str,
) -> Option<TemplateContent> {
    let fleet = &view.spec().fleet;
    Some(TemplateContent {
        image_id: image_id.to_owned(),
        instance_type: fleet.instance_type.clone(),
        instance_profile: fleet.instance_profile.clone(),
        key_pair: fleet.key_pair.clone(),
        security_groups: BTreeSet::from([security_group.to_owned()]),
        user_data: user_data(view, view.intent.ca_sha256.as_deref()?),
        tags: Tags::from([
            (STACK_TAG.to_owned(), view.names.stack().to_owned()),
            (PART_TAG.to_owned(), "node".to_owned()),
        ]),
    })
}

/// Where to call, and whom to trust. No secret.
fn user_data(view: &View<'_>, ca_sha256: &str) -> String {
    serde_json::json!({
        "version": USER_DATA_VERSION,
        "stack": view.names.stack(),
        "orchestrators": view.spec().orchestrator.addresses,
        "ca_sha256": ca_sha256,
    })
    .to_string()
}

/// What nodes launched from this version lack of the specification: a rollout brings it, with new nodes.
/// Security groups and user data are the loop's affair.
pub(crate) fn launch_differences(fleet: &Fleet, version: &TemplateVersion) -> Vec<String> {
    let key = |key: &Option<String>| key.clone().unwrap_or_else(|| "none".to_owned());
    [
        (
            "instance type",
            version.instance_type.clone(),
            fleet.instance_type.clone(),
        ),
        (
            "instance profile",
            version.instance_profile.clone(),
            fleet.instance_profile.clone(),
        ),
        ("key pair", key(&version.key_pair), key(&fleet.key_pair)),
    ]
    .into_iter()
    .filter(|(_, is, wanted)| is != wanted)
    .map(|(what, is, wanted)| format!("{what} {is} → {wanted}"))
    .collect()
}

/// The version that nodes of the proven target are launched from, when the launch template shows it.
pub(crate) fn proven_version<'a>(
    record: &Record,
    observed: &'a Observed,
) -> Option<&'a TemplateVersion> {
    version_of(record.proven.as_ref()?, observed)
}

/// The version that nodes of a target are launched from, when the launch template shows it.
pub(crate) fn version_of<'a>(
    target: &Target,
    observed: &'a Observed,
) -> Option<&'a TemplateVersion> {
    let number = target.template_version?;
    observed.template.as_ref()?.versions.get(&number)
}

/// Digest of a content, 32 hexadecimal digits: the description of its version.
pub(crate) fn digest(content: &TemplateContent) -> String {
    let canonical = serde_json::to_vec(content).expect("a template's content is plain data");
    let mut text = hex::encode(Sha256::digest(canonical));
    text.truncate(32);
    text
}

/// The number of the version with this content, once it is there.
pub(crate) fn ensure_version(
    view: &View<'_>,
    draft: &mut Draft,
    content: TemplateContent,
) -> Option<u64> {
    if !draft.knows(view, "template") {
        return None;
    }
    let name = view.names.template();
    let what = format!("launch template `{name}`");
    let digest = digest(&content);
    if let Some(seen) = &view.observed.template {
        if !is_ours(view, draft, &what, &seen.tags) {
            return None;
        }
        let version = seen
            .versions
            .iter()
            .find(|(_, version)| version.description == digest);
        if let Some((number, _)) = version {
            return Some(*number);
        }
    }
    let action = Action::EnsureTemplateVersion {
        name,
        digest,
        content,
    };
    draft.create(view, "template", &format!("{what}: a version"), action);
    None
}
