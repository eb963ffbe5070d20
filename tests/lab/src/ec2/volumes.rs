//! Volumes: the instances' root disks, as far as anybody looks at them.

use std::sync::Arc;

use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};

use super::filter::{Fields, Filters, Page, all_exist};
use super::launch_data::Ebs;
use super::proceed;
use super::state::Volume;
use super::tags::tag_set;

fn no_volume(id: &str) -> ApiError {
    ApiError::new(
        "InvalidVolume.NotFound",
        format!("The volume '{id}' does not exist."),
    )
}

fn status(volume: &Volume) -> &'static str {
    if volume.attachment.is_some() {
        "in-use"
    } else {
        "available"
    }
}

/// What a volume of this kind and size (GiB) does, where the launch says nothing else: I/O operations a
/// second and MiB a second (EBS user guide, "Amazon EBS General Purpose SSD volumes").
pub(crate) fn performance(kind: &str, size: i64, ebs: &Ebs) -> (Option<i64>, Option<i64>) {
    match kind {
        "gp3" => (
            Some(ebs.iops.unwrap_or(3000)),
            Some(ebs.throughput.unwrap_or(125)),
        ),
        "gp2" => (Some((3 * size).clamp(100, 16_000)), None),
        _ => (ebs.iops, None),
    }
}

/// DescribeVolumes.
pub(crate) fn describe(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let ids = p.list("VolumeId");
    let known = [
        "attachment.delete-on-termination",
        "attachment.device",
        "attachment.instance-id",
        "attachment.status",
        "availability-zone",
        "create-time",
        "encrypted",
        "size",
        "snapshot-id",
        "status",
        "volume-id",
        "volume-type",
    ];
    let filters = Filters::parse(p, &known)?;
    let page = Page::without_ids(p, (5, 1000), "volumeSet", &ids)?;
    p.accept(&["IncludeManagedResources"]);
    proceed(p)?;
    let region = lab.ec2.region(&call.region)?;
    all_exist(&ids, |id| region.volumes.contains_key(id), no_volume)?;
    let mut entries = Vec::new();
    for volume in region.volumes.values() {
        let mut fields: Fields = vec![
            ("availability-zone", volume.zone.clone()),
            ("create-time", volume.created.to_string()),
            ("encrypted", volume.encrypted.to_string()),
            ("size", volume.size.to_string()),
            ("snapshot-id", volume.snapshot.clone()),
            ("status", status(volume).to_owned()),
            ("volume-id", volume.id.clone()),
            ("volume-type", volume.kind.clone()),
        ];
        let mut attachments = Vec::new();
        if let Some((instance, device, with_instance)) = &volume.attachment {
            fields.extend([
                ("attachment.instance-id", instance.clone()),
                ("attachment.device", device.clone()),
                ("attachment.status", "attached".to_owned()),
                (
                    "attachment.delete-on-termination",
                    with_instance.to_string(),
                ),
            ]);
            attachments.push(
                Xml::new()
                    .text("volumeId", &volume.id)
                    .text("instanceId", instance)
                    .text("device", device)
                    .text("status", "attached")
                    .time("attachTime", volume.created)
                    .text("deleteOnTermination", with_instance),
            );
        }
        let tags = region.tags_of(&volume.id);
        if (ids.is_empty() || ids.contains(&volume.id)) && filters.pass(&fields, &tags) {
            let xml = Xml::new()
                .text("volumeId", &volume.id)
                .text("size", volume.size)
                .text("snapshotId", &volume.snapshot)
                .text("availabilityZone", &volume.zone)
                .text("status", status(volume))
                .time("createTime", volume.created)
                .list("attachmentSet", "item", attachments)
                .text("volumeType", &volume.kind)
                .opt("iops", volume.iops)
                .opt("throughput", volume.throughput)
                .text("encrypted", volume.encrypted)
                .text("multiAttachEnabled", false)
                .list("tagSet", "item", tag_set(&tags));
            entries.push((volume.id.clone(), xml));
        }
    }
    let (entries, token) = page.cut(entries);
    Ok(Xml::new()
        .list("volumeSet", "item", entries)
        .opt("nextToken", token)
        .into())
}

/// DeleteVolume: one that no instance has.
pub(crate) fn delete(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let id = p.str("VolumeId")?;
    proceed(p)?;
    let mut region = lab.ec2.region(&call.region)?;
    let volume = region.volumes.get(&id).ok_or_else(|| no_volume(&id))?;
    if let Some((instance, _, _)) = &volume.attachment {
        return Err(ApiError::new(
            "VolumeInUse",
            format!("Volume {id} is currently attached to {instance}"),
        ));
    }
    region.volumes.remove(&id);
    region.tags.remove(&id);
    Ok(Xml::new().text("return", true).into())
}
