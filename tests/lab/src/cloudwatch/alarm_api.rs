//! Alarms: put, describe, delete, set, history, tags.

use std::sync::Arc;

use ciborium::Value;
use serde_json::json;

use super::alarm::{Alarm, AlarmState, Comparison, TreatMissing};
use super::cbor::Map;
use super::request::{self, cut, invalid, metric, page_from, page_size, required, statistic, word};
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

fn alarm_map(name: &str, alarm: &Alarm) -> Map {
    let extended = !matches!(
        alarm.statistic_name.as_str(),
        "SampleCount" | "Average" | "Sum" | "Minimum" | "Maximum"
    );
    let statistic = alarm.statistic_name.as_str();
    let text = |list: &[String]| {
        list.iter()
            .map(|item| Value::from(item.as_str()))
            .collect::<Vec<_>>()
    };
    Map::new()
        .put("AlarmName", name)
        .put("AlarmArn", alarm.arn.as_str())
        .opt("AlarmDescription", alarm.description.as_deref())
        .time("AlarmConfigurationUpdatedTimestamp", alarm.configured)
        .put("ActionsEnabled", alarm.actions_enabled)
        .list("OKActions", text(&alarm.ok_actions))
        .list("AlarmActions", text(&alarm.alarm_actions))
        .list("InsufficientDataActions", text(&alarm.insufficient_actions))
        .put("StateValue", alarm.state.name())
        .put("StateReason", alarm.reason.as_str())
        .opt("StateReasonData", alarm.reason_data.as_deref())
        .time("StateUpdatedTimestamp", alarm.updated)
        .time("StateTransitionedTimestamp", alarm.transitioned)
        .put("MetricName", alarm.metric.name.as_str())
        .put("Namespace", alarm.metric.namespace.as_str())
        .opt("Statistic", (!extended).then_some(statistic))
        .opt("ExtendedStatistic", extended.then_some(statistic))
        .list(
            "Dimensions",
            alarm.metric.dimensions.iter().map(|(name, value)| {
                Map::new()
                    .put("Name", name.as_str())
                    .put("Value", value.as_str())
            }),
        )
        .put("Period", alarm.period)
        .opt("Unit", alarm.unit.as_deref())
        .put("EvaluationPeriods", alarm.evaluation_periods)
        .opt("DatapointsToAlarm", alarm.datapoints_to_alarm)
        .put("Threshold", alarm.threshold)
        .put("ComparisonOperator", alarm.comparison.name())
        .put("TreatMissingData", alarm.treat_missing.name())
        .opt(
            "EvaluateLowSampleCountPercentile",
            alarm.low_sample.as_deref(),
        )
}

/// `DescribeAlarms`.
pub fn describe(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    for unsupported in ["ChildrenOfAlarmName", "ParentsOfAlarmName"] {
        if p.has(unsupported) {
            return Err(invalid(format!(
                "{unsupported} is not implemented by the lab: it has no composite alarms"
            )));
        }
    }
    let names = p.list("AlarmNames");
    let prefix = p.opt("AlarmNamePrefix");
    if prefix.is_some() && !names.is_empty() {
        return Err(invalid(
            "AlarmNames and AlarmNamePrefix can't be used together",
        ));
    }
    let types = p.list("AlarmTypes");
    let state = p
        .opt("StateValue")
        .map(|text| word::<AlarmState>("StateValue", &text, "OK, ALARM, INSUFFICIENT_DATA"))
        .transpose()?;
    let action = p.opt("ActionPrefix");
    let (from, size) = (page_from(p)?, page_size(p, "MaxRecords", 50, 100)?);
    p.finish()?;
    let metric_alarms = types.is_empty() || types.iter().any(|kind| kind == "MetricAlarm");
    let found = lab.cloudwatch.region(&call.region, |regional| {
        regional
            .alarms
            .iter()
            .filter(|(name, alarm)| {
                metric_alarms
                    && (names.is_empty() || names.contains(name))
                    && prefix
                        .as_ref()
                        .is_none_or(|prefix| name.starts_with(prefix))
                    && state.is_none_or(|state| alarm.state == state)
                    && action.as_ref().is_none_or(|prefix| {
                        [
                            &alarm.ok_actions,
                            &alarm.alarm_actions,
                            &alarm.insufficient_actions,
                        ]
                        .into_iter()
                        .flatten()
                        .any(|own| own.starts_with(prefix))
                    })
            })
            .map(|(name, alarm)| alarm_map(name, alarm))
            .collect::<Vec<_>>()
    });
    let (page, next) = cut(found, from, size);
    Ok(Map::new()
        .list("CompositeAlarms", Vec::<Value>::new())
        .list("MetricAlarms", page)
        .opt("NextToken", next)
        .into())
}

/// `DescribeAlarmsForMetric`.
pub fn describe_for_metric(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let key = metric(p)?;
    let statistic = p.opt("Statistic").or_else(|| p.opt("ExtendedStatistic"));
    p.accept(&["ExtendedStatistic"]);
    let (period, unit) = (p.opt_int("Period")?, request::unit(p)?);
    p.finish()?;
    let found = lab.cloudwatch.region(&call.region, |regional| {
        regional
            .alarms
            .iter()
            .filter(|(_, alarm)| {
                alarm.metric == key
                    && statistic
                        .as_ref()
                        .is_none_or(|name| *name == alarm.statistic_name)
                    && period.is_none_or(|period| period == alarm.period)
                    && unit
                        .as_ref()
                        .is_none_or(|unit| Some(unit) == alarm.unit.as_ref())
            })
            .map(|(name, alarm)| alarm_map(name, alarm))
            .collect::<Vec<_>>()
    });
    Ok(Map::new().list("MetricAlarms", found).into())
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

/// `DescribeAlarmHistory`.
pub fn history(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let name = p.opt("AlarmName");
    let types = p.list("AlarmTypes");
    let kind = p.opt("HistoryItemType");
    let (start, end) = (p.opt_time("StartDate")?, p.opt_time("EndDate")?);
    let ascending = match p.opt("ScanBy").as_deref() {
        None | Some("TimestampDescending") => false,
        Some("TimestampAscending") => true,
        Some(other) => {
            return Err(invalid(format!(
                "The value {other} for parameter ScanBy is not valid"
            )));
        }
    };
    let (from, size) = (page_from(p)?, page_size(p, "MaxRecords", 50, 100)?);
    p.finish()?;
    let metric_alarms = types.is_empty() || types.iter().any(|kind| kind == "MetricAlarm");
    let mut found = lab.cloudwatch.region(&call.region, |regional| {
        regional
            .history
            .iter()
            .filter(|entry| {
                metric_alarms
                    && name.as_ref().is_none_or(|name| *name == entry.alarm)
                    && kind.as_ref().is_none_or(|kind| *kind == entry.kind)
                    && start.is_none_or(|start| entry.at >= start)
                    && end.is_none_or(|end| entry.at <= end)
            })
            .map(|entry| {
                Map::new()
                    .put("AlarmName", entry.alarm.as_str())
                    .put("AlarmType", "MetricAlarm")
                    .time("Timestamp", entry.at)
                    .put("HistoryItemType", entry.kind)
                    .put("HistorySummary", entry.summary.as_str())
                    .put("HistoryData", entry.data.as_str())
            })
            .collect::<Vec<_>>()
    });
    if !ascending {
        found.reverse();
    }
    let (page, next) = cut(found, from, size);
    Ok(Map::new()
        .list("AlarmHistoryItems", page)
        .opt("NextToken", next)
        .into())
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
