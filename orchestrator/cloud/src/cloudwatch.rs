//! CloudWatch: the alarms that scale the fleet, and the metrics that a rollout is judged by.

mod traffic;

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_cloudwatch::operation::describe_alarms::DescribeAlarmsOutput;
use aws_sdk_cloudwatch::types::{
    AlarmType, ComparisonOperator, Dimension, Metric, MetricAlarm, MetricDataQuery,
    MetricDataResult, MetricStat, Statistic, Tag,
};
use aws_smithy_types::DateTime;
use jiff::{SignedDuration, Timestamp};
use plan::observed::{Alarm, Tags};

use crate::apply::Outcome;
use crate::connect::Cloud;
use crate::error::{Called, EffectError, Failure, ReadError};

/// Seconds: the finest that EC2's and the load balancer's metrics come in.
const PERIOD: i32 = 60;
/// How far back the newest replica lag is looked for.
const LAG_WINDOW: SignedDuration = SignedDuration::from_mins(5);
/// The dimension by which EC2's metrics are summed over a group.
const GROUP_DIMENSION: &str = "AutoScalingGroupName";

impl Cloud {
    /// Our alarms: those whose name begins with the stack's and that carry its tag (a stack `a` must
    /// not take the alarms of `a-b` for its own).
    pub(crate) async fn observe_alarms(&self) -> Result<BTreeMap<String, Alarm>, ReadError> {
        let pages = self
            .look()
            .cloudwatch
            .describe_alarms()
            .alarm_name_prefix(format!("{}-", self.stack()))
            .alarm_types(AlarmType::MetricAlarm)
            .into_paginator()
            .send()
            .collect::<Result<Vec<_>, _>>()
            .await
            .called("cloudwatch:DescribeAlarms")?;
        let alarms = pages
            .iter()
            .flat_map(DescribeAlarmsOutput::metric_alarms)
            .map(seen);
        let tagged = futures_util::future::try_join_all(alarms.map(|alarm| async move {
            let tags = self.alarm_tags(&alarm.arn).await?;
            Ok::<_, Failure>((alarm, tags))
        }))
        .await?;
        Ok(tagged
            .into_iter()
            .filter(|(_, tags)| tags.as_ref().is_some_and(|tags| self.owns(tags)))
            .map(|(alarm, _)| (alarm.name.clone(), alarm))
            .collect())
    }

    async fn alarm_tags(&self, arn: &str) -> Result<Option<Tags>, Failure> {
        let answer = self
            .look()
            .cloudwatch
            .list_tags_for_resource()
            .resource_arn(arn)
            .send()
            .await
            .called("cloudwatch:ListTagsForResource");
        match answer {
            Ok(answer) => Ok(Some(
                answer
                    .tags()
                    .iter()
                    .filter_map(|tag| {
                        Some((tag.key()?.to_owned(), tag.value().unwrap_or("").to_owned()))
                    })
                    .collect(),
            )),
            Err(failure) if failure.is("ResourceNotFound") => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// The alarm of that name, refused when it is not ours.
    async fn our_alarm(&self, name: &str) -> Result<Option<Alarm>, EffectError> {
        let answer = self
            .look()
            .cloudwatch
            .describe_alarms()
            .alarm_names(name)
            .alarm_types(AlarmType::MetricAlarm)
            .send()
            .await
            .called("cloudwatch:DescribeAlarms")?;
        let Some(alarm) = answer.metric_alarms().first().map(seen) else {
            return Ok(None);
        };
        match self.alarm_tags(&alarm.arn).await? {
            None => Ok(None),
            Some(tags) => self.check_ours(name, &tags).map(|()| Some(alarm)),
        }
    }

    /// An alarm on the group's average CPU in percent, by the minute, that fires a policy. Minutes
    /// without data (no instance) say nothing.
    pub(crate) async fn ensure_alarm(
        &self,
        name: &str,
        group: &str,
        threshold: f64,
        comparison: &str,
        periods: u32,
        policy_arn: &str,
    ) -> Result<Outcome, EffectError> {
        let wanted_action = BTreeSet::from([policy_arn.to_owned()]);
        if let Some(there) = self.our_alarm(name).await?
            && there.group == group
            && (there.threshold - threshold).abs() < f64::EPSILON
            && there.comparison == comparison
            && there.evaluation_periods == periods
            && there.period == PERIOD.cast_unsigned()
            && there.actions == wanted_action
        {
            return Ok(Outcome::Unchanged);
        }
        let tags = self
            .our_tags([])
            .iter()
            .map(|(key, value)| Tag::builder().key(key).value(value).build())
            .collect();
        self.act()
            .cloudwatch
            .put_metric_alarm()
            .alarm_name(name)
            .alarm_description(format!("Average CPU of group {group}"))
            .namespace("AWS/EC2")
            .metric_name("CPUUtilization")
            .dimensions(dimension(GROUP_DIMENSION, group))
            .statistic(Statistic::Average)
            .period(PERIOD)
            .evaluation_periods(periods.cast_signed())
            .threshold(threshold)
            .comparison_operator(ComparisonOperator::from(comparison))
            .treat_missing_data("missing")
            .alarm_actions(policy_arn)
            .set_tags(Some(tags))
            .send()
            .await
            .called("cloudwatch:PutMetricAlarm")?;
        Ok(Outcome::Changed)
    }

    /// Deletes an alarm of ours.
    pub(crate) async fn delete_alarm(&self, name: &str) -> Result<Outcome, EffectError> {
        if self.our_alarm(name).await?.is_none() {
            return Ok(Outcome::Unchanged);
        }
        let answer = self
            .act()
            .cloudwatch
            .delete_alarms()
            .alarm_names(name)
            .send()
            .await
            .called("cloudwatch:DeleteAlarms");
        Outcome::gone(answer.map(drop), &["ResourceNotFound"])
    }

    /// The newest lag of each of these replicas in seconds, of the last five minutes before `now`. A
    /// replica without a sample is not in it; -1 (replication is broken) is carried as it came.
    pub async fn replica_lag(
        &self,
        replicas: &BTreeSet<String>,
        now: Timestamp,
    ) -> Result<BTreeMap<String, f64>, ReadError> {
        if replicas.is_empty() {
            return Ok(BTreeMap::new());
        }
        let queries = replicas
            .iter()
            .enumerate()
            .map(|(index, replica)| {
                let dimensions = vec![dimension("DBInstanceIdentifier", replica)];
                query(
                    &format!("lag{index}"),
                    "AWS/RDS",
                    "ReplicaLag",
                    "Maximum",
                    dimensions,
                )
            })
            .collect();
        let results = self.metric_data(queries, now - LAG_WINDOW, now).await?;
        Ok(replicas
            .iter()
            .enumerate()
            .filter_map(|(index, replica)| {
                let newest = values(&results, &format!("lag{index}")).max_by_key(|(at, _)| *at)?;
                Some((replica.clone(), newest.1))
            })
            .collect())
    }

    async fn metric_data(
        &self,
        queries: Vec<MetricDataQuery>,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<MetricDataResult>, Failure> {
        let pages = self
            .look()
            .cloudwatch
            .get_metric_data()
            .set_metric_data_queries(Some(queries))
            .start_time(moment(since))
            .end_time(moment(until))
            .into_paginator()
            .send()
            .collect::<Result<Vec<_>, _>>()
            .await
            .called("cloudwatch:GetMetricData")?;
        Ok(pages
            .into_iter()
            .flat_map(|page| page.metric_data_results.unwrap_or_default())
            .collect())
    }
}

fn query(
    id: &str,
    namespace: &str,
    name: &str,
    statistic: &str,
    dimensions: Vec<Dimension>,
) -> MetricDataQuery {
    let metric = Metric::builder()
        .namespace(namespace)
        .metric_name(name)
        .set_dimensions(Some(dimensions))
        .build();
    MetricDataQuery::builder()
        .id(id)
        .metric_stat(
            MetricStat::builder()
                .metric(metric)
                .period(PERIOD)
                .stat(statistic)
                .build(),
        )
        .build()
}

/// Moment and value of every sample with that id; a long answer comes in several pieces.
fn values<'a>(
    results: &'a [MetricDataResult],
    id: &'a str,
) -> impl Iterator<Item = (i128, f64)> + 'a {
    results
        .iter()
        .filter(move |result| result.id() == Some(id))
        .flat_map(|result| {
            result
                .timestamps()
                .iter()
                .map(DateTime::as_nanos)
                .zip(result.values().iter().copied())
        })
}

fn moment(at: Timestamp) -> DateTime {
    DateTime::from_secs_and_nanos(
        at.as_second(),
        at.subsec_nanosecond().max(0).cast_unsigned(),
    )
}

/// What CloudWatch calls the resource: `app/name/id`, `targetgroup/name/id`.
fn suffix<'a>(arn: &'a str, after: &str) -> &'a str {
    let resource = arn.splitn(6, ':').nth(5).unwrap_or(arn);
    resource.strip_prefix(after).unwrap_or(resource)
}

fn dimension(name: &str, value: &str) -> Dimension {
    Dimension::builder().name(name).value(value).build()
}

fn seen(alarm: &MetricAlarm) -> Alarm {
    let count = |value: Option<i32>| value.and_then(|value| u32::try_from(value).ok());
    Alarm {
        name: alarm.alarm_name().unwrap_or("").to_owned(),
        arn: alarm.alarm_arn().unwrap_or("").to_owned(),
        state: alarm
            .state_value()
            .map_or("", |state| state.as_str())
            .to_owned(),
        threshold: alarm.threshold().unwrap_or(f64::NAN),
        comparison: alarm
            .comparison_operator()
            .map_or("", ComparisonOperator::as_str)
            .to_owned(),
        period: count(alarm.period()).unwrap_or(0),
        evaluation_periods: count(alarm.evaluation_periods()).unwrap_or(0),
        group: alarm
            .dimensions()
            .iter()
            .find(|dimension| dimension.name() == Some(GROUP_DIMENSION))
            .and_then(Dimension::value)
            .unwrap_or("")
            .to_owned(),
        actions: alarm.alarm_actions().iter().cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::suffix;

    #[test]
    fn dimensions_are_the_ends_of_arns() {
        let region = "arn:aws:elasticloadbalancing:us-east-1:123456789012";
        assert_eq!(
            suffix(
                &format!("{region}:loadbalancer/app/mm/50dc6c495c0c9188"),
                "loadbalancer/"
            ),
            "app/mm/50dc6c495c0c9188"
        );
        assert_eq!(
            suffix(&format!("{region}:targetgroup/mm-a/73e2d6bc24d8a067"), ""),
            "targetgroup/mm-a/73e2d6bc24d8a067"
        );
    }
}
