//! Launches that fail: what Auto Scaling says of them belongs into every wait for a node, and a launch that
//! fails again and again is no reason to wait until a deadline.

use crate::hindrances;
use crate::observed::{Activity, Group};

/// Failed launches in a row after which no further one is waited for. Auto Scaling tries again after a
/// minute or so, later less often; one that lacks capacity tries another zone. The number is ours.
pub(crate) const GIVEN_UP_AFTER: usize = 5;
/// Failed launches in a row that show that a group cannot launch now. The number is ours.
const CANNOT_AFTER: usize = 2;

/// Of a launch that is neither made nor failed yet: it says nothing.
const UNDER_WAY: [&str; 3] = ["InProgress", "WaitingForInstanceId", "PreInService"];

/// How an activity that launches an instance begins its description (Auto Scaling's user guide,
/// "Verify a scaling activity").
const LAUNCHING: &str = "Launching a new EC2 instance";

/// Launches of a group that failed since the last one that did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FailedLaunches<'a> {
    pub in_a_row: usize,
    /// Auto Scaling's words for the newest.
    pub why: &'a str,
}

impl<'a> FailedLaunches<'a> {
    /// None: the newest launch did not fail, or there was none.
    pub fn of(group: &'a Group) -> Option<Self> {
        let failed: Vec<&Activity> = group
            .activities
            .iter()
            .filter(|activity| {
                activity.description.starts_with(LAUNCHING)
                    && !UNDER_WAY.contains(&activity.status.as_str())
            })
            .take_while(|activity| activity.status == "Failed")
            .collect();
        let newest = failed.first()?;
        Some(Self {
            in_a_row: failed.len(),
            why: newest.message.as_deref().unwrap_or(&newest.description),
        })
    }

    /// A sentence for people.
    pub fn words(&self) -> String {
        let times = match self.in_a_row {
            1 => "the last launch failed".to_owned(),
            times => format!("the last {times} launches failed"),
        };
        format!("{times}; Auto Scaling says: {}", self.why.trim_end())
    }
}

/// The group has fewer nodes than it should, and its launches fail.
pub(crate) fn cannot_launch(group: &Group, live: usize) -> Option<FailedLaunches<'_>> {
    FailedLaunches::of(group)
        .filter(|failed| failed.in_a_row >= CANNOT_AFTER && (live as u32) < group.desired)
}

/// Appends to a wait for nodes of which some do not live why: that nothing may be launched, or Auto Scaling's words.
pub(crate) fn tell(text: &mut String, group: &Group, live: usize) {
    if (live as u32) >= group.desired {
        return;
    }
    let failed = || FailedLaunches::of(group).map(|failed| failed.words());
    if let Some(why) = hindrances::launching(group).or_else(failed) {
        text.push_str("; ");
        text.push_str(&why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(desired: u32, launches: &[(&str, &str)]) -> Group {
        let activities = launches.iter().map(|(status, message)| Activity {
            status: (*status).to_owned(),
            description: match *status {
                "Terminated" => "Terminating EC2 instance: i-1".to_owned(),
                _ => format!("{LAUNCHING}.  Status Reason: {message}"),
            },
            message: Some((*message).to_owned()),
            at: None,
        });
        Group {
            desired,
            activities: activities.collect(),
            ..Group::default()
        }
    }

    #[test]
    fn launches_count_that_failed_since_one_that_did_not() {
        let no = ("Failed", "no capacity");
        let ok = ("Successful", "");
        for (launches, in_a_row) in [
            (vec![], None),
            (vec![ok, no, no], None),
            (vec![("InProgress", ""), no], Some(1)),
            // It was launched, and its hook waits.
            (vec![("MidLifecycleAction", ""), no], None),
            (vec![no], Some(1)),
            (vec![no, no, ok, no], Some(2)),
            // The end of another instance is no launch.
            (vec![no, ("Terminated", ""), no, ok], Some(2)),
            // It was launched; its hook ended it.
            (vec![no, ("Cancelled", "abandoned"), no], Some(1)),
        ] {
            let group = group(2, &launches);
            let failed = FailedLaunches::of(&group);
            assert_eq!(failed.map(|it| it.in_a_row), in_a_row, "{launches:?}");
            assert!(failed.is_none_or(|it| it.why == "no capacity"));
        }
    }

    #[test]
    fn a_group_that_is_whole_can_launch() {
        let no = ("Failed", "no capacity");
        for (launches, live, expected) in [
            (vec![no, no], 1, true),
            (vec![no, no], 2, false),
            (vec![no], 1, false),
        ] {
            let group = group(2, &launches);
            assert_eq!(cannot_launch(&group, live).is_some(), expected);
        }
        let mut text = "0 of 2 nodes".to_owned();
        tell(&mut text, &group(2, &[no, no]), 2);
        assert_eq!(text, "0 of 2 nodes");
        tell(&mut text, &group(2, &[no, no]), 0);
        assert_eq!(
            text,
            "0 of 2 nodes; the last 2 launches failed; Auto Scaling says: no capacity"
        );
    }
}
