//! The log that RDS keeps with automated backups, and `RestoreDBInstanceToPointInTime`.
//!
//! Every server archives its write-ahead log beside its data, as RDS does to S3. Every five minutes the present
//! piece is ended and uploaded: `LatestRestorableTime` is the moment at which that was begun. A restore takes the
//! newest automated backup before the wanted second and lets PostgreSQL replay the log until then.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::engine::{Engine, EngineError};
use super::model::{Instance, Snapshot};
use super::postgres::{Node, refused, remove_tree};
use super::restore::{self, Target};
use super::{bad_combination, lifecycle, names};
use crate::Lab;
use crate::api::{ApiError, Call, Params, Reply};

/// RDS uploads the log every five minutes (user guide, "Restoring a DB instance to a specified time").
pub const EVERY: Duration = Duration::from_mins(5);
/// A piece of the log of 1 MiB is archived within this (real time).
const ARCHIVE_DEADLINE: Duration = Duration::from_secs(20);
/// A database of the lab's size is replayed within this (real time).
const REPLAY_DEADLINE: Duration = Duration::from_mins(2);
/// Between two looks at a server that archives or replays.
const LOOK: Duration = Duration::from_millis(50);

/// Where the pieces of an instance's log lie.
pub fn folder(engine: &Engine, instance: &Instance) -> PathBuf {
    let name = format!("{}-log", instance.resource_id.to_lowercase());
    engine.root.join(name)
}

/// Forgets an instance's log, with its automated backups.
pub fn forget(engine: &Engine, instance: &Instance) {
    remove_tree(folder(engine, instance));
}

/// What an upload brings in `LatestRestorableTime`: the moment before it. A commit after that moment is written
/// first: PostgreSQL ends a replay with an error when it meets nothing newer than what it was to stop at.
///
/// # Errors
///
/// A server that cannot be asked, or that does not archive.
pub async fn upload(
    lab: &Lab,
    engine: &Engine,
    node: &Node,
    instance: &Instance,
) -> Result<Timestamp, EngineError> {
    let until = lab.clock.now();
    let client = node.connect(engine, instance.port, "postgres").await?;
    client
        .batch_execute("SELECT pg_current_xact_id()")
        .await
        .map_err(|error| refused("writing to the log", &error))?;
    let row = client
        .query_one("SELECT pg_walfile_name(pg_switch_wal())", &[])
        .await
        .map_err(|error| refused("ending a piece of the log", &error))?;
    let piece = folder(engine, instance).join(row.get::<_, String>(0));
    let archived = async {
        while !piece.exists() {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(ARCHIVE_DEADLINE, archived)
        .await
        .map_err(|_| EngineError::NotStarted(format!("{} was not archived", piece.display())))?;
    Ok(until)
}

/// Notes how far an instance can be restored. What cannot be uploaded leaves it where it was, as on AWS.
pub async fn advance(lab: &Lab, engine: &Engine, region: &str, node: &Node, instance: &Instance) {
    match upload(lab, engine, node, instance).await {
        Ok(until) => {
            lab.rds.edit(region, &instance.id, |instance| {
                instance.latest_restorable = Some(until);
            });
        }
        Err(error) => log::warn!("{region} DB instance {}: its log: {error}", instance.id),
    }
}

/// Tells a copy of a base backup to replay the log until `second`. In the data directory's own file, which the
/// lab's configuration leaves alone.
pub fn replay_until(
    engine: &Engine,
    node: &Node,
    log: &Path,
    second: Timestamp,
) -> Result<(), EngineError> {
    // PostgreSQL reads it before it knows abbreviations of zones, `Z` among them.
    let second = second.strftime("%Y-%m-%d %H:%M:%S%.6f+00");
    let lines = format!(
        "restore_command = 'cp \"{}/%f\" \"%p\"'\n\
         recovery_target_time = '{second}'\n\
         recovery_target_action = 'promote'\n",
        log.display()
    );
    engine.write(&node.data().join("postgresql.auto.conf"), &lines)?;
    engine.write(&node.data().join("recovery.signal"), "")
}

/// Waits until the replay has ended, and forgets how it was told: followers copy that file.
pub async fn replayed(engine: &Engine, node: &Node, port: u16) -> Result<(), EngineError> {
    let ended = async {
        loop {
            if !node.is_up() {
                let text = "the server ended while it replayed the log".to_owned();
                return Err(EngineError::NotStarted(text));
            }
            if let Ok(client) = node.connect(engine, port, "postgres").await {
                let row = client
                    .query_one("SELECT pg_is_in_recovery()", &[])
                    .await
                    .map_err(|error| refused("reading whether the replay has ended", &error))?;
                if !row.get::<_, bool>(0) {
                    return Ok(());
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let text = format!("the log was not replayed within {REPLAY_DEADLINE:?}");
    tokio::time::timeout(REPLAY_DEADLINE, ended)
        .await
        .unwrap_or(Err(EngineError::NotStarted(text)))?;
    engine.write(&node.data().join("postgresql.auto.conf"), "")
}

/// `RestoreDBInstanceToPointInTime`.
pub async fn restore(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let (p, region) = (&call.params, call.region.as_str());
    if p.opt("SourceDbiResourceId").is_some()
        || p.opt("SourceDBInstanceAutomatedBackupsArn").is_some()
    {
        return Err(bad_combination(
            "The lab restores by SourceDBInstanceIdentifier alone.",
        ));
    }
    let source = p.str("SourceDBInstanceIdentifier")?;
    let id = names::identifier(
        "TargetDBInstanceIdentifier",
        &p.str("TargetDBInstanceIdentifier")?,
    )?;
    let wanted = second(p)?;
    let target = Target::read(p)?;
    p.finish()?;
    let old = lab.rds.find(region, &source)?;
    if old.retention == 0 {
        return Err(ApiError::new(
            "PointInTimeRestoreNotEnabled",
            format!("Point In Time Restore is not enabled for {}.", old.id),
        ));
    }
    let (second, base) = within(lab, region, &old, wanted)?;
    let engine = lab.rds.engine(lab).await?;
    restore::begin(lab, region, id, target, &old, |password| {
        lifecycle::Origin::Log {
            directory: base.directory.join("data"),
            log: folder(&engine, &old),
            second,
            password,
        }
    })
    .await
}

/// `RestoreTime`, or none for the latest one.
fn second(p: &Params) -> Result<Option<Timestamp>, ApiError> {
    let latest = p.opt_bool("UseLatestRestorableTime")?.unwrap_or(false);
    match (p.opt_time("RestoreTime")?, latest) {
        (Some(_), true) => Err(bad_combination(
            "RestoreTime and UseLatestRestorableTime cannot both be specified.",
        )),
        (None, false) => Err(bad_combination(
            "RestoreTime or UseLatestRestorableTime is required.",
        )),
        (time, _) => Ok(time),
    }
}

/// The second and the newest automated backup that was whole before it.
fn within(
    lab: &Lab,
    region: &str,
    old: &Instance,
    wanted: Option<Timestamp>,
) -> Result<(Timestamp, Snapshot), ApiError> {
    let out = |text: String| ApiError::new("InvalidParameterValue", text);
    let latest = old
        .latest_restorable
        .ok_or_else(|| out(format!("{} has no automated backup yet.", old.id)))?;
    let second = wanted.unwrap_or(latest);
    if second > latest {
        return Err(out(format!(
            "The specified instance cannot be restored to a time later than {latest}."
        )));
    }
    let base = lab.rds.with(region, |state| {
        state
            .snapshots
            .values()
            .filter(|seen| seen.kind == "automated" && seen.status == "available")
            .filter(|seen| seen.instance.resource_id == old.resource_id)
            .filter(|seen| seen.whole.is_some_and(|whole| whole <= second))
            .max_by_key(|seen| seen.whole)
            .cloned()
    });
    let base = base.ok_or_else(|| {
        out(format!(
            "The specified instance cannot be restored to {second}: no backup is as old."
        ))
    })?;
    Ok((second, base))
}
