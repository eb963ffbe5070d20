//! DB snapshots: real copies of a running server's files.

use std::sync::Arc;
use std::time::Duration;

use super::model::Snapshot;
use super::{arn, backup, bad_state, events, lifecycle, names, not_found, page, render, tags};
use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};

/// A copy within the region: only metadata and unchanged blocks; about as long as a small snapshot.
const COPYING: Duration = Duration::from_mins(1);
/// Manual snapshots a region may have (user guide, "Quotas and constraints").
pub const QUOTA: usize = 100;

fn missing(id: &str) -> ApiError {
    not_found("DBSnapshotNotFound", &format!("DBSnapshot {id} not found."))
}

/// A snapshot by identifier or ARN.
pub fn find(lab: &Lab, region: &str, id: &str) -> Result<Snapshot, ApiError> {
    let prefix = arn(region, "snapshot", "");
    let id = id.strip_prefix(&prefix).unwrap_or(id).to_ascii_lowercase();
    lab.rds
        .with(region, |state| state.snapshots.get(&id).cloned())
        .ok_or_else(|| missing(&id))
}

/// Refuses an identifier that is in use, and one manual snapshot too many.
pub fn check_free(lab: &Lab, region: &str, id: &str) -> Result<(), ApiError> {
    lab.rds.with(region, |state| {
        if state.snapshots.contains_key(id) {
            return Err(ApiError::new(
                "DBSnapshotAlreadyExists",
                format!("Cannot create the snapshot because a snapshot with the identifier {id} already exists."),
            ));
        }
        let manual = state.snapshots.values().filter(|s| s.kind == "manual");
        if manual.count() >= QUOTA {
            return Err(ApiError::new(
                "SnapshotQuotaExceeded",
                format!("The region has its {QUOTA} manual snapshots already."),
            ));
        }
        Ok(())
    })
}

/// `CreateDBSnapshot`.
pub fn create(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let (p, region) = (&call.params, call.region.as_str());
    let name = names::identifier("DBSnapshotIdentifier", &p.str("DBSnapshotIdentifier")?)?;
    let id = p.str("DBInstanceIdentifier")?;
    let tags = tags::read(p)?;
    p.finish()?;
    check_free(lab, region, &name)?;
    let instance = lab.rds.find(region, &id)?;
    let begun = lab.rds.edit(region, &instance.id, |instance| {
        let free = matches!(instance.status, "available" | "storage-optimization");
        if free {
            instance.status = "backing-up";
        }
        free
    });
    let Some((true, engine)) = begun.zip(lab.rds.engine.get()) else {
        return Err(bad_state(format!(
            "Cannot create a snapshot because the database instance {} is not currently in the available state.",
            instance.id
        )));
    };
    let root = engine.root.clone();
    let snapshot = backup::register(lab, region, &instance, (&name, "manual"), tags, &root);
    events::snapshot(
        lab,
        region,
        &name,
        &["creation"],
        "Creating manual snapshot",
    );
    let (lab2, region2, made) = (Arc::clone(lab), region.to_owned(), snapshot.clone());
    lifecycle::spawn(lab, &instance.clone(), async move {
        let id = instance.id.clone();
        match backup::take(&lab2, &region2, &instance, &made, backup::BACKING_UP).await {
            Ok(()) => {
                events::snapshot(
                    &lab2,
                    &region2,
                    &made.id,
                    &["creation"],
                    "Manual snapshot created",
                );
            }
            Err(error) => events::snapshot(
                &lab2,
                &region2,
                &made.id,
                &["failure"],
                format!("The snapshot failed: {error}"),
            ),
        }
        lifecycle::rest(&lab2, &region2, &id);
    });
    Ok(Xml::new()
        .child("DBSnapshot", render::snapshot(region, &snapshot))
        .into())
}

/// `CopyDBSnapshot`, within the region.
pub async fn copy(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let (p, region) = (&call.params, call.region.as_str());
    let source = p.str("SourceDBSnapshotIdentifier")?;
    let target = names::identifier(
        "TargetDBSnapshotIdentifier",
        &p.str("TargetDBSnapshotIdentifier")?,
    )?;
    let copy_tags = p.opt_bool("CopyTags")?.unwrap_or(false);
    let mut tags = tags::read(p)?;
    p.accept(&["KmsKeyId", "OptionGroupName", "CopyOptionGroup"]);
    p.finish()?;
    let from = find(lab, region, &source)?;
    if from.status != "available" {
        return Err(ApiError::new(
            "InvalidDBSnapshotState",
            format!(
                "The snapshot {} is not available but {}.",
                from.id, from.status
            ),
        ));
    }
    check_free(lab, region, &target)?;
    let engine = lab.rds.engine(lab).await?;
    if copy_tags {
        tags.extend(from.tags.clone());
    }
    let copy = Snapshot {
        id: target.clone(),
        kind: "manual",
        status: "copying",
        progress: 0,
        tags,
        copied_from: Some(arn(region, "snapshot", &from.id)),
        directory: engine.root.join(format!("snapshot-{region}-{target}")),
        ..from.clone()
    };
    lab.rds.with(region, |state| {
        state.snapshots.insert(target.clone(), copy.clone());
    });
    let (lab2, region2, made) = (Arc::clone(lab), region.to_owned(), copy.clone());
    lab.spawn(async move {
        let work = async {
            let folder = made
                .directory
                .file_name()
                .map(|n| n.to_string_lossy().into_owned());
            let node = super::postgres::Node::create(&engine, &folder.unwrap_or_default(), "")?;
            node.copy_files(&engine, &from.directory.join("data")).await
        };
        let (done, ()) = tokio::join!(work, lab2.clock.sleep(COPYING));
        if let Err(error) = &done {
            events::snapshot(
                &lab2,
                &region2,
                &made.id,
                &["failure"],
                format!("The copy failed: {error}"),
            );
        }
        lab2.rds.with(&region2, |state| {
            if let Some(snapshot) = state.snapshots.get_mut(&made.id) {
                snapshot.status = if done.is_ok() { "available" } else { "failed" };
                snapshot.progress = 100;
            }
        });
    });
    Ok(Xml::new()
        .child("DBSnapshot", render::snapshot(region, &copy))
        .into())
}

/// `DeleteDBSnapshot`.
pub fn delete(lab: &Lab, call: &Call) -> Result<Reply, ApiError> {
    let id = call.params.str("DBSnapshotIdentifier")?;
    call.params.finish()?;
    let snapshot = find(lab, &call.region, &id)?;
    if snapshot.kind == "automated" || !matches!(snapshot.status, "available" | "failed") {
        return Err(ApiError::new(
            "InvalidDBSnapshotState",
            format!(
                "Cannot delete the {} snapshot {}: it is {}.",
                snapshot.kind, snapshot.id, snapshot.status
            ),
        ));
    }
    forget(lab, &call.region, &snapshot);
    events::snapshot(
        lab,
        &call.region,
        &snapshot.id,
        &["deletion"],
        "Deleted manual snapshot",
    );
    let gone = Snapshot {
        status: "deleted",
        ..snapshot
    };
    Ok(Xml::new()
        .child("DBSnapshot", render::snapshot(&call.region, &gone))
        .into())
}

/// Removes a snapshot with its files.
pub fn forget(lab: &Lab, region: &str, snapshot: &Snapshot) {
    lab.rds
        .with(region, |state| state.snapshots.remove(&snapshot.id));
    super::postgres::remove_tree(snapshot.directory.clone());
}

/// `DescribeDBSnapshots`.
pub fn describe(lab: &Lab, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let name = p.opt("DBSnapshotIdentifier");
    let of = p.opt("DBInstanceIdentifier").map(|id| {
        id.rsplit(':')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase()
    });
    let kind = p.opt("SnapshotType");
    let resource = p.opt("DbiResourceId");
    p.accept(&["IncludeShared", "IncludePublic"]);
    let known = [
        "db-instance-id",
        "db-snapshot-id",
        "dbi-resource-id",
        "snapshot-type",
        "engine",
    ];
    let filters = super::refuse_filters(p, &known)?;
    let paging = page::Request::read(p)?;
    p.finish()?;
    if let Some(name) = &name {
        find(lab, &call.region, name)?;
    }
    let name = name.map(|name| {
        let prefix = arn(&call.region, "snapshot", "");
        name.strip_prefix(&prefix)
            .unwrap_or(&name)
            .to_ascii_lowercase()
    });
    let matches = |snapshot: &Snapshot| {
        name.as_deref().is_none_or(|id| id == snapshot.id)
            && of.as_deref().is_none_or(|id| id == snapshot.instance.id)
            && kind.as_deref().is_none_or(|kind| kind == snapshot.kind)
            && resource
                .as_deref()
                .is_none_or(|id| id == snapshot.instance.resource_id)
            && filters.iter().all(|(name, values)| {
                let value = match name.as_str() {
                    "db-instance-id" => snapshot.instance.id.as_str(),
                    "db-snapshot-id" => snapshot.id.as_str(),
                    "dbi-resource-id" => snapshot.instance.resource_id.as_str(),
                    "snapshot-type" => snapshot.kind,
                    _ => "postgres",
                };
                values.iter().any(|wanted| wanted == value)
            })
    };
    let found: Vec<Snapshot> = lab.rds.with(&call.region, |state| {
        state
            .snapshots
            .values()
            .filter(|s| matches(s))
            .cloned()
            .collect()
    });
    let (shown, marker) = paging.cut(found);
    Ok(Xml::new()
        .opt("Marker", marker)
        .list(
            "DBSnapshots",
            "DBSnapshot",
            shown
                .iter()
                .map(|each| render::snapshot(&call.region, each)),
        )
        .into())
}
