//! The nodes of the serving group: their goals, the first migration, and whether enough of them serve.

use crate::configuration::has_first_row;
use crate::draft::Draft;
use crate::intent::Target;
use crate::launches;
use crate::lifecycle::{Members, tend};
use crate::nodes::{Colour, failure_of};
use crate::observed::Group;
use crate::view::{View, live_members};

/// Goals of the nodes. On an empty database one node migrates, and the others wait for it.
pub(super) fn nodes(view: &View<'_>, draft: &mut Draft, group: &Group, target: &Target) -> Members {
    let colour = Colour::serving(view, target, view.record());
    draft.record.configuration = Some(colour.configuration);
    if let (Some(recorded), Some(applied)) =
        (view.record().migrations, view.observed.migrations_applied())
        && recorded != applied
    {
        draft.record.migrations = Some(applied);
    }
    if view.record().migrations.is_some() || view.record().proven.is_some() {
        return tend(view, draft, group, |_| colour.serve(false));
    }
    let migrator = choose_migrator(view, group);
    draft.record.migrator.clone_from(&migrator);
    let members = tend(view, draft, group, |instance| {
        if migrator.as_deref() == Some(instance) {
            colour.serve(true)
        } else {
            colour.prepare()
        }
    });
    if let Some(migrator) = migrator.filter(|migrator| members.verified.contains(migrator)) {
        if has_first_row(view) {
            match view.observed.migrations_applied() {
                Some(applied) => draft.record.migrations = Some(applied),
                None => draft.wait(
                    "migration",
                    "the schema could not be read back by SQL yet: no other server starts before",
                ),
            }
        } else {
            draft.wait(
                "first_configuration",
                format!("{migrator} serves; SQL does not show the active row of `configurations` that it writes, and no other server starts before it"),
            );
        }
    }
    members
}

/// The recorded one while it lives and has not failed, else the oldest that has not failed.
fn choose_migrator(view: &View<'_>, group: &Group) -> Option<String> {
    let usable: Vec<&str> = live_members(view, group)
        .into_iter()
        .filter(|id| view.node(id).and_then(failure_of).is_none())
        .collect();
    let recorded = view.record().migrator.as_deref();
    recorded
        .filter(|recorded| usable.contains(recorded))
        .or_else(|| usable.first().copied())
        .map(str::to_owned)
}

/// Whether the floor serves; then what serves is proven.
pub(super) fn serves(
    view: &View<'_>,
    draft: &mut Draft,
    group: &Group,
    members: &Members,
    target: &Target,
    version: Option<u64>,
) -> bool {
    let floor = view.spec().fleet.min;
    let slot = view.record().slot;
    let healthy: Vec<&String> = members
        .serving
        .iter()
        .filter(|id| view.is_healthy(slot, id))
        .collect();
    if (healthy.len() as u32) < floor {
        let text = format!(
            "{} of {floor} nodes are verified and healthy in `{}`",
            healthy.len(),
            group.name
        );
        let mut text = members.explain(text, Some(group));
        if launches::cannot_launch(group, members.live.len()).is_some() {
            text.push_str(if view.record().proven.is_some() {
                "; hint: `orchestrator rollout --image AMI`, or `orchestrator rollout` with another instance type in the file, is a way out, also without a whole group"
            } else {
                "; hint: another image or instance type in the file, and a restart"
            });
        }
        draft.wait("nodes", text);
        return false;
    }
    if view.record().proven.is_none() {
        if !has_first_row(view) || draft.record.migrations.is_none() {
            return false;
        }
        draft.record.proven = Some(Target {
            template_version: version,
            ..target.clone()
        });
    }
    true
}
