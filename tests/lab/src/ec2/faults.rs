//! EC2's own bad days, set by `POST /lab/ec2/faults`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Lab;
use crate::api::ApiError;

use super::state::Instance;

/// One fault. What is not given matches everything.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ec2Fault {
    /// What goes wrong.
    pub kind: Kind,
    /// Only in this region.
    #[serde(default)]
    pub region: Option<String>,
    /// Only in this zone (launches and boots).
    #[serde(default)]
    pub zone: Option<String>,
    /// Only this type (launches and boots).
    #[serde(default)]
    pub instance_type: Option<String>,
    /// Only this image: the one booted, or the copy's source.
    #[serde(default)]
    pub image: Option<String>,
    /// The words of StateReason.
    #[serde(default)]
    pub reason: Option<String>,
    /// How often it strikes; 1 unless said otherwise.
    #[serde(default = "once")]
    pub times: u32,
}

fn once() -> u32 {
    1
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Launches are refused with `InsufficientInstanceCapacity`.
    InsufficientCapacity,
    /// The instance goes from `pending` to `terminated`.
    BootFailure,
    /// The instance runs, nothing in it does, its status checks never pass.
    BootHang,
    /// A new instance, security group, launch template or image does not show in describe calls for
    /// [`APPEARS`], as AWS's eventual consistency has it.
    SlowToAppear,
    /// CopyImage ends in `failed` with a StateReason.
    CopyFailure,
}

/// How a boot goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Boot {
    Fails(String),
    Hangs,
}

/// The faults that wait.
#[derive(Debug, Default)]
pub(crate) struct Ec2Faults(Mutex<Vec<Ec2Fault>>);

impl Ec2Faults {
    pub fn add(&self, fault: Ec2Fault) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(fault);
    }

    pub fn clear(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    fn take(&self, matches: impl Fn(&Ec2Fault) -> bool) -> Option<Ec2Fault> {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let index = faults
            .iter()
            .position(|fault| fault.times > 0 && matches(fault))?;
        let fault = &mut faults[index];
        fault.times -= 1;
        let taken = fault.clone();
        faults.retain(|fault| fault.times > 0);
        Some(taken)
    }
}

fn same(wanted: Option<&String>, actual: &str) -> bool {
    wanted.is_none_or(|wanted| wanted == actual)
}

/// How long something slow to appear stays invisible, in lab time.
const APPEARS: Duration = Duration::from_secs(10);

/// Hides what was just made for a moment, when a fault says so.
pub(crate) fn hide(lab: &Arc<Lab>, region: &str, id: &str) {
    let fault = lab
        .ec2
        .faults
        .take(|fault| fault.kind == Kind::SlowToAppear && same(fault.region.as_ref(), region));
    if fault.is_none() {
        return;
    }
    let (lab_, region, id) = (Arc::clone(lab), region.to_owned(), id.to_owned());
    if let Ok(mut region) = lab.ec2.region(&region) {
        region.hidden.insert(id.clone());
    }
    lab.spawn(async move {
        lab_.clock.sleep(APPEARS).await;
        if let Ok(mut region) = lab_.ec2.region(&region) {
            region.hidden.remove(&id);
        }
    });
}

/// AWS's error when there is no capacity.
pub(crate) fn no_capacity(zone: &str, instance_type: &str, reason: Option<String>) -> ApiError {
    let message = reason.unwrap_or_else(|| {
        format!(
            "We currently do not have sufficient {instance_type} capacity in the Availability Zone you requested ({zone}). Our system will be working on provisioning additional capacity."
        )
    });
    ApiError::new("InsufficientInstanceCapacity", message).status(500)
}

/// Whether a launch finds no capacity.
pub(crate) fn capacity(
    lab: &Lab,
    region: &str,
    zone: &str,
    instance_type: &str,
) -> Option<ApiError> {
    let fault = lab.ec2.faults.take(|fault| {
        fault.kind == Kind::InsufficientCapacity
            && same(fault.region.as_ref(), region)
            && same(fault.zone.as_ref(), zone)
            && same(fault.instance_type.as_ref(), instance_type)
    })?;
    Some(no_capacity(zone, instance_type, fault.reason))
}

/// Whether this boot goes wrong.
pub(crate) fn boot(lab: &Lab, region: &str, instance: &Instance) -> Option<Boot> {
    let fault = lab.ec2.faults.take(|fault| {
        matches!(fault.kind, Kind::BootFailure | Kind::BootHang)
            && same(fault.region.as_ref(), region)
            && same(fault.zone.as_ref(), &instance.zone)
            && same(fault.instance_type.as_ref(), &instance.instance_type)
            && same(fault.image.as_ref(), &instance.image)
    })?;
    Some(match fault.kind {
        Kind::BootHang => Boot::Hangs,
        _ => Boot::Fails(
            fault
                .reason
                .unwrap_or_else(|| "the machine did not come up".to_owned()),
        ),
    })
}

/// Whether a copy into this region fails, and with which words.
pub(crate) fn copy(lab: &Lab, region: &str, source_image: &str) -> Option<String> {
    let fault = lab.ec2.faults.take(|fault| {
        fault.kind == Kind::CopyFailure
            && same(fault.region.as_ref(), region)
            && same(fault.image.as_ref(), source_image)
    })?;
    Some(
        fault
            .reason
            .unwrap_or_else(|| "Internal error: the snapshot could not be copied".to_owned()),
    )
}
