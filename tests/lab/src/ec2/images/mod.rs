//! Images and the snapshots behind them. A snapshot holds the file tree that an instance's root is
//! copied from; copies of an image share it, in whichever region they are.

mod copy;
mod describe;
mod snapshots;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};

use super::proceed;
use super::state::{Image, ImageState, Snapshot};

pub(crate) use copy::{copy_image, create_image};
pub(crate) use describe::{describe, describe_attribute, modify_attribute};
pub(crate) use snapshots::{delete_snapshot, describe_snapshots};

/// Every image's root device.
pub(crate) const ROOT_DEVICE: &str = "/dev/xvda";
/// Every image's architecture.
pub(crate) const ARCHITECTURE: &str = "x86_64";
/// The size that a registered image shows, in GiB.
const VOLUME_SIZE: i64 = 8;

/// How long a deregistered image still shows. AWS says "for a short interval" (API reference,
/// `DescribeImages`) and no number; a minute is the lab's.
const SHOWS: Duration = Duration::from_mins(1);

/// Registers a base image: `tree` is copied to `images/<ami>` in the lab's directory; none is an image
/// with nothing in it. The image is available at once. Gives its id.
pub async fn register_image(
    lab: &Arc<Lab>,
    region: &str,
    name: &str,
    tree: Option<&Path>,
    tags: Vec<(String, String)>,
) -> Result<String, ApiError> {
    check_name(name)?;
    check_free(lab, region, name)?;
    let id = lab.ids.ec2("ami");
    let tree = match tree {
        None => None,
        Some(from) => {
            let taken = lab.ec2.runtime.take(from, place(lab, &id)).await;
            Some(Arc::new(taken.map_err(|error| not_taken(from, &error))?))
        }
    };
    check_free(lab, region, name)?;
    let now = lab.clock.now();
    let mut region = lab.ec2.region(region)?;
    let snapshot = Snapshot {
        id: lab.ids.ec2("snap"),
        description: format!("Created for {id}"),
        started: now,
        state: "completed",
        volume_size: VOLUME_SIZE,
        volume: "vol-ffffffff".to_owned(),
        encrypted: false,
        tree,
    };
    let image = Image {
        id: id.clone(),
        name: name.to_owned(),
        description: String::new(),
        state: ImageState::Available,
        created: now,
        snapshot: snapshot.id.clone(),
        volume_size: VOLUME_SIZE,
        volume_kind: "gp3".to_owned(),
        encrypted: false,
        source: None,
        source_instance: None,
    };
    region.snapshots.insert(snapshot.id.clone(), snapshot);
    region.images.insert(id.clone(), image);
    if !tags.is_empty() {
        region.tags.insert(id.clone(), tags.into_iter().collect());
    }
    Ok(id)
}

fn check_free(lab: &Lab, region: &str, name: &str) -> Result<(), ApiError> {
    let region = lab.ec2.region(region)?;
    match region.images.values().find(|image| image.name == name) {
        None => Ok(()),
        Some(image) => Err(ApiError::new(
            "InvalidAMIName.Duplicate",
            format!("AMI name {name} is already in use by AMI {}", image.id),
        )),
    }
}

/// Where the lab keeps an image's files.
fn place(lab: &Lab, image: &str) -> std::path::PathBuf {
    lab.config.directory.join("images").join(image)
}

fn not_taken(from: &Path, error: &std::io::Error) -> ApiError {
    ApiError::new(
        "InvalidParameterValue",
        format!("the tree `{}` cannot be taken: {error}", from.display()),
    )
}

fn no_image(id: &str) -> ApiError {
    if !id.starts_with("ami-") {
        return ApiError::new(
            "InvalidAMIID.Malformed",
            format!("Invalid id: \"{id}\" (expecting \"ami-...\")"),
        );
    }
    ApiError::new(
        "InvalidAMIID.NotFound",
        format!("The image id '[{id}]' does not exist"),
    )
}

/// Refuses a name that AWS would (API reference, "CreateImage").
fn check_name(name: &str) -> Result<(), ApiError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "()[] ./-'@_".contains(c);
    if (3..=128).contains(&name.len()) && name.chars().all(allowed) {
        return Ok(());
    }
    Err(ApiError::new(
        "InvalidAMIName.Malformed",
        format!(
            "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, '(', ')', '.', '-', '/' and '_': not '{name}'"
        ),
    ))
}

/// Why nothing can be launched from an image in this state; none when it is available.
pub(crate) fn unavailable(image: &Image) -> Option<ApiError> {
    let id = &image.id;
    let message = match image.state {
        ImageState::Available => return None,
        ImageState::Deregistered => format!("The image id '[{id}]' is no longer available"),
        ImageState::Pending | ImageState::Failed(..) => {
            format!("AMI '{id}' is {}, and cannot be run", image.state.name())
        }
    };
    Some(ApiError::new("InvalidAMIID.Unavailable", message))
}

/// DeregisterImage: instances that run from it go on; its snapshot stays unless asked for. The image
/// shows for a while as `deregistered`; asking for it after that is empty as long as an instance of it
/// is remembered, and an error then.
pub(crate) fn deregister(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let id = p.str("ImageId")?;
    let with_snapshots = p.opt_bool("DeleteAssociatedSnapshots")?.unwrap_or(false);
    proceed(p)?;
    let mut results = Vec::new();
    let mut region = lab.ec2.region(&call.region)?;
    let image = region.images.get_mut(&id).ok_or_else(|| no_image(&id))?;
    describe::check_own(image)?;
    if image.state == ImageState::Deregistered {
        return Err(unavailable(image).unwrap_or_else(|| no_image(&id)));
    }
    image.state = ImageState::Deregistered;
    let snapshot = image.snapshot.clone();
    if with_snapshots {
        region.snapshots.remove(&snapshot);
        region.tags.remove(&snapshot);
        results.push(
            Xml::new()
                .text("snapshotId", &snapshot)
                .text("returnCode", "success"),
        );
    }
    drop(region);
    lab.spawn(forget(Arc::clone(lab), call.region.clone(), id));
    Ok(Xml::new()
        .text("return", true)
        .list("deleteSnapshotResultSet", "item", results)
        .into())
}

async fn forget(lab: Arc<Lab>, region: String, id: String) {
    lab.clock.sleep(SHOWS).await;
    if let Ok(mut region) = lab.ec2.region(&region) {
        region.images.remove(&id);
        region.tags.remove(&id);
    }
}
