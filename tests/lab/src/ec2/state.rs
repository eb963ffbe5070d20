//! What EC2 knows in one region: plain data, no behaviour that takes time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;
use jiff::Timestamp;

use super::launch_data::LaunchData;
use crate::api::ApiError;
use crate::ids::Ids;
use crate::runtime::Tree;
use crate::{Config, Region};

/// Tags of one resource.
pub(crate) type Tags = BTreeMap<String, String>;

/// One region of EC2. Every map is keyed by the resource's id.
#[derive(Debug)]
pub(crate) struct Regional {
    /// For example `us-east-1`.
    pub name: String,
    /// In order; a zone's index decides its default subnet's address.
    pub zones: Vec<String>,
    /// Tags of every resource of the region, by resource id.
    pub tags: BTreeMap<String, Tags>,
    pub vpcs: BTreeMap<String, Vpc>,
    pub subnets: BTreeMap<String, Subnet>,
    /// Addresses in use, with the id of the subnet that they were taken from.
    pub addresses: BTreeMap<Ipv4Addr, String>,
    pub groups: BTreeMap<String, SecurityGroup>,
    /// Security groups that another service's resource uses, by that resource's ARN or id.
    pub group_holders: BTreeMap<String, Vec<String>>,
    pub templates: BTreeMap<String, Template>,
    pub images: BTreeMap<String, Image>,
    pub snapshots: BTreeMap<String, Snapshot>,
    pub volumes: BTreeMap<String, Volume>,
    pub instances: BTreeMap<String, Instance>,
    pub key_pairs: BTreeMap<String, KeyPair>,
    /// What was just made and does not show yet; see [`super::faults::Kind::SlowToAppear`].
    pub hidden: BTreeSet<String>,
    /// Zones that are gone.
    pub dark: BTreeSet<String>,
    /// Answers to repeat: (action, ClientToken) to what was asked and what was made.
    pub tokens: BTreeMap<(&'static str, String), Remembered>,
}

/// An idempotent call that was carried out.
#[derive(Clone, Debug)]
pub(crate) struct Remembered {
    /// A digest of the parameters; the same token with another is refused.
    pub parameters: String,
    /// The ids that it made.
    pub made: Vec<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Vpc {
    pub id: String,
    pub cidr: Ipv4Net,
    pub default: bool,
    pub route_table: String,
    pub route_association: String,
    pub internet_gateway: Option<String>,
    pub cidr_association: String,
    pub dhcp_options: String,
    pub dns_hostnames: bool,
    pub dns_support: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Subnet {
    pub id: String,
    pub vpc: String,
    pub zone: String,
    pub cidr: Ipv4Net,
    pub default: bool,
    pub map_public_ip: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct SecurityGroup {
    pub id: String,
    pub name: String,
    pub description: String,
    pub vpc: String,
    pub rules: Vec<Rule>,
}

/// One rule: one protocol and port range, one peer, as DescribeSecurityGroupRules shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// `sgr-…`.
    pub id: String,
    pub egress: bool,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, `-1` or a number.
    pub protocol: String,
    /// -1 with `to` -1: all.
    pub from: i64,
    pub to: i64,
    pub peer: Peer,
    pub description: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    V4(String),
    V6(String),
    Group(String),
}

#[derive(Clone, Debug)]
pub(crate) struct Template {
    pub id: String,
    pub name: String,
    pub created: Timestamp,
    pub created_by: String,
    pub default_version: i64,
    /// The highest number ever given out; numbers are not used twice.
    pub latest_version: i64,
    pub versions: BTreeMap<i64, TemplateVersion>,
}

#[derive(Clone, Debug)]
pub(crate) struct TemplateVersion {
    pub description: Option<String>,
    pub created: Timestamp,
    pub created_by: String,
    pub data: LaunchData,
}

#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub id: String,
    pub name: String,
    pub description: String,
    pub state: ImageState,
    pub created: Timestamp,
    pub snapshot: String,
    /// In GiB.
    pub volume_size: i64,
    /// The image that this one was copied from: region and id.
    pub source: Option<(String, String)>,
    /// The instance that it was made from.
    pub source_instance: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ImageState {
    Pending,
    Available,
    /// With AWS's StateReason: code and message.
    Failed(String, String),
}

impl ImageState {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Available => "available",
            Self::Failed(..) => "failed",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub id: String,
    pub description: String,
    pub started: Timestamp,
    /// `pending`, `completed` or `error`.
    pub state: &'static str,
    /// In GiB.
    pub volume_size: i64,
    pub volume: String,
    /// The file tree that instances of it start with; none while pending. Copies share it.
    pub tree: Option<Arc<Tree>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Volume {
    pub id: String,
    pub zone: String,
    pub size: i64,
    /// For example `gp3`.
    pub kind: String,
    pub snapshot: String,
    pub created: Timestamp,
    /// Instance, device, whether it goes with the instance.
    pub attachment: Option<(String, String, bool)>,
    pub encrypted: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct KeyPair {
    pub id: String,
    pub name: String,
    pub fingerprint: String,
    /// `rsa` or `ed25519`.
    pub key_type: String,
    /// One line, as in `authorized_keys`.
    pub public_key: String,
    pub created: Timestamp,
}

/// An instance profile as the instance carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Profile {
    pub arn: String,
    pub id: String,
    pub role: Option<Role>,
}

/// A role as its sessions show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Role {
    pub name: String,
    pub id: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InstanceState {
    Pending,
    Running,
    ShuttingDown,
    Terminated,
    Stopping,
    Stopped,
}

impl InstanceState {
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }

    /// AWS's numbers (API reference, InstanceState).
    pub fn code(self) -> u8 {
        match self {
            Self::Pending => 0,
            Self::Running => 16,
            Self::ShuttingDown => 32,
            Self::Terminated => 48,
            Self::Stopping => 64,
            Self::Stopped => 80,
        }
    }

    pub fn ended(self) -> bool {
        matches!(self, Self::ShuttingDown | Self::Terminated)
    }
}

#[derive(Clone, Debug)]
#[expect(
    clippy::struct_field_names,
    reason = "`instance_type` is AWS's own word"
)]
pub(crate) struct Instance {
    pub id: String,
    pub reservation: String,
    pub launch_index: usize,
    pub state: InstanceState,
    /// Rises with every change of state that was asked for; a task that finds another one ends.
    pub epoch: u64,
    /// Held while something touches the runtime on the instance's behalf.
    pub gate: Arc<tokio::sync::Mutex<()>>,
    /// Code and message of why it is in its state, when somebody or something made it so.
    pub state_reason: Option<(String, String)>,
    /// For example `User initiated (2026-11-22 12:00:00 GMT)`.
    pub transition_reason: String,
    pub image: String,
    pub instance_type: String,
    pub zone: String,
    pub subnet: String,
    pub vpc: String,
    pub private_ip: Ipv4Addr,
    pub public: bool,
    pub mac: String,
    pub network_interface: String,
    pub attachment: String,
    pub launched: Timestamp,
    pub groups: Vec<String>,
    pub profile: Option<Profile>,
    pub profile_association: String,
    /// Template id and version number.
    pub template: Option<(String, i64)>,
    pub client_token: String,
    /// All that the launch asked for, the template's part merged in.
    pub data: LaunchData,
    pub root_volume: Option<String>,
    pub source_dest_check: bool,
    /// Whether both status checks have passed.
    pub status_ok: bool,
    /// Set by a fault: the system check fails.
    pub impaired: bool,
    /// The tree that its root is a copy of.
    pub tree: Option<Arc<Tree>>,
}

impl Instance {
    /// For example `ip-127-32-0-4.ec2.internal`.
    pub fn private_dns(&self, region: &str) -> String {
        let dashed = self.private_ip.to_string().replace('.', "-");
        if region == "us-east-1" {
            format!("ip-{dashed}.ec2.internal")
        } else {
            format!("ip-{dashed}.{region}.compute.internal")
        }
    }
}

impl Regional {
    /// A region with its default VPC: one /20 for each zone, an internet gateway, a default group.
    pub fn new(region: &Region, config: &Config) -> Self {
        let seed = config
            .seed
            .wrapping_mul(1009)
            .wrapping_add(u64::from(region.octet));
        let ids = Ids::new(seed);
        let mut regional = Self {
            name: region.name.clone(),
            zones: region.zones.clone(),
            tags: BTreeMap::new(),
            vpcs: BTreeMap::new(),
            subnets: BTreeMap::new(),
            addresses: BTreeMap::new(),
            groups: BTreeMap::new(),
            group_holders: BTreeMap::new(),
            templates: BTreeMap::new(),
            images: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            volumes: BTreeMap::new(),
            instances: BTreeMap::new(),
            key_pairs: BTreeMap::new(),
            hidden: BTreeSet::new(),
            dark: BTreeSet::new(),
            tokens: BTreeMap::new(),
        };
        let cidr = Ipv4Net::new(Ipv4Addr::new(127, region.octet, 0, 0), 16)
            .expect("16 is a prefix length");
        let vpc = regional.add_vpc(&ids, cidr, true);
        for (index, zone) in region.zones.iter().enumerate().take(16) {
            let start = Ipv4Addr::new(127, region.octet, index as u8 * 16, 0);
            let subnet = Subnet {
                id: ids.ec2("subnet"),
                vpc: vpc.clone(),
                zone: zone.clone(),
                cidr: Ipv4Net::new(start, 20).expect("20 is a prefix length"),
                default: true,
                map_public_ip: true,
            };
            regional.subnets.insert(subnet.id.clone(), subnet);
        }
        regional
    }

    /// Adds a VPC with what AWS makes along with it: main route table, ACL, default group.
    pub fn add_vpc(&mut self, ids: &Ids, cidr: Ipv4Net, default: bool) -> String {
        let vpc = Vpc {
            id: ids.ec2("vpc"),
            cidr,
            default,
            route_table: ids.ec2("rtb"),
            route_association: ids.ec2("rtbassoc"),
            internet_gateway: default.then(|| ids.ec2("igw")),
            cidr_association: ids.ec2("vpc-cidr-assoc"),
            dhcp_options: ids.ec2("dopt"),
            dns_hostnames: default,
            dns_support: true,
        };
        let group = SecurityGroup {
            id: ids.ec2("sg"),
            name: "default".to_owned(),
            description: "default VPC security group".to_owned(),
            vpc: vpc.id.clone(),
            rules: Vec::new(),
        };
        let all = |egress, peer| Rule {
            id: ids.ec2("sgr"),
            egress,
            protocol: "-1".to_owned(),
            from: -1,
            to: -1,
            peer,
            description: None,
        };
        let rules = vec![
            all(false, Peer::Group(group.id.clone())),
            all(true, Peer::V4("0.0.0.0/0".to_owned())),
        ];
        self.groups
            .insert(group.id.clone(), SecurityGroup { rules, ..group });
        let id = vpc.id.clone();
        self.vpcs.insert(id.clone(), vpc);
        id
    }

    /// The region's default VPC, when it was not deleted.
    pub fn default_vpc(&self) -> Option<&Vpc> {
        self.vpcs.values().find(|vpc| vpc.default)
    }

    /// A stable zone id: `use1-az1` for the first zone of us-east-1.
    pub fn zone_id(&self, zone: &str) -> String {
        let index = self
            .zones
            .iter()
            .position(|name| name == zone)
            .map_or(0, |index| index + 1);
        format!("{}-az{index}", zone_prefix(&self.name))
    }

    /// Takes the lowest free address of a subnet; as in AWS its first four and its last are reserved.
    pub fn take_address(&mut self, subnet_id: &str) -> Result<Ipv4Addr, ApiError> {
        let subnet = self
            .subnets
            .get(subnet_id)
            .ok_or_else(|| no_subnet(subnet_id))?;
        let free = usable(&subnet.cidr).find(|address| !self.addresses.contains_key(address));
        let address = free.ok_or_else(|| {
            ApiError::new(
                "InsufficientFreeAddressesInSubnet",
                format!("There are not enough free addresses in subnet '{subnet_id}' to satisfy the requested number of instances."),
            )
        })?;
        self.addresses.insert(address, subnet_id.to_owned());
        Ok(address)
    }

    /// Takes a particular address.
    pub fn take_this_address(
        &mut self,
        subnet_id: &str,
        address: Ipv4Addr,
    ) -> Result<Ipv4Addr, ApiError> {
        let subnet = self
            .subnets
            .get(subnet_id)
            .ok_or_else(|| no_subnet(subnet_id))?;
        if !usable(&subnet.cidr).any(|usable| usable == address) {
            return Err(ApiError::new(
                "InvalidParameterValue",
                format!(
                    "Address {address} does not fall within the subnet's address range ({})",
                    subnet.cidr
                ),
            ));
        }
        if self.addresses.contains_key(&address) {
            return Err(ApiError::new(
                "InvalidIPAddress.InUse",
                format!("Address {address} is in use."),
            ));
        }
        self.addresses.insert(address, subnet_id.to_owned());
        Ok(address)
    }

    /// How many addresses of a subnet are free.
    pub fn free_addresses(&self, subnet: &Subnet) -> usize {
        let taken = self
            .addresses
            .values()
            .filter(|id| **id == subnet.id)
            .count();
        (1_usize << (32 - subnet.cidr.prefix_len()))
            .saturating_sub(5)
            .saturating_sub(taken)
    }

    /// Tags of a resource; none is the empty map.
    pub fn tags_of(&self, id: &str) -> Tags {
        self.tags.get(id).cloned().unwrap_or_default()
    }
}

/// `use1` for us-east-1, `euc1` for eu-central-1.
fn zone_prefix(region: &str) -> String {
    let mut parts = region.split('-');
    let continent = parts.next().unwrap_or_default();
    let rest: String = parts.filter_map(|part| part.chars().next()).collect();
    format!("{continent}{rest}")
}

fn usable(cidr: &Ipv4Net) -> impl Iterator<Item = Ipv4Addr> {
    let first = u32::from(cidr.network()) + 4;
    let last = u32::from(cidr.broadcast());
    (first..last).map(Ipv4Addr::from)
}

/// AWS's error for a subnet that does not exist.
pub(crate) fn no_subnet(id: &str) -> ApiError {
    ApiError::new(
        "InvalidSubnetID.NotFound",
        format!("The subnet ID '{id}' does not exist"),
    )
}

/// AWS's error for an instance that does not exist.
pub(crate) fn no_instance(id: &str) -> ApiError {
    if !id.starts_with("i-") {
        return ApiError::new(
            "InvalidInstanceID.Malformed",
            format!("Invalid id: \"{id}\" (expecting \"i-...\")"),
        );
    }
    ApiError::new(
        "InvalidInstanceID.NotFound",
        format!("The instance ID '{id}' does not exist"),
    )
}
