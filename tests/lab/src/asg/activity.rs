//! Scaling activities: their sentences and their states.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;

use super::model::{Activity, Group, Key, Subnet};
use crate::Lab;

/// A moment as causes spell it: whole seconds, UTC.
pub fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The JSON of an activity's details.
pub fn details(subnet: &Subnet) -> String {
    json!({ "Subnet ID": subnet.id, "Availability Zone": subnet.zone }).to_string()
}

/// Begins an activity in a group.
pub fn begin(
    group: &mut Group,
    id: String,
    description: String,
    cause: String,
    subnet: &Subnet,
    now: Timestamp,
) {
    group.record_activity(Activity {
        id,
        description,
        cause,
        start: now,
        end: None,
        status: "InProgress",
        message: None,
        progress: 0,
        details: details(subnet),
    });
}

/// Shows how far an activity of a group that the caller holds is.
pub fn progress_in(group: &mut Group, id: &str, status: &'static str, percent: i64) {
    if let Some(activity) = group.activity(id) {
        activity.status = status;
        activity.progress = percent;
    }
}

/// Shows how far an activity is.
pub fn progress(lab: &Lab, key: &Key, id: &str, status: &'static str, percent: i64) {
    lab.asg
        .with(key, |group| progress_in(group, id, status, percent));
}

/// Ends an activity of a group that the caller holds.
pub fn end_in(
    group: &mut Group,
    id: &str,
    status: &'static str,
    message: Option<String>,
    now: Timestamp,
) {
    if let Some(activity) = group.activity(id)
        && activity.end.is_none()
    {
        activity.status = status;
        activity.progress = 100;
        activity.end = Some(now);
        activity.message = message;
    }
}

/// Ends an activity.
pub fn end(lab: &Arc<Lab>, key: &Key, id: &str, status: &'static str, message: Option<String>) {
    let now = lab.clock.now();
    lab.asg
        .with(key, |group| end_in(group, id, status, message, now));
}

/// A member's place, for [`details`].
pub fn place_of(zone: &str, subnet: &str) -> Subnet {
    Subnet {
        id: subnet.to_owned(),
        zone: zone.to_owned(),
    }
}
