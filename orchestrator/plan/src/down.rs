//! `down`: everything of ours goes, in the order in which AWS lets it go; the database only when said so.
//!
//! ```text
//!   alarms, groups (emptied, their nodes drained) ─┬─ listeners ─ load balancer ─ target groups ─┐
//!                                                  ├─ template, image copies                     ├─ security groups ─ secrets
//!                                                  ├─ bucket of files, when said so            │
//!                                                  └─ replicas ─ primary ─ its groups ───────────┘
//! ```
//!
//! Only what carries our tag (or lies in something that does) is named here at all.

mod database;
mod files;

use crate::action::Action;
use crate::decision::NodeGoal;
use crate::draft::Draft;
use crate::hindrances;
use crate::intent::{Phase, Slot};
use crate::lifecycle::tend;
use crate::observed::Tags;
use crate::rollout::pin;
use crate::view::View;

/// Everything that is read: a failed read may hide something of ours.
const READS: [&str; 12] = [
    "security_groups",
    "secrets",
    "db_instances",
    "db_subnet_group",
    "db_parameter_group",
    "load_balancer",
    "target_groups",
    "listeners",
    "template",
    "images",
    "groups",
    "alarms",
];

/// One look at a stack that should be gone.
pub(crate) fn remove(
    view: &View<'_>,
    draft: &mut Draft,
    delete_database: bool,
    delete_files: bool,
) -> Phase {
    for field in READS {
        draft.knows(view, field);
    }
    end_rollout(view, draft);
    let fleet_gone = groups(view, draft) & alarms(view, draft);
    if fleet_gone {
        let balancer_gone = balancer(view, draft);
        template(view, draft);
        images(view, draft);
        let database_gone = !delete_database || database::database(view, draft);
        // Beside the rest, for it may take hours.
        if delete_files {
            files::bucket(view, draft);
        }
        if balancer_gone && database_gone {
            database::security_groups(view, draft, delete_database);
            database::secrets(view, draft, delete_database);
        }
    }
    if let Some(reason) = draft.stuck.clone() {
        Phase::Stuck { reason }
    } else if draft.actions.is_empty() && draft.reasons.is_empty() {
        draft.record = crate::intent::Record {
            generation: draft.record.generation,
            ..crate::intent::Record::default()
        };
        Phase::Gone
    } else {
        Phase::Removing
    }
}

/// Both of its groups go: the next `up` must not find it live.
fn end_rollout(view: &View<'_>, draft: &mut Draft) {
    let live = view.live_rollout().is_some();
    let Some(rollout) = draft.rollout.as_mut().filter(|_| live) else {
        return;
    };
    rollout.phase = Phase::RolledBack;
    rollout.entered = view.now;
    rollout.failure.push("the stack was taken down".to_owned());
    draft.record.generation = draft.record.generation.max(rollout.generation);
}

fn ours(view: &View<'_>, tags: &Tags) -> bool {
    view.is_ours(tags)
}

fn alarms(view: &View<'_>, draft: &mut Draft) -> bool {
    let prefix = format!("{}-g", view.names.stack());
    let mut gone = true;
    for name in view
        .observed
        .alarms
        .keys()
        .filter(|name| name.starts_with(&prefix))
    {
        gone = false;
        draft.set(
            view,
            "alarm",
            &format!("alarm `{name}` is deleted"),
            Action::DeleteAlarm { name: name.clone() },
        );
    }
    gone
}

/// Emptied first: nodes drain and say goodbye.
fn groups(view: &View<'_>, draft: &mut Draft) -> bool {
    let mut gone = view.unknown("groups").is_none();
    for group in view
        .observed
        .groups
        .values()
        .filter(|group| ours(view, &group.tags))
    {
        gone = false;
        tend(view, draft, group, |_| NodeGoal::Drain);
        if group.status.is_some() {
            draft.wait("group", format!("group `{}` is being deleted", group.name));
        } else if !hindrances::let_go(view, draft, group)
            || !pin::size(view, draft, group, (0, 0, 0))
        {
            // Said by the size.
        } else if group.members.is_empty() {
            let action = Action::DeleteGroup {
                group: group.name.clone(),
                force: false,
            };
            draft.set(
                view,
                "group",
                &format!("group `{}` is deleted", group.name),
                action,
            );
        } else {
            draft.wait(
                "group",
                format!(
                    "{} node(s) of `{}` are leaving",
                    group.members.len(),
                    group.name
                ),
            );
        }
    }
    gone
}

/// Listeners, then the load balancer, then the target groups that nobody names any more.
fn balancer(view: &View<'_>, draft: &mut Draft) -> bool {
    let balancer = view
        .observed
        .load_balancer
        .as_ref()
        .filter(|seen| ours(view, &seen.tags));
    if let Some(balancer) = balancer {
        for listener in view.observed.listeners.values() {
            let action = Action::DeleteListener {
                arn: listener.arn.clone(),
            };
            draft.set(
                view,
                "listener",
                &format!("listener on port {} is deleted", listener.port),
                action,
            );
        }
        if view.observed.listeners.is_empty() {
            let action = Action::DeleteLoadBalancer {
                arn: balancer.arn.clone(),
            };
            draft.set(
                view,
                "load_balancer",
                &format!("load balancer `{}` is deleted", balancer.name),
                action,
            );
        }
        return false;
    }
    let mut gone =
        view.unknown("load_balancer").is_none() && view.unknown("target_groups").is_none();
    for slot in [Slot::A, Slot::B] {
        if let Some(group) = view
            .target_group(slot)
            .filter(|group| ours(view, &group.tags))
        {
            gone = false;
            let action = Action::DeleteTargetGroup {
                arn: group.arn.clone(),
            };
            draft.set(
                view,
                "target_group",
                &format!("target group `{}` is deleted", group.name),
                action,
            );
        }
    }
    gone
}

fn template(view: &View<'_>, draft: &mut Draft) {
    if let Some(template) = view
        .observed
        .template
        .as_ref()
        .filter(|seen| ours(view, &seen.tags))
    {
        let action = Action::DeleteTemplate {
            name: template.name.clone(),
        };
        draft.set(
            view,
            "template",
            &format!("launch template `{}` is deleted", template.name),
            action,
        );
    }
}

/// Copies are ours; the source in the home region is the operator's.
fn images(view: &View<'_>, draft: &mut Draft) {
    let home = view.spec().home_region();
    for (region, images) in view
        .observed
        .images
        .iter()
        .filter(|(region, _)| **region != home)
    {
        for image in images
            .values()
            .filter(|image| ours(view, &image.tags) && image.state != "deregistered")
        {
            let action = Action::DeleteImage {
                region: region.clone(),
                image: image.id.clone(),
            };
            draft.set(
                view,
                "image_copy",
                &format!("copy `{}` in `{region}` is deleted", image.id),
                action,
            );
        }
    }
}
