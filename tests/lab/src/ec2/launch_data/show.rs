//! Launch parameters as a template's version shows them.

use crate::api::Xml;

use super::{BlockDevice, LaunchData, NetworkInterface, ProfileReference};

impl LaunchData {
    /// As `DescribeLaunchTemplateVersions` shows it.
    pub fn xml(&self) -> Xml {
        let mut xml = Xml::new();
        if let Some(profile) = &self.profile {
            xml = xml.child(
                "iamInstanceProfile",
                match profile {
                    ProfileReference::Arn(arn) => Xml::new().text("arn", arn),
                    ProfileReference::Name(name) => Xml::new().text("name", name),
                },
            );
        }
        if !self.block_devices.is_empty() {
            let entries = self.block_devices.iter().map(BlockDevice::xml);
            xml = xml.list("blockDeviceMappingSet", "item", entries);
        }
        if !self.network_interfaces.is_empty() {
            let entries = self.network_interfaces.iter().map(NetworkInterface::xml);
            xml = xml.list("networkInterfaceSet", "item", entries);
        }
        xml = xml
            .opt("ebsOptimized", self.ebs_optimized)
            .opt("imageId", self.image_id.as_ref())
            .opt("instanceType", self.instance_type.as_ref())
            .opt("keyName", self.key_name.as_ref());
        if let Some(enabled) = self.monitoring {
            xml = xml.child("monitoring", Xml::new().text("enabled", enabled));
        }
        if self.zone.is_some() || self.tenancy.is_some() {
            let placement = Xml::new()
                .opt("availabilityZone", self.zone.as_ref())
                .opt("tenancy", self.tenancy.as_ref());
            xml = xml.child("placement", placement);
        }
        xml = xml
            .opt("disableApiTermination", self.disable_api_termination)
            .opt("disableApiStop", self.disable_api_stop)
            .opt(
                "instanceInitiatedShutdownBehavior",
                self.shutdown_behavior.as_ref(),
            )
            .opt("userData", self.user_data.as_ref());
        if !self.tags.is_empty() {
            let entries = self.tags.iter().map(|specification| {
                let tags = specification
                    .tags
                    .iter()
                    .map(|(key, value)| Xml::new().text("key", key).text("value", value));
                Xml::new()
                    .text("resourceType", &specification.resource_type)
                    .list("tagSet", "item", tags)
            });
            xml = xml.list("tagSpecificationSet", "item", entries);
        }
        if !self.group_ids.is_empty() {
            xml = xml.list(
                "securityGroupIdSet",
                "item",
                self.group_ids.iter().map(Xml::value),
            );
        }
        if !self.group_names.is_empty() {
            xml = xml.list(
                "securityGroupSet",
                "item",
                self.group_names.iter().map(Xml::value),
            );
        }
        if let Some(credits) = &self.cpu_credits {
            xml = xml.child(
                "creditSpecification",
                Xml::new().text("cpuCredits", credits),
            );
        }
        if let Some(recovery) = &self.auto_recovery {
            xml = xml.child(
                "maintenanceOptions",
                Xml::new().text("autoRecovery", recovery),
            );
        }
        if let Some(metadata) = &self.metadata {
            let options = Xml::new()
                .opt("httpTokens", metadata.http_tokens.as_ref())
                .opt("httpPutResponseHopLimit", metadata.hop_limit)
                .opt("httpEndpoint", metadata.http_endpoint.as_ref())
                .opt("httpProtocolIpv6", metadata.ipv6.as_ref())
                .opt("instanceMetadataTags", metadata.tags.as_ref());
            xml = xml.child("metadataOptions", options);
        }
        xml
    }
}

impl NetworkInterface {
    fn xml(&self) -> Xml {
        let xml = Xml::new()
            .opt("associatePublicIpAddress", self.public_ip)
            .opt("deleteOnTermination", self.delete_on_termination)
            .opt("description", self.description.as_ref())
            .opt("deviceIndex", self.device_index);
        let xml = if self.groups.is_empty() {
            xml
        } else {
            xml.list("groupSet", "groupId", self.groups.iter().map(Xml::value))
        };
        xml.opt("privateIpAddress", self.private_ip.as_ref())
            .opt("subnetId", self.subnet_id.as_ref())
    }
}

impl BlockDevice {
    fn xml(&self) -> Xml {
        let xml = Xml::new()
            .text("deviceName", &self.device)
            .opt("virtualName", self.virtual_name.as_ref());
        let xml = match &self.ebs {
            None => xml,
            Some(ebs) => xml.child(
                "ebs",
                Xml::new()
                    .opt("encrypted", ebs.encrypted)
                    .opt("deleteOnTermination", ebs.delete_on_termination)
                    .opt("iops", ebs.iops)
                    .opt("kmsKeyId", ebs.kms_key_id.as_ref())
                    .opt("snapshotId", ebs.snapshot_id.as_ref())
                    .opt("volumeSize", ebs.volume_size)
                    .opt("volumeType", ebs.volume_type.as_ref())
                    .opt("throughput", ebs.throughput),
            ),
        };
        xml.opt("noDevice", self.no_device.as_ref())
    }
}
