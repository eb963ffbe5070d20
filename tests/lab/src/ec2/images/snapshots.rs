//! Snapshots: what images are made of.

use std::sync::Arc;

use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};
use crate::ec2::filter::{Fields, Filters, Page, all_exist};
use crate::ec2::proceed;
use crate::ec2::state::{Image, ImageState, Snapshot};
use crate::ec2::tags::tag_set;
use crate::iam::ACCOUNT;

fn no_snapshot(id: &str) -> ApiError {
    ApiError::new(
        "InvalidSnapshot.NotFound",
        format!("The snapshot '{id}' does not exist."),
    )
}

fn progress(snapshot: &Snapshot) -> &'static str {
    if snapshot.state == "completed" {
        "100%"
    } else {
        "0%"
    }
}

/// DescribeSnapshots.
pub(crate) fn describe_snapshots(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let (ids, owners) = (p.list("SnapshotId"), p.list("Owner"));
    p.accept(&["RestorableBy"]);
    let known = [
        "description",
        "encrypted",
        "owner-alias",
        "owner-id",
        "progress",
        "snapshot-id",
        "start-time",
        "status",
        "volume-id",
        "volume-size",
    ];
    let filters = Filters::parse(p, &known)?;
    let page = Page::without_ids(p, (5, 1000), "snapshotSet", &ids)?;
    proceed(p)?;
    let region = lab.ec2.region(&call.region)?;
    all_exist(&ids, |id| region.snapshots.contains_key(id), no_snapshot)?;
    let ours = owners.is_empty() || owners.iter().any(|name| name == "self" || name == ACCOUNT);
    let mut entries = Vec::new();
    for snapshot in region.snapshots.values().filter(|_| ours) {
        let fields: Fields = vec![
            ("description", snapshot.description.clone()),
            ("encrypted", snapshot.encrypted.to_string()),
            ("owner-id", ACCOUNT.to_owned()),
            ("progress", progress(snapshot).to_owned()),
            ("snapshot-id", snapshot.id.clone()),
            ("start-time", snapshot.started.to_string()),
            ("status", snapshot.state.to_owned()),
            ("volume-id", snapshot.volume.clone()),
            ("volume-size", snapshot.volume_size.to_string()),
        ];
        let tags = region.tags_of(&snapshot.id);
        if (ids.is_empty() || ids.contains(&snapshot.id)) && filters.pass(&fields, &tags) {
            let xml = Xml::new()
                .text("snapshotId", &snapshot.id)
                .text("volumeId", &snapshot.volume)
                .text("status", snapshot.state)
                .time("startTime", snapshot.started)
                .text("progress", progress(snapshot))
                .text("ownerId", ACCOUNT)
                .text("description", &snapshot.description)
                .text("volumeSize", snapshot.volume_size)
                .text("encrypted", snapshot.encrypted)
                .text("storageTier", "standard")
                .list("tagSet", "item", tag_set(&tags));
            entries.push((snapshot.id.clone(), xml));
        }
    }
    let (entries, token) = page.cut(entries);
    Ok(Xml::new()
        .list("snapshotSet", "item", entries)
        .opt("nextToken", token)
        .into())
}

/// DeleteSnapshot: not while an image uses it.
pub(crate) fn delete_snapshot(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let id = p.str("SnapshotId")?;
    proceed(p)?;
    let mut region = lab.ec2.region(&call.region)?;
    if !region.snapshots.contains_key(&id) {
        return Err(no_snapshot(&id));
    }
    let uses = |image: &&Image| image.snapshot == id && image.state != ImageState::Deregistered;
    if let Some(image) = region.images.values().find(uses) {
        return Err(ApiError::new(
            "InvalidSnapshot.InUse",
            format!("The snapshot {id} is currently in use by {}", image.id),
        ));
    }
    region.snapshots.remove(&id);
    region.tags.remove(&id);
    Ok(Xml::new().text("return", true).into())
}
