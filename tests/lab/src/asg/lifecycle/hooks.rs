//! The wait states: hooks answered, abandoned, timed out.

use std::sync::Arc;
use std::time::Duration;

use super::{Moved, step, step_and_tell};
use crate::Lab;
use crate::asg::activity;
use crate::asg::model::{ActionResult, Key, Lifecycle, PendingAction, Transition};

/// What the hooks said.
pub enum HookOutcome {
    /// There are none.
    None,
    /// All said to go on.
    Continue,
    /// One gave up, or ran out and gives up by default; the activity's message.
    Abandon(String),
}

fn waiting(transition: Transition) -> (Lifecycle, Lifecycle, Lifecycle) {
    match transition {
        Transition::Launching => (
            Lifecycle::Pending,
            Lifecycle::PendingWait,
            Lifecycle::PendingProceed,
        ),
        Transition::Terminating => (
            Lifecycle::Terminating,
            Lifecycle::TerminatingWait,
            Lifecycle::TerminatingProceed,
        ),
    }
}

/// Puts a member into its wait state, when the group has hooks for the transition, until each hook
/// is answered, one is abandoned, or a heartbeat runs out.
pub async fn wait_for_hooks(
    lab: &Arc<Lab>,
    key: &Key,
    id: &str,
    transition: Transition,
    activity: &str,
) -> Result<HookOutcome, Moved> {
    let (before, during, after) = waiting(transition);
    let lab_now = lab.clock.lab_time();
    let actions: Vec<PendingAction> = lab
        .asg
        .with(key, |group| {
            let hooks = group.hooks.iter();
            hooks
                .filter(|(_, hook)| hook.transition == transition)
                .map(|(name, hook)| PendingAction {
                    hook: name.clone(),
                    token: lab.ids.uuid(),
                    deadline: lab_now + hook.heartbeat,
                    last_deadline: lab_now + hook.global_timeout(),
                    heartbeat: hook.heartbeat,
                    default_result: hook.default_result,
                    result: None,
                })
                .collect()
        })
        .ok_or(Moved)?;
    if actions.is_empty() {
        return Ok(HookOutcome::None);
    }
    step_and_tell(
        lab,
        key,
        id,
        &[before],
        |member| {
            member.state = during;
            member.actions = actions;
        },
        |group| activity::progress_in(group, activity, "MidLifecycleAction", 50),
    )?;
    let bell = lab.asg.bell(key).ok_or(Moved)?;
    bell.notify_waiters();
    let outcome = loop {
        let woken = bell.notified();
        tokio::pin!(woken);
        woken.as_mut().enable();
        let lab_now = lab.clock.lab_time();
        match step(lab, key, id, &[during], |member| {
            settle(&mut member.actions, lab_now)
        })? {
            Ok(outcome) => break outcome,
            Err(pause) => {
                tokio::select! {
                    () = lab.clock.sleep(pause) => {}
                    () = woken => {}
                }
            }
        }
    };
    step(lab, key, id, &[during], |member| {
        member.state = after;
        member.actions.clear();
    })?;
    lab.asg.ring(key);
    Ok(outcome)
}

/// Whether the actions are all answered; else how long until one runs out.
fn settle(actions: &mut [PendingAction], lab_now: Duration) -> Result<HookOutcome, Duration> {
    let abandoned = |action: &PendingAction, why: &str| {
        HookOutcome::Abandon(format!(
            "Instance failed to complete user's Lifecycle Action: Lifecycle Action with token {} was abandoned: {why}",
            action.token
        ))
    };
    let mut next: Option<Duration> = None;
    for action in actions {
        if action.result.is_none() {
            let deadline = action.deadline.min(action.last_deadline);
            if lab_now < deadline {
                next = Some(next.map_or(deadline, |other| other.min(deadline)));
                continue;
            }
            action.result = Some(action.default_result);
            if action.default_result == ActionResult::Abandon {
                return Ok(abandoned(action, "Heartbeat Timeout"));
            }
        }
        if action.result == Some(ActionResult::Abandon) {
            return Ok(abandoned(
                action,
                "Lifecycle Action Completed with ABANDON Result",
            ));
        }
    }
    match next {
        None => Ok(HookOutcome::Continue),
        Some(deadline) => Err(deadline.saturating_sub(lab_now)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(result: Option<ActionResult>, deadline: u64, default: ActionResult) -> PendingAction {
        PendingAction {
            hook: "hook".to_owned(),
            token: "token".to_owned(),
            deadline: Duration::from_secs(deadline),
            last_deadline: Duration::from_secs(100),
            heartbeat: Duration::from_secs(10),
            default_result: default,
            result,
        }
    }

    #[test]
    fn hooks_settle_when_all_are_answered_or_one_gives_up() {
        use ActionResult::{Abandon, Continue};
        let at = Duration::from_secs(10);
        // (actions, what comes of them)
        for (mut actions, expected) in [
            (vec![action(Some(Continue), 20, Abandon)], "continue"),
            (vec![action(None, 20, Abandon)], "wait 10"),
            (
                vec![
                    action(Some(Continue), 20, Abandon),
                    action(None, 15, Abandon),
                ],
                "wait 5",
            ),
            (
                vec![
                    action(None, 15, Abandon),
                    action(Some(Abandon), 20, Abandon),
                ],
                "Lifecycle Action Completed with ABANDON Result",
            ),
            (vec![action(None, 10, Abandon)], "Heartbeat Timeout"),
            (vec![action(None, 10, Continue)], "continue"),
        ] {
            let text = match settle(&mut actions, at) {
                Ok(HookOutcome::Continue) => "continue".to_owned(),
                Ok(HookOutcome::Abandon(message)) => message,
                Ok(HookOutcome::None) => "none".to_owned(),
                Err(pause) => format!("wait {}", pause.as_secs()),
            };
            assert!(text.contains(expected), "{text} is not {expected}");
        }
    }

    #[test]
    fn no_heartbeat_passes_the_global_timeout() {
        let mut late = action(None, 500, ActionResult::Abandon);
        late.last_deadline = Duration::from_secs(100);
        assert!(settle(std::slice::from_mut(&mut late), Duration::from_secs(99)).is_err());
        assert!(settle(std::slice::from_mut(&mut late), Duration::from_secs(100)).is_ok());
    }
}
