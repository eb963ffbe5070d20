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
mod faults;
mod filter;
mod images;
mod instance_types;
mod launch;
mod launch_data;
mod lifecycle;
mod state;
mod tags;
mod templates;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Method;
use serde_json::Value;

use crate::api::{ApiError, Call, Params, Reply};
use crate::imds::{self, Imds};
use crate::runtime::{ProcessRuntime, Runtime};
use crate::{Config, Lab};

pub use contract::{
    GroupLaunch, InstanceView, SubnetView, allocate_address, default_security_group,
    default_subnets, instance, live_instances, release_address, resolve_template, run_for_group,
    security_group_exists, subnet, terminate, vpc_exists,
};
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
    pub fn new(config: &Config) -> Self {
        let regions = config.regions.iter().map(|region| {
            let regional = Regional::new(region, config);
            (region.name.clone(), Mutex::new(regional))
        });
        Self {
            regions: regions.collect(),
            faults: faults::Ec2Faults::default(),
            runtime: Box::new(ProcessRuntime::new(
                &config.directory,
                config.launcher.clone(),
            )),
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
        "CreateLaunchTemplate" => templates::create(lab, call),
        "CreateLaunchTemplateVersion" => templates::create_version(lab, call),
        "ModifyLaunchTemplate" => templates::modify(lab, call),
        "DescribeLaunchTemplates" => templates::describe(lab, call),
        "DescribeLaunchTemplateVersions" => templates::describe_versions(lab, call),
        "DeleteLaunchTemplate" => templates::delete(lab, call),
        "DeleteLaunchTemplateVersions" => templates::delete_versions(lab, call),
        "CreateTags" => tags::create(lab, call),
        "DeleteTags" => tags::delete(lab, call),
        "DescribeTags" => tags::describe(lab, call),
        action => Err(ApiError::invalid_action(action)),
    }
}

/// The service's part of the control endpoint.
pub async fn control(
    _lab: &Arc<Lab>,
    method: &Method,
    path: &[&str],
    _body: Value,
) -> Result<Value, String> {
    Err(format!("there is no {method} {path:?}"))
}
