//! Images and the snapshots behind them. A snapshot holds the file tree that an instance's root is
//! copied from; copies of an image share it, in whichever region they are.

use std::path::Path;
use std::sync::Arc;

use crate::Lab;
use crate::api::ApiError;
use crate::runtime::copy_tree;

use super::state::{Image, ImageState, Snapshot};

/// Every image's root device.
pub(crate) const ROOT_DEVICE: &str = "/dev/xvda";
/// The size that a registered image shows, in GiB.
const VOLUME_SIZE: i64 = 8;

/// Registers a base image: `tree` is copied to `images/<ami>` in the lab's directory; none is an image
/// with nothing in it. The image is available at once. Gives its id.
pub async fn register_image(
    lab: &Arc<Lab>,
    region: &str,
    name: &str,
    tree: Option<&Path>,
    tags: Vec<(String, String)>,
) -> Result<String, ApiError> {
    check_free(lab, region, name)?;
    let id = lab.ids.ec2("ami");
    let tree = match tree {
        None => None,
        Some(from) => Some(take_tree(lab, &id, from).await?),
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

/// Copies a tree to the image's place; the copy is the snapshot's.
async fn take_tree(lab: &Lab, image: &str, from: &Path) -> Result<Arc<Path>, ApiError> {
    let to = lab.config.directory.join("images").join(image);
    let (source, target) = (from.to_owned(), to.clone());
    tokio::task::spawn_blocking(move || copy_tree(&source, &target, false))
        .await
        .unwrap_or_else(|error| Err(std::io::Error::other(error)))
        .map_err(|error| {
            ApiError::new(
                "InvalidParameterValue",
                format!("the tree `{}` cannot be taken: {error}", from.display()),
            )
        })?;
    Ok(Arc::from(to))
}
