//! What the other services ask of EC2, in-process. AWS's services ask each other the same things.

use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;
use jiff::Timestamp;

use crate::Lab;
use crate::api::ApiError;

use super::launch::{self, Request};
use super::launch_data::LaunchData;
use super::lifecycle::{self, Reason};
use super::state::{Instance, InstanceState, Regional, Subnet, Tags, no_instance};

/// One instance for an Auto Scaling group.
#[derive(Clone, Debug)]
pub struct GroupLaunch {
    /// `lt-…`.
    pub template_id: String,
    /// A number, `$Latest` or `$Default`.
    pub version: String,
    /// Where; the group chose the zone.
    pub subnet_id: String,
    /// Becomes the tag `aws:autoscaling:groupName`.
    pub group_name: String,
    /// The group's tags that propagate.
    pub tags: Vec<(String, String)>,
    /// Repeating a launch with the same token gives the same instance.
    pub client_token: Option<String>,
}

/// An instance as other services see it.
#[derive(Clone, Debug)]
pub struct InstanceView {
    /// `i-…`.
    pub id: String,
    /// `pending`, `running`, `shutting-down`, `terminated`, `stopping`, `stopped`.
    pub state: String,
    /// For example `us-east-1a`.
    pub zone: String,
    /// `subnet-…`.
    pub subnet_id: String,
    /// `vpc-…`.
    pub vpc_id: String,
    /// Its one address, loopback.
    pub private_ip: Ipv4Addr,
    /// `ami-…`.
    pub image_id: String,
    /// When it was launched, or last started.
    pub launch_time: Timestamp,
    /// For example `t3.small`.
    pub instance_type: String,
    /// The launch template's id and version number, when it came from one.
    pub template: Option<(String, i64)>,
    /// Both status checks passed.
    pub status_ok: bool,
    /// All tags, AWS's own included.
    pub tags: Tags,
}

/// A subnet as other services see it.
#[derive(Clone, Debug)]
pub struct SubnetView {
    /// `subnet-…`.
    pub id: String,
    /// `vpc-…`.
    pub vpc_id: String,
    /// For example `us-east-1a`.
    pub zone: String,
    /// Inside 127.0.0.0/8.
    pub cidr: Ipv4Net,
}

impl From<&Subnet> for SubnetView {
    fn from(subnet: &Subnet) -> Self {
        Self {
            id: subnet.id.clone(),
            vpc_id: subnet.vpc.clone(),
            zone: subnet.zone.clone(),
            cidr: subnet.cidr,
        }
    }
}

fn view(region: &Regional, instance: &Instance) -> InstanceView {
    InstanceView {
        id: instance.id.clone(),
        state: instance.state.name().to_owned(),
        zone: instance.zone.clone(),
        subnet_id: instance.subnet.clone(),
        vpc_id: instance.vpc.clone(),
        private_ip: instance.private_ip,
        image_id: instance.image.clone(),
        launch_time: instance.launched,
        instance_type: instance.instance_type.clone(),
        template: instance.template.clone(),
        status_ok: instance.status_ok && !instance.impaired,
        tags: region.tags_of(&instance.id),
    }
}

/// EC2's words for a launch that it ended itself; none for an instance that somebody else ended, or that is there.
pub fn launch_failure(lab: &Lab, region: &str, id: &str) -> Option<String> {
    let region = lab.ec2.region(region).ok()?;
    let (code, message) = region.instances.get(id)?.state_reason.clone()?;
    code.ends_with(".InternalError").then_some(message)
}

/// Launches one instance for an Auto Scaling group; gives its id.
pub async fn run_for_group(
    lab: &Arc<Lab>,
    region: &str,
    request: GroupLaunch,
) -> Result<String, ApiError> {
    let (template, _, version, data) = super::templates::resolve(
        lab,
        region,
        Some(&request.template_id),
        None,
        &request.version,
    )?;
    let data = LaunchData {
        // The group decides the zone by its subnet.
        zone: None,
        ..data
    };
    let mut tags = request.tags;
    tags.push(("aws:autoscaling:groupName".to_owned(), request.group_name));
    let request = Request {
        data,
        template: Some((template, version)),
        min: 1,
        max: 1,
        subnet: Some(request.subnet_id),
        private_ip: None,
        client_token: request.client_token,
        tags,
    };
    let made = launch::launch(lab, region, &request)?;
    made.into_iter()
        .next()
        .ok_or_else(|| ApiError::new("InternalError", "no instance was launched").status(500))
}

/// Whether an instance could be launched from the template's version in each of these subnets: what
/// Auto Scaling asks before it takes a template. Capacity is not part of it.
pub fn check_launch(
    lab: &Lab,
    region: &str,
    template: (&str, &str),
    subnets: &[String],
) -> Result<(), ApiError> {
    let (id, version) = template;
    let (_, _, _, data) = super::templates::resolve(lab, region, Some(id), None, version)?;
    if let Some(profile) = &data.profile {
        crate::iam_api::profile_for_launch(lab, profile)?;
    }
    let mut request = Request {
        // The group decides the zone by its subnet.
        data: LaunchData { zone: None, ..data },
        template: None,
        min: 1,
        max: 1,
        subnet: None,
        private_ip: None,
        client_token: None,
        tags: Vec::new(),
    };
    let region = lab.ec2.region(region)?;
    for subnet in subnets {
        request.subnet = Some(subnet.clone());
        launch::check(&region, &request)?;
    }
    Ok(())
}

/// Begins the end of an instance. One that is already going or gone is no error.
pub async fn terminate(lab: &Arc<Lab>, region: &str, instance_id: &str) -> Result<(), ApiError> {
    let reason = Reason::user(lab.clock.now());
    lifecycle::terminate(lab, region, instance_id, reason)
        .map(|_| ())
        .ok_or_else(|| no_instance(instance_id))
}

/// An instance, as long as EC2 remembers it (an hour of lab time after its termination).
pub fn instance(lab: &Lab, region: &str, id: &str) -> Option<InstanceView> {
    let region = lab.ec2.region(region).ok()?;
    region
        .instances
        .get(id)
        .map(|instance| view(&region, instance))
}

/// Every instance of a region that is pending or running.
pub fn live_instances(lab: &Lab, region: &str) -> Vec<InstanceView> {
    let Ok(region) = lab.ec2.region(region) else {
        return Vec::new();
    };
    region
        .instances
        .values()
        .filter(|instance| {
            matches!(
                instance.state,
                InstanceState::Pending | InstanceState::Running
            )
        })
        .map(|instance| view(&region, instance))
        .collect()
}

/// A subnet.
pub fn subnet(lab: &Lab, region: &str, subnet_id: &str) -> Option<SubnetView> {
    let region = lab.ec2.region(region).ok()?;
    region.subnets.get(subnet_id).map(SubnetView::from)
}

/// Whether a VPC exists.
pub fn vpc_exists(lab: &Lab, region: &str, id: &str) -> bool {
    lab.ec2
        .region(region)
        .is_ok_and(|region| region.vpcs.contains_key(id))
}

/// Whether a security group exists.
pub fn security_group_exists(lab: &Lab, region: &str, id: &str) -> bool {
    lab.ec2
        .region(region)
        .is_ok_and(|region| region.groups.contains_key(id))
}

/// The id of a VPC's `default` security group.
pub fn default_security_group(lab: &Lab, region: &str, vpc_id: &str) -> Option<String> {
    let region = lab.ec2.region(region).ok()?;
    region
        .groups
        .values()
        .find(|group| group.vpc == vpc_id && group.name == "default")
        .map(|group| group.id.clone())
}

/// The default VPC's subnets, in the order of their zones.
pub fn default_subnets(lab: &Lab, region: &str) -> Vec<SubnetView> {
    let Ok(region) = lab.ec2.region(region) else {
        return Vec::new();
    };
    let mut subnets: Vec<SubnetView> = region
        .subnets
        .values()
        .filter(|subnet| subnet.default)
        .map(SubnetView::from)
        .collect();
    subnets.sort_by(|a, b| a.zone.cmp(&b.zone));
    subnets
}

/// A launch template's id, name and version number from its id or name and `$Latest`, `$Default` or
/// a number.
pub fn resolve_template(
    lab: &Lab,
    region: &str,
    id_or_name: &str,
    version: &str,
) -> Result<(String, String, i64), ApiError> {
    let (id, name) = id_and_name(id_or_name);
    let (id, name, number, _) = super::templates::resolve(lab, region, id, name, version)?;
    Ok((id, name, number))
}

/// A template's id, or else its name.
fn id_and_name(either: &str) -> (Option<&str>, Option<&str>) {
    if either.starts_with("lt-") {
        (Some(either), None)
    } else {
        (None, Some(either))
    }
}

/// Takes a free address of a subnet, for whatever listens there.
pub fn allocate_address(lab: &Lab, region: &str, subnet_id: &str) -> Result<Ipv4Addr, ApiError> {
    lab.ec2.region(region)?.take_address(subnet_id)
}

/// Gives an address back.
pub fn release_address(lab: &Lab, region: &str, address: Ipv4Addr) {
    if let Ok(mut region) = lab.ec2.region(region) {
        region.addresses.remove(&address);
    }
}

/// What policies speak of in a launch from a template's version.
pub(crate) struct LaunchFacts {
    /// The template's id.
    pub template: String,
    pub image: Option<String>,
    /// Ids.
    pub security_groups: Vec<String>,
    /// Name.
    pub key_pair: Option<String>,
    /// The ARN of the role in the instance profile.
    pub role: Option<String>,
    /// Type of resource, and the tags that it gets.
    pub tags: Vec<(String, Vec<(String, String)>)>,
}

impl LaunchFacts {
    /// Of the template with that id or name; none when there is none, or not that version.
    pub fn of(lab: &Lab, region: &str, id_or_name: &str, version: &str) -> Option<Self> {
        let (id, name) = id_and_name(id_or_name);
        let (template, _, _, data) =
            super::templates::resolve(lab, region, id, name, version).ok()?;
        let interfaces = data.network_interfaces.iter();
        let groups = interfaces.flat_map(|interface| interface.groups.clone());
        let role = data
            .profile
            .as_ref()
            .and_then(|profile| crate::iam_api::role_arn_of_profile(lab, profile));
        Some(Self {
            template,
            image: data.image_id.clone(),
            security_groups: data.group_ids.iter().cloned().chain(groups).collect(),
            key_pair: data.key_name.clone(),
            role,
            tags: data
                .tags
                .iter()
                .map(|it| (it.resource_type.clone(), it.tags.clone()))
                .collect(),
        })
    }
}
