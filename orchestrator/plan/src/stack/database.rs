//! RDS: the subnet group, the parameter group, the primary.

use std::collections::{BTreeMap, BTreeSet};

use crate::action::{Action, DbChange, DbPrimary};
use crate::draft::Draft;
use crate::observed::{DbInstance, Network};
use crate::stack::{NOTICE, is_ours};
use crate::view::View;

/// The newest PostgreSQL that is taken unless the specification says otherwise.
const NEWEST_MAJOR: u32 = 17;

/// States of a DB instance that RDS does not leave by itself.
const NEEDS_A_PERSON: [&str; 8] = [
    "failed",
    "restore-error",
    "storage-full",
    "inaccessible-encryption-credentials",
    "incompatible-network",
    "incompatible-option-group",
    "incompatible-parameters",
    "incompatible-restore",
];

/// The engine version for a new primary: the newest that RDS offers of what is asked for.
pub(crate) fn engine_version(view: &View<'_>) -> Option<String> {
    let wanted = view.spec().database.engine_version.as_deref();
    let fits = |version: &str| match wanted {
        Some(wanted) => version == wanted || version.starts_with(&format!("{wanted}.")),
        None => major(version) <= NEWEST_MAJOR,
    };
    let numbers = |version: &str| -> Vec<u32> {
        version
            .split('.')
            .map(|part| part.parse().unwrap_or(0))
            .collect()
    };
    view.observed
        .engine_versions
        .iter()
        .filter(|version| fits(version))
        .max_by_key(|version| numbers(version))
        .cloned()
        .or_else(|| wanted.map(str::to_owned))
}

fn major(version: &str) -> u32 {
    version
        .split('.')
        .next()
        .and_then(|part| part.parse().ok())
        .unwrap_or(u32::MAX)
}

/// The primary, once it is available. Before it: subnet group and parameter group.
pub(super) fn primary(
    view: &View<'_>,
    draft: &mut Draft,
    network: &Network,
    security_group: &str,
) -> Option<DbInstance> {
    if !draft.knows(view, "db_instances")
        || !draft.knows(view, "db_subnet_group")
        || !draft.knows(view, "db_parameter_group")
    {
        return None;
    }
    let seen = view.primary();
    let version = seen
        .map(|seen| seen.engine_version.clone())
        .or_else(|| engine_version(view));
    let Some(version) = version else {
        if draft.knows(view, "engine_versions") {
            draft.stick("engine_version", format!("RDS offers no PostgreSQL up to {NEWEST_MAJOR}: name one in `database.engine_version`"));
        }
        return None;
    };
    let subnets = subnet_group(view, draft, network);
    let parameters = parameter_group(view, draft, &version);
    let Some(seen) = seen else {
        if subnets && parameters {
            create(view, draft, version, security_group);
        }
        return None;
    };
    let what = format!("DB instance `{}`", seen.id);
    if !is_ours(view, draft, &what, &seen.tags) || !is_usable(draft, seen) {
        return None;
    }
    drift(view, draft, seen, (security_group, &version), true);
    reboot(view, draft, seen);
    if seen.public {
        draft.wait(NOTICE, format!("{what} is publicly accessible: `aws rds modify-db-instance --no-publicly-accessible` mends it"));
    }
    Some(seen.clone())
}

fn create(view: &View<'_>, draft: &mut Draft, engine_version: String, security_group: &str) {
    let spec = &view.spec().database;
    let id = view.names.database();
    let what = format!("DB instance `{id}`");
    let parameter_group = view.names.db_parameter_group(&family(&engine_version));
    let wanted = DbPrimary {
        id,
        class: spec.class.clone(),
        engine_version,
        storage_gib: spec.storage_gib,
        multi_az: spec.multi_az,
        backup_days: u32::from(spec.backup_days),
        deletion_protection: spec.deletion_protection,
        master_secret: view.names.master_secret(),
        subnet_group: view.names.db_subnet_group(),
        parameter_group,
        security_groups: BTreeSet::from([security_group.to_owned()]),
    };
    draft.create(view, "primary", &what, Action::EnsureDbPrimary(wanted));
}

fn subnet_group(view: &View<'_>, draft: &mut Draft, network: &Network) -> bool {
    let name = view.names.db_subnet_group();
    let subnets: BTreeSet<String> = network
        .subnets
        .iter()
        .map(|subnet| subnet.id.clone())
        .collect();
    let what = format!("DB subnet group `{name}`");
    match &view.observed.db_subnet_group {
        None => {
            draft.create(
                view,
                "db_subnet_group",
                &what,
                Action::EnsureDbSubnetGroup { name, subnets },
            );
            false
        }
        Some(seen) => {
            // A subnet more does no harm, and one in use cannot be taken away.
            if !subnets.is_subset(&seen.subnets) {
                let subnets = subnets.union(&seen.subnets).cloned().collect();
                draft.set(
                    view,
                    "drift",
                    &format!("{what}: subnets differ"),
                    Action::EnsureDbSubnetGroup { name, subnets },
                );
            }
            true
        }
    }
}

/// Parameters that we insist on.
fn parameters(view: &View<'_>) -> BTreeMap<String, String> {
    let mut wanted = BTreeMap::from([("rds.force_ssl".to_owned(), "1".to_owned())]);
    if let Some(connections) = view.spec().database.max_connections {
        wanted.insert("max_connections".to_owned(), connections.to_string());
    }
    wanted
}

/// `postgres16`.
pub(super) fn family(version: &str) -> String {
    format!("postgres{}", major(version))
}

fn parameter_group(view: &View<'_>, draft: &mut Draft, version: &str) -> bool {
    let family = family(version);
    let name = view.names.db_parameter_group(&family);
    let wanted = parameters(view);
    let what = format!("DB parameter group `{name}`");
    // One of another family is what a former major version left.
    let seen = view
        .observed
        .db_parameter_group
        .as_ref()
        .filter(|seen| seen.name == name);
    let same = |seen: &BTreeMap<String, String>| {
        wanted
            .iter()
            .all(|(key, value)| seen.get(key) == Some(value))
    };
    let differs = seen.is_some_and(|seen| !same(&seen.parameters));
    let action = Action::EnsureDbParameterGroup {
        name,
        family,
        parameters: wanted,
    };
    if seen.is_none() {
        draft.create(view, "db_parameter_group", &what, action);
    } else if differs {
        draft.set(view, "drift", &format!("{what}: parameters differ"), action);
    }
    seen.is_some()
}

/// Whether the instance serves now. States that we do not know mean: wait.
pub(super) fn is_usable(draft: &mut Draft, seen: &DbInstance) -> bool {
    let what = format!("DB instance `{}`", seen.id);
    if NEEDS_A_PERSON.contains(&seen.status.as_str()) {
        draft.stick(
            "database",
            format!(
                "{what} is `{}`: RDS does not leave this state by itself",
                seen.status
            ),
        );
        return false;
    }
    if seen.status == "stopped" {
        draft.stick("database", format!("{what} is `stopped`: start it"));
        return false;
    }
    if seen.status != "available" {
        draft.wait(
            "database_not_available",
            format!("{what} is `{}`, not `available` yet", seen.status),
        );
        return false;
    }
    true
}

pub(super) fn drift(
    view: &View<'_>,
    draft: &mut Draft,
    seen: &DbInstance,
    (security_group, version): (&str, &str),
    primary: bool,
) {
    if seen.pending {
        draft.wait(
            NOTICE,
            format!(
                "DB instance `{}` has changes that RDS makes in its maintenance window",
                seen.id
            ),
        );
        return;
    }
    let spec = &view.spec().database;
    let groups = BTreeSet::from([security_group.to_owned()]);
    let group = view.names.db_parameter_group(&family(version));
    let grouped = seen
        .parameter_group
        .as_ref()
        .is_some_and(|(name, _)| *name == group);
    let mut change = DbChange {
        class: (seen.class != spec.class).then(|| spec.class.clone()),
        parameter_group: (!grouped).then_some(group),
        security_groups: (seen.security_groups != groups).then_some(groups),
        ..DbChange::default()
    };
    if primary {
        let days = u32::from(spec.backup_days);
        change.storage_gib = (seen.storage_gib < spec.storage_gib).then_some(spec.storage_gib);
        change.multi_az = (seen.multi_az != spec.multi_az).then_some(spec.multi_az);
        change.backup_days = (seen.backup_days != days).then_some(days);
        change.deletion_protection = (seen.deletion_protection != spec.deletion_protection)
            .then_some(spec.deletion_protection);
    }
    if change != DbChange::default() {
        let what = format!("DB instance `{}` differs from the specification", seen.id);
        draft.set(
            view,
            "drift",
            &what,
            Action::SetDbInstance {
                id: seen.id.clone(),
                change,
            },
        );
    }
}

/// A parameter that needs a reboot: made at once while nobody is served, else a person chooses the hour.
fn reboot(view: &View<'_>, draft: &mut Draft, seen: &DbInstance) {
    let pending = seen
        .parameter_group
        .as_ref()
        .is_some_and(|(_, state)| state == "pending-reboot");
    if !pending {
        return;
    }
    if view.observed.groups.is_empty()
        && view.record().proven.is_none()
        && draft.knows(view, "groups")
    {
        let what = format!("DB instance `{}` takes up its parameters", seen.id);
        draft.set(
            view,
            "reboot",
            &what,
            Action::RebootDbInstance {
                id: seen.id.clone(),
            },
        );
    } else {
        draft.wait(NOTICE, format!("DB instance `{0}` needs a reboot to take up its parameters: `aws rds reboot-db-instance --db-instance-identifier {0}` at a quiet hour", seen.id));
    }
}
