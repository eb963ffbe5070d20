//! EC2: networks, security groups, launch templates, images, instances.
//!
//! ```text
//! dispatch ── network · security_groups · templates · images · instances · keys · tags · volumes
//!                                             │           │
//! contract (Auto Scaling, ELB, RDS) ────── launch ── lifecycle ── runtime, imds
//! ```
//!
//! Invariants:
//! * One lock for each region; it is never held across an await or a call into another service, and
//!   never two at once.
//! * Only [`lifecycle`] changes an instance's state.
//! * All or nothing: a call that fails has changed nothing.

mod contract;
mod control;
mod ebs_defaults;
mod faults;
mod filter;
mod images;
mod instance_types;
mod instances;
mod keys;
mod launch;
mod launch_data;
mod lifecycle;
mod network;
mod security_groups;
mod state;
mod tags;
mod templates;
mod volumes;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::api::{ApiError, Call, Params, Reply};
use crate::imds::{self, Imds};
use crate::runtime::Runtime;
use crate::{Config, Lab};

pub(crate) use contract::LaunchFacts;
pub use contract::{
    GroupLaunch, InstanceView, SubnetView, allocate_address, check_launch, default_security_group,
    default_subnets, instance, launch_failure, live_instances, release_address, resolve_template,
    run_for_group, security_group_exists, subnet, terminate, vpc_exists,
};
pub use control::control;
pub use faults::{Ec2Fault, Kind};
pub use images::register_image;
pub(crate) use launch_data::{ProfileReference, decode_base64};
pub(crate) use state::{Instance, InstanceState, Profile, Regional, Role};

/// State.
#[derive(Debug)]
pub struct Ec2 {
    regions: BTreeMap<String, Mutex<Regional>>,
    faults: faults::Ec2Faults,
    /// What instances run on.
    pub runtime: Box<dyn Runtime>,
    /// The instances' metadata services.
    pub imds: Imds,
}

impl Ec2 {
    /// With the default VPC of each region.
    pub fn new(config: &Config, runtime: Box<dyn Runtime>) -> Self {
        let regions = config.regions.iter().map(|region| {
            let regional = Regional::new(region, config);
            (region.name.clone(), Mutex::new(regional))
        });
        Self {
            regions: regions.collect(),
            faults: faults::Ec2Faults::default(),
            runtime,
            imds: Imds::default(),
        }
    }

    /// A region's state, locked.
    pub(crate) fn region(&self, name: &str) -> Result<MutexGuard<'_, Regional>, ApiError> {
        self.regions
            .get(name)
            .map(|region| region.lock().unwrap_or_else(PoisonError::into_inner))
            .ok_or_else(|| ApiError::invalid_value("region", name, "The lab has no such region."))
    }
}

/// Starts the service's tasks: none, each instance has its own.
pub fn start(_lab: &Arc<Lab>) {}

/// Ends every instance; returns when nothing of them runs.
pub async fn stop_all(lab: &Arc<Lab>) {
    lab.ec2.runtime.stop_all().await;
    imds::stop_all(lab).await;
}

/// The end of reading parameters: refuses what was not read, and answers a dry run.
pub(crate) fn proceed(p: &Params) -> Result<(), ApiError> {
    let dry_run = p.opt_bool("DryRun")?.unwrap_or(false);
    p.finish()?;
    if dry_run {
        return Err(ApiError::new(
            "DryRunOperation",
            "Request would have succeeded, but DryRun flag is set.",
        )
        .status(412));
    }
    Ok(())
}

/// Answers a call.
pub async fn dispatch(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    match call.action.as_str() {
        "DescribeRegions" => network::regions(lab, call),
        "DescribeAvailabilityZones" => network::zones(lab, call),
        "DescribeAccountAttributes" => network::account_attributes(lab, call),
        "DescribeAddresses" => network::addresses(call),
        "DescribeVpcs" => network::vpcs(lab, call),
        "CreateVpc" => network::create_vpc(lab, call),
        "DeleteVpc" => network::delete_vpc(lab, call),
        "DescribeVpcAttribute" => network::vpc_attribute(lab, call),
        "ModifyVpcAttribute" => network::modify_vpc_attribute(lab, call),
        "DescribeSubnets" => network::subnets(lab, call),
        "CreateSubnet" => network::create_subnet(lab, call),
        "DeleteSubnet" => network::delete_subnet(lab, call),
        "ModifySubnetAttribute" => network::modify_subnet_attribute(lab, call),
        "DescribeRouteTables" => network::route_tables(lab, call),
        "DescribeInternetGateways" => network::internet_gateways(lab, call),
        "CreateSecurityGroup" => security_groups::create(lab, call),
        "DeleteSecurityGroup" => security_groups::delete(lab, call),
        "DescribeSecurityGroups" => security_groups::describe(lab, call),
        "DescribeSecurityGroupRules" => security_groups::describe_rules(lab, call),
        "AuthorizeSecurityGroupIngress" => security_groups::authorize(lab, call, false),
        "AuthorizeSecurityGroupEgress" => security_groups::authorize(lab, call, true),
        "RevokeSecurityGroupIngress" => security_groups::revoke(lab, call, false),
        "RevokeSecurityGroupEgress" => security_groups::revoke(lab, call, true),
        "CreateLaunchTemplate" => templates::create(lab, call),
        "CreateLaunchTemplateVersion" => templates::create_version(lab, call),
        "ModifyLaunchTemplate" => templates::modify(lab, call),
        "DescribeLaunchTemplates" => templates::describe(lab, call),
        "DescribeLaunchTemplateVersions" => templates::describe_versions(lab, call),
        "DeleteLaunchTemplate" => templates::delete(lab, call),
        "DeleteLaunchTemplateVersions" => templates::delete_versions(lab, call),
        "DescribeImages" => images::describe(lab, call),
        "CreateImage" => images::create_image(lab, call),
        "CopyImage" => images::copy_image(lab, call),
        "DeregisterImage" => images::deregister(lab, call),
        "DescribeImageAttribute" => images::describe_attribute(lab, call),
        "ModifyImageAttribute" => images::modify_attribute(lab, call),
        "DescribeSnapshots" => images::describe_snapshots(lab, call),
        "DeleteSnapshot" => images::delete_snapshot(lab, call),
        "RunInstances" => instances::run(lab, call),
        "DescribeInstances" => instances::describe(lab, call),
        "DescribeInstanceStatus" => instances::describe_status(lab, call),
        "StartInstances" => instances::start(lab, call),
        "StopInstances" => instances::stop(lab, call),
        "RebootInstances" => instances::reboot(lab, call),
        "TerminateInstances" => instances::terminate(lab, call),
        "GetConsoleOutput" => instances::console_output(lab, call),
        "DescribeInstanceAttribute" => instances::describe_attribute(lab, call),
        "ModifyInstanceAttribute" => instances::modify_attribute(lab, call),
        "ModifyInstanceMetadataOptions" => instances::modify_metadata_options(lab, call),
        "MonitorInstances" => instances::monitor(lab, call, true),
        "UnmonitorInstances" => instances::monitor(lab, call, false),
        "DescribeIamInstanceProfileAssociations" => instances::profile_associations(lab, call),
        "DescribeInstanceTypes" => instance_types::describe(lab, call),
        "DescribeInstanceTypeOfferings" => instance_types::offerings(lab, call),
        "CreateKeyPair" => keys::create(lab, call).await,
        "ImportKeyPair" => keys::import(lab, call),
        "DescribeKeyPairs" => keys::describe(lab, call),
        "DeleteKeyPair" => keys::delete(lab, call),
        "GetEbsEncryptionByDefault" => ebs_defaults::encryption(lab, call),
        "EnableEbsEncryptionByDefault" => ebs_defaults::encrypt(lab, call, true),
        "DisableEbsEncryptionByDefault" => ebs_defaults::encrypt(lab, call, false),
        "GetEbsDefaultKmsKeyId" => ebs_defaults::key(lab, call),
        "ModifyEbsDefaultKmsKeyId" => ebs_defaults::set_key(lab, call),
        "ResetEbsDefaultKmsKeyId" => ebs_defaults::reset_key(lab, call),
        "CreateTags" => tags::create(lab, call),
        "DeleteTags" => tags::delete(lab, call),
        "DescribeTags" => tags::describe(lab, call),
        "DescribeVolumes" => volumes::describe(lab, call),
        "DeleteVolume" => volumes::delete(lab, call),
        action => Err(ApiError::invalid_action(action)),
    }
}
