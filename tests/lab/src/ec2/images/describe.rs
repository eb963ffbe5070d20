//! DescribeImages, DescribeImageAttribute, ModifyImageAttribute.

use std::sync::Arc;

use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};
use crate::ec2::filter::{Fields, Filters, Page, all_exist};
use crate::ec2::launch_data::Ebs;
use crate::ec2::proceed;
use crate::ec2::state::{Image, ImageState, Regional};
use crate::ec2::tags::tag_set;
use crate::ec2::volumes;
use crate::iam::ACCOUNT;

use super::{ARCHITECTURE, ROOT_DEVICE, no_image};

const KNOWN: [&str; 18] = [
    "architecture",
    "block-device-mapping.snapshot-id",
    "creation-date",
    "description",
    "ena-support",
    "hypervisor",
    "image-id",
    "image-type",
    "is-public",
    "name",
    "owner-alias",
    "owner-id",
    "platform-details",
    "root-device-type",
    "source-image-id",
    "source-image-region",
    "state",
    "virtualization-type",
];

/// Debian's account, which its wiki names ("Cloud/AmazonEC2Image").
const DEBIAN: &str = "136693071363";

/// Whose image it is. One that the lab was given under a name of Debian's is Debian's, and public; all
/// others are the account's own.
pub(super) fn owner(image: &Image) -> &'static str {
    if image.name.starts_with("debian-") && image.source.is_none() {
        DEBIAN
    } else {
        ACCOUNT
    }
}

/// Refuses to change somebody else's image.
pub(super) fn check_own(image: &Image) -> Result<(), ApiError> {
    if owner(image) == ACCOUNT {
        return Ok(());
    }
    Err(ApiError::new(
        "AuthFailure",
        format!("Not authorized for image:{}", image.id),
    ))
}

fn fields(image: &Image) -> Fields {
    let own = owner(image) == ACCOUNT;
    let mut fields: Fields = vec![
        ("architecture", ARCHITECTURE.to_owned()),
        ("block-device-mapping.snapshot-id", image.snapshot.clone()),
        ("creation-date", created(image)),
        ("description", image.description.clone()),
        ("ena-support", "true".to_owned()),
        ("hypervisor", "xen".to_owned()),
        ("image-id", image.id.clone()),
        ("image-type", "machine".to_owned()),
        ("is-public", (!own).to_string()),
        ("name", image.name.clone()),
        ("owner-id", owner(image).to_owned()),
        ("platform-details", "Linux/UNIX".to_owned()),
        ("root-device-type", "ebs".to_owned()),
        ("state", image.state.name().to_owned()),
        ("virtualization-type", "hvm".to_owned()),
    ];
    if own {
        fields.push(("owner-alias", "self".to_owned()));
    }
    if let Some((region, id)) = &image.source {
        fields.push(("source-image-id", id.clone()));
        fields.push(("source-image-region", region.clone()));
    }
    fields
}

fn created(image: &Image) -> String {
    image.created.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string()
}

fn devices(image: &Image) -> Xml {
    let (iops, throughput) =
        volumes::performance(&image.volume_kind, image.volume_size, &Ebs::default());
    let ebs = Xml::new()
        .text("deleteOnTermination", true)
        .text("snapshotId", &image.snapshot)
        .text("volumeSize", image.volume_size)
        .text("volumeType", &image.volume_kind)
        .opt("iops", iops)
        .opt("throughput", throughput)
        .text("encrypted", image.encrypted);
    Xml::new().text("deviceName", ROOT_DEVICE).child("ebs", ebs)
}

fn image_xml(region: &Regional, image: &Image) -> Xml {
    let mut xml = Xml::new()
        .text("imageId", &image.id)
        .text("imageLocation", format!("{}/{}", owner(image), image.name))
        .text("imageState", image.state.name())
        .text("imageOwnerId", owner(image))
        .text("creationDate", created(image))
        .text("isPublic", owner(image) != ACCOUNT)
        .text("architecture", ARCHITECTURE)
        .text("imageType", "machine")
        .text("name", &image.name)
        .text("description", &image.description)
        .text("platformDetails", "Linux/UNIX")
        .text("usageOperation", "RunInstances")
        .list("blockDeviceMapping", "item", [devices(image)])
        .text("enaSupport", true)
        .text("hypervisor", "xen")
        .text("rootDeviceName", ROOT_DEVICE)
        .text("rootDeviceType", "ebs")
        .text("virtualizationType", "hvm")
        .text("bootMode", "uefi-preferred")
        .text("imdsSupport", "v2.0")
        .opt("sourceInstanceId", image.source_instance.as_ref())
        .list("tagSet", "item", tag_set(&region.tags_of(&image.id)));
    if let Some((source_region, id)) = &image.source {
        xml = xml
            .text("sourceImageId", id)
            .text("sourceImageRegion", source_region);
    }
    if let ImageState::Failed(code, message) = &image.state {
        let reason = Xml::new().text("code", code).text("message", message);
        xml = xml.child("stateReason", reason);
    }
    xml
}

/// DescribeImages.
pub(crate) fn describe(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let (ids, owners) = (p.list("ImageId"), p.list("Owner"));
    let executable_by = p.list("ExecutableBy");
    p.accept(&["IncludeDeprecated", "IncludeDisabled"]);
    let filters = Filters::parse(p, &KNOWN)?;
    let page = Page::without_ids(p, (1, 1000), "imageIdsSet", &ids)?;
    proceed(p)?;
    let region = lab.ec2.region(&call.region)?;
    let shows = |id: &str| region.images.contains_key(id) && !region.hidden.contains(id);
    let remembered = |id: &str| region.instances.values().any(|one| one.image == id);
    all_exist(&ids, |id| shows(id) || remembered(id), no_image)?;
    let owned = |image: &Image| {
        let names =
            |name: &String| name == owner(image) || name == "self" && owner(image) == ACCOUNT;
        owners.is_empty() || owners.iter().any(names)
    };
    // Launch permissions: `all` is what is public; the account's own are given to nobody but itself.
    let executable = |image: &Image| {
        let named = |name: &String| match name.as_str() {
            "all" => owner(image) != ACCOUNT,
            name => (name == "self" || name == ACCOUNT) && owner(image) == ACCOUNT,
        };
        executable_by.is_empty() || executable_by.iter().any(named)
    };
    let mut entries = Vec::new();
    for image in region.images.values() {
        if shows(&image.id)
            && (ids.is_empty() || ids.contains(&image.id))
            && owned(image)
            && executable(image)
            && filters.pass(&fields(image), &region.tags_of(&image.id))
        {
            entries.push((image.id.clone(), image_xml(&region, image)));
        }
    }
    let (entries, token) = page.cut(entries);
    Ok(Xml::new()
        .list("imagesSet", "item", entries)
        .opt("nextToken", token)
        .into())
}

/// DescribeImageAttribute.
pub(crate) fn describe_attribute(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let (id, attribute) = (p.str("ImageId")?, p.str("Attribute")?);
    proceed(p)?;
    let region = lab.ec2.region(&call.region)?;
    let image = region.images.get(&id).ok_or_else(|| no_image(&id))?;
    let xml = Xml::new().text("imageId", &id);
    Ok(match attribute.as_str() {
        "description" => xml.child("description", Xml::new().text("value", &image.description)),
        "launchPermission" => xml.list("launchPermission", "item", []),
        "productCodes" => xml.list("productCodes", "item", []),
        "blockDeviceMapping" => xml.list("blockDeviceMapping", "item", [devices(image)]),
        "bootMode" => xml.child("bootMode", Xml::new().text("value", "uefi-preferred")),
        "imdsSupport" => xml.child("imdsSupport", Xml::new().text("value", "v2.0")),
        other => {
            return Err(ApiError::invalid_value(
                "attribute",
                other,
                "The lab's images have no such attribute.",
            ));
        }
    }
    .into())
}

/// ModifyImageAttribute: the description. Launch permissions for other accounts are refused: there are
/// none.
pub(crate) fn modify_attribute(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let id = p.str("ImageId")?;
    let mut description = match p.sub("Description") {
        None => None,
        Some(value) => value.opt("Value"),
    };
    if p.opt("Attribute").as_deref() == Some("description") {
        description = p.opt("Value").or(description);
    }
    proceed(p)?;
    let mut region = lab.ec2.region(&call.region)?;
    let image = region.images.get_mut(&id).ok_or_else(|| no_image(&id))?;
    check_own(image)?;
    if image.state != ImageState::Available {
        return Err(ApiError::new(
            "InvalidAMIID.Unavailable",
            format!(
                "The AMI ID '{id}' is currently {} and may not be used for this operation",
                image.state.name()
            ),
        ));
    }
    if let Some(description) = description {
        image.description = description;
    }
    Ok(Xml::new().text("return", true).into())
}
