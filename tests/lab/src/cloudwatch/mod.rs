//! CloudWatch: metrics from the lab's own instances, alarms that evaluate and act.
//!
//! ```text
//!   collector (CPU, group metrics) --+
//!   elbv2, others: put --------------+--> series --> GetMetricData, GetMetricStatistics
//!   PutMetricData -------------------+       |
//!                                            v   each lab minute
//!                                      alarm::evaluate --> state, history --> asg::execute_policy
//! ```
//!
//! Invariants:
//! * A minute of metrics is `60 / speed` real seconds; see [`metrics`].
//! * An alarm's state comes from [`alarm::evaluate`] alone (or from SetAlarmState until the next
//!   evaluation), never from a describe call.

pub mod alarm;
mod alarm_api;
mod alarm_read_api;
mod cbor;
mod collector;
mod data_api;
mod evaluate;
pub mod metrics;
mod read_api;
mod request;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::Lab;
use crate::api::{ApiError, Call, Reply};
use alarm::Alarm;
pub(crate) use alarm_api::tags_by_arn;
pub(crate) use evaluate::sleep_to_phase;
use metrics::Series;
pub(crate) use metrics::{MetricKey, Sample, bucket_of, start_of};

/// Alarm history that is kept in each region.
const MAX_HISTORY: usize = 5000;

/// One entry of an alarm's history.
#[derive(Clone, Debug)]
struct History {
    alarm: String,
    at: Timestamp,
    kind: &'static str,
    summary: String,
    data: String,
}

#[derive(Debug, Default)]
struct Regional {
    series: BTreeMap<MetricKey, Series>,
    alarms: BTreeMap<String, Alarm>,
    /// Newest last.
    history: VecDeque<History>,
}

impl Regional {
    fn record(&mut self, entry: History) {
        if self.history.len() >= MAX_HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(entry);
    }
}

#[derive(Debug, Default)]
struct State {
    regions: BTreeMap<String, Regional>,
    /// CPU that the control endpoint pretends: by instance, by group, for all.
    cpu_instance: BTreeMap<String, f64>,
    cpu_group: BTreeMap<String, f64>,
    cpu_all: Option<f64>,
}

/// Metrics and alarms of all regions.
#[derive(Debug, Default)]
pub struct CloudWatch {
    state: Mutex<State>,
}

impl CloudWatch {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn region<T>(&self, region: &str, look: impl FnOnce(&mut Regional) -> T) -> T {
        let mut state = self.lock();
        look(state.regions.entry(region.to_owned()).or_default())
    }
}

/// Starts the collector and the evaluation of alarms.
pub fn start(lab: &Arc<Lab>) {
    lab.spawn(evaluate::run(Arc::clone(lab)));
    lab.spawn(collector::run(Arc::clone(lab)));
}

/// Records one sample, now.
pub fn put(
    lab: &Lab,
    region: &str,
    namespace: &str,
    name: &str,
    dimensions: &[(&str, &str)],
    value: f64,
    unit: &str,
) {
    let key = MetricKey::new(namespace, name, dimensions);
    record(lab, region, key, Sample::of(lab.clock.now(), value), unit);
}

/// Records a sample of a moment that may be past.
pub(crate) fn record(lab: &Lab, region: &str, key: MetricKey, sample: Sample, unit: &str) {
    lab.cloudwatch.region(region, |regional| {
        regional.series.entry(key).or_default().push(sample, unit);
    });
}

/// The CPU percentage that the control endpoint set for an instance, its group or all.
pub fn cpu_override(lab: &Lab, instance_id: &str) -> Option<f64> {
    let group = lab
        .config
        .regions
        .iter()
        .find_map(|region| crate::asg::group_of(lab, &region.name, instance_id));
    let state = lab.cloudwatch.lock();
    state
        .cpu_instance
        .get(instance_id)
        .or_else(|| state.cpu_group.get(&group?))
        .copied()
        .or(state.cpu_all)
}

/// Alarms that name `arn` among their actions: name and ARN.
pub fn alarms_with_action(lab: &Lab, region: &str, arn: &str) -> Vec<(String, String)> {
    let names_it = |alarm: &Alarm| {
        [
            &alarm.ok_actions,
            &alarm.alarm_actions,
            &alarm.insufficient_actions,
        ]
        .into_iter()
        .any(|actions| actions.iter().any(|action| action == arn))
    };
    lab.cloudwatch.region(region, |regional| {
        regional
            .alarms
            .iter()
            .filter(|(_, alarm)| names_it(alarm))
            .map(|(name, alarm)| (name.clone(), alarm.arn.clone()))
            .collect()
    })
}

/// Answers a call.
#[expect(
    clippy::unused_async,
    reason = "every service is dispatched to in the same way, and most await"
)]
pub async fn dispatch(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    match call.action.as_str() {
        "PutMetricAlarm" => alarm_api::put(lab, call),
        "DescribeAlarms" => alarm_read_api::describe(lab, call),
        "DescribeAlarmsForMetric" => alarm_read_api::describe_for_metric(lab, call),
        "DeleteAlarms" => alarm_api::delete(lab, call),
        "SetAlarmState" => alarm_api::set_state(lab, call),
        "EnableAlarmActions" => alarm_api::enable_actions(lab, call, true),
        "DisableAlarmActions" => alarm_api::enable_actions(lab, call, false),
        "DescribeAlarmHistory" => alarm_read_api::history(lab, call),
        "TagResource" => alarm_api::tag(lab, call),
        "UntagResource" => alarm_api::untag(lab, call),
        "ListTagsForResource" => alarm_api::list_tags(lab, call),
        "PutMetricData" => data_api::put(lab, call),
        "ListMetrics" => data_api::list(lab, call),
        "GetMetricData" => read_api::data(lab, call),
        "GetMetricStatistics" => read_api::statistics(lab, call),
        action => Err(ApiError::invalid_action(action)),
    }
}

/// The service's part of the control endpoint.
///
/// `POST /lab/cloudwatch/cpu {"instance": "i-…" | null, "group": "name" | null, "percent": 97 | null}`
/// pretends a CPU utilisation for an instance, a group, or (both null) for all; a null percentage
/// ends the pretence.
#[expect(
    clippy::unused_async,
    reason = "every service is dispatched to in the same way, and most await"
)]
pub async fn control(
    lab: &Arc<Lab>,
    method: &Method,
    path: &[&str],
    body: Value,
) -> Result<Value, String> {
    match (method.as_str(), path) {
        ("POST", ["cpu"]) => {
            let text = |name: &str| match &body[name] {
                Value::Null => Ok(None),
                Value::String(text) => Ok(Some(text.clone())),
                other => Err(format!("`{name}` must be a string or null, not {other}")),
            };
            let percent = match &body["percent"] {
                Value::Null => None,
                other => Some(
                    other
                        .as_f64()
                        .filter(|percent| (0.0..=100.0).contains(percent))
                        .ok_or("`percent` must be a number from 0 to 100, or null")?,
                ),
            };
            let (instance, group) = (text("instance")?, text("group")?);
            let mut state = lab.cloudwatch.lock();
            match (instance, group) {
                (Some(_), Some(_)) => {
                    return Err("give either `instance` or `group`".to_owned());
                }
                (Some(id), None) => set(&mut state.cpu_instance, id, percent),
                (None, Some(name)) => set(&mut state.cpu_group, name, percent),
                (None, None) => state.cpu_all = percent,
            }
            Ok(json!({}))
        }
        _ => Err(format!(
            "there is no `{method} /lab/cloudwatch/{}`; there is `POST /lab/cloudwatch/cpu`",
            path.join("/")
        )),
    }
}

fn set(map: &mut BTreeMap<String, f64>, key: String, value: Option<f64>) {
    match value {
        Some(value) => {
            map.insert(key, value);
        }
        None => {
            map.remove(&key);
        }
    }
}
