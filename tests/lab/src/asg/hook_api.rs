//! Lifecycle hooks and the answers to them.

use std::sync::Arc;

use super::model::{ActionResult, Hook, Key, Lifecycle, PendingAction, Transition};
use super::parse::{self, invalid, required};
use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};

/// AWS's quota of hooks in a group ("Lifecycle hooks per Auto Scaling group").
const MAX_HOOKS: usize = 50;

/// `PutLifecycleHook`.
pub fn put(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let group = required(p, "AutoScalingGroupName")?;
    let name = required(p, "LifecycleHookName")?;
    let key = (call.region.clone(), group);
    let before = lab
        .asg
        .group(&key, |group| Ok(group.hooks.get(&name).cloned()))?;
    let hook = parse::hook(p, before.as_ref())?;
    p.finish()?;
    lab.asg.group(&key, |group| {
        if group.hooks.len() >= MAX_HOOKS && !group.hooks.contains_key(&name) {
            return Err(ApiError::new(
                "LimitExceeded",
                format!("A group can have {MAX_HOOKS} lifecycle hooks"),
            ));
        }
        group.hooks.insert(name, hook);
        Ok(())
    })?;
    Ok(Xml::new().into())
}

/// `DescribeLifecycleHooks`.
pub fn describe(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let name = required(&call.params, "AutoScalingGroupName")?;
    let names = call.params.list("LifecycleHookNames");
    call.params.finish()?;
    let key = (call.region.clone(), name.clone());
    // A name that no hook has is left out, as it is of groups and policies: no error.
    let hooks = lab.asg.group(&key, |group| {
        Ok(group
            .hooks
            .iter()
            .filter(|(hook, _)| names.is_empty() || names.contains(hook))
            .map(|(hook_name, hook)| hook_xml(&name, hook_name, hook))
            .collect::<Vec<_>>())
    })?;
    Ok(Xml::new().list("LifecycleHooks", "member", hooks).into())
}

fn no_hook(hook: &str, group: &str) -> ApiError {
    invalid(format!(
        "No Lifecycle Hook found with name: {hook} for Auto Scaling group: {group}"
    ))
}

fn hook_xml(group: &str, name: &str, hook: &Hook) -> Xml {
    Xml::new()
        .text("LifecycleHookName", name)
        .text("AutoScalingGroupName", group)
        .text("LifecycleTransition", hook.transition.name())
        .opt("NotificationTargetARN", hook.target.as_ref())
        .opt("RoleARN", hook.role.as_ref())
        .opt("NotificationMetadata", hook.metadata.as_ref())
        .text("HeartbeatTimeout", hook.heartbeat.as_secs())
        .text("GlobalTimeout", hook.global_timeout().as_secs())
        .text("DefaultResult", hook.default_result.name())
}

/// `DescribeLifecycleHookTypes`.
pub fn describe_types(call: &Call) -> Result<Reply, ApiError> {
    call.params.finish()?;
    let types = [Transition::Launching, Transition::Terminating];
    Ok(Xml::new()
        .list(
            "LifecycleHookTypes",
            "member",
            types.iter().map(|kind| Xml::value(kind.name())),
        )
        .into())
}

/// `DeleteLifecycleHook`: instances that wait for it go on (ABANDON when launching, CONTINUE when
/// terminating).
pub fn delete(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let group_name = required(&call.params, "AutoScalingGroupName")?;
    let name = required(&call.params, "LifecycleHookName")?;
    call.params.finish()?;
    let key = (call.region.clone(), group_name.clone());
    lab.asg.group(&key, |group| {
        if group.hooks.remove(&name).is_none() {
            return Err(no_hook(&name, &group_name));
        }
        for member in group.members.values_mut() {
            let result = if member.state == Lifecycle::PendingWait {
                ActionResult::Abandon
            } else {
                ActionResult::Continue
            };
            for action in member.actions.iter_mut().filter(|one| one.hook == name) {
                action.result.get_or_insert(result);
            }
        }
        Ok(())
    })?;
    lab.asg.ring(&key);
    Ok(Xml::new().into())
}

/// Which action a call speaks of: by token, or by instance.
enum Which {
    Token(String),
    Instance(String),
}

struct Answer {
    key: Key,
    hook: String,
    which: Which,
}

fn answer(call: &Call) -> Result<Answer, ApiError> {
    let p = &call.params;
    let group = required(p, "AutoScalingGroupName")?;
    let hook = required(p, "LifecycleHookName")?;
    let which = match (p.opt("LifecycleActionToken"), p.opt("InstanceId")) {
        (Some(token), _) => Which::Token(token),
        (None, Some(instance)) => Which::Instance(instance),
        (None, None) => {
            return Err(invalid(
                "Either LifecycleActionToken or InstanceId must be specified",
            ));
        }
    };
    Ok(Answer {
        key: (call.region.clone(), group),
        hook,
        which,
    })
}

fn with_action(
    lab: &Lab,
    answer: &Answer,
    change: impl FnOnce(&mut PendingAction),
) -> Result<(), ApiError> {
    lab.asg.group(&answer.key, |group| {
        if !group.hooks.contains_key(&answer.hook) {
            return Err(no_hook(&answer.hook, &answer.key.1));
        }
        let mut actions = group.members.values_mut().flat_map(|member| {
            let id = member.id.clone();
            member
                .actions
                .iter_mut()
                .map(move |action| (id.clone(), action))
        });
        let found = actions.find(|(id, action)| {
            action.hook == answer.hook
                && action.result.is_none()
                && match &answer.which {
                    Which::Token(token) => action.token == *token,
                    Which::Instance(instance) => id == instance,
                }
        });
        let Some((_, action)) = found else {
            return Err(invalid(match &answer.which {
                Which::Token(token) => {
                    format!("No active Lifecycle Action found with token {token}")
                }
                Which::Instance(id) => {
                    format!("No active Lifecycle Action found with instance ID {id}")
                }
            }));
        };
        change(action);
        Ok(())
    })?;
    lab.asg.ring(&answer.key);
    Ok(())
}

/// `CompleteLifecycleAction`.
pub fn complete(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let answer = answer(call)?;
    let text = required(&call.params, "LifecycleActionResult")?;
    let result: ActionResult = parse::word("LifecycleActionResult", &text, "CONTINUE, ABANDON")?;
    call.params.finish()?;
    with_action(lab, &answer, |action| action.result = Some(result))?;
    Ok(Xml::new().into())
}

/// `RecordLifecycleActionHeartbeat`.
pub fn heartbeat(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let answer = answer(call)?;
    call.params.finish()?;
    let lab_now = lab.clock.lab_time();
    with_action(lab, &answer, |action| {
        action.deadline = lab_now + action.heartbeat;
    })?;
    Ok(Xml::new().into())
}
