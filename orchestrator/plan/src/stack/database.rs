//! RDS: the subnet group, the parameter group, the primary.

use std::collections::{BTreeMap, BTreeSet};

use crate::action::{
    Action, DB_CERTIFICATE_AUTHORITY, DB_PARAMETERS, DB_STORAGE_TYPE, DbChange, DbPrimary,
};
use crate::draft::Draft;
use crate::observed::{DbInstance, DbOperation, DbParameterGroup, Network, Outlook};
use crate::spec::Spec;
use crate::stack::{NOTICE, engine_support, is_ours};
use crate::view::View;

/// The newest PostgreSQL that is taken unless the specification says otherwise.
const NEWEST_MAJOR: u32 = 17;

/// The engine version for a new primary: the newest of those `offered` by RDS that the specification asks for.
pub(super) fn engine_version(spec: &Spec, offered: &[String]) -> Option<String> {
    let wanted = spec.database.engine_version.as_deref();
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
    offered
        .iter()
        .filter(|version| fits(version))
        .max_by_key(|version| numbers(version))
        .cloned()
        .or_else(|| wanted.map(str::to_owned))
}

pub(super) fn major(version: &str) -> u32 {
    version
        .split('.')
        .next()
        .and_then(|part| part.parse().ok())
        .unwrap_or(u32::MAX)
}

/// The primary, once it can be asked. Before it: subnet group and parameter group.
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
        .or_else(|| engine_version(view.spec(), &view.observed.engine_versions));
    let Some(version) = version else {
        if draft.knows(view, "engine_versions") {
            draft.stick("engine_version", format!("RDS offers no PostgreSQL up to {NEWEST_MAJOR}: name one in `database.engine_version`"));
        }
        return None;
    };
    let subnets = subnet_group(view, draft, network);
    let parameters = parameter_group(view, draft, &version);
    let Some(seen) = seen else {
        if let Err(past) = engine_support::check(&version, view.now) {
            draft.stick("engine_version", past.to_string());
        } else if subnets && parameters {
            create(view, draft, version, security_group);
        }
        return None;
    };
    let what = format!("DB instance `{}`", seen.id);
    if !is_ours(view, draft, &what, &seen.tags) {
        return None;
    }
    let usable = is_usable(view, draft, seen);
    if usable || seen.status.allows(DbOperation::Modify) {
        drift(view, draft, seen, (security_group, &version), true);
    }
    if !usable {
        return None;
    }
    engine_support::note(view, draft, seen);
    master_password(view, draft, seen);
    Some(seen.clone())
}

/// A master's secret that was changed by hand or by a rotation: RDS does not look at it by itself.
fn master_password(view: &View<'_>, draft: &mut Draft, seen: &DbInstance) {
    if !view.observed.master_refused {
        return;
    }
    let secret = view.names.master_secret();
    if !seen.status.allows(DbOperation::Modify) {
        draft.wait(
            "master_password",
            format!(
                "DB instance `{}` refuses the password in `{secret}`; it is `{}`, in which RDS sets no password",
                seen.id, seen.status
            ),
        );
        return;
    }
    let what = format!("master's password of `{}`, as `{secret}` has it,", seen.id);
    let action = Action::SetDbMasterPassword {
        id: seen.id.clone(),
        secret,
    };
    draft.create(view, "master_password", &what, action);
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
    let same = |seen: &DbParameterGroup| {
        wanted
            .iter()
            .all(|(key, value)| seen.parameters.get(key) == Some(value))
            && DB_PARAMETERS
                .iter()
                .all(|name| wanted.contains_key(*name) || !seen.set_by_user.contains(*name))
    };
    let differs = seen.is_some_and(|seen| !same(seen));
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

/// Whether the instance can be asked now. A state that we do not know means: wait.
pub(super) fn is_usable(view: &View<'_>, draft: &mut Draft, seen: &DbInstance) -> bool {
    let what = format!("DB instance `{}`", seen.id);
    let grows = seen.status.allows(DbOperation::GrowStorage)
        && seen.storage_gib < view.spec().database.storage_gib;
    match seen.status.outlook() {
        Outlook::Rest => {}
        Outlook::NeedsAPerson(_) if grows => {}
        Outlook::NeedsAPerson(cure) => draft.stick(
            "database",
            format!(
                "{what} is `{}`, which RDS does not leave by itself: {cure}",
                seen.status
            ),
        ),
        Outlook::Passes => draft.wait(
            "database_not_available",
            format!("{what} is `{}`", seen.status),
        ),
        Outlook::Unknown => draft.wait(
            "database_not_available",
            format!(
                "{what} is `{}`, a state that this version does not know",
                seen.status
            ),
        ),
    }
    seen.status.allows(DbOperation::Read)
}

/// Whatever RDS changes without a new instance; what is fixed at birth is said.
pub(super) fn drift(
    view: &View<'_>,
    draft: &mut Draft,
    seen: &DbInstance,
    (security_group, version): (&str, &str),
    primary: bool,
) {
    fixed(view, draft, seen);
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
    let change = change(view, seen, (security_group, version), primary);
    if change == DbChange::default() {
        return;
    }
    let what = format!("DB instance `{}` differs from the specification", seen.id);
    if seen.status.allows(DbOperation::Modify) {
        let id = seen.id.clone();
        draft.set(view, "drift", &what, Action::SetDbInstance { id, change });
    } else {
        let text = format!("{what}; RDS changes nothing while it is `{}`", seen.status);
        draft.wait("drift", text);
    }
}

fn change(
    view: &View<'_>,
    seen: &DbInstance,
    (security_group, version): (&str, &str),
    primary: bool,
) -> DbChange {
    let spec = &view.spec().database;
    let groups = BTreeSet::from([security_group.to_owned()]);
    let group = view.names.db_parameter_group(&family(version));
    let grouped = seen
        .parameter_group
        .as_ref()
        .is_some_and(|(name, _)| *name == group);
    let ca = seen.ca.as_deref() == Some(DB_CERTIFICATE_AUTHORITY);
    let mut change = DbChange {
        class: (seen.class != spec.class).then(|| spec.class.clone()),
        parameter_group: (!grouped).then_some(group),
        security_groups: (seen.security_groups != groups).then_some(groups),
        public: seen.public.then_some(false),
        auto_minor: seen.auto_minor.then_some(false),
        copy_tags: (!seen.copy_tags).then_some(true),
        ca: (!ca).then(|| DB_CERTIFICATE_AUTHORITY.to_owned()),
        ..DbChange::default()
    };
    if primary {
        let days = u32::from(spec.backup_days);
        change.multi_az = (seen.multi_az != spec.multi_az).then_some(spec.multi_az);
        change.backup_days = (seen.backup_days != days).then_some(days);
        change.deletion_protection = (seen.deletion_protection != spec.deletion_protection)
            .then_some(spec.deletion_protection);
    }
    change
}

/// What RDS cannot change, or not without moving all data.
fn fixed(view: &View<'_>, draft: &mut Draft, seen: &DbInstance) {
    let mut fixed = |what: String| {
        draft.wait(
            NOTICE,
            format!("DB instance `{}` {what}: fixed at birth", seen.id),
        );
    };
    if !seen.encrypted {
        fixed("is not encrypted".to_owned());
    }
    let subnets = view.names.db_subnet_group();
    if seen.subnet_group != subnets {
        fixed(format!(
            "is in the subnet group `{}`, not `{subnets}`",
            seen.subnet_group
        ));
    }
    if seen.storage_type != DB_STORAGE_TYPE {
        draft.wait(
            NOTICE,
            format!(
                "DB instance `{0}` has `{1}` storage, not `{DB_STORAGE_TYPE}`: `aws rds modify-db-instance --db-instance-identifier {0} --storage-type {DB_STORAGE_TYPE}` moves it, in hours",
                seen.id, seen.storage_type
            ),
        );
    }
}
