//! What earlier colours left behind: kept for their retention window, and then removed; and groups
//! that nobody owns, which are removed at once.

use std::collections::BTreeSet;

use crate::action::Action;
use crate::decision::NodeGoal;
use crate::draft::Draft;
use crate::lifecycle::tend;
use crate::observed::{Group, ListenerAction};
use crate::rollout::{pin, prune_probe_rules};
use crate::view::View;

/// Removes colours whose retention is over.
pub(super) fn janitor(view: &View<'_>, draft: &mut Draft) {
    orphans(view, draft);
    orphan_alarms(view, draft);
    orphan_versions(view, draft);
    prune_probe_rules(view, draft);
    let mut kept = Vec::new();
    for retained in &view.record().retained {
        if view.now < retained.until
            || !draft.knows(view, "groups")
            || !draft.knows(view, "template")
        {
            kept.push(retained.clone());
            continue;
        }
        let mut left = false;
        if let Some(group) = view
            .group(&retained.group)
            .filter(|group| view.is_ours(&group.tags))
        {
            left = true;
            if group.status.is_none() {
                let action = Action::DeleteGroup {
                    group: group.name.clone(),
                    force: false,
                };
                draft.set(
                    view,
                    "retention",
                    &format!("`{}` is no longer kept", group.name),
                    action,
                );
            }
        }
        let number = retained
            .target
            .template_version
            .filter(|number| is_orphan(view, *number, &retained.group));
        if let Some(number) = number {
            left = true;
            let action = Action::DeleteTemplateVersions {
                name: view.names.template(),
                versions: BTreeSet::from([number]),
            };
            draft.set(
                view,
                "retention",
                &format!("template version {number} is no longer kept"),
                action,
            );
        }
        if left {
            kept.push(retained.clone());
        }
    }
    draft.record.retained = kept;
}

/// A version that exists and that nothing serves from.
fn is_orphan(view: &View<'_>, number: u64, group: &str) -> bool {
    let exists = view
        .observed
        .template
        .as_ref()
        .is_some_and(|seen| seen.versions.contains_key(&number));
    let used = view
        .record()
        .proven
        .as_ref()
        .and_then(|proven| proven.template_version)
        == Some(number)
        || view
            .observed
            .groups
            .values()
            .any(|other| other.name != group && other.template_version == number);
    exists && !used
}

/// Groups of ours that neither own the traffic nor are kept: what a rollout that ended without its
/// way back left. Only once they are read to get no traffic.
fn orphans(view: &View<'_>, draft: &mut Draft) {
    if view.record_is_missing()
        || view.unknown("groups").is_some()
        || view.unknown("listeners").is_some()
    {
        return;
    }
    let owner = view.owner();
    for group in view.observed.groups.values() {
        let kept = view
            .record()
            .retained
            .iter()
            .any(|kept| kept.group == group.name);
        if group.name == owner || kept || !view.is_ours(&group.tags) {
            continue;
        }
        let what = format!("group `{}`, which nobody owns,", group.name);
        if !group.members.is_empty() && weighs(view, group) {
            draft.wait("orphan", format!("{what} still gets traffic"));
            continue;
        }
        tend(view, draft, group, |_| NodeGoal::Drain);
        if group.status.is_some() {
            draft.wait("orphan", format!("{what} is being deleted"));
        } else if !pin::size(view, draft, group, (0, 0, 0)) {
            // Said by the size.
        } else if group.members.is_empty() {
            let action = Action::DeleteGroup {
                group: group.name.clone(),
                force: false,
            };
            draft.set(view, "orphan", &format!("{what} is deleted"), action);
        } else {
            draft.wait(
                "orphan",
                format!(
                    "{what} has {} node(s) that are leaving",
                    group.members.len()
                ),
            );
        }
    }
}

/// Alarms of a group that does not own the traffic: a rollout that ended without its way back left them, and an
/// alarm of a group that is gone rings for ever. A rollout's own end deletes its alarms by itself.
fn orphan_alarms(view: &View<'_>, draft: &mut Draft) {
    if view.record_is_missing() || view.unknown("alarms").is_some() {
        return;
    }
    let owner = view.owner();
    let of_group = |name: &str| {
        let group = name
            .strip_suffix("-cpu-high")
            .or_else(|| name.strip_suffix("-cpu-low"))?;
        let number = group.strip_prefix(view.names.stack())?.strip_prefix("-g")?;
        let is_ours = number.bytes().all(|byte| byte.is_ascii_digit());
        is_ours.then(|| group.to_owned())
    };
    for name in view.observed.alarms.keys() {
        if of_group(name).is_none_or(|group| group == owner) {
            continue;
        }
        let action = Action::DeleteAlarm { name: name.clone() };
        let what = format!("alarm `{name}`, whose group does not serve, is deleted");
        draft.set(view, "orphan", &what, action);
    }
}

/// A listener gives one of the group's target groups a share, or answers in a way that says nothing.
fn weighs(view: &View<'_>, group: &Group) -> bool {
    view.listener()
        .is_none_or(|listener| match &listener.action {
            ListenerAction::Forward(forward) => group
                .target_groups
                .iter()
                .any(|arn| forward.weights.get(arn).is_some_and(|weight| *weight > 0)),
            ListenerAction::Fixed(..) => false,
            _ => true,
        })
}

/// Versions that we made (their description is our digest) and that nothing proven, kept or running names.
fn orphan_versions(view: &View<'_>, draft: &mut Draft) {
    let Some(template) = &view.observed.template else {
        return;
    };
    let proven = draft
        .record
        .proven
        .as_ref()
        .and_then(|proven| proven.template_version);
    let known = view.unknown("groups").is_none() && view.unknown("template").is_none();
    if proven.is_none() || !known || view.record_is_missing() || !view.is_ours(&template.tags) {
        return;
    }
    let kept = |number: u64| {
        let retained = view.record().retained.iter();
        proven == Some(number)
            || retained
                .map(|kept| kept.target.template_version)
                .any(|kept| kept == Some(number))
            || view
                .observed
                .groups
                .values()
                .any(|group| group.template_version == number)
    };
    let is_digest =
        |text: &str| text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let versions: BTreeSet<u64> = template
        .versions
        .iter()
        .filter(|(number, version)| is_digest(&version.description) && !kept(**number))
        .map(|(number, _)| *number)
        .collect();
    if versions.is_empty() {
        return;
    }
    let what = format!(
        "{} template version(s) that nobody uses are deleted",
        versions.len()
    );
    let action = Action::DeleteTemplateVersions {
        name: template.name.clone(),
        versions,
    };
    draft.set(view, "orphan", &what, action);
}
