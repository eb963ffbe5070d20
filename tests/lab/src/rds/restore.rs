//! A new instance from what another one left: `RestoreDBInstanceFromDBSnapshot`, and what it shares with a
//! restore to a point in time.

use std::sync::Arc;

use super::create::{self, Common};
use super::lifecycle::Origin;
use super::model::{Hidden, Instance};
use super::{bad_combination, classes, names, place, random_password, snapshots};
use crate::Lab;
use crate::api::{ApiError, Call, Params, Reply};

/// What both ways to restore say of the new instance.
pub struct Target {
    retention: Option<i64>,
    backup: Option<String>,
    managed: bool,
    common: Common,
}

impl Target {
    /// Reads and checks it.
    pub fn read(p: &Params) -> Result<Self, ApiError> {
        if p.opt("Engine").is_some_and(|name| name != "postgres") {
            return Err(bad_combination("The source is of engine postgres."));
        }
        Ok(Self {
            retention: p
                .opt_int("BackupRetentionPeriod")?
                .map(names::retention)
                .transpose()?,
            backup: p
                .opt("PreferredBackupWindow")
                .map(|w| names::backup_window(&w))
                .transpose()?,
            managed: p.opt_bool("ManageMasterUserPassword")?.unwrap_or(false),
            common: Common::read(p)?,
        })
    }
}

/// Restores; master user and databases are the snapshot's, the endpoint is a new one.
pub async fn restore(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let (p, region) = (&call.params, call.region.as_str());
    let id = names::identifier("DBInstanceIdentifier", &p.str("DBInstanceIdentifier")?)?;
    let name = p.str("DBSnapshotIdentifier")?;
    let target = Target::read(p)?;
    p.finish()?;
    let snapshot = snapshots::find(lab, region, &name)?;
    if snapshot.status != "available" {
        return Err(ApiError::new(
            "InvalidDBSnapshotState",
            format!(
                "The snapshot {} is not available but {}.",
                snapshot.id, snapshot.status
            ),
        ));
    }
    let directory = snapshot.directory.join("data");
    begin(lab, region, id, target, &snapshot.instance, |password| {
        Origin::Snapshot {
            directory,
            password,
        }
    })
    .await
}

/// Registers the new instance and starts the making of it.
pub async fn begin(
    lab: &Arc<Lab>,
    region: &str,
    id: String,
    target: Target,
    old: &Instance,
    origin: impl FnOnce(Option<Hidden>) -> Origin,
) -> Result<Reply, ApiError> {
    let Target {
        retention,
        backup,
        managed,
        mut common,
    } = target;
    let engine = lab.rds.engine(lab).await?;
    let group = place::parameter_group(
        lab,
        region,
        common.parameter_group.as_deref(),
        &engine.major,
    )?;
    place::check_security_groups(lab, region, &common.security_groups)?;
    create::check_free(lab, region, &id)?;
    common.class.get_or_insert_with(|| old.class.clone());
    let storage = *common.storage.get_or_insert(old.storage);
    let kind = common
        .storage_type
        .get_or_insert_with(|| old.storage_type.clone())
        .clone();
    classes::check_storage(&kind, storage)?;
    if storage < old.storage {
        return Err(bad_combination(format!(
            "The allocated storage {storage} is less than the source's, {}.",
            old.storage
        )));
    }
    common.port.get_or_insert(old.port);
    let place = place::take(lab, region, &common.wish)?;
    let public = common.public.unwrap_or(common.wish.subnet_group.is_none());
    let mut instance = create::instance(lab, id, common, place, group);
    instance.public = public;
    instance.engine_version.clone_from(&engine.version);
    instance.master.clone_from(&old.master);
    instance.database.clone_from(&old.database);
    instance.retention = retention.unwrap_or(old.retention);
    instance.encrypted = old.encrypted;
    instance.kms_key.clone_from(&old.kms_key);
    instance.backup_window = backup.unwrap_or_else(|| old.backup_window.clone());
    let password = managed.then(|| Hidden(random_password(32)));
    if let Some(password) = &password {
        create::managed_secret(lab, region, &mut instance, &password.0);
    }
    create::begin(lab, region, &instance, origin(password))
}
