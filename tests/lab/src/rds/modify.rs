//! `ModifyDBInstance`: what changes at once, what is promised, and the keeping of promises.
//!
//! The table "Settings for DB instances" of the user guide decides: some settings change at once,
//! passwords and ports as soon as possible, the rest with `ApplyImmediately` or in the next
//! maintenance window. Until then they stand in `PendingModifiedValues`, and `DBInstanceStatus` is
//! still `available`: whoever waits must look at both.

use std::sync::Arc;

use jiff::Timestamp;

use super::model::{Hidden, Instance, Pending};
use super::promises::{self, Scope};
use super::{
    bad_combination, bad_state, classes, create, lifecycle, names, operate, place, random_password,
    rename, replica, storage, subnet_groups,
};
use crate::Lab;
use crate::api::{ApiError, Call, Params, Reply};

/// Settings that change in the call itself.
#[derive(Debug, Default)]
struct AtOnce {
    auto_minor: Option<bool>,
    copy_tags: Option<bool>,
    deletion_protection: Option<bool>,
    public: Option<bool>,
    backup_window: Option<String>,
    maintenance_window: Option<String>,
    security_groups: Vec<String>,
    monitoring_interval: Option<i64>,
    insights: Option<bool>,
    max_storage: Option<i64>,
    parameter_group: Option<String>,
    exports: Option<(Vec<String>, Vec<String>)>,
}

impl AtOnce {
    fn read(p: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            auto_minor: p.opt_bool("AutoMinorVersionUpgrade")?,
            copy_tags: p.opt_bool("CopyTagsToSnapshot")?,
            deletion_protection: p.opt_bool("DeletionProtection")?,
            public: p.opt_bool("PubliclyAccessible")?,
            backup_window: p
                .opt("PreferredBackupWindow")
                .map(|window| names::backup_window(&window))
                .transpose()?,
            maintenance_window: p
                .opt("PreferredMaintenanceWindow")
                .map(|window| names::maintenance_window(&window))
                .transpose()?,
            security_groups: p.list("VpcSecurityGroupIds"),
            monitoring_interval: p.opt_int("MonitoringInterval")?,
            insights: p.opt_bool("EnablePerformanceInsights")?,
            max_storage: p.opt_int("MaxAllocatedStorage")?,
            parameter_group: p.opt("DBParameterGroupName"),
            exports: p.sub("CloudwatchLogsExportConfiguration").map(|change| {
                (
                    change.list("EnableLogTypes"),
                    change.list("DisableLogTypes"),
                )
            }),
        })
    }

    fn apply(self, instance: &mut Instance) {
        let Self {
            auto_minor,
            copy_tags,
            deletion_protection,
            public,
            backup_window,
            maintenance_window,
            security_groups,
            monitoring_interval,
            insights,
            max_storage,
            parameter_group,
            exports,
        } = self;
        instance.auto_minor = auto_minor.unwrap_or(instance.auto_minor);
        instance.copy_tags = copy_tags.unwrap_or(instance.copy_tags);
        instance.deletion_protection = deletion_protection.unwrap_or(instance.deletion_protection);
        instance.public = public.unwrap_or(instance.public);
        instance.monitoring_interval = monitoring_interval.unwrap_or(instance.monitoring_interval);
        instance.insights = insights.unwrap_or(instance.insights);
        instance.max_storage = max_storage.or(instance.max_storage);
        if let Some(window) = backup_window {
            instance.backup_window = window;
        }
        if let Some(window) = maintenance_window {
            instance.maintenance_window = window;
        }
        if !security_groups.is_empty() {
            instance.security_groups = security_groups;
        }
        if let Some(group) = parameter_group
            && group != instance.parameter_group
        {
            // "The change takes effect after the next reboot", dynamic parameters included.
            instance.parameter_group = group;
            instance.parameter_status = "pending-reboot";
        }
        if let Some((enable, disable)) = exports {
            instance.log_exports.retain(|kind| !disable.contains(kind));
            for kind in enable {
                if !instance.log_exports.contains(&kind) {
                    instance.log_exports.push(kind);
                }
            }
        }
    }
}

/// Reads what must be promised; settings that are already so are no change.
fn read_promises(p: &Params, now: &Instance, at: Timestamp) -> Result<Pending, ApiError> {
    let differs = |value: Option<i64>, current: i64| value.filter(|value| *value != current);
    let class = p.opt("DBInstanceClass").filter(|class| *class != now.class);
    if let Some(class) = &class {
        classes::check(class)?;
    }
    let wish = storage::read(p, now, at)?;
    let retention = p
        .opt_int("BackupRetentionPeriod")?
        .map(names::retention)
        .transpose()?;
    let password = p.opt("MasterUserPassword");
    if let Some(password) = &password {
        names::password(password)?;
        if now.secret.is_some() {
            return Err(bad_combination(
                "You can't specify MasterUserPassword for an instance with ManageMasterUserPassword enabled.",
            ));
        }
        if now.source.is_some() {
            return Err(bad_state(
                "The master password of a read replica is its source's.",
            ));
        }
    }
    let port = p.opt_int("DBPortNumber")?.map(names::port).transpose()?;
    let certificate = p.opt("CACertificateIdentifier");
    if let Some(name) = &certificate {
        create::authority(Some(name.clone()))?;
    }
    Ok(Pending {
        class,
        storage: wish.size,
        storage_type: wish.kind,
        iops: wish.iops,
        password: password.map(Hidden),
        port: port.filter(|port| *port != now.port),
        retention: differs(retention, now.retention),
        multi_az: p.opt_bool("MultiAZ")?.filter(|flag| *flag != now.multi_az),
        certificate_authority: certificate.filter(|name| *name != now.certificate_authority),
    })
}

fn merge(into: &mut Pending, new: Pending) {
    into.class = new.class.or(into.class.take());
    into.storage = new.storage.or(into.storage);
    into.storage_type = new.storage_type.or(into.storage_type.take());
    into.iops = new.iops.or(into.iops);
    into.password = new.password.or(into.password.take());
    into.port = new.port.or(into.port);
    into.retention = new.retention.or(into.retention);
    into.multi_az = new.multi_az.or(into.multi_az);
    into.certificate_authority = new
        .certificate_authority
        .or(into.certificate_authority.take());
}

/// `ModifyDBInstance`.
pub async fn modify(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let (p, region) = (&call.params, call.region.as_str());
    let found = lab.rds.find(region, &p.str("DBInstanceIdentifier")?)?;
    let immediately = p.opt_bool("ApplyImmediately")?.unwrap_or(false);
    let mut at_once = AtOnce::read(p)?;
    let mut pending = read_promises(p, &found, lab.clock.now())?;
    let manage = p.opt_bool("ManageMasterUserPassword")?;
    let rotate = p.opt_bool("RotateMasterUserPassword")?.unwrap_or(false);
    let version = p.opt("EngineVersion");
    let name = p.opt("NewDBInstanceIdentifier");
    p.accept(&create::ACCEPTED);
    p.accept(&["AllowMajorVersionUpgrade", "CertificateRotationRestart"]);
    p.finish()?;
    if !matches!(
        found.status,
        "available"
            | "storage-optimization"
            | "storage-full"
            | "incompatible-parameters"
            | "stopped"
    ) {
        return Err(bad_state(format!(
            "Database instance {} is not in available state: its status is {}.",
            found.id, found.status
        )));
    }
    if let Some(version) = version {
        let engine = lab.rds.engine(lab).await?;
        if version != engine.version && version != engine.major {
            return Err(bad_combination(format!(
                "Cannot upgrade postgres from {} to {version}: the lab has {} only.",
                found.engine_version, engine.version
            )));
        }
    }
    let name = name
        .map(|name| rename::check(lab, region, &found, &name, immediately))
        .transpose()?;
    place::check_security_groups(lab, region, &at_once.security_groups)?;
    if let Some(name) = at_once.parameter_group.take() {
        let major = found.engine_version.split('.').next().unwrap_or_default();
        at_once.parameter_group = Some(place::parameter_group(lab, region, Some(&name), major)?);
    }
    if pending.retention == Some(0) && !replica::replicas_of(lab, region, &found.id).is_empty() {
        return Err(bad_combination(
            "BackupRetentionPeriod can't be set to 0: the instance is a source of read replicas.",
        ));
    }
    if pending.multi_az == Some(true) {
        let group = subnet_groups::resolve(lab, region, Some(&found.subnet_group))?;
        place::secondary(lab, &group, &found.zone)?;
    }
    match (manage, &found.secret) {
        (Some(true), None) => pending.password = Some(Hidden(random_password(32))),
        (_, Some(_)) if rotate => pending.password = Some(Hidden(random_password(32))),
        (_, None) if rotate => {
            return Err(bad_combination(
                "RotateMasterUserPassword needs ManageMasterUserPassword.",
            ));
        }
        (Some(false), Some(_)) => {
            return Err(bad_combination(
                "The lab does not take a managed master password back; make a new instance.",
            ));
        }
        _ => {}
    }
    if let (Some(true), None, Some(password)) = (manage, &found.secret, &pending.password) {
        let mut copy = found.clone();
        create::managed_secret(lab, region, &mut copy, &password.0);
        lab.rds
            .edit(region, &found.id, |instance| instance.secret = copy.secret);
    }
    // From one number of days to another: no outage, so at once.
    let retention_at_once = pending
        .retention
        .filter(|days| *days > 0 && found.retention > 0);
    if retention_at_once.is_some() {
        pending.retention = None;
    }
    let deferred = !immediately && pending.has_deferrable();
    let scope = if immediately {
        Scope::All
    } else {
        Scope::Urgent
    };
    let start = lab.rds.edit(region, &found.id, |instance| {
        at_once.apply(instance);
        instance.retention = retention_at_once.unwrap_or(instance.retention);
        merge(&mut instance.pending, pending);
        let due = match scope {
            Scope::All => !instance.pending.is_empty(),
            Scope::Urgent => instance.pending.password.is_some() || instance.pending.port.is_some(),
        };
        let start = due && !instance.applying;
        instance.applying |= due;
        start
    });
    let reply = operate::shown(lab, region, &found.id);
    if let Some(name) = name {
        rename::begin(lab, region, &found, name);
        return Ok(reply);
    }
    let (lab2, region2, id) = (Arc::clone(lab), region.to_owned(), found.id.clone());
    if start == Some(true) {
        lifecycle::spawn(lab, &found, async move {
            lab2.clock.sleep(promises::ACCEPTED_AFTER).await;
            promises::keep(&lab2, &region2, &id, scope).await;
        });
    }
    if deferred {
        let (lab2, region2, id) = (Arc::clone(lab), region.to_owned(), found.id.clone());
        lifecycle::spawn(lab, &found, async move {
            let wait = promises::until_window(&lab2, &region2, &id);
            lab2.clock.sleep(wait).await;
            promises::keep(&lab2, &region2, &id, Scope::All).await;
        });
    }
    Ok(reply)
}
