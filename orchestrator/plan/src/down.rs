//! `down`: everything of ours goes, in the order in which AWS lets it go; the database only when said so.
//!
//! ```text
//!   alarms, groups (emptied, their nodes drained) ─┬─ listeners ─ load balancer ─ target groups ─┐
//!                                                  ├─ template, image copies                     ├─ security groups ─ secrets
//!                                                  └─ replicas ─ primary ─ its groups ───────────┘
//! ```
//!
//! Only what carries our tag (or lies in something that does) is named here at all.

use std::collections::{BTreeMap, BTreeSet};

use crate::action::{Action, DbChange};
use crate::decision::NodeGoal;
use crate::draft::Draft;
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
pub(crate) fn remove(view: &View<'_>, draft: &mut Draft, delete_database: bool) -> Phase {
    for field in READS {
        draft.knows(view, field);
    }
    let fleet_gone = groups(view, draft) & alarms(view, draft);
    if fleet_gone {
        let balancer_gone = balancer(view, draft);
        template(view, draft);
        images(view, draft);
        let database_gone = !delete_database || database(view, draft);
        if balancer_gone && database_gone {
            security_groups(view, draft, delete_database);
            secrets(view, draft, delete_database);
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
        } else if !pin::size(view, draft, group, (0, 0, 0)) {
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

/// Replicas first; the primary leaves a final snapshot.
fn database(view: &View<'_>, draft: &mut Draft) -> bool {
    if view.unknown("db_instances").is_some() {
        return false;
    }
    let primary = view.names.database();
    let instances: Vec<_> = view
        .observed
        .db_instances
        .values()
        .filter(|seen| ours(view, &seen.tags))
        .collect();
    let replicas = instances.iter().filter(|seen| seen.id != primary).count();
    for seen in &instances {
        let what = format!("DB instance `{}`", seen.id);
        if seen.status == "deleting" {
            draft.wait("database", format!("{what} is being deleted"));
        } else if seen.id == primary && replicas > 0 {
            draft.wait(
                "database",
                format!("{what} waits until its {replicas} replica(s) are gone"),
            );
        } else if seen.deletion_protection {
            let change = DbChange {
                deletion_protection: Some(false),
                ..DbChange::default()
            };
            draft.set(
                view,
                "database",
                &format!("{what}: deletion protection is lifted"),
                Action::SetDbInstance {
                    id: seen.id.clone(),
                    change,
                },
            );
        } else {
            let final_snapshot = (seen.id == primary).then(|| free_snapshot_name(view));
            let action = Action::DeleteDbInstance {
                id: seen.id.clone(),
                final_snapshot,
            };
            draft.set(view, "database", &format!("{what} is deleted"), action);
        }
    }
    if !instances.is_empty() {
        return false;
    }
    let before = draft.reasons.len();
    let prefix = format!("{}-before-g", view.names.stack());
    let snapshots = view
        .observed
        .db_snapshots
        .values()
        .filter(|seen| ours(view, &seen.tags) && seen.id.starts_with(&prefix));
    for seen in snapshots.filter(|seen| seen.status != "deleting") {
        draft.set(
            view,
            "database",
            &format!("DB snapshot `{}` is deleted", seen.id),
            Action::DeleteDbSnapshot {
                id: seen.id.clone(),
            },
        );
    }
    if let Some(seen) = &view.observed.db_subnet_group {
        draft.set(
            view,
            "database",
            &format!("DB subnet group `{}` is deleted", seen.name),
            Action::DeleteDbSubnetGroup {
                name: seen.name.clone(),
            },
        );
    }
    if let Some(seen) = &view.observed.db_parameter_group {
        draft.set(
            view,
            "database",
            &format!("DB parameter group `{}` is deleted", seen.name),
            Action::DeleteDbParameterGroup {
                name: seen.name.clone(),
            },
        );
    }
    draft.reasons.len() == before
}

/// A stack of the same name that went before may have left one.
fn free_snapshot_name(view: &View<'_>) -> String {
    let first = view.record().generation.max(1);
    (first..)
        .map(|number| view.names.final_snapshot(number))
        .find(|name| !view.observed.db_snapshots.contains_key(name))
        .expect("there are more numbers than snapshots")
}

/// From the one that refers to others to the one that is referred to. A database that stays keeps its
/// own, which then names the fleet no more.
fn security_groups(view: &View<'_>, draft: &mut Draft, delete_database: bool) {
    let seen: BTreeMap<&str, _> = view
        .observed
        .security_groups
        .iter()
        .filter(|(_, group)| ours(view, &group.tags))
        .map(|(part, group)| (part.as_str(), group))
        .collect();
    let fleet = seen.get("fleet").map(|group| group.id.as_str());
    let mut referred = false;
    if let Some(database) = seen.get("database") {
        if delete_database {
            delete_group(view, draft, "database", &database.id);
            referred = true;
        } else if database
            .ingress
            .iter()
            .any(|rule| Some(rule.source.as_str()) == fleet)
        {
            let Some(vpc_id) = view
                .observed
                .network
                .as_ref()
                .map(|network| network.vpc_id.clone())
            else {
                draft.wait("security_group", "the VPC could not be read");
                return;
            };
            let ingress: BTreeSet<_> = database
                .ingress
                .iter()
                .filter(|rule| Some(rule.source.as_str()) != fleet)
                .cloned()
                .collect();
            let action = Action::EnsureSecurityGroup {
                part: "database".to_owned(),
                name: database.name.clone(),
                vpc_id,
                ingress,
            };
            draft.set(
                view,
                "security_group",
                "the database's security group lets the fleet in no more",
                action,
            );
            referred = true;
        }
    }
    for part in ["fleet", "load-balancer"] {
        if let Some(group) = seen.get(part) {
            if referred {
                draft.wait(
                    "security_group",
                    format!("security group `{}` is still named by another", group.name),
                );
            } else {
                delete_group(view, draft, part, &group.id);
            }
            referred = true;
        }
    }
}

fn delete_group(view: &View<'_>, draft: &mut Draft, part: &str, id: &str) {
    let action = Action::DeleteSecurityGroup {
        part: part.to_owned(),
        id: id.to_owned(),
    };
    draft.set(
        view,
        "security_group",
        &format!(
            "security group `{}` is deleted",
            view.names.security_group(part)
        ),
        action,
    );
}

/// Last. Those of a database that stays, stay.
fn secrets(view: &View<'_>, draft: &mut Draft, delete_database: bool) {
    if !draft.reasons.is_empty() {
        return;
    }
    let ca = view.names.ca_secret();
    for (name, secret) in &view.observed.secrets {
        if !secret.deleting && ours(view, &secret.tags) && (delete_database || *name == ca) {
            draft.set(
                view,
                "secret",
                &format!("secret `{name}` is deleted, with a recovery window"),
                Action::DeleteSecret { name: name.clone() },
            );
        }
    }
}
