//! The launch parameters: what RunInstances takes and what a launch template's version holds. Both
//! parse into one structure, and a version inherits, or a launch overrides, by [`LaunchData::over`].

mod show;

use crate::api::{ApiError, Params};

use super::tags::parse_tags;

/// Launch parameters, each as far as it was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LaunchData {
    pub image_id: Option<String>,
    pub instance_type: Option<String>,
    pub key_name: Option<String>,
    pub profile: Option<ProfileReference>,
    /// Base64, as sent.
    pub user_data: Option<String>,
    pub group_ids: Vec<String>,
    pub group_names: Vec<String>,
    pub network_interfaces: Vec<NetworkInterface>,
    pub block_devices: Vec<BlockDevice>,
    pub tags: Vec<TagSpecification>,
    pub metadata: Option<MetadataOptions>,
    pub monitoring: Option<bool>,
    pub ebs_optimized: Option<bool>,
    pub disable_api_termination: Option<bool>,
    pub disable_api_stop: Option<bool>,
    pub shutdown_behavior: Option<String>,
    pub zone: Option<String>,
    pub tenancy: Option<String>,
    pub cpu_credits: Option<String>,
    pub auto_recovery: Option<String>,
}

/// An instance profile, by name or by ARN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProfileReference {
    Arn(String),
    Name(String),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NetworkInterface {
    pub device_index: Option<i64>,
    pub subnet_id: Option<String>,
    pub groups: Vec<String>,
    pub public_ip: Option<bool>,
    pub delete_on_termination: Option<bool>,
    pub description: Option<String>,
    pub private_ip: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BlockDevice {
    pub device: String,
    pub no_device: Option<String>,
    pub virtual_name: Option<String>,
    pub ebs: Option<Ebs>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ebs {
    pub delete_on_termination: Option<bool>,
    pub snapshot_id: Option<String>,
    pub volume_size: Option<i64>,
    pub volume_type: Option<String>,
    pub iops: Option<i64>,
    pub throughput: Option<i64>,
    pub encrypted: Option<bool>,
    pub kms_key_id: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TagSpecification {
    pub resource_type: String,
    pub tags: Vec<(String, String)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MetadataOptions {
    pub http_tokens: Option<String>,
    pub hop_limit: Option<i64>,
    pub http_endpoint: Option<String>,
    pub ipv6: Option<String>,
    pub tags: Option<String>,
}

impl LaunchData {
    /// Reads the parameters that `RunInstances` and `LaunchTemplateData` share.
    pub fn parse(p: &Params) -> Result<Self, ApiError> {
        let mut data = Self {
            image_id: p.given("ImageId"),
            instance_type: p.given("InstanceType"),
            key_name: p.given("KeyName"),
            user_data: p.given("UserData"),
            group_ids: p.list("SecurityGroupId"),
            group_names: p.list("SecurityGroup"),
            ebs_optimized: p.opt_bool("EbsOptimized")?,
            disable_api_termination: p.opt_bool("DisableApiTermination")?,
            disable_api_stop: p.opt_bool("DisableApiStop")?,
            shutdown_behavior: one_of(
                p,
                "InstanceInitiatedShutdownBehavior",
                &["stop", "terminate"],
            )?,
            tags: parse_tag_specifications(p, &["instance", "volume", "network-interface"])?,
            ..Self::default()
        };
        check_user_data(data.user_data.as_deref())?;
        if let Some(profile) = p.sub("IamInstanceProfile") {
            data.profile = match (profile.given("Arn"), profile.given("Name")) {
                (Some(arn), None) => Some(ProfileReference::Arn(arn)),
                (None, Some(name)) => Some(ProfileReference::Name(name)),
                (None, None) => None,
                (Some(_), Some(_)) => {
                    return Err(ApiError::new(
                        "InvalidParameterCombination",
                        "The parameter 'iamInstanceProfile.name' may not be used in combination with 'iamInstanceProfile.arn'",
                    ));
                }
            };
        }
        for nic in p.structs("NetworkInterface") {
            data.network_interfaces.push(NetworkInterface {
                device_index: nic.opt_int("DeviceIndex")?,
                subnet_id: nic.given("SubnetId"),
                groups: nic.list("SecurityGroupId"),
                public_ip: nic.opt_bool("AssociatePublicIpAddress")?,
                delete_on_termination: nic.opt_bool("DeleteOnTermination")?,
                description: nic.opt("Description"),
                private_ip: nic.given("PrivateIpAddress"),
            });
        }
        for device in p.structs("BlockDeviceMapping") {
            data.block_devices.push(parse_block_device(&device)?);
        }
        if let Some(options) = p.sub("MetadataOptions") {
            data.metadata = Some(MetadataOptions::parse(&options)?);
        }
        if let Some(monitoring) = p.sub("Monitoring") {
            data.monitoring = monitoring.opt_bool("Enabled")?;
        }
        if let Some(placement) = p.sub("Placement") {
            data.zone = placement.given("AvailabilityZone");
            data.tenancy = one_of(&placement, "Tenancy", &["default"])?;
        }
        if let Some(credit) = p.sub("CreditSpecification") {
            data.cpu_credits = one_of(&credit, "CpuCredits", &["standard", "unlimited"])?;
        }
        if let Some(maintenance) = p.sub("MaintenanceOptions") {
            data.auto_recovery = one_of(&maintenance, "AutoRecovery", &["default", "disabled"])?;
        }
        Ok(data)
    }

    /// These parameters, and `base`'s where these say nothing. Lists replace lists whole, as AWS does it;
    /// tags are replaced by resource type.
    #[must_use]
    pub fn over(self, base: &Self) -> Self {
        let lists = |own: Vec<String>, other: &Vec<String>| {
            if own.is_empty() { other.clone() } else { own }
        };
        let mut tags = self.tags;
        for specification in &base.tags {
            if !tags
                .iter()
                .any(|own| own.resource_type == specification.resource_type)
            {
                tags.push(specification.clone());
            }
        }
        Self {
            image_id: self.image_id.or_else(|| base.image_id.clone()),
            instance_type: self.instance_type.or_else(|| base.instance_type.clone()),
            key_name: self.key_name.or_else(|| base.key_name.clone()),
            profile: self.profile.or_else(|| base.profile.clone()),
            user_data: self.user_data.or_else(|| base.user_data.clone()),
            group_ids: lists(self.group_ids, &base.group_ids),
            group_names: lists(self.group_names, &base.group_names),
            network_interfaces: if self.network_interfaces.is_empty() {
                base.network_interfaces.clone()
            } else {
                self.network_interfaces
            },
            block_devices: if self.block_devices.is_empty() {
                base.block_devices.clone()
            } else {
                self.block_devices
            },
            tags,
            metadata: match (self.metadata, &base.metadata) {
                (Some(own), Some(other)) => Some(own.over(other)),
                (own, other) => own.or_else(|| other.clone()),
            },
            monitoring: self.monitoring.or(base.monitoring),
            ebs_optimized: self.ebs_optimized.or(base.ebs_optimized),
            disable_api_termination: self
                .disable_api_termination
                .or(base.disable_api_termination),
            disable_api_stop: self.disable_api_stop.or(base.disable_api_stop),
            shutdown_behavior: self
                .shutdown_behavior
                .or_else(|| base.shutdown_behavior.clone()),
            zone: self.zone.or_else(|| base.zone.clone()),
            tenancy: self.tenancy.or_else(|| base.tenancy.clone()),
            cpu_credits: self.cpu_credits.or_else(|| base.cpu_credits.clone()),
            auto_recovery: self.auto_recovery.or_else(|| base.auto_recovery.clone()),
        }
    }
}

impl MetadataOptions {
    /// Reads MetadataOptions, or the same members of ModifyInstanceMetadataOptions.
    pub fn parse(p: &Params) -> Result<Self, ApiError> {
        let hop_limit = p.opt_int("HttpPutResponseHopLimit")?;
        if let Some(limit) = hop_limit.filter(|limit| !(1..=64).contains(limit)) {
            return Err(ApiError::invalid_value(
                "HttpPutResponseHopLimit",
                &limit.to_string(),
                "It must be between 1 and 64.",
            ));
        }
        let switch = &["enabled", "disabled"];
        Ok(Self {
            http_tokens: one_of(p, "HttpTokens", &["optional", "required"])?,
            hop_limit,
            http_endpoint: one_of(p, "HttpEndpoint", switch)?,
            ipv6: one_of(p, "HttpProtocolIpv6", switch)?,
            tags: one_of(p, "InstanceMetadataTags", switch)?,
        })
    }

    /// These options, and `base`'s where these say nothing.
    #[must_use]
    pub fn over(self, base: &Self) -> Self {
        Self {
            http_tokens: self.http_tokens.or_else(|| base.http_tokens.clone()),
            hop_limit: self.hop_limit.or(base.hop_limit),
            http_endpoint: self.http_endpoint.or_else(|| base.http_endpoint.clone()),
            ipv6: self.ipv6.or_else(|| base.ipv6.clone()),
            tags: self.tags.or_else(|| base.tags.clone()),
        }
    }
}

/// The tags for one kind of resource.
pub(crate) fn tags_for(specifications: &[TagSpecification], kind: &str) -> Vec<(String, String)> {
    specifications
        .iter()
        .filter(|specification| specification.resource_type == kind)
        .flat_map(|specification| specification.tags.clone())
        .collect()
}

/// Reads `TagSpecification.N`; `kinds` are the resources that the call makes, others are refused.
pub(crate) fn parse_tag_specifications(
    p: &Params,
    kinds: &[&str],
) -> Result<Vec<TagSpecification>, ApiError> {
    let mut specifications: Vec<TagSpecification> = Vec::new();
    for entry in p.structs("TagSpecification") {
        let resource_type = entry.str("ResourceType")?;
        if !kinds.contains(&resource_type.as_str()) {
            return Err(ApiError::new(
                "InvalidParameterValue",
                format!(
                    "'{resource_type}' is not a valid taggable resource type for this operation."
                ),
            ));
        }
        let tags = parse_tags(&entry, "Tag")?;
        match specifications
            .iter_mut()
            .find(|known| known.resource_type == resource_type)
        {
            Some(known) => known.tags.extend(tags),
            None => specifications.push(TagSpecification {
                resource_type,
                tags,
            }),
        }
    }
    Ok(specifications)
}

/// Reads one `BlockDeviceMapping.N`.
pub(crate) fn parse_block_device(p: &Params) -> Result<BlockDevice, ApiError> {
    let ebs = match p.sub("Ebs") {
        None => None,
        Some(ebs) => Some(Ebs {
            delete_on_termination: ebs.opt_bool("DeleteOnTermination")?,
            snapshot_id: ebs.opt("SnapshotId"),
            volume_size: ebs.opt_int("VolumeSize")?,
            volume_type: one_of(
                &ebs,
                "VolumeType",
                &["standard", "gp2", "gp3", "io1", "io2", "st1", "sc1"],
            )?,
            iops: ebs.opt_int("Iops")?,
            throughput: ebs.opt_int("Throughput")?,
            encrypted: ebs.opt_bool("Encrypted")?,
            kms_key_id: ebs.opt("KmsKeyId"),
        }),
    };
    Ok(BlockDevice {
        device: p.str("DeviceName")?,
        no_device: p.opt("NoDevice"),
        virtual_name: p.opt("VirtualName"),
        ebs,
    })
}

/// An optional parameter that must be one of the given words.
pub(crate) fn one_of(p: &Params, name: &str, words: &[&str]) -> Result<Option<String>, ApiError> {
    match p.opt(name) {
        Some(value) if !words.contains(&value.as_str()) => Err(ApiError::invalid_value(
            name,
            &value,
            &format!("The lab knows: {}", words.join(", ")),
        )),
        value => Ok(value),
    }
}

/// AWS's limit on user data before it is encoded, in bytes (EC2 user guide, "User data").
const MAX_USER_DATA: usize = 16 * 1024;

fn check_user_data(user_data: Option<&str>) -> Result<(), ApiError> {
    let Some(text) = user_data else {
        return Ok(());
    };
    let bytes = decode_base64(text).ok_or_else(|| {
        ApiError::new(
            "InvalidUserData.Malformed",
            "Invalid BASE64 encoding of user data.",
        )
    })?;
    if bytes.len() > MAX_USER_DATA {
        return Err(ApiError::new(
            "InvalidParameterValue",
            "User data is limited to 16384 bytes",
        ));
    }
    Ok(())
}

/// Base64, with or without line breaks.
pub(crate) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    let compact: String = text.split_whitespace().collect();
    base64::engine::general_purpose::STANDARD
        .decode(compact)
        .ok()
}
