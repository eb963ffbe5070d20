//! Alarms: put, delete, set, tags.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::alarm::{Alarm, AlarmState, Comparison, TreatMissing};
use super::cbor::Map;
use super::request::{self, invalid, metric, required, statistic, word};
use super::{History, Regional, evaluate};
use crate::Lab;
use crate::api::{ApiError, Call, Params, Reply};
use crate::iam::ACCOUNT;

const COMPARISONS: &str = "GreaterThanOrEqualToThreshold, GreaterThanThreshold, LessThanThreshold, LessThanOrEqualToThreshold";

fn not_found(what: &str) -> ApiError {
    ApiError::new("ResourceNotFound", format!("Unknown alarm: {what}")).status(404)
}

/// At most five actions of each kind, each an ARN.
fn actions(params: &Params, name: &str) -> Result<Vec<String>, ApiError> {
    let actions = params.list(name);
    if actions.len() > 5 {
        return Err(invalid(format!("{name} can have at most 5 members")));
    }
    if let Some(bad) = actions.iter().find(|action| !action.starts_with("arn:")) {
        return Err(invalid(format!("Invalid arn syntax in {name}: {bad}")));
    }
    Ok(actions)
}

/// The alarm that a call describes, in its first state.
fn parse(lab: &Lab, call: &Call, name: &str) -> Result<Alarm, ApiError> {
    let p = &call.params;
    for unsupported in ["Metrics", "ThresholdMetricId", "EvaluationCriteria"] {
        if p.has(unsupported) {
            return Err(invalid(format!(
                "{unsupported} (metric math, anomaly detection) is not implemented by the lab; give Namespace, MetricName and Statistic"
            )));
        }
    }
    let (plain, extended) = (p.opt("Statistic"), p.opt("ExtendedStatistic"));
    let statistic_name = match (plain, extended) {
        (Some(plain), None) => plain,
        (None, Some(extended)) if extended.starts_with('p') => extended,
        (None, Some(extended)) => {
            return Err(invalid(format!(
                "ExtendedStatistic {extended} is not implemented by the lab; use a percentile such as p95"
            )));
        }
        _ => {
            return Err(invalid(
                "Exactly one of Statistic and ExtendedStatistic must be specified",
            ));
        }
    };
    let number = |name: &str| -> Result<i64, ApiError> {
        match p.opt_int(name)? {
            Some(number) if number >= 1 => Ok(number),
            Some(number) => Err(invalid(format!(
                "The value {number} for parameter {name} must be 1 or greater"
            ))),
            None => Err(ApiError::new(
                "MissingParameter",
                format!("The parameter {name} is required."),
            )),
        }
    };
    let period = request::period(number("Period")?)?;
    let evaluation_periods = number("EvaluationPeriods")?;
    let most = if period >= 3600 { 604_800 } else { 86_400 };
    if period * evaluation_periods > most {
        return Err(invalid(format!(
            "Metrics cannot be checked across more than {most} seconds (EvaluationPeriods * Period)"
        )));
    }
    let datapoints_to_alarm = p.opt_int("DatapointsToAlarm")?;
    if datapoints_to_alarm.is_some_and(|needed| !(1..=evaluation_periods).contains(&needed)) {
        return Err(invalid(format!(
            "DatapointsToAlarm must be from 1 to EvaluationPeriods ({evaluation_periods})"
        )));
    }
    let now = lab.clock.now();
    let alarm = Alarm {
        arn: format!("arn:aws:cloudwatch:{}:{ACCOUNT}:alarm:{name}", call.region),
        description: p.opt("AlarmDescription"),
        actions_enabled: p.opt_bool("ActionsEnabled")?.unwrap_or(true),
        ok_actions: actions(p, "OKActions")?,
        alarm_actions: actions(p, "AlarmActions")?,
        insufficient_actions: actions(p, "InsufficientDataActions")?,
        metric: metric(p)?,
        statistic: statistic("Statistic", &statistic_name)?,
        statistic_name,
        period,
        unit: request::unit(p)?,
        evaluation_periods,
        datapoints_to_alarm,
        threshold: p.opt_float("Threshold")?.ok_or_else(|| {
            ApiError::new("MissingParameter", "The parameter Threshold is required.")
        })?,
        comparison: word::<Comparison>(
            "ComparisonOperator",
            &required(p, "ComparisonOperator")?,
            COMPARISONS,
        )?,
        treat_missing: match p.opt("TreatMissingData") {
            None => TreatMissing::Missing,
            Some(text) => word(
                "TreatMissingData",
                &text,
                "missing, ignore, breaching, notBreaching",
            )?,
        },
        low_sample: p.opt("EvaluateLowSampleCountPercentile"),
        tags: request::tags(p)?,
        configured: now,
        state: AlarmState::InsufficientData,
        reason: "Unchecked: Initial alarm creation".to_owned(),
        reason_data: None,
        updated: now,
        transitioned: now,
        acted_in: None,
    };
    Ok(alarm)
}

/// `PutMetricAlarm`: a new alarm, or new settings for one whose state stays.
pub fn put(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let name = required(&call.params, "AlarmName")?;
    if name.len() > 255 {
        return Err(invalid("AlarmName can have at most 255 characters"));
    }
    let mut alarm = parse(lab, call, &name)?;
    call.params.finish()?;
    lab.cloudwatch.region(&call.region, |regional| {
        let summary = if let Some(before) = regional.alarms.get(&name) {
            alarm.state = before.state;
            alarm.reason.clone_from(&before.reason);
            alarm.reason_data.clone_from(&before.reason_data);
            (alarm.updated, alarm.transitioned) = (before.updated, before.transitioned);
            alarm.acted_in = before.acted_in;
            // Tags of an alarm that exists are changed with TagResource only.
            alarm.tags.clone_from(&before.tags);
            format!("Alarm \"{name}\" updated")
        } else {
            format!("Alarm \"{name}\" created")
        };
        regional.record(History {
            alarm: name.clone(),
            at: alarm.configured,
            kind: "ConfigurationUpdate",
            summary,
            data: json!({ "version": "1.0", "threshold": alarm.threshold, "period": alarm.period })
                .to_string(),
        });
        regional.alarms.insert(name.clone(), alarm);
    });
    Ok(Map::new().into())
}

/// `DeleteAlarms`: all or none.
pub fn delete(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let names = call.params.list("AlarmNames");
    call.params.finish()?;
    if names.is_empty() {
        return Err(ApiError::new(
            "MissingParameter",
            "The parameter AlarmNames is required.",
        ));
    }
    lab.cloudwatch.region(&call.region, |regional| {
        if let Some(missing) = names
            .iter()
            .find(|name| !regional.alarms.contains_key(*name))
        {
            return Err(not_found(missing));
        }
        for name in &names {
            regional.alarms.remove(name);
        }
        Ok(())
    })?;
    Ok(Map::new().into())
}

/// `SetAlarmState`: holds until the next evaluation says otherwise; its actions run at once.
pub fn set_state(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let name = required(p, "AlarmName")?;
    let state: AlarmState = word(
        "StateValue",
        &required(p, "StateValue")?,
        "OK, ALARM, INSUFFICIENT_DATA",
    )?;
    let reason = required(p, "StateReason")?;
    let data = p.opt("StateReasonData");
    p.finish()?;
    if let Some(data) = &data {
        serde_json::from_str::<serde_json::Value>(data).map_err(|error| {
            ApiError::new(
                "InvalidFormat",
                format!("StateReasonData is not valid JSON: {error}"),
            )
        })?;
    }
    let now = lab.clock.now();
    let changed = lab.cloudwatch.region(&call.region, |regional| {
        let before = regional.alarms.get(&name).map(|alarm| alarm.state);
        let before = before.ok_or_else(|| not_found(&name))?;
        if before != state {
            evaluate::transition(regional, &name, state, reason, data, now);
        }
        Ok::<_, ApiError>(before != state)
    })?;
    if changed {
        evaluate::act_on_set_state(lab, &call.region, &name);
    }
    Ok(Map::new().into())
}

/// `EnableAlarmActions` and `DisableAlarmActions`.
pub fn enable_actions(lab: &Arc<Lab>, call: &Call, enabled: bool) -> Result<Reply, ApiError> {
    let names = call.params.list("AlarmNames");
    call.params.finish()?;
    let now = lab.clock.now();
    lab.cloudwatch.region(&call.region, |regional| {
        for name in names {
            // Names without an alarm are passed over, as CloudWatch does.
            if let Some(alarm) = regional.alarms.get_mut(&name) {
                alarm.actions_enabled = enabled;
                alarm.configured = now;
            }
        }
    });
    Ok(Map::new().into())
}

fn tagged<'a>(regional: &'a mut Regional, arn: &str) -> Result<&'a mut Alarm, ApiError> {
    regional
        .alarms
        .values_mut()
        .find(|alarm| alarm.arn == arn)
        .ok_or_else(|| {
            ApiError::new(
                "ResourceNotFoundException",
                format!("Unknown resource: {arn}"),
            )
            .status(404)
        })
}

/// The tags of the alarm that an ARN names; none when it does not exist.
pub(crate) fn tags_by_arn(lab: &Lab, region: &str, arn: &str) -> BTreeMap<String, String> {
    lab.cloudwatch.region(region, |regional| {
        tagged(regional, arn)
            .map(|alarm| alarm.tags.clone())
            .unwrap_or_default()
    })
}

/// `TagResource`.
pub fn tag(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let arn = required(&call.params, "ResourceARN")?;
    let tags = request::tags(&call.params)?;
    call.params.finish()?;
    lab.cloudwatch.region(&call.region, |regional| {
        tagged(regional, &arn).map(|alarm| alarm.tags.extend(tags))
    })?;
    Ok(Map::new().into())
}

/// `UntagResource`.
pub fn untag(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let arn = required(&call.params, "ResourceARN")?;
    let keys = call.params.list("TagKeys");
    call.params.finish()?;
    lab.cloudwatch.region(&call.region, |regional| {
        tagged(regional, &arn).map(|alarm| alarm.tags.retain(|key, _| !keys.contains(key)))
    })?;
    Ok(Map::new().into())
}

/// `ListTagsForResource`.
pub fn list_tags(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let arn = required(&call.params, "ResourceARN")?;
    call.params.finish()?;
    let tags = lab.cloudwatch.region(&call.region, |regional| {
        tagged(regional, &arn).map(|alarm| alarm.tags.clone())
    })?;
    Ok(Map::new()
        .list(
            "Tags",
            tags.iter().map(|(key, value)| {
                Map::new()
                    .put("Key", key.as_str())
                    .put("Value", value.as_str())
            }),
        )
        .into())
}
