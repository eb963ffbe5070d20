//! How an instance moves from state to state. The clock moves it, never a describe call.
//!
//! ```text
//!            boot                      terminate
//! pending ----------> running ------------------------> shutting-down --> terminated --> forgotten
//!    |  boot failure     |  ^  stop             start
//!    +---> terminated    |  +-- stopping -> stopped --> pending
//!                        +- reboot: the runtime only
//! ```
//!
//! Every request that moves an instance raises its epoch. The task that carries a move out holds the
//! instance's gate while it touches the runtime, and looks at the epoch after it got the gate: of two
//! moves the later wins, and a start can never follow the stop that it lost against.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::Lab;
use crate::imds;
use crate::runtime::Machine;

use super::state::{Instance, InstanceState};
use super::{ebs_defaults, faults};

/// From RunInstances to `running`: what AWS takes for a small Nitro instance, by experience.
const PENDING: Duration = Duration::from_secs(15);
/// From `running` to both status checks passed: they run every minute and begin during boot
/// (EC2 user guide, "Status checks for your instances").
const STATUS_CHECKS: Duration = Duration::from_mins(2);
/// How long the operating system is given to go down, at most, in `shutting-down` and `stopping`.
const GOING_DOWN: Duration = Duration::from_secs(30);
/// A terminated instance stays visible "for approximately one hour" (EC2 user guide, "Terminate").
const VISIBLE: Duration = Duration::from_hours(1);

/// Why an instance is moved, as AWS words it.
#[derive(Clone, Debug)]
pub(crate) struct Reason {
    pub code: &'static str,
    pub message: String,
    pub transition: String,
}

impl Reason {
    /// Somebody asked for it by the API.
    pub fn user(now: Timestamp) -> Self {
        Self {
            code: "Client.UserInitiatedShutdown",
            message: "Client.UserInitiatedShutdown: User initiated shutdown".to_owned(),
            transition: format!("User initiated ({} GMT)", now.strftime("%Y-%m-%d %H:%M:%S")),
        }
    }
}

/// What the runtime needs to know of an instance.
pub(crate) fn machine(lab: &Lab, instance: &Instance) -> Machine {
    Machine {
        id: instance.id.clone(),
        directory: lab.config.directory.join("instances").join(&instance.id),
        tree: instance.tree.clone(),
        address: instance.private_ip,
        mac: instance.mac.clone(),
        credentials_secret: instance.credentials_secret.clone(),
    }
}

/// The instance, as long as nobody moved it since `epoch`.
fn current(lab: &Lab, region: &str, id: &str, epoch: u64) -> Option<Instance> {
    let region = lab.ec2.region(region).ok()?;
    region
        .instances
        .get(id)
        .filter(|instance| instance.epoch == epoch)
        .cloned()
}

fn change(lab: &Lab, region: &str, id: &str, epoch: u64, apply: impl FnOnce(&mut Instance)) {
    if let Ok(mut region) = lab.ec2.region(region)
        && let Some(instance) = region
            .instances
            .get_mut(id)
            .filter(|instance| instance.epoch == epoch)
    {
        apply(instance);
    }
}

/// Brings an instance that is `pending` up.
pub(crate) fn boot(lab: &Arc<Lab>, region: &str, id: &str) {
    let epoch = match lab.ec2.region(region) {
        Ok(region) => region.instances.get(id).map(|instance| instance.epoch),
        Err(_) => None,
    };
    let Some(epoch) = epoch else { return };
    let task = boot_task(Arc::clone(lab), region.to_owned(), id.to_owned(), epoch);
    lab.spawn(task);
}

async fn boot_task(lab: Arc<Lab>, region: String, id: String, epoch: u64) {
    let Some(instance) = current(&lab, &region, &id, epoch) else {
        return;
    };
    let machine = machine(&lab, &instance);
    let prepare = async {
        let _gate = instance.gate.lock().await;
        if current(&lab, &region, &id, epoch).is_none() {
            return Ok(());
        }
        lab.ec2.runtime.prepare(&machine).await
    };
    let (prepared, ()) = tokio::join!(prepare, lab.clock.sleep(PENDING));
    let gate = instance.gate.lock().await;
    if current(&lab, &region, &id, epoch).is_none() {
        return;
    }
    if ebs_defaults::refuses(&lab, &region, &instance) {
        drop(gate);
        fail(&lab, &region, &id, CLIENT_ERROR, "Client error on launch");
        return;
    }
    let fault = faults::boot(&lab, &region, &instance);
    let started = match (prepared, &fault) {
        (Err(error), _) => Err(error.to_string()),
        (Ok(()), Some(faults::Boot::Fails(why))) => Err(why.clone()),
        (Ok(()), _) => imds::start(&lab, &region, &machine)
            .await
            .map_err(|error| format!("the metadata service did not start: {error}")),
    };
    if let Err(why) = started {
        log::error!("instance {id} in {region} does not boot: {why}");
        drop(gate);
        fail(&lab, &region, &id, SERVER_ERROR, &internal(&why));
        return;
    }
    change(&lab, &region, &id, epoch, |instance| {
        instance.state = InstanceState::Running;
    });
    if !matches!(fault, Some(faults::Boot::Hangs))
        && let Err(error) = lab.ec2.runtime.start(&machine).await
    {
        log::error!("instance {id} in {region}: {error}");
        drop(gate);
        fail(&lab, &region, &id, SERVER_ERROR, &internal(&error));
        return;
    }
    drop(gate);
    lab.clock.sleep(STATUS_CHECKS).await;
    if !matches!(fault, Some(faults::Boot::Hangs)) {
        change(&lab, &region, &id, epoch, |instance| {
            instance.status_ok = true;
        });
    }
}

/// Code of what AWS could not do.
const SERVER_ERROR: &str = "Server.InternalError";
/// Code of what the account's own settings do not let AWS do: the key of an encrypted volume, for example.
const CLIENT_ERROR: &str = "Client.InternalError";

fn internal(why: &impl std::fmt::Display) -> String {
    format!("Internal error on launch: {why}")
}

/// A boot that failed: the instance goes straight to `terminated`, with AWS's reason.
fn fail(lab: &Arc<Lab>, region: &str, id: &str, code: &'static str, why: &str) {
    let now = lab.clock.now();
    let reason = Reason {
        code,
        message: format!("{code}: {why}"),
        transition: format!("{code} ({} GMT)", now.strftime("%Y-%m-%d %H:%M:%S")),
    };
    terminate(lab, region, id, reason);
}

/// Begins the end of an instance; gives its states before and after. Nothing happens to one that is
/// going or gone.
pub(crate) fn terminate(
    lab: &Arc<Lab>,
    region: &str,
    id: &str,
    reason: Reason,
) -> Option<(InstanceState, InstanceState)> {
    begin_down(lab, region, id, InstanceState::ShuttingDown, reason)
}

/// Begins to stop an instance.
pub(crate) fn stop(
    lab: &Arc<Lab>,
    region: &str,
    id: &str,
    reason: Reason,
) -> Option<(InstanceState, InstanceState)> {
    begin_down(lab, region, id, InstanceState::Stopping, reason)
}

fn begin_down(
    lab: &Arc<Lab>,
    region_name: &str,
    id: &str,
    to: InstanceState,
    reason: Reason,
) -> Option<(InstanceState, InstanceState)> {
    let (before, epoch, gate, machine) = {
        let mut region = lab.ec2.region(region_name).ok()?;
        let instance = region.instances.get_mut(id)?;
        let before = instance.state;
        let stops_again = to == InstanceState::Stopping
            && matches!(before, InstanceState::Stopping | InstanceState::Stopped);
        if before.ended() || stops_again {
            return Some((before, before));
        }
        instance.state = to;
        instance.epoch += 1;
        instance.status_ok = false;
        instance.state_reason = Some((reason.code.to_owned(), reason.message));
        instance.transition_reason = reason.transition;
        (
            before,
            instance.epoch,
            Arc::clone(&instance.gate),
            machine(lab, instance),
        )
    };
    let (lab_, region, id) = (Arc::clone(lab), region_name.to_owned(), id.to_owned());
    lab.spawn(async move {
        let lab = lab_;
        let down = async {
            let _gate = gate.lock().await;
            lab.ec2.runtime.stop(&machine).await;
            imds::stop(&lab, &machine.id).await;
            lab.ec2.runtime.disconnect(&machine).await;
        };
        // A stopped machine takes no time to go down.
        let wait = if before == InstanceState::Stopped {
            Duration::ZERO
        } else {
            GOING_DOWN
        };
        tokio::join!(down, lab.clock.sleep(wait));
        if to == InstanceState::Stopping {
            change(&lab, &region, &id, epoch, |instance| {
                instance.state = InstanceState::Stopped;
            });
            return;
        }
        lab.ec2.runtime.forget(&machine).await;
        end(&lab, &region, &id);
        lab.clock.sleep(VISIBLE).await;
        if let Ok(mut region) = lab.ec2.region(&region) {
            region.instances.remove(&id);
            region.tags.remove(&id);
        }
    });
    Some((before, to))
}

/// The instance is terminated: its address, its credentials and its root volume go.
fn end(lab: &Lab, region: &str, id: &str) {
    crate::iam_api::credentials::revoke(lab, id);
    let Ok(mut region) = lab.ec2.region(region) else {
        return;
    };
    let Some(instance) = region.instances.get_mut(id) else {
        return;
    };
    instance.state = InstanceState::Terminated;
    let (address, nic) = (instance.private_ip, instance.network_interface.clone());
    region.addresses.remove(&address);
    region.tags.remove(&nic);
    let mut gone = Vec::new();
    for volume in region.volumes.values_mut() {
        match &volume.attachment {
            Some((owner, _, true)) if owner == id => gone.push(volume.id.clone()),
            Some((owner, _, false)) if owner == id => volume.attachment = None,
            _ => {}
        }
    }
    for volume in gone {
        region.volumes.remove(&volume);
        region.tags.remove(&volume);
    }
}

/// Starts a stopped instance; none when it does not exist, an error when it is not stopped.
pub(crate) fn start(
    lab: &Arc<Lab>,
    region_name: &str,
    id: &str,
) -> Option<Result<InstanceState, InstanceState>> {
    {
        let mut region = lab.ec2.region(region_name).ok()?;
        let instance = region.instances.get_mut(id)?;
        match instance.state {
            InstanceState::Stopped => {}
            state @ (InstanceState::Running | InstanceState::Pending) => return Some(Ok(state)),
            state => return Some(Err(state)),
        }
        instance.state = InstanceState::Pending;
        instance.launched = lab.clock.now();
        instance.epoch += 1;
        instance.state_reason = None;
        instance.transition_reason = String::new();
    }
    boot(lab, region_name, id);
    Some(Ok(InstanceState::Stopped))
}

/// Restarts what runs in an instance; its state stays.
pub(crate) fn reboot(lab: &Arc<Lab>, region: &str, id: &str) {
    let Ok(regional) = lab.ec2.region(region) else {
        return;
    };
    let Some(instance) = regional
        .instances
        .get(id)
        .filter(|instance| instance.state == InstanceState::Running)
        .cloned()
    else {
        return;
    };
    drop(regional);
    let (lab_, region) = (Arc::clone(lab), region.to_owned());
    lab.spawn(async move {
        let lab = lab_;
        let machine = machine(&lab, &instance);
        let _gate = instance.gate.lock().await;
        if current(&lab, &region, &instance.id, instance.epoch).is_none() {
            return;
        }
        lab.ec2.runtime.stop(&machine).await;
        if let Err(error) = lab.ec2.runtime.start(&machine).await {
            log::error!("instance {} does not come back: {error}", instance.id);
        }
    });
}

/// A zone goes dark, or comes back: nothing in its running instances runs meanwhile, their status checks
/// fail, launches find no capacity. Gives the instances that it touched.
pub(crate) async fn darken(
    lab: &Arc<Lab>,
    region_name: &str,
    zone: &str,
    dark: bool,
) -> Vec<String> {
    let touched: Vec<Instance> = {
        let Ok(mut region) = lab.ec2.region(region_name) else {
            return Vec::new();
        };
        if dark {
            region.dark.insert(zone.to_owned());
        } else {
            region.dark.remove(zone);
        }
        region
            .instances
            .values_mut()
            .filter(|instance| instance.zone == zone && instance.state == InstanceState::Running)
            .map(|instance| {
                instance.impaired = dark;
                instance.clone()
            })
            .collect()
    };
    for instance in &touched {
        let machine = machine(lab, instance);
        let _gate = instance.gate.lock().await;
        if current(lab, region_name, &instance.id, instance.epoch).is_none() {
            continue;
        }
        if dark {
            // The lights go out for all processes at once: no SIGTERM, no grace.
            lab.ec2.runtime.kill(&machine.id);
            lab.ec2.runtime.stop(&machine).await;
        } else if let Err(error) = lab.ec2.runtime.start(&machine).await {
            log::error!("instance {} does not come back: {error}", instance.id);
        }
    }
    touched.into_iter().map(|instance| instance.id).collect()
}
