//! Launching: from a request to instances in `pending`, all or nothing. RunInstances and Auto Scaling
//! come through here.

mod place;

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::Lab;
use crate::api::{ApiError, Params};
use crate::iam_api;

use super::faults;

use super::launch_data::{LaunchData, tags_for};
use super::lifecycle;
use super::state::{Instance, InstanceState, Regional, Remembered, Volume};

/// What is to be launched; the template's part is merged in already.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub data: LaunchData,
    pub template: Option<(String, i64)>,
    pub min: i64,
    pub max: i64,
    pub subnet: Option<String>,
    pub private_ip: Option<String>,
    pub client_token: Option<String>,
    /// More tags on the instances, AWS's own (`aws:…`) among them.
    pub tags: Vec<(String, String)>,
}

/// Launches between `min` and `max` instances; gives their ids. With a client token that was used
/// before: the same instances for the same request, else `IdempotentParameterMismatch`.
pub(crate) fn launch(
    lab: &Arc<Lab>,
    region_name: &str,
    request: &Request,
) -> Result<Vec<String>, ApiError> {
    let parameters = digest(request);
    let profile = match &request.data.profile {
        Some(reference) => Some(iam_api::profile_for_launch(lab, reference)?),
        None => None,
    };
    let mut region = lab.ec2.region(region_name)?;
    if let Some(token) = &request.client_token
        && let Some(made) = repeated(&region, "RunInstances", token, &parameters)?
    {
        return Ok(made);
    }
    let placement = place::place(&region, request)?;
    if region.dark.contains(&placement.subnet.zone) {
        let zone = &placement.subnet.zone;
        return Err(faults::no_capacity(zone, placement.instance_type, None));
    }
    if let Some(error) = faults::capacity(
        lab,
        &region.name,
        &placement.subnet.zone,
        placement.instance_type,
    ) {
        return Err(error);
    }
    let count = if request.private_ip.is_some() {
        1
    } else {
        let free = region.free_addresses(&placement.subnet) as i64;
        request.max.min(free.max(request.min))
    };
    let mut addresses = Vec::new();
    for _ in 0..count {
        let taken = match &request.private_ip {
            Some(text) => text
                .parse()
                .map_err(|_| {
                    ApiError::invalid_value("privateIpAddress", text, "It must be an IPv4 address.")
                })
                .and_then(|address| region.take_this_address(&placement.subnet.id, address)),
            None => region.take_address(&placement.subnet.id),
        };
        match taken {
            Ok(address) => addresses.push(address),
            Err(error) => {
                for address in addresses {
                    region.addresses.remove(&address);
                }
                return Err(error);
            }
        }
    }
    let reservation = lab.ids.ec2("r");
    let mut made = Vec::new();
    for (launch_index, address) in addresses.into_iter().enumerate() {
        let id = lab.ids.ec2("i");
        let octets = address.octets();
        let instance = Instance {
            id: id.clone(),
            reservation: reservation.clone(),
            launch_index,
            state: InstanceState::Pending,
            epoch: 0,
            gate: Arc::default(),
            state_reason: None,
            transition_reason: String::new(),
            image: request.data.image_id.clone().unwrap_or_default(),
            instance_type: placement.instance_type.to_owned(),
            zone: placement.subnet.zone.clone(),
            subnet: placement.subnet.id.clone(),
            vpc: placement.subnet.vpc.clone(),
            private_ip: address,
            public: placement.public,
            // Locally administered, and different for every address.
            mac: format!(
                "02:4c:{:02x}:{:02x}:{:02x}:{:02x}",
                octets[0], octets[1], octets[2], octets[3]
            ),
            network_interface: lab.ids.ec2("eni"),
            attachment: lab.ids.ec2("eni-attach"),
            launched: lab.clock.now(),
            groups: placement.groups.clone(),
            profile: profile.clone(),
            profile_association: lab.ids.ec2("iip-assoc"),
            template: request.template.clone(),
            client_token: request.client_token.clone().unwrap_or_default(),
            data: request.data.clone(),
            root_volume: None,
            source_dest_check: true,
            credentials_secret: crate::imds::new_secret(),
            status_ok: false,
            impaired: false,
            tree: None,
        };
        region.instances.insert(id.clone(), instance);
        attach_root_volume(lab, &mut region, &id);
        tag_launch(&mut region, &id, request);
        made.push(id);
    }
    if let Some(token) = &request.client_token {
        region.tokens.insert(
            ("RunInstances", token.clone()),
            Remembered {
                parameters,
                made: made.clone(),
            },
        );
    }
    drop(region);
    for id in &made {
        faults::hide(lab, region_name, id);
        iam_api::credentials::issue(lab, region_name, id);
        lifecycle::boot(lab, region_name, id);
    }
    Ok(made)
}

/// Whether a launch names only what is there and fits together; see [`check_launch`](super::check_launch).
pub(crate) fn check(region: &Regional, request: &Request) -> Result<(), ApiError> {
    place::place(region, request).map(drop)
}

/// What a client token made before; none when it is new.
pub(crate) fn repeated(
    region: &Regional,
    action: &'static str,
    token: &str,
    parameters: &str,
) -> Result<Option<Vec<String>>, ApiError> {
    match region.tokens.get(&(action, token.to_owned())) {
        None => Ok(None),
        Some(known) if known.parameters == parameters => Ok(Some(known.made.clone())),
        Some(_) => Err(ApiError::new(
            "IdempotentParameterMismatch",
            format!(
                "Arguments on this idempotent request are inconsistent with arguments used in previous request(s) with client token '{token}'."
            ),
        )),
    }
}

fn digest(request: &Request) -> String {
    let without_token = Request {
        client_token: None,
        ..request.clone()
    };
    hex::encode(Sha256::digest(format!("{without_token:?}")))
}

/// A digest of parameters for calls whose idempotency compares a few values only.
pub(crate) fn digest_of(values: &[&str]) -> String {
    hex::encode(Sha256::digest(values.join("\u{0}")))
}

fn attach_root_volume(lab: &Lab, region: &mut Regional, instance_id: &str) {
    let Some(instance) = region.instances.get(instance_id) else {
        return;
    };
    let Some(image) = region.images.get(&instance.image) else {
        return;
    };
    let ebs = instance
        .data
        .block_devices
        .iter()
        .find(|device| device.device == super::images::ROOT_DEVICE)
        .and_then(|device| device.ebs.clone())
        .unwrap_or_default();
    let size = ebs.volume_size.unwrap_or(image.volume_size);
    let kind = ebs
        .volume_type
        .clone()
        .unwrap_or_else(|| image.volume_kind.clone());
    let (iops, throughput) = super::volumes::performance(&kind, size, &ebs);
    let volume = Volume {
        id: lab.ids.ec2("vol"),
        zone: instance.zone.clone(),
        size,
        kind,
        iops,
        throughput,
        snapshot: image.snapshot.clone(),
        created: lab.clock.now(),
        attachment: Some((
            instance_id.to_owned(),
            super::images::ROOT_DEVICE.to_owned(),
            ebs.delete_on_termination.unwrap_or(true),
        )),
        encrypted: ebs.encrypted.unwrap_or(false)
            || image.encrypted
            || region.ebs_defaults.encrypted,
    };
    let tree = region
        .snapshots
        .get(&image.snapshot)
        .and_then(|snapshot| snapshot.tree.clone());
    let tags = tags_for(&instance.data.tags, "volume");
    if !tags.is_empty() {
        region
            .tags
            .insert(volume.id.clone(), tags.into_iter().collect());
    }
    if let Some(instance) = region.instances.get_mut(instance_id) {
        instance.root_volume = Some(volume.id.clone());
        instance.tree = tree;
    }
    region.volumes.insert(volume.id.clone(), volume);
}

fn tag_launch(region: &mut Regional, id: &str, request: &Request) {
    let mut tags = tags_for(&request.data.tags, "instance");
    if let Some((template, version)) = &request.template {
        tags.push(("aws:ec2launchtemplate:id".to_owned(), template.clone()));
        tags.push((
            "aws:ec2launchtemplate:version".to_owned(),
            version.to_string(),
        ));
    }
    tags.extend(request.tags.iter().cloned());
    if !tags.is_empty() {
        region
            .tags
            .insert(id.to_owned(), tags.into_iter().collect());
    }
    let own = tags_for(&request.data.tags, "network-interface");
    if let Some(nic) = region
        .instances
        .get(id)
        .map(|instance| instance.network_interface.clone())
        .filter(|_| !own.is_empty())
    {
        region.tags.insert(nic, own.into_iter().collect());
    }
}

/// RunInstances' own parameters, with the launch template that it names merged in.
pub(crate) fn parse_run_instances(
    lab: &Lab,
    region: &str,
    p: &Params,
) -> Result<Request, ApiError> {
    let mut data = LaunchData::parse(p)?;
    let mut template = None;
    if let Some(reference) = p.sub("LaunchTemplate") {
        let (id, name) = (
            reference.opt("LaunchTemplateId"),
            reference.opt("LaunchTemplateName"),
        );
        let version = reference
            .opt("Version")
            .unwrap_or_else(|| "$Default".to_owned());
        let (id, _, version, base) =
            super::templates::resolve(lab, region, id.as_deref(), name.as_deref(), &version)?;
        data = data.over(&base);
        template = Some((id, version));
    }
    let (min, max) = (p.int("MinCount")?, p.int("MaxCount")?);
    if min < 1 || max < min {
        return Err(ApiError::new(
            "InvalidParameterValue",
            format!(
                "Value ({min}, {max}) for parameters minCount and maxCount is invalid. minCount must be at least 1 and not above maxCount."
            ),
        ));
    }
    Ok(Request {
        data,
        template,
        min,
        max,
        subnet: p.given("SubnetId"),
        private_ip: p.given("PrivateIpAddress"),
        client_token: p.given("ClientToken"),
        tags: Vec::new(),
    })
}
