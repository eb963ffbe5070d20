//! One task for each instance on its way in or out of a group.
//!
//! A task owns its member as long as the member's state is one that the task set. Somebody else who
//! moves the member (a termination while it still waits for its launch hook) thereby ends the task:
//! every step goes through [`step`], which fails with [`Moved`] then.

mod down;
mod hooks;
mod up;

use std::time::Duration;

use super::model::{Group, Key, Lifecycle, Member};
use crate::Lab;

pub use down::{end_instance, leave_target_groups, terminate};
pub use up::{come_up, launch, never_served};

/// How often EC2 and ELB are looked at by a task that waits for them.
const LOOK: Duration = Duration::from_secs(1);

/// The member is no longer this task's.
#[derive(Debug)]
pub struct Moved;

/// Changes a member if it still is in one of the states expected.
fn step<T>(
    lab: &Lab,
    key: &Key,
    id: &str,
    expected: &[Lifecycle],
    change: impl FnOnce(&mut Member) -> T,
) -> Result<T, Moved> {
    step_and_tell(lab, key, id, expected, change, |_| {})
}

/// As [`step`], and tells the group in the same moment: whoever sees the member's new state sees
/// what its activity says of it.
fn step_and_tell<T>(
    lab: &Lab,
    key: &Key,
    id: &str,
    expected: &[Lifecycle],
    change: impl FnOnce(&mut Member) -> T,
    tell: impl FnOnce(&mut Group),
) -> Result<T, Moved> {
    lab.asg
        .with(key, |group| {
            let member = group.members.get_mut(id)?;
            let changed = expected.contains(&member.state).then(|| change(member))?;
            tell(group);
            Some(changed)
        })
        .flatten()
        .ok_or(Moved)
}
