//! Read replicas: streaming standbys of another instance, and what becomes of them.

use std::sync::Arc;
use std::time::Duration;

use super::create::{self, Common};
use super::engine::EngineError;
use super::lifecycle::{self, Origin};
use super::model::Instance;
use super::{backup, bad_combination, bad_state, classes, events, names, place, render, roles};
use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};

/// Promotion: "a few minutes or longer" (user guide), most of it a reboot.
const PROMOTING: Duration = Duration::from_mins(2);
/// Replicas of one source (user guide: 15 for PostgreSQL).
const MOST_REPLICAS: usize = 15;

/// What the source must be for a replica to be made of it.
fn check_source(source: &Instance, replicas: usize) -> Result<(), ApiError> {
    if !matches!(source.status, "available" | "storage-optimization") {
        return Err(bad_state(format!(
            "DB instance {} is not in the available state: its status is {}.",
            source.id, source.status
        )));
    }
    if source.retention == 0 && source.source.is_none() {
        return Err(bad_state(
            "Automated backups are not enabled for this database instance. To enable automated backups, use ModifyDBInstance to set the backup retention period to a non-zero value.",
        ));
    }
    if replicas >= MOST_REPLICAS {
        return Err(ApiError::new(
            "InstanceQuotaExceeded",
            format!(
                "{} has its {MOST_REPLICAS} read replicas already.",
                source.id
            ),
        ));
    }
    Ok(())
}

/// `CreateDBInstanceReadReplica`, in the source's region.
pub fn create(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let (p, region) = (&call.params, call.region.as_str());
    let id = names::identifier("DBInstanceIdentifier", &p.str("DBInstanceIdentifier")?)?;
    let source = p.str("SourceDBInstanceIdentifier")?;
    let mut common = Common::read(p)?;
    p.accept(&["KmsKeyId", "PreSignedUrl"]);
    p.finish()?;
    if common.parameter_group.is_some() {
        return Err(bad_combination(
            "A parameter group can't be specified during Read Replica creation for the following DB engine: postgres",
        ));
    }
    if source.starts_with("arn:") && !source.starts_with(&super::arn(region, "db", "")) {
        return Err(ApiError::new(
            "InvalidParameterValue",
            format!(
                "The lab makes read replicas in the source's region only: {source} is not in {region}."
            ),
        ));
    }
    let source = lab.rds.find(region, &source)?;
    let replicas = replicas_of(lab, region, &source.id).len();
    check_source(&source, replicas)?;
    create::check_free(lab, region, &id)?;
    place::check_security_groups(lab, region, &common.security_groups)?;
    let group = source.parameter_group.clone();
    common.class.get_or_insert_with(|| source.class.clone());
    let storage = *common.storage.get_or_insert(source.storage);
    let kind = common
        .storage_type
        .get_or_insert_with(|| source.storage_type.clone())
        .clone();
    classes::check_storage(&kind, storage)?;
    common.iops = common.iops.or(source.iops);
    common.port.get_or_insert(source.port);
    common.auto_minor.get_or_insert(source.auto_minor);
    common
        .wish
        .subnet_group
        .get_or_insert_with(|| source.subnet_group.clone());
    let place = place::take(lab, region, &common.wish)?;
    let mut instance = create::instance(lab, id, common, place, group);
    instance.engine_version.clone_from(&source.engine_version);
    instance.master.clone_from(&source.master);
    instance.database.clone_from(&source.database);
    instance.backup_window.clone_from(&source.backup_window);
    instance.encrypted = source.encrypted;
    instance.kms_key.clone_from(&source.kms_key);
    instance.extended_support = source.extended_support;
    instance.source = Some(source.id.clone());
    create::begin(lab, region, &instance, Origin::Source)
}

/// The replicas of an instance.
pub fn replicas_of(lab: &Lab, region: &str, id: &str) -> Vec<Instance> {
    lab.rds.with(region, |state| {
        state
            .instances
            .values()
            .filter(|instance| instance.source.as_deref() == Some(id))
            .cloned()
            .collect()
    })
}

/// `PromoteReadReplica`.
pub fn promote(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let (p, region) = (&call.params, call.region.as_str());
    let id = p.str("DBInstanceIdentifier")?;
    let retention = names::retention(p.opt_int("BackupRetentionPeriod")?.unwrap_or(1))?;
    let window = p
        .opt("PreferredBackupWindow")
        .map(|w| names::backup_window(&w))
        .transpose()?;
    p.finish()?;
    let instance = lab.rds.find(region, &id)?;
    if instance.source.is_none() {
        return Err(bad_state(format!(
            "DB Instance {} is not a read replica.",
            instance.id
        )));
    }
    if !matches!(instance.status, "available" | "storage-optimization") {
        return Err(bad_state(format!(
            "DB Instance {} is not in an available state.",
            instance.id
        )));
    }
    begin_promotion(lab, region, &instance, retention, window);
    let xml = lab.rds.with(region, |state| {
        state
            .instances
            .get(&instance.id)
            .map(|instance| render::instance(region, state, instance))
    });
    Ok(Xml::new()
        .child("DBInstance", xml.unwrap_or_default())
        .into())
}

/// Starts a promotion: asked for, or because the source is being deleted.
pub fn begin_promotion(
    lab: &Arc<Lab>,
    region: &str,
    instance: &Instance,
    retention: i64,
    window: Option<String>,
) {
    lab.rds.edit(region, &instance.id, |instance| {
        instance.status = "modifying";
        instance.pending.retention = Some(retention);
        if let Some(window) = window {
            instance.backup_window = window;
        }
    });
    let (lab2, region, id) = (Arc::clone(lab), region.to_owned(), instance.id.clone());
    let source = instance.source.clone().unwrap_or_default();
    lifecycle::spawn(lab, instance, async move {
        let work = stand_alone(&lab2, &region, &id);
        let (done, ()) = tokio::join!(work, lab2.clock.sleep(PROMOTING));
        if let Err(error) = done {
            lifecycle::fail(&lab2, &region, &id, &error);
            return;
        }
        let copy = lab2.rds.instance(&region, &id);
        lab2.rds.edit(&region, &id, |instance| {
            instance.retention = retention;
            instance.pending.retention = None;
        });
        if let Some(copy) = copy {
            forget_slot(&lab2, &region, &source, &copy.slot(&region)).await;
        }
        events::instance(
            &lab2,
            &region,
            &id,
            &["read replica"],
            "Promoted Read Replica instance to a standalone database instance.",
        );
        if retention > 0 {
            backup::automated(&lab2, &region, &id).await;
        }
        lifecycle::rest(&lab2, &region, &id);
    });
}

/// Makes a replica's files anew from its source: after the failure of the source's host the replica
/// can hold write-ahead log that the new primary never had, and then never follows it again.
pub async fn rebuild(lab: &Arc<Lab>, region: &str, id: &str) -> Result<(), EngineError> {
    let (engine, instance) = super::nodes::at_hand(lab, region, id).await?;
    let mut machine = instance.machine.lock().await;
    let source = instance
        .source
        .as_deref()
        .and_then(|source| lab.rds.instance(region, source))
        .ok_or_else(|| super::nodes::vanished(id))?;
    {
        let mut theirs = source.machine.lock().await;
        let primary = theirs.primary()?;
        roles::ensure_slot(&engine, primary, source.port, &instance.slot(region)).await?;
    }
    let node = super::nodes::new_node(&engine, &mut machine, &instance, &instance.zone)?;
    node.copy_server(&engine, source.address, source.port)
        .await?;
    if let Some(mut old) = machine.primary.replace(node) {
        old.stop(super::postgres::Stop::Fast).await;
        old.remove();
    }
    super::nodes::start_primary(lab, &engine, region, id, &mut machine).await
}

/// Ends recovery and forgets the source.
async fn stand_alone(lab: &Arc<Lab>, region: &str, id: &str) -> Result<(), EngineError> {
    let (engine, instance) = super::nodes::at_hand(lab, region, id).await?;
    let mut machine = instance.machine.lock().await;
    let primary = machine.primary()?;
    roles::promote(&engine, primary, instance.port).await?;
    lab.rds.edit(region, id, |instance| {
        instance.source = None;
        instance.replication = None;
    });
    super::nodes::reconfigure_primary(lab, &engine, region, id, &mut machine, false)
}

/// Lets a source drop the write-ahead log that it kept for a replica. A source that is gone or down
/// has nothing to drop, or drops it with itself.
pub async fn forget_slot(lab: &Lab, region: &str, source: &str, slot: &str) {
    let (Some(source), Some(engine)) = (lab.rds.instance(region, source), lab.rds.engine.get())
    else {
        return;
    };
    let mut machine = source.machine.lock().await;
    let Ok(primary) = machine.primary() else {
        return;
    };
    if !primary.is_up() {
        return;
    }
    if let Err(error) = roles::drop_slot(engine, primary, source.port, slot).await {
        log::warn!(
            "{region} {}: the slot {slot} stays behind: {error}",
            source.id
        );
    }
}
