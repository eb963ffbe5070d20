//! RunInstances, the describes, and the calls that move instances.

mod attributes;
mod show;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};
use crate::iam::ACCOUNT;

use super::filter::{Filters, Page, all_exist};
use super::launch;
use super::lifecycle::{self, Reason};
use super::proceed;
use super::state::{Instance, InstanceState, Regional, no_instance};

pub(crate) use attributes::{
    describe_attribute, modify_attribute, modify_metadata_options, monitor, profile_associations,
};
use show::{KNOWN, fields, instance_xml, state_xml};

fn groups_xml(region: &Regional, instance: &Instance) -> Vec<Xml> {
    instance
        .groups
        .iter()
        .map(|id| {
            let name = region
                .groups
                .get(id)
                .map_or("", |group| group.name.as_str());
            Xml::new().text("groupId", id).text("groupName", name)
        })
        .collect()
}

/// Whether an instance exists and shows already.
fn shows(region: &Regional, id: &str) -> bool {
    region.instances.contains_key(id) && !region.hidden.contains(id)
}

/// RunInstances.
pub(crate) fn run(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let request = launch::parse_run_instances(lab, &call.region, p)?;
    proceed(p)?;
    let made = launch::launch(lab, &call.region, &request)?;
    let region = lab.ec2.region(&call.region)?;
    let instances: Vec<&Instance> = made
        .iter()
        .filter_map(|id| region.instances.get(id))
        .collect();
    let reservation = instances
        .first()
        .map_or("", |instance| instance.reservation.as_str());
    Ok(Xml::new()
        .text("reservationId", reservation)
        .text("ownerId", ACCOUNT)
        .list("groupSet", "item", [])
        .list(
            "instancesSet",
            "item",
            instances
                .iter()
                .map(|instance| instance_xml(&region, instance)),
        )
        .into())
}

/// DescribeInstances.
pub(crate) fn describe(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let ids = p.list("InstanceId");
    let filters = Filters::parse(p, &KNOWN)?;
    let page = Page::without_ids(p, (5, 1000), "instancesSet", &ids)?;
    p.accept(&["IncludeManagedResources"]);
    proceed(p)?;
    let region = lab.ec2.region(&call.region)?;
    all_exist(&ids, |id| shows(&region, id), no_instance)?;
    let mut reservations: BTreeMap<&str, Vec<&Instance>> = BTreeMap::new();
    for instance in region.instances.values() {
        if shows(&region, &instance.id)
            && (ids.is_empty() || ids.contains(&instance.id))
            && (filters.is_empty()
                || filters.pass(&fields(&region, instance), &region.tags_of(&instance.id)))
        {
            reservations
                .entry(&instance.reservation)
                .or_default()
                .push(instance);
        }
    }
    let entries = reservations
        .into_iter()
        .map(|(id, mut instances)| {
            instances.sort_by_key(|instance| instance.launch_index);
            let xml = Xml::new()
                .text("reservationId", id)
                .text("ownerId", ACCOUNT)
                .list("groupSet", "item", [])
                .list(
                    "instancesSet",
                    "item",
                    instances
                        .into_iter()
                        .map(|instance| instance_xml(&region, instance)),
                );
            (id.to_owned(), xml)
        })
        .collect();
    let (entries, token) = page.cut(entries);
    Ok(Xml::new()
        .list("reservationSet", "item", entries)
        .opt("nextToken", token)
        .into())
}

/// DescribeInstanceStatus: running instances, unless all are asked for.
pub(crate) fn describe_status(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let ids = p.list("InstanceId");
    let all = p.opt_bool("IncludeAllInstances")?.unwrap_or(false);
    let known = [
        "availability-zone",
        "instance-state-code",
        "instance-state-name",
        "instance-status.status",
        "instance-status.reachability",
        "system-status.status",
        "system-status.reachability",
    ];
    let filters = Filters::parse(p, &known)?;
    let page = Page::without_ids(p, (5, 1000), "instancesSet", &ids)?;
    p.accept(&["IncludeManagedResources"]);
    proceed(p)?;
    let region = lab.ec2.region(&call.region)?;
    all_exist(&ids, |id| shows(&region, id), no_instance)?;
    let mut entries = Vec::new();
    for instance in region.instances.values() {
        if !shows(&region, &instance.id)
            || !all && instance.state != InstanceState::Running
            || !(ids.is_empty() || ids.contains(&instance.id))
        {
            continue;
        }
        let (status, reachability) = match instance.state {
            InstanceState::Running if instance.impaired => ("impaired", "failed"),
            InstanceState::Running if instance.status_ok => ("ok", "passed"),
            InstanceState::Running | InstanceState::Pending => ("initializing", "initializing"),
            _ => ("not-applicable", ""),
        };
        let fields = vec![
            ("availability-zone", instance.zone.clone()),
            ("instance-state-code", instance.state.code().to_string()),
            ("instance-state-name", instance.state.name().to_owned()),
            ("instance-status.status", status.to_owned()),
            ("instance-status.reachability", reachability.to_owned()),
            ("system-status.status", status.to_owned()),
            ("system-status.reachability", reachability.to_owned()),
        ];
        if !filters.pass(&fields, &region.tags_of(&instance.id)) {
            continue;
        }
        let check = || {
            let xml = Xml::new().text("status", status);
            if reachability.is_empty() {
                return xml;
            }
            let detail = Xml::new()
                .text("name", "reachability")
                .text("status", reachability);
            xml.list("details", "item", [detail])
        };
        let xml = Xml::new()
            .text("instanceId", &instance.id)
            .text("availabilityZone", &instance.zone)
            .text("availabilityZoneId", region.zone_id(&instance.zone))
            .child("instanceState", state_xml(instance.state))
            .child("systemStatus", check())
            .child("instanceStatus", check());
        entries.push((instance.id.clone(), xml));
    }
    let (entries, token) = page.cut(entries);
    Ok(Xml::new()
        .list("instanceStatusSet", "item", entries)
        .opt("nextToken", token)
        .into())
}

fn change_xml(id: &str, before: InstanceState, now: InstanceState) -> Xml {
    Xml::new()
        .text("instanceId", id)
        .child("currentState", state_xml(now))
        .child("previousState", state_xml(before))
}

/// The ids of a call that moves instances; all must exist.
fn moved(lab: &Lab, call: &Call) -> Result<Vec<String>, ApiError> {
    let ids = call.params.list("InstanceId");
    if ids.is_empty() {
        return Err(ApiError::missing("InstanceId"));
    }
    proceed(&call.params)?;
    let region = lab.ec2.region(&call.region)?;
    all_exist(&ids, |id| region.instances.contains_key(id), no_instance)?;
    Ok(ids)
}

fn protected(
    lab: &Lab,
    call: &Call,
    ids: &[String],
    attribute: &str,
    flag: impl Fn(&Instance) -> Option<bool>,
) -> Result<(), ApiError> {
    let region = lab.ec2.region(&call.region)?;
    let hit = ids.iter().find(|id| {
        let instance = region.instances.get(*id);
        instance.is_some_and(|instance| flag(instance) == Some(true))
    });
    match hit {
        None => Ok(()),
        Some(id) => Err(ApiError::new(
            "OperationNotPermitted",
            format!(
                "The instance '{id}' may not be {}. Modify its '{attribute}' instance attribute and try again.",
                if attribute == "disableApiStop" {
                    "stopped"
                } else {
                    "terminated"
                }
            ),
        )),
    }
}

/// TerminateInstances.
pub(crate) fn terminate(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    call.params.accept(&["Force", "SkipOsShutdown"]);
    let ids = moved(lab, call)?;
    protected(lab, call, &ids, "disableApiTermination", |instance| {
        instance.data.disable_api_termination
    })?;
    let now = lab.clock.now();
    let changes = ids.iter().filter_map(|id| {
        let (before, after) = lifecycle::terminate(lab, &call.region, id, Reason::user(now))?;
        Some(change_xml(id, before, after))
    });
    Ok(Xml::new().list("instancesSet", "item", changes).into())
}

/// StopInstances.
pub(crate) fn stop(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    call.params.accept(&["Force", "SkipOsShutdown"]);
    let ids = moved(lab, call)?;
    protected(lab, call, &ids, "disableApiStop", |instance| {
        instance.data.disable_api_stop
    })?;
    incorrect_state(lab, call, &ids, InstanceState::ended)?;
    let now = lab.clock.now();
    let changes = ids.iter().filter_map(|id| {
        let (before, after) = lifecycle::stop(lab, &call.region, id, Reason::user(now))?;
        Some(change_xml(id, before, after))
    });
    Ok(Xml::new().list("instancesSet", "item", changes).into())
}

/// StartInstances.
pub(crate) fn start(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    call.params.accept(&["AdditionalInfo"]);
    let ids = moved(lab, call)?;
    incorrect_state(lab, call, &ids, |state| {
        state.ended() || state == InstanceState::Stopping
    })?;
    let mut changes = Vec::new();
    for id in &ids {
        match lifecycle::start(lab, &call.region, id) {
            Some(Ok(before)) => {
                let now = match before {
                    InstanceState::Stopped => InstanceState::Pending,
                    other => other,
                };
                changes.push(change_xml(id, before, now));
            }
            Some(Err(state)) => return Err(wrong_state(id, state)),
            None => return Err(no_instance(id)),
        }
    }
    Ok(Xml::new().list("instancesSet", "item", changes).into())
}

/// RebootInstances.
pub(crate) fn reboot(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let ids = moved(lab, call)?;
    incorrect_state(lab, call, &ids, |state| state != InstanceState::Running)?;
    for id in &ids {
        lifecycle::reboot(lab, &call.region, id);
    }
    Ok(Xml::new().text("return", true).into())
}

fn wrong_state(id: &str, state: InstanceState) -> ApiError {
    ApiError::new(
        "IncorrectInstanceState",
        format!(
            "The instance '{id}' is not in a state from which it can be moved so: it is {}.",
            state.name()
        ),
    )
}

fn incorrect_state(
    lab: &Lab,
    call: &Call,
    ids: &[String],
    wrong: impl Fn(InstanceState) -> bool,
) -> Result<(), ApiError> {
    let region = lab.ec2.region(&call.region)?;
    for instance in ids.iter().filter_map(|id| region.instances.get(id)) {
        if wrong(instance.state) {
            return Err(wrong_state(&instance.id, instance.state));
        }
    }
    Ok(())
}

/// GetConsoleOutput shows this much, the newest (API reference: "the most recent 64 KB").
const CONSOLE: u64 = 64 * 1024;

/// GetConsoleOutput.
pub(crate) fn console_output(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    use base64::Engine as _;
    let p = &call.params;
    let id = p.str("InstanceId")?;
    p.accept(&["Latest"]);
    proceed(p)?;
    let console = {
        let region = lab.ec2.region(&call.region)?;
        let instance = region.instances.get(&id).ok_or_else(|| no_instance(&id))?;
        lifecycle::machine(lab, instance).console()
    };
    let tail = read_tail(&console, CONSOLE).unwrap_or_default();
    let xml = Xml::new()
        .text("instanceId", &id)
        .time("timestamp", lab.clock.now());
    Ok(if tail.is_empty() {
        xml.into()
    } else {
        xml.text(
            "output",
            base64::engine::general_purpose::STANDARD.encode(tail),
        )
        .into()
    })
}

fn read_tail(path: &std::path::Path, most: u64) -> std::io::Result<Vec<u8>> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
    let mut tail = Vec::new();
    file.take(most).read_to_end(&mut tail)?;
    Ok(tail)
}
