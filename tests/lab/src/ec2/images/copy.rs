//! CopyImage and CreateImage: both answer at once with an image in `pending`, which the clock makes
//! `available` or `failed`.

use std::sync::Arc;
use std::time::Duration;

use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};
use crate::ec2::faults;
use crate::ec2::launch::{digest_of, repeated};
use crate::ec2::launch_data::{parse_block_device, parse_tag_specifications, tags_for};
use crate::ec2::lifecycle;
use crate::ec2::proceed;
use crate::ec2::state::{Image, ImageState, InstanceState, Remembered, Snapshot, no_instance};
use crate::runtime::Tree;

use super::{check_free, check_name, no_image, not_taken, place};

/// An 8 GiB image to another region: some minutes, by experience.
const COPY: Duration = Duration::from_mins(5);
/// A first snapshot of an 8 GiB volume: some minutes, by experience.
const CREATE: Duration = Duration::from_mins(3);

/// CopyImage. Idempotent by ClientToken.
pub(crate) fn copy_image(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let (source_region, source_id) = (p.str("SourceRegion")?, p.str("SourceImageId")?);
    let name = p.str("Name")?;
    check_name(&name)?;
    let description = p.opt("Description");
    let encrypted = p.opt_bool("Encrypted")?.unwrap_or(false);
    let copy_tags = p.opt_bool("CopyImageTags")?.unwrap_or(false);
    let specifications = parse_tag_specifications(p, &["image", "snapshot"])?;
    let token = p.opt("ClientToken");
    p.accept(&["KmsKeyId"]);
    proceed(p)?;
    let (source, source_tags, tree) = {
        let region = lab.ec2.region(&source_region)?;
        let image = region
            .images
            .get(&source_id)
            .cloned()
            .ok_or_else(|| no_image(&source_id))?;
        let tree = region
            .snapshots
            .get(&image.snapshot)
            .and_then(|snapshot| snapshot.tree.clone());
        (image, region.tags_of(&source_id), tree)
    };
    let parameters = digest_of(&[
        &source_region,
        &source_id,
        &name,
        &format!("{description:?}{encrypted}{copy_tags}"),
    ]);
    let id = {
        let mut region = lab.ec2.region(&call.region)?;
        if let Some(token) = &token
            && let Some(made) = repeated(&region, "CopyImage", token, &parameters)?
            && let Some(id) = made.first()
        {
            return Ok(Xml::new().text("imageId", id).into());
        }
        if source.state != ImageState::Available {
            return Err(ApiError::new(
                "InvalidAMIID.Unavailable",
                format!(
                    "The image ID '{source_id}' is not available: it is {}",
                    source.state.name()
                ),
            ));
        }
        let id = lab.ids.ec2("ami");
        let now = lab.clock.now();
        let snapshot = Snapshot {
            id: lab.ids.ec2("snap"),
            description: format!(
                "Copied for DestinationAmi {id} from SourceAmi {source_id} for SourceSnapshot {}. Task created on {}.",
                source.snapshot,
                now.as_millisecond()
            ),
            started: now,
            state: "pending",
            volume_size: source.volume_size,
            volume: "vol-ffffffff".to_owned(),
            encrypted: encrypted || source.encrypted,
            tree: None,
        };
        let image = Image {
            id: id.clone(),
            name,
            description: description.unwrap_or_else(|| source.description.clone()),
            state: ImageState::Pending,
            created: now,
            snapshot: snapshot.id.clone(),
            volume_size: source.volume_size,
            volume_kind: source.volume_kind.clone(),
            // A copy of what is encrypted is encrypted, asked for or not.
            encrypted: encrypted || source.encrypted,
            source: Some((source_region.clone(), source_id.clone())),
            source_instance: None,
        };
        let mut tags = tags_for(&specifications, "image");
        if copy_tags {
            let own: Vec<String> = tags.iter().map(|(key, _)| key.clone()).collect();
            tags.extend(
                source_tags
                    .into_iter()
                    .filter(|(key, _)| !key.starts_with("aws:") && !own.contains(key)),
            );
        }
        region.tags.insert(id.clone(), tags.into_iter().collect());
        region.tags.insert(
            snapshot.id.clone(),
            tags_for(&specifications, "snapshot").into_iter().collect(),
        );
        region.snapshots.insert(snapshot.id.clone(), snapshot);
        region.images.insert(id.clone(), image);
        if let Some(token) = token {
            region.tokens.insert(
                ("CopyImage", token),
                Remembered {
                    parameters,
                    made: vec![id.clone()],
                },
            );
        }
        id
    };
    faults::hide(lab, &call.region, &id);
    let failure = faults::copy(lab, &call.region, &source_id);
    let (lab_, region, image) = (Arc::clone(lab), call.region.clone(), id.clone());
    lab.spawn(async move {
        lab_.clock.sleep(COPY).await;
        finish(
            &lab_,
            &region,
            &image,
            match failure {
                Some(why) => Err(why),
                None => Ok(tree),
            },
        );
    });
    Ok(Xml::new().text("imageId", id).into())
}

/// The end of a copy or a creation: the tree, or why there is none.
fn finish(lab: &Lab, region: &str, id: &str, result: Result<Option<Arc<Tree>>, String>) {
    let Ok(mut region) = lab.ec2.region(region) else {
        return;
    };
    // Deregistered meanwhile: nothing is left to finish.
    let Some(image) = region.images.get_mut(id) else {
        return;
    };
    if image.state == ImageState::Deregistered {
        return;
    }
    let snapshot = image.snapshot.clone();
    image.state = match &result {
        Ok(_) => ImageState::Available,
        Err(why) => ImageState::Failed("Server.InternalError".to_owned(), why.clone()),
    };
    if let Some(snapshot) = region.snapshots.get_mut(&snapshot) {
        match result {
            Ok(tree) => {
                snapshot.state = "completed";
                snapshot.tree = tree;
            }
            Err(_) => snapshot.state = "error",
        }
    }
}

/// CreateImage: the instance's root as it is; it is stopped for it and started again, unless NoReboot.
pub(crate) fn create_image(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let (instance_id, name) = (p.str("InstanceId")?, p.str("Name")?);
    check_name(&name)?;
    let description = p.opt("Description").unwrap_or_default();
    let no_reboot = p.opt_bool("NoReboot")?.unwrap_or(false);
    for device in p.structs("BlockDeviceMapping") {
        parse_block_device(&device)?;
    }
    let specifications = parse_tag_specifications(p, &["image", "snapshot"])?;
    proceed(p)?;
    check_free(lab, &call.region, &name)?;
    let (id, machine, gate, restart) = {
        let mut region = lab.ec2.region(&call.region)?;
        let instance = region
            .instances
            .get(&instance_id)
            .cloned()
            .ok_or_else(|| no_instance(&instance_id))?;
        if !matches!(
            instance.state,
            InstanceState::Running | InstanceState::Stopped
        ) {
            return Err(ApiError::new(
                "IncorrectState",
                format!(
                    "Instance is not in state 'running' or 'stopped': {instance_id} is {}",
                    instance.state.name()
                ),
            ));
        }
        let id = lab.ids.ec2("ami");
        let root = instance
            .root_volume
            .as_ref()
            .and_then(|volume| region.volumes.get(volume));
        let size = root.map_or(8, |volume| volume.size);
        let kind = root.map_or_else(|| "gp3".to_owned(), |volume| volume.kind.clone());
        let encrypted = root.is_some_and(|volume| volume.encrypted);
        let now = lab.clock.now();
        let snapshot = Snapshot {
            id: lab.ids.ec2("snap"),
            description: format!("Created by CreateImage({instance_id}) for {id}"),
            started: now,
            state: "pending",
            volume_size: size,
            volume: instance.root_volume.clone().unwrap_or_default(),
            encrypted,
            tree: None,
        };
        let image = Image {
            id: id.clone(),
            name,
            description,
            state: ImageState::Pending,
            created: now,
            snapshot: snapshot.id.clone(),
            volume_size: size,
            volume_kind: kind,
            encrypted,
            source: Some((call.region.clone(), instance.image.clone())),
            source_instance: Some(instance_id.clone()),
        };
        region.tags.insert(
            id.clone(),
            tags_for(&specifications, "image").into_iter().collect(),
        );
        region.tags.insert(
            snapshot.id.clone(),
            tags_for(&specifications, "snapshot").into_iter().collect(),
        );
        region.snapshots.insert(snapshot.id.clone(), snapshot);
        region.images.insert(id.clone(), image);
        let restart = !no_reboot && instance.state == InstanceState::Running;
        (
            id,
            lifecycle::machine(lab, &instance),
            Arc::clone(&instance.gate),
            restart,
        )
    };
    faults::hide(lab, &call.region, &id);
    let (lab_, region, image) = (Arc::clone(lab), call.region.clone(), id.clone());
    lab.spawn(async move {
        let lab = lab_;
        let taken = {
            let _gate = gate.lock().await;
            if restart {
                lab.ec2.runtime.stop(&machine).await;
            }
            let to = place(&lab, &image);
            let taken = lab.ec2.runtime.capture(&machine, to).await;
            let still = lab.ec2.region(&region).is_ok_and(|region| {
                region
                    .instances
                    .get(&machine.id)
                    .is_some_and(|instance| instance.state == InstanceState::Running)
            });
            if restart
                && still
                && let Err(error) = lab.ec2.runtime.start(&machine).await
            {
                log::error!("instance {} does not come back: {error}", machine.id);
            }
            taken
        };
        lab.clock.sleep(CREATE).await;
        let result = taken
            .map(|tree| Some(Arc::new(tree)))
            .map_err(|error| not_taken(&machine.directory, &error).message);
        finish(&lab, &region, &image, result);
    });
    Ok(Xml::new().text("imageId", id).into())
}
