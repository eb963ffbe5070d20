//! Whether and where a launch can be: everything that it names is looked up, nothing is changed.

use crate::api::ApiError;
use crate::ec2::launch_data::{LaunchData, NetworkInterface};
use crate::ec2::state::{Regional, Subnet, no_subnet};
use crate::ec2::{images, instance_types};

use super::Request;

/// Everything resolved, under the region's lock.
pub(super) struct Placement {
    pub subnet: Subnet,
    pub groups: Vec<String>,
    pub instance_type: &'static str,
    pub public: bool,
}

/// Resolves a launch.
pub(super) fn place(region: &Regional, request: &Request) -> Result<Placement, ApiError> {
    let data = &request.data;
    let nic = primary_interface(data)?;
    let image_id = data
        .image_id
        .as_deref()
        .ok_or_else(|| ApiError::missing("ImageId"))?;
    let image = region.images.get(image_id).ok_or_else(|| {
        ApiError::new(
            "InvalidAMIID.NotFound",
            format!("The image id '[{image_id}]' does not exist"),
        )
    })?;
    if let Some(error) = images::unavailable(image) {
        return Err(error);
    }
    let wanted = data
        .instance_type
        .as_deref()
        .unwrap_or(instance_types::DEFAULT);
    let instance_type = instance_types::find(wanted).ok_or_else(|| {
        ApiError::new(
            "InvalidParameterValue",
            format!("Invalid value '{wanted}' for InstanceType."),
        )
    })?;
    if instance_type.architecture() != images::ARCHITECTURE {
        return Err(ApiError::new(
            "InvalidParameterValue",
            format!(
                "The architecture '{}' of the specified instance type does not match the architecture '{}' of the specified AMI. Specify an instance type and an AMI that have matching architectures, and try again. You can use 'describe-instance-types' or 'describe-images' to discover the architecture of the instance type or AMI.",
                instance_type.architecture(),
                images::ARCHITECTURE
            ),
        ));
    }
    if let Some(key) = &data.key_name
        && !region.key_pairs.values().any(|pair| pair.name == *key)
    {
        return Err(ApiError::new(
            "InvalidKeyPair.NotFound",
            format!("The key pair '{key}' does not exist"),
        ));
    }
    let subnet_id = request
        .subnet
        .clone()
        .or_else(|| nic.and_then(|nic| nic.subnet_id.clone()));
    let subnet = find_subnet(
        region,
        subnet_id.as_deref(),
        data.zone.as_deref(),
        instance_type.name,
    )?;
    let mut groups = nic.map(|nic| nic.groups.clone()).unwrap_or_default();
    groups.extend(data.group_ids.iter().cloned());
    for name in &data.group_names {
        groups.push(
            region
                .groups
                .values()
                .find(|group| group.name == *name && group.vpc == subnet.vpc)
                .map(|group| group.id.clone())
                .ok_or_else(|| no_group(name))?,
        );
    }
    for id in &groups {
        let group = region.groups.get(id).ok_or_else(|| no_group(id))?;
        if group.vpc != subnet.vpc {
            return Err(ApiError::new(
                "InvalidParameter",
                format!(
                    "Security group {id} and subnet {} belong to different networks.",
                    subnet.id
                ),
            ));
        }
    }
    if groups.is_empty() {
        groups.extend(
            region
                .groups
                .values()
                .find(|group| group.name == "default" && group.vpc == subnet.vpc)
                .map(|group| group.id.clone()),
        );
    }
    Ok(Placement {
        public: nic
            .and_then(|nic| nic.public_ip)
            .unwrap_or(subnet.map_public_ip),
        subnet: subnet.clone(),
        groups,
        instance_type: instance_type.name,
    })
}

fn no_group(id: &str) -> ApiError {
    ApiError::new(
        "InvalidGroup.NotFound",
        format!("The security group '{id}' does not exist"),
    )
}

/// The one network interface that the lab gives an instance.
fn primary_interface(data: &LaunchData) -> Result<Option<&NetworkInterface>, ApiError> {
    let combination = |message: &str| ApiError::new("InvalidParameterCombination", message);
    match data.network_interfaces.as_slice() {
        [] => Ok(None),
        [nic] => {
            if nic.device_index.unwrap_or(0) != 0 {
                return Err(ApiError::invalid_value(
                    "NetworkInterface.1.DeviceIndex",
                    &nic.device_index.unwrap_or(0).to_string(),
                    "The lab's instances have one interface, with index 0.",
                ));
            }
            if !data.group_ids.is_empty() || !data.group_names.is_empty() {
                return Err(combination(
                    "Network interfaces and an instance-level security groups may not be specified on the same request",
                ));
            }
            Ok(Some(nic))
        }
        _ => Err(combination(
            "the lab's instances have one network interface each",
        )),
    }
}

fn find_subnet<'a>(
    region: &'a Regional,
    id: Option<&str>,
    zone: Option<&str>,
    instance_type: &str,
) -> Result<&'a Subnet, ApiError> {
    if let Some(zone) = zone.filter(|zone| !region.zones.iter().any(|known| known == zone)) {
        return Err(ApiError::new(
            "InvalidParameterValue",
            format!("Invalid availability zone: [{zone}]"),
        ));
    }
    let Some(id) = id else {
        let defaults = region.subnets.values().filter(|subnet| subnet.default);
        let mut defaults: Vec<_> = defaults
            .filter(|subnet| zone.is_none_or(|zone| subnet.zone == zone))
            .collect();
        defaults.sort_by(|a, b| a.zone.cmp(&b.zone));
        let first = defaults.first().copied().ok_or_else(|| {
            ApiError::new(
                "MissingInput",
                "No subnets found for the default VPC. Please specify a subnet.",
            )
        })?;
        // Whoever leaves the zone to AWS gets one that has the type.
        let offered = defaults
            .into_iter()
            .find(|subnet| region.offers(&subnet.zone, instance_type));
        return offered.ok_or_else(|| unsupported(region, &first.zone, instance_type));
    };
    let subnet = region.subnets.get(id).ok_or_else(|| no_subnet(id))?;
    match zone {
        Some(zone) if zone != subnet.zone => Err(ApiError::new(
            "InvalidParameterValue",
            format!(
                "Subnet {id} is in the availability zone {}, not in {zone}",
                subnet.zone
            ),
        )),
        _ if !region.offers(&subnet.zone, instance_type) => {
            Err(unsupported(region, &subnet.zone, instance_type))
        }
        _ => Ok(subnet),
    }
}

/// The zone does not offer the type.
fn unsupported(region: &Regional, zone: &str, instance_type: &str) -> ApiError {
    let others: Vec<&str> = region
        .zones
        .iter()
        .filter(|zone| region.offers(zone, instance_type))
        .map(String::as_str)
        .collect();
    ApiError::new(
        "Unsupported",
        format!(
            "Your requested instance type ({instance_type}) is not supported in your requested Availability Zone ({zone}). Please retry your request by not specifying an Availability Zone or choosing {}.",
            others.join(", ")
        ),
    )
}
