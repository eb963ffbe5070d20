//! Attributes of instances, one by one.

use std::sync::Arc;

use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};
use crate::ec2::filter::{Fields, Filters, Page};
use crate::ec2::images::ROOT_DEVICE;
use crate::ec2::instance_types;
use crate::ec2::launch_data::{MetadataOptions, decode_base64};
use crate::ec2::proceed;
use crate::ec2::state::{InstanceState, no_instance};

use super::show::{devices, metadata_xml};
use super::{groups_xml, wrong_state};

fn value(text: impl std::fmt::Display) -> Xml {
    Xml::new().text("value", text)
}

/// DescribeInstanceAttribute.
pub(crate) fn describe_attribute(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let (id, attribute) = (p.str("InstanceId")?, p.str("Attribute")?);
    proceed(p)?;
    let region = lab.ec2.region(&call.region)?;
    let instance = region.instances.get(&id).ok_or_else(|| no_instance(&id))?;
    let data = &instance.data;
    let xml = Xml::new().text("instanceId", &id);
    let flag = |flag: Option<bool>| value(flag.unwrap_or(false));
    Ok(match attribute.as_str() {
        "instanceType" => xml.child("instanceType", value(&instance.instance_type)),
        "userData" => xml.child("userData", Xml::new().opt("value", data.user_data.as_ref())),
        "disableApiTermination" => {
            xml.child("disableApiTermination", flag(data.disable_api_termination))
        }
        "disableApiStop" => xml.child("disableApiStop", flag(data.disable_api_stop)),
        "instanceInitiatedShutdownBehavior" => xml.child(
            "instanceInitiatedShutdownBehavior",
            value(data.shutdown_behavior.as_deref().unwrap_or("stop")),
        ),
        "ebsOptimized" => xml.child("ebsOptimized", flag(data.ebs_optimized)),
        "enaSupport" => xml.child("enaSupport", value(true)),
        "enclaveOptions" => xml.child("enclaveOptions", Xml::new().text("enabled", false)),
        "sourceDestCheck" => xml.child("sourceDestCheck", value(instance.source_dest_check)),
        "rootDeviceName" => xml.child("rootDeviceName", value(ROOT_DEVICE)),
        "groupSet" => xml.list("groupSet", "item", groups_xml(&region, instance)),
        "blockDeviceMapping" => xml.list("blockDeviceMapping", "item", devices(&region, instance)),
        "productCodes" => xml.list("productCodes", "item", []),
        "kernel" => xml.child("kernel", Xml::new()),
        "ramdisk" => xml.child("ramdisk", Xml::new()),
        other => {
            return Err(ApiError::invalid_value(
                "attribute",
                other,
                "The lab's instances have no such attribute.",
            ));
        }
    }
    .into())
}

/// ModifyInstanceAttribute. Type and user data only while the instance is stopped, as with AWS.
pub(crate) fn modify_attribute(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let id = p.str("InstanceId")?;
    let flag = |name: &str| match p.sub(name) {
        None => Ok(None),
        Some(value) => value.opt_bool("Value"),
    };
    let text = |name: &str| p.sub(name).and_then(|value| value.opt("Value"));
    let mut protection = flag("DisableApiTermination")?;
    let mut stop_protection = flag("DisableApiStop")?;
    let source_dest_check = flag("SourceDestCheck")?;
    let mut ebs_optimized = flag("EbsOptimized")?;
    let mut instance_type = text("InstanceType");
    let mut user_data = text("UserData");
    let mut shutdown = text("InstanceInitiatedShutdownBehavior");
    let groups = p.list("GroupId");
    if let Some(attribute) = p.opt("Attribute") {
        let value = p.str("Value")?;
        let as_flag = || {
            value
                .parse::<bool>()
                .map(Some)
                .map_err(|_| ApiError::invalid_value("value", &value, "It must be true or false."))
        };
        match attribute.as_str() {
            "disableApiTermination" => protection = as_flag()?,
            "disableApiStop" => stop_protection = as_flag()?,
            "ebsOptimized" => ebs_optimized = as_flag()?,
            "instanceType" => instance_type = Some(value),
            "userData" => user_data = Some(value),
            "instanceInitiatedShutdownBehavior" => shutdown = Some(value),
            other => {
                return Err(ApiError::invalid_value(
                    "attribute",
                    other,
                    "The lab cannot modify it.",
                ));
            }
        }
    }
    proceed(p)?;
    if let Some(wanted) = &instance_type
        && instance_types::find(wanted).is_none()
    {
        return Err(ApiError::new(
            "InvalidInstanceAttributeValue",
            format!("Invalid value '{wanted}' for InstanceType."),
        ));
    }
    if user_data
        .as_deref()
        .is_some_and(|text| decode_base64(text).is_none())
    {
        return Err(ApiError::new(
            "InvalidUserData.Malformed",
            "Invalid BASE64 encoding of user data.",
        ));
    }
    let mut region = lab.ec2.region(&call.region)?;
    if let Some(unknown) = groups.iter().find(|id| !region.groups.contains_key(*id)) {
        return Err(ApiError::new(
            "InvalidGroup.NotFound",
            format!("The security group '{unknown}' does not exist"),
        ));
    }
    let instance = region
        .instances
        .get_mut(&id)
        .ok_or_else(|| no_instance(&id))?;
    let needs_stop = instance_type.is_some() || user_data.is_some() || ebs_optimized.is_some();
    if needs_stop && instance.state != InstanceState::Stopped {
        return Err(wrong_state(&id, instance.state));
    }
    if let Some(kind) = instance_type {
        instance.instance_type = kind;
    }
    if !groups.is_empty() {
        instance.groups = groups;
    }
    instance.source_dest_check = source_dest_check.unwrap_or(instance.source_dest_check);
    let data = &mut instance.data;
    data.disable_api_termination = protection.or(data.disable_api_termination);
    data.disable_api_stop = stop_protection.or(data.disable_api_stop);
    data.ebs_optimized = ebs_optimized.or(data.ebs_optimized);
    data.user_data = user_data.or(data.user_data.take());
    data.shutdown_behavior = shutdown.or(data.shutdown_behavior.take());
    Ok(Xml::new().text("return", true).into())
}

/// ModifyInstanceMetadataOptions.
pub(crate) fn modify_metadata_options(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let id = p.str("InstanceId")?;
    let options = MetadataOptions::parse(p)?;
    proceed(p)?;
    let mut region = lab.ec2.region(&call.region)?;
    let instance = region
        .instances
        .get_mut(&id)
        .ok_or_else(|| no_instance(&id))?;
    let before = instance.data.metadata.take().unwrap_or_default();
    instance.data.metadata = Some(options.over(&before));
    Ok(Xml::new()
        .text("instanceId", &id)
        .child("instanceMetadataOptions", metadata_xml(instance))
        .into())
}

/// MonitorInstances and UnmonitorInstances.
pub(crate) fn monitor(lab: &Arc<Lab>, call: &Call, on: bool) -> Result<Reply, ApiError> {
    let ids = super::moved(lab, call)?;
    let mut region = lab.ec2.region(&call.region)?;
    let mut entries = Vec::new();
    for id in ids {
        if let Some(instance) = region.instances.get_mut(&id) {
            instance.data.monitoring = Some(on);
            let state = if on { "enabled" } else { "disabled" };
            entries.push(
                Xml::new()
                    .text("instanceId", id)
                    .child("monitoring", Xml::new().text("state", state)),
            );
        }
    }
    Ok(Xml::new().list("instancesSet", "item", entries).into())
}

/// DescribeIamInstanceProfileAssociations.
pub(crate) fn profile_associations(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let ids = p.list("AssociationId");
    let filters = Filters::parse(p, &["instance-id", "state"])?;
    let page = Page::parse(p, 5, 1000)?;
    proceed(p)?;
    let region = lab.ec2.region(&call.region)?;
    let mut entries = Vec::new();
    for instance in region.instances.values() {
        let Some(profile) = instance
            .profile
            .as_ref()
            .filter(|_| !instance.state.ended())
        else {
            continue;
        };
        let fields: Fields = vec![
            ("instance-id", instance.id.clone()),
            ("state", "associated".to_owned()),
        ];
        let id = &instance.profile_association;
        if (ids.is_empty() || ids.contains(id))
            && filters.pass(&fields, &region.tags_of(&instance.id))
        {
            let xml = Xml::new()
                .text("associationId", id)
                .text("instanceId", &instance.id)
                .child(
                    "iamInstanceProfile",
                    Xml::new().text("arn", &profile.arn).text("id", &profile.id),
                )
                .text("state", "associated")
                .time("timestamp", instance.launched);
            entries.push((id.clone(), xml));
        }
    }
    let (entries, token) = page.cut(entries);
    Ok(Xml::new()
        .list("iamInstanceProfileAssociationSet", "item", entries)
        .opt("nextToken", token)
        .into())
}
