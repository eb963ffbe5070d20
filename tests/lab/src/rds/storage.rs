//! Storage that grows: what RDS takes of `ModifyDBInstance`, and the optimisation that follows.
//!
//! ```text
//!  available ──► modifying (2 min) ──► storage-optimization (30 min, hours on AWS) ──► available
//!                                      └── the next change is refused until it has ended and
//!                                          six hours have passed since the last one
//! ```

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::model::Instance;
use super::{bad_combination, classes, lifecycle};
use crate::Lab;
use crate::api::{ApiError, Params};

/// `storage-optimization`: hours as a rule, "sometimes … beyond 24 hours"; what a small volume takes.
const OPTIMISING: Duration = Duration::from_mins(30);
/// "You can't make further storage modifications for six hours, or until storage optimization has
/// completed on the instance, whichever is longer."
const BETWEEN_CHANGES: SignedDuration = SignedDuration::from_hours(6);
/// Below it gp3 volumes of PostgreSQL have the basic performance, which cannot be set.
const GP3_THRESHOLD: i64 = 400;
/// gp3 below the threshold.
const GP3_BASIC_IOPS: i64 = 3_000;
/// gp3 from the threshold on.
const GP3_LARGE_IOPS: i64 = 12_000;
/// MiB a second of gp3 below the threshold, and from it on (user guide, "General Purpose SSD storage").
const GP3_THROUGHPUT: (i64, i64) = (125, 500);

/// `Iops` as described: gp3 has a baseline that nobody asked for.
pub fn shown_iops(instance: &Instance) -> Option<i64> {
    let baseline = || match instance.storage_type.as_str() {
        "gp3" if instance.storage < GP3_THRESHOLD => Some(GP3_BASIC_IOPS),
        "gp3" => Some(GP3_LARGE_IOPS),
        _ => None,
    };
    instance.iops.or_else(baseline)
}

/// `StorageThroughput` as described, in MiB a second: other types have none.
pub fn shown_throughput(instance: &Instance) -> Option<i64> {
    let (basic, large) = GP3_THROUGHPUT;
    let is_large = instance.storage >= GP3_THRESHOLD;
    (instance.storage_type == "gp3").then_some(if is_large { large } else { basic })
}

/// Refuses IOPS that a small gp3 volume cannot have.
pub fn check_iops(kind: &str, gib: i64, iops: Option<i64>) -> Result<(), ApiError> {
    if kind == "gp3" && gib < GP3_THRESHOLD && iops.is_some() {
        return Err(bad_combination(format!(
            "You can't specify IOPS or storage throughput for engine postgres and a storage size less than {GP3_THRESHOLD}."
        )));
    }
    Ok(())
}

/// What of the storage is to change.
#[derive(Debug, Default)]
pub struct Wish {
    /// GiB.
    pub size: Option<i64>,
    /// Type.
    pub kind: Option<String>,
    /// IOPS.
    pub iops: Option<i64>,
}

/// Size, type and IOPS that are to change; what is so already is no change.
pub fn read(p: &Params, now: &Instance, at: Timestamp) -> Result<Wish, ApiError> {
    let wanted = p.opt_int("AllocatedStorage")?;
    let given_iops = p.opt_int("Iops")?;
    let kind = p
        .opt("StorageType")
        .filter(|kind| *kind != now.storage_type);
    let gib = wanted.filter(|gib| *gib != now.storage);
    if let Some(gib) = gib
        && gib < now.storage
    {
        return Err(bad_combination(format!(
            "Requested storage size ({gib}) cannot be less than the current storage size ({}).",
            now.storage
        )));
    }
    // "Values that are not at least 10% greater than the existing value are rounded up".
    let gib = gib.map(|gib| gib.max((now.storage * 11 + 9) / 10));
    let iops = given_iops.filter(|iops| Some(*iops) != shown_iops(now));
    if gib.is_none() && kind.is_none() && iops.is_none() {
        return Ok(Wish::default());
    }
    let new_kind = kind.as_deref().unwrap_or(&now.storage_type);
    let new_gib = gib.unwrap_or(now.storage);
    classes::check_storage(new_kind, new_gib)?;
    check_iops(new_kind, new_gib, given_iops)?;
    let provisioned = new_kind.starts_with("io") || (new_kind == "gp3" && new_gib >= GP3_THRESHOLD);
    if provisioned && (given_iops.is_none() || wanted.is_none()) {
        return Err(bad_combination(
            "You must specify both the storage size and iops when modifying the storage size or iops on a DB instance that has iops.",
        ));
    }
    let too_early = now
        .storage_changed_at
        .is_some_and(|last| at.duration_since(last) < BETWEEN_CHANGES);
    if too_early || now.status == "storage-optimization" {
        return Err(bad_combination(
            "You can't currently modify the storage of this DB instance because the previous storage change is being optimized.",
        ));
    }
    Ok(Wish {
        size: gib,
        kind,
        iops,
    })
}

/// The pending change is made; the optimisation begins.
pub fn changed(lab: &Arc<Lab>, region: &str, id: &str) {
    let now = lab.clock.now();
    let end = now
        .checked_add(OPTIMISING)
        .expect("the lab's clock is far from the end of time");
    let instance = lab.rds.edit(region, id, |instance| {
        let pending = &mut instance.pending;
        instance.storage = pending.storage.take().unwrap_or(instance.storage);
        instance.iops = pending.iops.take().or(instance.iops);
        if let Some(kind) = pending.storage_type.take() {
            instance.storage_type = kind;
        }
        instance.storage_changed_at = Some(now);
        instance.optimised_at = Some(end);
        instance.clone()
    });
    let Some(instance) = instance else {
        return;
    };
    let (lab2, region, id) = (Arc::clone(lab), region.to_owned(), id.to_owned());
    lifecycle::spawn(lab, &instance, async move {
        lab2.clock.sleep(OPTIMISING).await;
        let at_rest = lab2.rds.edit(&region, &id, |instance| {
            instance.optimised_at = None;
            instance.status == "storage-optimization"
        });
        if at_rest == Some(true) {
            lifecycle::rest(&lab2, &region, &id);
        }
    });
}
