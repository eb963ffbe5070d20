//! Each lab minute: every alarm is evaluated over the periods that have ended, and acts.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::alarm::{Alarm, AlarmState, TreatMissing, evaluate};
use super::metrics::{bucket_of, start_of};
use super::{History, Regional};
use crate::Lab;
use crate::asg;

/// CloudWatch evaluates alarms once a minute.
const MINUTE: f64 = 60.0;

/// Evaluates at the beginning of each lab minute, until the lab ends.
pub async fn run(lab: Arc<Lab>) {
    loop {
        sleep_to_phase(&lab, 0.02).await;
        for region in &lab.config.regions {
            evaluate_region(&lab, &region.name);
        }
    }
}

/// Sleeps until the given fraction of the next lab minute.
pub async fn sleep_to_phase(lab: &Lab, phase: f64) {
    let speed = lab.clock.speed();
    let minute = MINUTE / speed;
    let now = lab.clock.now().as_microsecond() as f64 / 1e6;
    let next = ((now / minute - phase).floor() + 1.0 + phase) * minute;
    let lab_wait = (next - now) * speed;
    lab.clock
        .sleep(Duration::from_secs_f64(lab_wait.max(0.001)))
        .await;
}

/// What an alarm asks for.
struct Due {
    alarm: String,
    state: AlarmState,
    actions: Vec<String>,
    value: f64,
    threshold: f64,
    /// The state changed; only then is the action part of the history.
    changed: bool,
}

fn evaluate_region(lab: &Arc<Lab>, region: &str) {
    let (now, speed) = (lab.clock.now(), lab.clock.speed());
    let due: Vec<Due> = lab.cloudwatch.region(region, |regional| {
        let names: Vec<String> = regional.alarms.keys().cloned().collect();
        names
            .into_iter()
            .filter_map(|name| evaluate_one(regional, name, now, speed))
            .collect()
    });
    for due in due {
        act(lab, region, &due);
    }
}

fn evaluate_one(regional: &mut Regional, name: String, now: Timestamp, speed: f64) -> Option<Due> {
    let alarm = regional.alarms.get(&name)?.clone();
    let bucket = alarm.period as f64 / speed;
    let current = bucket_of(now, bucket);
    let first = current - alarm.range() as i64;
    let found = regional
        .series
        .get(&alarm.metric)
        .filter(|series| alarm.unit.as_ref().is_none_or(|unit| *unit == series.unit))
        .map(|series| series.buckets(bucket, first, current))
        .unwrap_or_default();
    let values: Vec<(i64, Option<f64>)> = (first..current)
        .map(|index| {
            let value = found
                .get(&index)
                .and_then(|samples| alarm.statistic.of(samples));
            (index, value)
        })
        .collect();
    let range: Vec<Option<bool>> = values
        .iter()
        .map(|(_, value)| value.map(|value| alarm.comparison.breaches(value, alarm.threshold)))
        .collect();
    let decided = evaluate(
        &range,
        alarm.evaluation_periods as usize,
        alarm.needed(),
        alarm.treat_missing,
    );
    let state = decided.unwrap_or(alarm.state);
    let changed = state != alarm.state;
    if changed {
        let seen = Seen {
            values: &values,
            bucket,
            now,
        };
        let (reason, data) = explain(&alarm, state, &seen);
        transition(regional, &name, state, reason, Some(data), now);
    }
    let own = regional.alarms.get_mut(&name)?;
    let new_period = own.acted_in != Some(current);
    if !own.actions_enabled || !(changed || new_period) {
        return None;
    }
    let actions: Vec<String> = own
        .actions(state)
        .iter()
        .filter(|action| changed || is_policy(action))
        .cloned()
        .collect();
    if actions.is_empty() {
        return None;
    }
    own.acted_in = Some(current);
    // A state that holds without data has nothing to scale by.
    let value = values.iter().rev().find_map(|(_, value)| *value);
    Some(Due {
        alarm: name,
        state,
        actions,
        value: value.unwrap_or(alarm.threshold),
        threshold: alarm.threshold,
        changed,
    })
}

/// Whether an action is a scaling policy: those are repeated every period, others only on a change.
fn is_policy(action: &str) -> bool {
    action.starts_with("arn:aws:autoscaling:")
}

/// What an evaluation saw.
struct Seen<'a> {
    values: &'a [(i64, Option<f64>)],
    bucket: f64,
    now: Timestamp,
}

/// Why the state is what it is: for people and for machines.
fn explain(alarm: &Alarm, state: AlarmState, seen: &Seen<'_>) -> (String, String) {
    let recent: Vec<(i64, f64)> = seen
        .values
        .iter()
        .rev()
        .filter_map(|(index, value)| Some((*index, (*value)?)))
        .take(alarm.evaluation_periods as usize)
        .collect();
    let data = json!({
        "version": "1.0",
        "queryDate": seen.now.strftime("%Y-%m-%dT%H:%M:%S.%3f+0000").to_string(),
        "startDate": recent.last().map(|(index, _)| {
            start_of(*index, seen.bucket).strftime("%Y-%m-%dT%H:%M:%S.%3f+0000").to_string()
        }),
        "statistic": alarm.statistic_name,
        "period": alarm.period,
        "recentDatapoints": recent.iter().rev().map(|(_, value)| value).collect::<Vec<_>>(),
        "threshold": alarm.threshold,
    })
    .to_string();
    let periods = alarm.evaluation_periods as usize;
    let missing = periods.saturating_sub(recent.len());
    let reason = if state == AlarmState::InsufficientData {
        format!(
            "Insufficient Data: {missing} datapoint{} unknown.",
            if missing == 1 { " was" } else { "s were" }
        )
    } else if recent.is_empty() {
        let treated = if alarm.treat_missing == TreatMissing::Breaching {
            "Breaching"
        } else {
            "NonBreaching"
        };
        format!(
            "Threshold Crossed: no datapoints were received for {periods} period{} and {periods} missing datapoint{} treated as [{treated}].",
            if periods == 1 { "" } else { "s" },
            if periods == 1 { " was" } else { "s were" }
        )
    } else {
        let breaching = |value: f64| alarm.comparison.breaches(value, alarm.threshold);
        let wanted = state == AlarmState::Alarm;
        let chosen: Vec<String> = recent
            .iter()
            .filter(|(_, value)| breaching(*value) == wanted)
            .map(|(index, value)| {
                let at = start_of(*index, seen.bucket).strftime("%d/%m/%y %H:%M:%S");
                format!("{value:?} ({at})")
            })
            .collect();
        let (count, negation) = (chosen.len(), if wanted { "" } else { "not " });
        format!(
            "Threshold Crossed: {count} out of the last {periods} datapoint{} [{}] {} {negation}{} ({:?}) (minimum {} datapoint{} for {} transition).",
            if periods == 1 { "" } else { "s" },
            chosen.join(", "),
            if count == 1 { "was" } else { "were" },
            alarm.comparison.words(),
            alarm.threshold,
            if wanted {
                alarm.needed()
            } else {
                periods - alarm.needed() + 1
            },
            if alarm.needed() == 1 { "" } else { "s" },
            if wanted { "OK -> ALARM" } else { "ALARM -> OK" },
        )
    };
    (reason, data)
}

/// Sets an alarm's state and writes it into its history.
pub(super) fn transition(
    regional: &mut Regional,
    name: &str,
    state: AlarmState,
    reason: String,
    data: Option<String>,
    now: Timestamp,
) {
    let Some(alarm) = regional.alarms.get_mut(name) else {
        return;
    };
    let history = json!({
        "version": "1.0",
        "oldState": { "stateValue": alarm.state.name(), "stateReason": alarm.reason },
        "newState": { "stateValue": state.name(), "stateReason": reason },
    });
    let summary = format!("Alarm updated from {} to {state}", alarm.state);
    if alarm.state != state {
        alarm.transitioned = now;
    }
    alarm.state = state;
    alarm.reason = reason;
    alarm.reason_data = data;
    alarm.updated = now;
    regional.record(History {
        alarm: name.to_owned(),
        at: now,
        kind: "StateUpdate",
        summary,
        data: history.to_string(),
    });
}

/// Carries out the actions of an alarm that a person has set to a state.
pub(super) fn act_on_set_state(lab: &Arc<Lab>, region: &str, name: &str) {
    let due = lab.cloudwatch.region(region, |regional| {
        let alarm = regional.alarms.get(name)?;
        alarm.actions_enabled.then(|| Due {
            alarm: name.to_owned(),
            state: alarm.state,
            actions: alarm.actions(alarm.state).to_vec(),
            value: alarm.threshold,
            threshold: alarm.threshold,
            changed: true,
        })
    });
    if let Some(due) = due {
        act(lab, region, &due);
    }
}

fn act(lab: &Arc<Lab>, region: &str, due: &Due) {
    for action in &due.actions {
        let outcome = if is_policy(action) {
            asg::execute_policy(lab, region, action, &due.alarm, due.value, due.threshold)
                .map_err(|error| error.message)
        } else {
            // The lab has no SNS or Systems Manager: the history is where such an action shows.
            Ok(())
        };
        if let Err(error) = &outcome {
            log::warn!("alarm `{}`: {action}: {error}", due.alarm);
        }
        if !due.changed && outcome.is_ok() {
            continue;
        }
        let summary = match &outcome {
            Ok(()) => format!("Successfully executed action {action}"),
            Err(error) => format!("Failed to execute action {action}. Received error: \"{error}\""),
        };
        let data = json!({
            "actionState": if outcome.is_ok() { "Succeeded" } else { "Failed" },
            "stateUpdateTimestamp": lab.clock.now().as_millisecond(),
            "notificationResource": action,
            "newState": due.state.name(),
        });
        let entry = History {
            alarm: due.alarm.clone(),
            at: lab.clock.now(),
            kind: "Action",
            summary,
            data: data.to_string(),
        };
        lab.cloudwatch
            .region(region, |regional| regional.record(entry));
    }
}
