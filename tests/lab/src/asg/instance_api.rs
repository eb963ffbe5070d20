//! Single instances of a group: terminate, health, protection.

use std::sync::Arc;
use std::time::Duration;

use super::activity::moment;
use super::describe::activity_xml;
use super::lifecycle;
use super::model::{Illness, Lifecycle};
use super::parse::{invalid, required, required_flag};
use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};

fn unknown(id: &str) -> ApiError {
    invalid(format!(
        "Instance Id not found - No managed instance found for instance ID: {id}"
    ))
}

/// `TerminateInstanceInAutoScalingGroup`. Scale-in protection does not protect from it.
pub fn terminate(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let id = required(&call.params, "InstanceId")?;
    let decrement = required_flag(&call.params, "ShouldDecrementDesiredCapacity")?;
    call.params.finish()?;
    let key = lab
        .asg
        .find(&call.region, &id)
        .ok_or_else(|| unknown(&id))?;
    let at = moment(lab.clock.now());
    let cause = lab.asg.group(&key, |group| {
        let member = group.members.get(&id).ok_or_else(|| unknown(&id))?;
        if member.state.is_terminating() {
            return Err(ApiError::new(
                "ScalingActivityInProgress",
                format!("Instance {id} is already terminating"),
            ));
        }
        let mut cause =
            format!("At {at} instance {id} was taken out of service in response to a user request");
        if decrement {
            if group.desired <= group.min {
                return Err(invalid(format!(
                    "Currently, desiredSize equals minSize ({}). Terminating instance without replacement will violate group's min size constraint. Either set shouldDecrementDesiredCapacity flag to false or lower group's min size.",
                    group.min
                )));
            }
            let shrunk = format!(
                ", shrinking the capacity from {} to {}",
                group.desired,
                group.desired - 1
            );
            cause.push_str(&shrunk);
            group.desired -= 1;
        }
        cause.push('.');
        Ok(cause)
    })?;
    let activity = lifecycle::terminate(lab, &key, &id, &cause).ok_or_else(|| unknown(&id))?;
    let xml = lab
        .asg
        .with(&key, |group| {
            let arn = group.arn.clone();
            group
                .activity(&activity)
                .map(|activity| activity_xml(&key.1, &arn, activity, false))
        })
        .flatten()
        .unwrap_or_default();
    Ok(Xml::new().child("Activity", xml).into())
}

/// `SetInstanceHealth`.
pub fn set_health(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let id = required(&call.params, "InstanceId")?;
    let status = required(&call.params, "HealthStatus")?;
    let respect_grace = call
        .params
        .opt_bool("ShouldRespectGracePeriod")?
        .unwrap_or(true);
    call.params.finish()?;
    let illness = match status.as_str() {
        "Healthy" => None,
        "Unhealthy" => Some(Illness::User),
        other => {
            return Err(invalid(format!(
                "HealthStatus `{other}` is not valid; valid are: Healthy, Unhealthy"
            )));
        }
    };
    let key = lab
        .asg
        .find(&call.region, &id)
        .ok_or_else(|| unknown(&id))?;
    let lab_now = lab.clock.lab_time();
    lab.asg.group(&key, |group| {
        let grace = Duration::from_secs(group.grace.max(0) as u64);
        let member = group.members.get_mut(&id).ok_or_else(|| unknown(&id))?;
        if member.state.is_terminating() {
            return Err(invalid(format!(
                "Instance {id} is in state {} and its health can't be set",
                member.state
            )));
        }
        let in_grace = member
            .in_service_at
            .is_none_or(|since| lab_now < since + grace);
        if illness.is_some() && respect_grace && in_grace && !grace.is_zero() {
            return Ok(());
        }
        member.illness = illness;
        Ok(())
    })?;
    lab.asg.ring(&key);
    Ok(Xml::new().into())
}

/// `SetInstanceProtection`.
pub fn set_protection(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let name = required(&call.params, "AutoScalingGroupName")?;
    let ids = call.params.list("InstanceIds");
    let protected = required_flag(&call.params, "ProtectedFromScaleIn")?;
    call.params.finish()?;
    if ids.is_empty() {
        return Err(invalid("At least one InstanceId must be specified"));
    }
    let key = (call.region.clone(), name);
    lab.asg.group(&key, |group| {
        for id in &ids {
            let member = group.members.get(id).ok_or_else(|| {
                invalid(format!(
                    "The instance {id} is not part of Auto Scaling group {}.",
                    group.name
                ))
            })?;
            if !matches!(
                member.state,
                Lifecycle::InService | Lifecycle::EnteringStandby | Lifecycle::Standby
            ) {
                return Err(invalid(format!(
                    "The instance {id} is not in InService or EnteringStandby or Standby."
                )));
            }
        }
        for id in &ids {
            if let Some(member) = group.members.get_mut(id) {
                member.protected = protected;
            }
        }
        Ok(())
    })?;
    lab.asg.ring(&key);
    Ok(Xml::new().into())
}
