//! A region as it begins, and its addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::api::ApiError;
use crate::ec2::ebs_defaults::EbsDefaults;
use crate::ec2::instance_types;
use crate::ids::Ids;
use crate::{Config, Region};

use super::{Peer, Regional, Rule, SecurityGroup, Subnet, Tags, Vpc, no_subnet};

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
            templates: BTreeMap::new(),
            images: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            volumes: BTreeMap::new(),
            instances: BTreeMap::new(),
            key_pairs: BTreeMap::new(),
            hidden: BTreeSet::new(),
            not_offered: instance_types::not_offered(&region.zones),
            dark: BTreeSet::new(),
            ebs_defaults: EbsDefaults::default(),
            tokens: BTreeMap::new(),
        };
        let cidr = config.network(region);
        let [first, second, ..] = cidr.network().octets();
        let vpc = regional.add_vpc(&ids, cidr, true);
        for (index, zone) in region.zones.iter().enumerate().take(16) {
            let start = Ipv4Addr::new(first, second, index as u8 * 16, 0);
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

    /// Whether the zone offers the type.
    pub fn offers(&self, zone: &str, instance_type: &str) -> bool {
        let pair = (zone.to_owned(), instance_type.to_owned());
        !self.not_offered.contains(&pair)
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
