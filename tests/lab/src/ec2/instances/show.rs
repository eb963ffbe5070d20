//! How an instance looks in answers, and what it offers to filters.

use crate::api::Xml;
use crate::ec2::filter::Fields;
use crate::ec2::images::ROOT_DEVICE;
use crate::ec2::state::{Instance, InstanceState, Regional};
use crate::ec2::tags::tag_set;
use crate::iam::ACCOUNT;

use super::groups_xml;

/// The filters of DescribeInstances that the lab has.
pub(super) const KNOWN: [&str; 39] = [
    "architecture",
    "availability-zone",
    "availability-zone-id",
    "block-device-mapping.volume-id",
    "client-token",
    "dns-name",
    "hypervisor",
    "iam-instance-profile.arn",
    "iam-instance-profile.id",
    "image-id",
    "instance-id",
    "instance-state-code",
    "instance-state-name",
    "instance-type",
    "instance.group-id",
    "instance.group-name",
    "ip-address",
    "key-name",
    "launch-index",
    "launch-time",
    "metadata-options.http-tokens",
    "monitoring-state",
    "network-interface.addresses.private-ip-address",
    "network-interface.group-id",
    "network-interface.network-interface-id",
    "network-interface.subnet-id",
    "network-interface.vpc-id",
    "owner-id",
    "platform-details",
    "private-dns-name",
    "private-ip-address",
    "reservation-id",
    "root-device-name",
    "root-device-type",
    "state-reason-code",
    "subnet-id",
    "tenancy",
    "virtualization-type",
    "vpc-id",
];

pub(super) fn state_xml(state: InstanceState) -> Xml {
    Xml::new()
        .text("code", state.code())
        .text("name", state.name())
}

pub(super) fn fields(region: &Regional, instance: &Instance) -> Fields {
    let mut fields: Fields = vec![
        ("architecture", "x86_64".to_owned()),
        ("availability-zone", instance.zone.clone()),
        ("availability-zone-id", region.zone_id(&instance.zone)),
        ("client-token", instance.client_token.clone()),
        ("hypervisor", "xen".to_owned()),
        ("image-id", instance.image.clone()),
        ("instance-id", instance.id.clone()),
        ("instance-state-code", instance.state.code().to_string()),
        ("instance-state-name", instance.state.name().to_owned()),
        ("instance-type", instance.instance_type.clone()),
        ("launch-index", instance.launch_index.to_string()),
        ("launch-time", instance.launched.to_string()),
        ("monitoring-state", monitoring(instance).to_owned()),
        ("owner-id", ACCOUNT.to_owned()),
        ("platform-details", "Linux/UNIX".to_owned()),
        ("reservation-id", instance.reservation.clone()),
        ("root-device-name", ROOT_DEVICE.to_owned()),
        ("root-device-type", "ebs".to_owned()),
        ("tenancy", "default".to_owned()),
        ("virtualization-type", "hvm".to_owned()),
        (
            "metadata-options.http-tokens",
            metadata(instance).http_tokens.unwrap_or_default(),
        ),
    ];
    fields.extend(
        instance
            .data
            .key_name
            .clone()
            .map(|name| ("key-name", name)),
    );
    if let Some(profile) = &instance.profile {
        fields.push(("iam-instance-profile.arn", profile.arn.clone()));
        fields.push(("iam-instance-profile.id", profile.id.clone()));
    }
    if let Some((code, _)) = &instance.state_reason {
        fields.push(("state-reason-code", code.clone()));
    }
    if instance.state == InstanceState::Terminated {
        return fields;
    }
    let address = instance.private_ip.to_string();
    fields.extend([
        ("private-dns-name", instance.private_dns(&region.name)),
        ("private-ip-address", address.clone()),
        ("subnet-id", instance.subnet.clone()),
        ("vpc-id", instance.vpc.clone()),
        (
            "network-interface.addresses.private-ip-address",
            address.clone(),
        ),
        (
            "network-interface.network-interface-id",
            instance.network_interface.clone(),
        ),
        ("network-interface.subnet-id", instance.subnet.clone()),
        ("network-interface.vpc-id", instance.vpc.clone()),
    ]);
    if instance.public {
        fields.push(("ip-address", address));
        fields.push(("dns-name", public_dns(region, instance)));
    }
    fields.extend(
        instance
            .root_volume
            .clone()
            .map(|volume| ("block-device-mapping.volume-id", volume)),
    );
    for id in &instance.groups {
        fields.push(("instance.group-id", id.clone()));
        fields.push(("network-interface.group-id", id.clone()));
        if let Some(group) = region.groups.get(id) {
            fields.push(("instance.group-name", group.name.clone()));
        }
    }
    fields
}

fn monitoring(instance: &Instance) -> &'static str {
    if instance.data.monitoring == Some(true) {
        "enabled"
    } else {
        "disabled"
    }
}

fn public_dns(region: &Regional, instance: &Instance) -> String {
    let dashed = instance.private_ip.to_string().replace('.', "-");
    if region.name == "us-east-1" {
        format!("ec2-{dashed}.compute-1.amazonaws.com")
    } else {
        format!("ec2-{dashed}.{}.compute.amazonaws.com", region.name)
    }
}

/// The metadata options in force: what was asked for over AWS's defaults.
pub(super) fn metadata(instance: &Instance) -> crate::ec2::launch_data::MetadataOptions {
    let defaults = crate::ec2::launch_data::MetadataOptions {
        http_tokens: Some("required".to_owned()),
        hop_limit: Some(2),
        http_endpoint: Some("enabled".to_owned()),
        ipv6: Some("disabled".to_owned()),
        tags: Some("disabled".to_owned()),
    };
    instance
        .data
        .metadata
        .clone()
        .unwrap_or_default()
        .over(&defaults)
}

pub(super) fn metadata_xml(instance: &Instance) -> Xml {
    let options = metadata(instance);
    Xml::new()
        .text("state", "applied")
        .opt("httpTokens", options.http_tokens)
        .opt("httpPutResponseHopLimit", options.hop_limit)
        .opt("httpEndpoint", options.http_endpoint)
        .opt("httpProtocolIpv6", options.ipv6)
        .opt("instanceMetadataTags", options.tags)
}

pub(super) fn devices(region: &Regional, instance: &Instance) -> Vec<Xml> {
    region
        .volumes
        .values()
        .filter_map(|volume| {
            let (owner, device, with_instance) = volume.attachment.as_ref()?;
            (*owner == instance.id).then(|| {
                let ebs = Xml::new()
                    .text("volumeId", &volume.id)
                    .text("status", "attached")
                    .time("attachTime", volume.created)
                    .text("deleteOnTermination", with_instance);
                Xml::new().text("deviceName", device).child("ebs", ebs)
            })
        })
        .collect()
}

fn interface(region: &Regional, instance: &Instance) -> Xml {
    let address = instance.private_ip.to_string();
    let name = instance.private_dns(&region.name);
    let attachment = Xml::new()
        .text("attachmentId", &instance.attachment)
        .text("deviceIndex", 0)
        .text("networkCardIndex", 0)
        .text("status", "attached")
        .time("attachTime", instance.launched)
        .text("deleteOnTermination", true);
    let association = instance.public.then(|| {
        Xml::new()
            .text("ipOwnerId", "amazon")
            .text("publicDnsName", public_dns(region, instance))
            .text("publicIp", &address)
    });
    let private = Xml::new()
        .text("privateIpAddress", &address)
        .text("privateDnsName", &name)
        .text("primary", true);
    let private = match &association {
        Some(association) => private.child("association", association.clone()),
        None => private,
    };
    let xml = Xml::new()
        .text("networkInterfaceId", &instance.network_interface)
        .text("subnetId", &instance.subnet)
        .text("vpcId", &instance.vpc)
        .text("description", "")
        .text("ownerId", ACCOUNT)
        .text("status", "in-use")
        .text("macAddress", &instance.mac)
        .text("privateIpAddress", &address)
        .text("privateDnsName", &name)
        .text("sourceDestCheck", instance.source_dest_check)
        .text("interfaceType", "interface")
        .list("groupSet", "item", groups_xml(region, instance))
        .child("attachment", attachment)
        .list("privateIpAddressesSet", "item", [private])
        .list("ipv6AddressesSet", "item", []);
    match association {
        Some(association) => xml.child("association", association),
        None => xml,
    }
}

/// An instance as DescribeInstances and RunInstances show it. A terminated one has no network any more.
pub(super) fn instance_xml(region: &Regional, instance: &Instance) -> Xml {
    let kind = crate::ec2::instance_types::find(&instance.instance_type);
    let gone = instance.state == InstanceState::Terminated;
    let name = if gone {
        String::new()
    } else {
        instance.private_dns(&region.name)
    };
    let shown_public = instance.public && !gone;
    let mut xml = Xml::new()
        .text("instanceId", &instance.id)
        .text("imageId", &instance.image)
        .child("instanceState", state_xml(instance.state))
        .text("privateDnsName", name)
        .text(
            "dnsName",
            if shown_public {
                public_dns(region, instance)
            } else {
                String::new()
            },
        )
        .text("reason", &instance.transition_reason)
        .opt("keyName", instance.data.key_name.as_ref())
        .text("amiLaunchIndex", instance.launch_index)
        .list("productCodes", "item", [])
        .text("instanceType", &instance.instance_type)
        .time("launchTime", instance.launched)
        .child(
            "placement",
            Xml::new()
                .text("availabilityZone", &instance.zone)
                .text("availabilityZoneId", region.zone_id(&instance.zone))
                .text("groupName", "")
                .text("tenancy", "default"),
        )
        .child("monitoring", Xml::new().text("state", monitoring(instance)))
        .text("architecture", "x86_64")
        .text("rootDeviceType", "ebs")
        .text("rootDeviceName", ROOT_DEVICE)
        .list("blockDeviceMapping", "item", devices(region, instance))
        .text("virtualizationType", "hvm")
        .text("clientToken", &instance.client_token)
        .list("tagSet", "item", tag_set(&region.tags_of(&instance.id)))
        .text("hypervisor", "xen")
        .text("ebsOptimized", instance.data.ebs_optimized.unwrap_or(false))
        .text("enaSupport", true)
        .text("platformDetails", "Linux/UNIX")
        .text("usageOperation", "RunInstances")
        .time("usageOperationUpdateTime", instance.launched)
        .text("bootMode", "uefi-preferred")
        .text("currentInstanceBootMode", "uefi")
        .child("metadataOptions", metadata_xml(instance))
        .child("enclaveOptions", Xml::new().text("enabled", false))
        .child("hibernationOptions", Xml::new().text("configured", false))
        .child(
            "maintenanceOptions",
            Xml::new().text(
                "autoRecovery",
                instance.data.auto_recovery.as_deref().unwrap_or("default"),
            ),
        )
        .child(
            "capacityReservationSpecification",
            Xml::new().text("capacityReservationPreference", "open"),
        )
        .child(
            "cpuOptions",
            Xml::new()
                .text("coreCount", kind.map_or(1, |kind| kind.cores))
                .text(
                    "threadsPerCore",
                    kind.map_or(1, |kind| kind.vcpus / kind.cores),
                ),
        )
        .child(
            "privateDnsNameOptions",
            Xml::new()
                .text("hostnameType", "ip-name")
                .text("enableResourceNameDnsARecord", false)
                .text("enableResourceNameDnsAAAARecord", false),
        );
    if let Some((code, message)) = &instance.state_reason {
        let reason = Xml::new().text("code", code).text("message", message);
        xml = xml.child("stateReason", reason);
    }
    if let Some(profile) = &instance.profile {
        let profile = Xml::new().text("arn", &profile.arn).text("id", &profile.id);
        xml = xml.child("iamInstanceProfile", profile);
    }
    if gone {
        return xml
            .list("groupSet", "item", [])
            .list("networkInterfaceSet", "item", []);
    }
    xml = xml
        .text("privateIpAddress", instance.private_ip)
        .text("subnetId", &instance.subnet)
        .text("vpcId", &instance.vpc)
        .text("sourceDestCheck", instance.source_dest_check)
        .list("groupSet", "item", groups_xml(region, instance))
        .list("networkInterfaceSet", "item", [interface(region, instance)]);
    if shown_public {
        xml = xml.text("ipAddress", instance.private_ip);
    }
    xml
}
