//! Alarms over the collected CPU, and what scaling policies make of them.

use std::time::Duration;

use crate::support::{REGION, World, text};
use ciborium::Value;
use serde_json::json;

/// A lab minute is this much of a second: 60 / 300.
const FAST: f64 = 300.0;
/// Real time in which whatever is waited for must have happened.
const PATIENCE: Duration = Duration::from_mins(1);

fn member<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    value
        .as_map()?
        .iter()
        .find(|(key, _)| key.as_text() == Some(name))
        .map(|(_, inner)| inner)
}

fn words(value: &Value, name: &str) -> String {
    member(value, name)
        .and_then(Value::as_text)
        .unwrap_or_default()
        .to_owned()
}

async fn alarm(world: &World, name: &str) -> Value {
    let all = world
        .try_cloudwatch("DescribeAlarms", json!({ "AlarmNames": [name] }))
        .await
        .expect("as AWS answers");
    member(&all, "MetricAlarms")
        .expect("as AWS answers")
        .as_array()
        .expect("as AWS answers")[0]
        .clone()
}

async fn until_state(world: &World, name: &str, state: &str) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while words(&alarm(world, name).await, "StateValue") != state {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let reached = waited.await.is_ok();
    assert!(reached, "not {state}: {:?}", alarm(world, name).await);
}

async fn cpu(world: &World, percent: serde_json::Value) {
    lab::cloudwatch::control(
        &world.lab,
        &http::Method::POST,
        &["cpu"],
        json!({ "group": "web", "percent": percent }),
    )
    .await
    .expect("as AWS answers");
}

async fn desired(world: &World) -> i64 {
    let shown = world.asg("DescribeAutoScalingGroups", &[]).await;
    text(&shown, "DesiredCapacity")
        .parse()
        .expect("as AWS answers")
}

async fn put_alarm(world: &World, action: &str) {
    world
        .try_cloudwatch(
            "PutMetricAlarm",
            json!({
                "AlarmName": "busy",
                "Namespace": "AWS/EC2",
                "MetricName": "CPUUtilization",
                "Dimensions": [{ "Name": "AutoScalingGroupName", "Value": "web" }],
                "Statistic": "Average",
                "Period": 60,
                "EvaluationPeriods": 2,
                "Threshold": 80.0,
                "ComparisonOperator": "GreaterThanThreshold",
                "AlarmActions": [action],
            }),
        )
        .await
        .expect("as AWS answers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn high_cpu_scales_out_by_steps_and_a_suspended_group_does_not_listen() {
    let world = World::start(74, FAST).await;
    world
        .create_group((1, 4, 1), &[("DefaultCooldown", "60")])
        .await;
    world.until_in_service(1).await;
    let policy = world
        .asg(
            "PutScalingPolicy",
            &[
                ("AutoScalingGroupName", "web"),
                ("PolicyName", "out"),
                ("PolicyType", "StepScaling"),
                ("AdjustmentType", "ChangeInCapacity"),
                ("EstimatedInstanceWarmup", "120"),
                ("StepAdjustments.member.1.MetricIntervalLowerBound", "0"),
                ("StepAdjustments.member.1.MetricIntervalUpperBound", "15"),
                ("StepAdjustments.member.1.ScalingAdjustment", "1"),
                ("StepAdjustments.member.2.MetricIntervalLowerBound", "15"),
                ("StepAdjustments.member.2.ScalingAdjustment", "2"),
            ],
        )
        .await;
    let policy = text(&policy, "PolicyARN");
    put_alarm(&world, &policy).await;
    assert_eq!(
        words(&alarm(&world, "busy").await, "StateValue"),
        "INSUFFICIENT_DATA"
    );
    until_state(&world, "busy", "OK").await;

    let group = ("AutoScalingGroupName", "web");
    let listen = [group, ("ScalingProcesses.member.1", "AlarmNotification")];
    world.asg("SuspendProcesses", &listen).await;
    cpu(&world, json!(97)).await;
    until_state(&world, "busy", "ALARM").await;
    world.lab_sleep(300).await;
    assert_eq!(desired(&world).await, 1, "AlarmNotification is suspended");

    // Still in ALARM: the policy is asked again each period, and now it is heard.
    world.asg("ResumeProcesses", &listen).await;
    world.until_in_service(3).await;
    let cause = &world.activities().await[0].cause;
    assert!(
        cause.contains("a monitor alarm busy in state ALARM triggered policy out changing the desired capacity from 1 to 3."),
        "{cause}"
    );
    let shown = alarm(&world, "busy").await;
    assert!(
        words(&shown, "StateReason")
            .starts_with("Threshold Crossed: 2 out of the last 2 datapoints ["),
        "{shown:?}"
    );
    let named = world.asg("DescribePolicies", &[group]).await;
    assert!(named.contains("<AlarmName>busy</AlarmName>"), "{named}");

    cpu(&world, json!(null)).await;
    until_state(&world, "busy", "OK").await;
    let history = world
        .try_cloudwatch(
            "DescribeAlarmHistory",
            json!({ "AlarmName": "busy", "HistoryItemType": "Action" }),
        )
        .await
        .unwrap();
    let items = member(&history, "AlarmHistoryItems")
        .unwrap()
        .as_array()
        .unwrap();
    assert!(items.iter().any(|item| {
        words(item, "HistorySummary")
            .starts_with("Successfully executed action arn:aws:autoscaling:")
    }));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_simple_policy_waits_out_its_cooldown() {
    let world = World::start(75, FAST).await;
    world.create_group((1, 9, 1), &[]).await;
    world.until_in_service(1).await;
    let group = ("AutoScalingGroupName", "web");
    world
        .asg(
            "PutScalingPolicy",
            &[
                group,
                ("PolicyName", "out"),
                ("AdjustmentType", "ChangeInCapacity"),
                ("ScalingAdjustment", "1"),
                ("Cooldown", "1800"),
            ],
        )
        .await;
    let run = [group, ("PolicyName", "out"), ("HonorCooldown", "true")];
    world.asg("ExecutePolicy", &run).await;
    world.until_in_service(2).await;
    let refused = world.try_asg("ExecutePolicy", &run).await.unwrap_err();
    assert_eq!(refused.code, "ScalingActivityInProgress");
    let waited = tokio::time::timeout(PATIENCE, async {
        while world.try_asg("ExecutePolicy", &run).await.is_err() {
            world.lab_sleep(30).await;
        }
    });
    waited.await.expect("the cooldown ends");
    world.until_in_service(3).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_come_back_as_they_went_in() {
    let world = World::start(76, 60.0).await;
    world.create_group((1, 2, 1), &[]).await;
    let id = world.until_in_service(1).await[0].id.clone();
    world
        .asg(
            "EnableMetricsCollection",
            &[("AutoScalingGroupName", "web"), ("Granularity", "1Minute")],
        )
        .await;
    cpu(&world, json!(42)).await;
    let begin = world.lab.clock.now();
    world.lab_sleep(240).await;
    let now = world.lab.clock.now();
    // The buckets of the first and the last moment may both have a point.
    let most = now.duration_since(begin).as_secs() as usize + 2;
    let seconds = |at: jiff::Timestamp| at.as_millisecond() as f64 / 1000.0;
    let read = world
        .try_cloudwatch(
            "GetMetricData",
            json!({
                "StartTime": seconds(begin),
                "EndTime": seconds(now),
                "ScanBy": "TimestampAscending",
                "MetricDataQueries": [
                    { "Id": "cpu", "MetricStat": { "Stat": "Maximum", "Period": 60, "Metric": {
                        "Namespace": "AWS/EC2", "MetricName": "CPUUtilization",
                        "Dimensions": [{ "Name": "InstanceId", "Value": id }] } } },
                    { "Id": "size", "Label": "how many", "MetricStat": { "Stat": "Average", "Period": 60, "Metric": {
                        "Namespace": "AWS/AutoScaling", "MetricName": "GroupInServiceInstances",
                        "Dimensions": [{ "Name": "AutoScalingGroupName", "Value": "web" }] } } },
                ],
            }),
        )
        .await
        .unwrap();
    let results = member(&read, "MetricDataResults")
        .unwrap()
        .as_array()
        .unwrap();
    for (result, id, label, value) in [
        (&results[0], "cpu", "CPUUtilization", 42.0),
        (&results[1], "size", "how many", 1.0),
    ] {
        assert_eq!(words(result, "Id"), id);
        assert_eq!(words(result, "Label"), label);
        assert_eq!(words(result, "StatusCode"), "Complete");
        let values = member(result, "Values").unwrap().as_array().unwrap();
        let times = member(result, "Timestamps").unwrap().as_array().unwrap();
        assert!(
            (3..=most).contains(&values.len()),
            "a point each lab minute: {result:?}"
        );
        assert_eq!(values.len(), times.len());
        assert_eq!(values[1].as_float(), Some(value));
        assert!(matches!(times[0], Value::Tag(1, _)));
    }
    for (query, code) in [
        (
            json!([{ "Id": "sum", "Expression": "m1 + m2" }]),
            "ValidationError",
        ),
        (
            json!([{ "Id": "Bad", "Expression": "1" }]),
            "ValidationError",
        ),
        (
            json!([{ "Id": "m", "MetricStat": { "Stat": "tm90", "Period": 60, "Metric": { "Namespace": "N", "MetricName": "M" } } }]),
            "InvalidParameterValue",
        ),
        (
            json!([{ "Id": "m", "MetricStat": { "Stat": "Sum", "Period": 61, "Metric": { "Namespace": "N", "MetricName": "M" } } }]),
            "InvalidParameterValue",
        ),
    ] {
        let error = world
            .try_cloudwatch(
                "GetMetricData",
                json!({ "StartTime": 1, "EndTime": 2, "MetricDataQueries": query }),
            )
            .await
            .unwrap_err();
        assert_eq!(error.code, code, "{query}: {error}");
    }
    let listed = world
        .try_cloudwatch(
            "ListMetrics",
            json!({ "Namespace": "AWS/EC2", "Dimensions": [{ "Name": "InstanceId" }] }),
        )
        .await
        .unwrap();
    assert_eq!(
        member(&listed, "Metrics")
            .unwrap()
            .as_array()
            .unwrap()
            .len(),
        1
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn set_alarm_state_acts_and_lasts_until_the_next_evaluation() {
    let world = World::start(77, FAST).await;
    world.create_group((1, 4, 1), &[]).await;
    world.until_in_service(1).await;
    let policy = world
        .asg(
            "PutScalingPolicy",
            &[
                ("AutoScalingGroupName", "web"),
                ("PolicyName", "two"),
                ("AdjustmentType", "ExactCapacity"),
                ("ScalingAdjustment", "2"),
            ],
        )
        .await;
    put_alarm(&world, &text(&policy, "PolicyARN")).await;
    until_state(&world, "busy", "OK").await;
    let set = json!({ "AlarmName": "busy", "StateValue": "ALARM", "StateReason": "drill" });
    world.try_cloudwatch("SetAlarmState", set).await.unwrap();
    until_state(&world, "busy", "OK").await;
    world.until_in_service(2).await;
    let missing = json!({ "AlarmNames": ["busy", "none"] });
    let error = world
        .try_cloudwatch("DeleteAlarms", missing)
        .await
        .unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.status),
        ("ResourceNotFound", 404)
    );
    world
        .try_cloudwatch("DeleteAlarms", json!({ "AlarmNames": ["busy"] }))
        .await
        .unwrap();
    assert!(
        lab::cloudwatch::alarms_with_action(&world.lab, REGION, &text(&policy, "PolicyARN"))
            .is_empty()
    );
    world.stop().await;
}
