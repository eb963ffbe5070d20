//! `RestoreDBInstanceFromDBSnapshot`: a new instance from a snapshot's files.

use std::sync::Arc;

use super::create::{self, Common};
use super::lifecycle::Origin;
use super::model::Hidden;
use super::{bad_combination, classes, names, place, random_password, snapshots};
use crate::Lab;
use crate::api::{ApiError, Call, Reply};

/// Restores; master user and databases are the snapshot's, the endpoint is a new one.
pub async fn restore(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let (p, region) = (&call.params, call.region.as_str());
    let id = names::identifier("DBInstanceIdentifier", &p.str("DBInstanceIdentifier")?)?;
    let name = p.str("DBSnapshotIdentifier")?;
    let engine_name = p.opt("Engine");
    let retention = p
        .opt_int("BackupRetentionPeriod")?
        .map(names::retention)
        .transpose()?;
    let backup = p
        .opt("PreferredBackupWindow")
        .map(|w| names::backup_window(&w))
        .transpose()?;
    let managed = p.opt_bool("ManageMasterUserPassword")?.unwrap_or(false);
    let mut common = Common::read(p)?;
    p.finish()?;
    if engine_name.is_some_and(|name| name != "postgres") {
        return Err(bad_combination("The snapshot is of engine postgres."));
    }
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
    let old = &snapshot.instance;
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
            "The allocated storage {storage} is less than the snapshot's, {}.",
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
    let directory = snapshot.directory.join("data");
    create::begin(
        lab,
        region,
        &instance,
        Origin::Snapshot {
            directory,
            password,
        },
    )
}
