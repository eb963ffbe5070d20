//! Suspending and resuming the processes of a group.

use std::sync::Arc;

use super::model::Process;
use super::parse::{invalid, required};
use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};

fn processes(call: &Call) -> Result<(String, Vec<Process>), ApiError> {
    let name = required(&call.params, "AutoScalingGroupName")?;
    let names = call.params.list("ScalingProcesses");
    call.params.finish()?;
    let mut chosen = names
        .iter()
        .map(|name| {
            Process::from_name(name).ok_or_else(|| {
                let known = Process::ALL.map(Process::name).join(", ");
                invalid(format!(
                    "{name} is not a valid scaling process; valid are: {known}"
                ))
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    if chosen.is_empty() {
        chosen = Process::ALL.to_vec();
    }
    Ok((name, chosen))
}

/// `SuspendProcesses`; all of them when none is named.
pub fn suspend(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let (name, chosen) = processes(call)?;
    let at = super::activity::moment(lab.clock.now());
    let key = (call.region.clone(), name);
    lab.asg.group(&key, |group| {
        for process in chosen {
            group
                .suspended
                .entry(process)
                .or_insert_with(|| format!("User suspended at {at}"));
        }
        Ok(())
    })?;
    Ok(Xml::new().into())
}

/// `ResumeProcesses`; all of them when none is named.
pub fn resume(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let (name, chosen) = processes(call)?;
    let key = (call.region.clone(), name);
    lab.asg.group(&key, |group| {
        group
            .suspended
            .retain(|process, _| !chosen.contains(process));
        Ok(())
    })?;
    lab.asg.ring(&key);
    Ok(Xml::new().into())
}

/// `DescribeScalingProcessTypes`.
pub fn describe_types(call: &Call) -> Result<Reply, ApiError> {
    call.params.finish()?;
    Ok(Xml::new()
        .list(
            "Processes",
            "member",
            Process::ALL.map(|process| Xml::new().text("ProcessName", process.name())),
        )
        .into())
}

/// `DescribeTerminationPolicyTypes`.
pub fn describe_termination_policies(call: &Call) -> Result<Reply, ApiError> {
    call.params.finish()?;
    let names = [
        "AllocationStrategy",
        "ClosestToNextInstanceHour",
        "Default",
        "NewestInstance",
        "OldestInstance",
        "OldestLaunchConfiguration",
        "OldestLaunchTemplate",
    ];
    Ok(Xml::new()
        .list("TerminationPolicyTypes", "member", names.map(Xml::value))
        .into())
}
