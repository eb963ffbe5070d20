//! Alarms shown: their settings and state, and their history.

use std::sync::Arc;

use ciborium::Value;

use super::alarm::{Alarm, AlarmState};
use super::cbor::Map;
use super::request::{self, cut, invalid, metric, page_from, page_size, word};
use crate::Lab;
use crate::api::{ApiError, Call, Reply};

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
