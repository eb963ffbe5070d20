//! The Auto Scaling group that serves, its policies and alarms, and its nodes; and what earlier
//! colours left behind.

use std::collections::BTreeSet;

use crate::action::{Action, GroupWanted, LAUNCH_HOOK, TERMINATE_HOOK, TemplateContent};
use crate::draft::Draft;
use crate::files::FilesHome;
use crate::intent::{Slot, Target};
use crate::lifecycle::replace_failed;
use crate::moving::unmoved;
use crate::observed::{Group, PART_TAG, STACK_TAG, Tags, TemplateVersion};
use crate::rollout::pin;
use crate::spec::Spec;
use crate::stack::load_balancer::Balancer;
use crate::stack::{
    Base, NOTICE, Place, content, ensure_alarms, ensure_version, is_ours, launch_differences,
    nodes, place, restarts, version_of,
};
use crate::versions::is_older;
use crate::view::View;

/// Seconds after `InService` before a failed probe of the load balancer counts: its probes need a few
/// rounds to see a target for the first time.
pub(crate) const GRACE_SECONDS: u32 = 120;

/// What the first `up` makes: the specification as it stands.
pub(crate) fn first_target(spec: &Spec, image_id: &str, files: FilesHome) -> Target {
    let ours = &spec.mattermost;
    Target {
        image_id: image_id.to_owned(),
        template_version: None,
        version: ours.version.clone(),
        sha256: ours.sha256.clone(),
        url: spec.artefact_url(&ours.version),
        settings: ours.settings.clone(),
        files: Some(files),
    }
}

/// Whether at least the floor of nodes is verified and healthy.
pub(super) fn fleet(view: &View<'_>, draft: &mut Draft, base: &Base, image: Option<&str>) -> bool {
    if !draft.knows(view, "groups") || !draft.knows(view, "instances") {
        return false;
    }
    let name = view.owner();
    let target = match (&view.record().proven, image) {
        (Some(proven), _) => proven.clone(),
        (None, Some(image)) => {
            let account = view.observed.account.as_deref();
            let Some(files) = FilesHome::wanted(view.spec(), account) else {
                return false;
            };
            first_target(view.spec(), image, files)
        }
        (None, None) => return false,
    };
    let version = template_version(view, draft, base, &target);
    let Some(group) = view.group(&name) else {
        if let (Some(balancer), Some(version)) = (&base.balancer, version) {
            let has_place = matches!(place(view, base, &target), Place::Ready | Place::Serves);
            create_group(view, draft, base, has_place, balancer, &name, version);
        }
        return false;
    };
    if !is_ours(
        view,
        draft,
        &format!("Auto Scaling group `{name}`"),
        &group.tags,
    ) {
        return false;
    }
    if let Some(status) = &group.status {
        draft.wait(
            "group_deleting",
            format!("`{name}` is being deleted ({status}); it is made again after that"),
        );
        return false;
    }
    draft.record.group = Some(name.clone());
    draft.record.generation = draft.record.generation.max(1);
    if let (Some(balancer), Some(version)) = (&base.balancer, version) {
        drift(view, draft, balancer, group, version);
    }
    let members = nodes::nodes(view, draft, group, &target);
    restarts::guard(view, draft, group);
    replace_failed(view, draft, group, &members);
    ensure_alarms(view, draft, group);
    nodes::serves(view, draft, group, &members, &target, version)
}

/// The version that new nodes of this target are launched from. A proven one is kept as it was proven,
/// except for what would keep a node from starting at all: the security groups and whom to call.
fn template_version(
    view: &View<'_>,
    draft: &mut Draft,
    base: &Base,
    target: &Target,
) -> Option<u64> {
    let security_group = base.groups.fleet.as_ref()?;
    let Some(mut wanted) = content(view, &target.image_id, security_group) else {
        draft.wait("node_ca", "the node CA is not known yet");
        return None;
    };
    if let Some(number) = target.template_version
        && draft.knows(view, "template")
        && let Some(proven) = version_of(target, view.observed)
    {
        note_what_waits_for_a_rollout(view, draft, proven);
        if launches_alike(&wanted, proven) {
            return Some(number);
        }
        wanted.instance_type.clone_from(&proven.instance_type);
        wanted.instance_profile.clone_from(&proven.instance_profile);
        wanted.key_pair.clone_from(&proven.key_pair);
    }
    if !base.databases_made && target.template_version.is_none() {
        return None;
    }
    let number = ensure_version(view, draft, wanted)?;
    if let Some(proven) = &mut draft.record.proven {
        proven.template_version = Some(number);
    }
    Some(number)
}

fn launches_alike(wanted: &TemplateContent, proven: &TemplateVersion) -> bool {
    wanted.security_groups == proven.security_groups && wanted.user_data == proven.user_data
}

/// Until a stack of an earlier build is moved no rollout is made, and one with `--files-moved` would leave the
/// files on a disk that goes with it: then only the move is spoken of.
fn note_what_waits_for_a_rollout(view: &View<'_>, draft: &mut Draft, proven: &TemplateVersion) {
    if unmoved(view.record(), view.spec()).is_some() {
        return;
    }
    let ours = &view.spec().mattermost;
    let mut differs = launch_differences(&view.spec().fleet, proven);
    let mut command = "orchestrator rollout".to_owned();
    if let Some(target) = &view.record().proven {
        if target.settings != ours.settings {
            differs.push("settings".to_owned());
        }
        let files = FilesHome::wanted(view.spec(), view.observed.account.as_deref());
        if let Some(files) = files {
            let serving = FilesHome::of(target);
            if !serving.is_same_place(&files) {
                differs.push(format!("files in {}", files.words()));
                command.push_str(" --files-moved");
            } else if target.files.is_some() {
                differs.extend(serving.other_way_to(&files).map(str::to_owned));
            }
        }
        if target.version != ours.version {
            draft.wait(NOTICE, other_version(target, &ours.version));
        }
    }
    if !differs.is_empty() {
        let text = format!(
            "the specification differs from what serves ({}): `{command}` brings it",
            differs.join(", ")
        );
        draft.wait(NOTICE, text);
    }
}

/// The file does not decide the version of a stack that serves: the last rollout did, and what it made is right.
fn other_version(serves: &Target, file: &str) -> String {
    let rollout = format!("`orchestrator rollout --mattermost {file}`");
    let way = if is_older(file, &serves.version) {
        format!("{rollout} would go back to the older one")
    } else {
        format!("{rollout} brings the file's")
    };
    format!(
        "Mattermost {} serves, and the file says {file}: write `version = \"{}\"` and `sha256 = \"{}\"` into `[mattermost]`; {way}",
        serves.version, serves.version, serves.sha256
    )
}

/// The group as it is wanted at its birth, empty of judgement about its size.
pub(crate) fn group_wanted(
    view: &View<'_>,
    name: &str,
    slot: Slot,
    balancer: &Balancer,
    version: u64,
    (min, max, desired): (u32, u32, u32),
) -> GroupWanted {
    let fleet = &view.spec().fleet;
    let subnets = view
        .observed
        .network
        .as_ref()
        .map_or_else(BTreeSet::new, |network| {
            network
                .subnets
                .iter()
                .map(|subnet| subnet.id.clone())
                .collect()
        });
    GroupWanted {
        name: name.to_owned(),
        template: view.names.template(),
        version,
        subnets,
        target_groups: BTreeSet::from([balancer.target_group(slot).to_owned()]),
        min,
        max,
        desired,
        launch_heartbeat: fleet.boot_seconds,
        terminate_heartbeat: fleet.drain_seconds,
        grace_seconds: GRACE_SECONDS,
        tags: Tags::from([
            (STACK_TAG.to_owned(), view.names.stack().to_owned()),
            (PART_TAG.to_owned(), "fleet".to_owned()),
        ]),
    }
}

fn create_group(
    view: &View<'_>,
    draft: &mut Draft,
    base: &Base,
    has_place: bool,
    balancer: &Balancer,
    name: &str,
    version: u64,
) {
    let mut missing = Vec::new();
    if !base.databases_made {
        missing.push("databases");
    }
    if !base.replicas_ready {
        missing.push("replicas");
    }
    if !has_place {
        missing.push("the place for users' files");
    }
    if view.listener().is_none() {
        missing.push("listener");
    }
    if !missing.is_empty() {
        draft.wait(
            "fleet",
            format!("the fleet waits for: {}", missing.join(", ")),
        );
        return;
    }
    let fleet = &view.spec().fleet;
    let size = (fleet.min, fleet.max, fleet.min);
    let wanted = group_wanted(view, name, view.record().slot, balancer, version, size);
    draft.create(
        view,
        "group",
        &format!("Auto Scaling group `{name}`"),
        Action::EnsureGroup(wanted),
    );
}

/// What of the group is not as specified. Its desired size is Auto Scaling's own business.
fn drift(view: &View<'_>, draft: &mut Draft, balancer: &Balancer, group: &Group, version: u64) {
    let fleet = &view.spec().fleet;
    let what = format!("Auto Scaling group `{}`", group.name);
    let desired = group.desired.clamp(fleet.min, fleet.max);
    let wanted = group_wanted(
        view,
        &group.name,
        view.record().slot,
        balancer,
        version,
        (fleet.min, fleet.max, desired),
    );
    let hook = |name: &str| group.hooks.get(name).map(|(_, seconds)| *seconds);
    let alike = group.subnets == wanted.subnets
        && group.target_groups == wanted.target_groups
        && group.health_check == "ELB"
        && hook(LAUNCH_HOOK) == Some(wanted.launch_heartbeat)
        && hook(TERMINATE_HOOK) == Some(wanted.terminate_heartbeat);
    if !alike {
        draft.set(
            view,
            "drift",
            &format!("{what} differs from the specification"),
            Action::EnsureGroup(wanted),
        );
    }
    if group.template_version != version {
        let action = Action::SetGroupTemplate {
            group: group.name.clone(),
            template: view.names.template(),
            version,
        };
        draft.set(
            view,
            "drift",
            &format!(
                "{what} launches from version {}, not {version}",
                group.template_version
            ),
            action,
        );
    }
    if pin::is_pinned(group) {
        pin::release(view, draft, group, None);
    } else if desired < group.desired
        && let Some(unmoved) = unmoved(view.record(), view.spec())
    {
        let text = format!(
            "`{}` stays at {} nodes, although `fleet.max` is {}: {}",
            group.name,
            group.desired,
            fleet.max,
            unmoved.words()
        );
        draft.wait(NOTICE, text);
    } else if (group.min, group.max) != (fleet.min, fleet.max) {
        let action = Action::SetGroupSize {
            group: group.name.clone(),
            min: fleet.min,
            max: fleet.max,
            desired,
        };
        draft.set(
            view,
            "drift",
            &format!("{what}: size limits differ"),
            action,
        );
    }
}
