"""CloudWatch, in both protocols that the lab speaks: JSON and Smithy's RPC over CBOR."""

import datetime

import botocore.model
import pytest

NOW = datetime.datetime.now(datetime.timezone.utc)
MINUTE = datetime.timedelta(minutes=1)


@pytest.fixture(params=["json", "smithy-rpc-v2-cbor"])
def protocol(request):
    return request.param


@pytest.fixture
def cloudwatch(lab, protocol, monkeypatch):
    """A client that prefers the protocol, as the SDKs of other languages do."""
    order = [protocol, "json", "query", "ec2", "rest-json", "rest-xml"]
    monkeypatch.setattr(botocore.model, "PRIORITY_ORDERED_SUPPORTED_PROTOCOLS", order)
    client = lab.new_client("cloudwatch")
    assert client.meta.service_model.resolved_protocol == protocol
    return client


def alarm(name, **more):
    return {
        "AlarmName": name,
        "Namespace": "Suite",
        "MetricName": "x",
        "Statistic": "Average",
        "Period": 60,
        "EvaluationPeriods": 2,
        "DatapointsToAlarm": 2,
        "Threshold": 80,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "TreatMissingData": "notBreaching",
        **more,
    }


def test_alarms(cloudwatch, protocol, refused, wait):
    name = f"busy-{protocol}"
    cloudwatch.put_metric_alarm(**alarm(name, Tags=[{"Key": "k", "Value": "v"}]))
    wait(cloudwatch, "alarm_exists", AlarmNames=[name])
    shown = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"][0]
    assert shown["Threshold"] == 80
    arn = {"ResourceARN": shown["AlarmArn"]}
    cloudwatch.tag_resource(**arn, Tags=[{"Key": "l", "Value": "w"}])
    cloudwatch.untag_resource(**arn, TagKeys=["k"])
    assert cloudwatch.list_tags_for_resource(**arn)["Tags"] == [{"Key": "l", "Value": "w"}]
    found = cloudwatch.describe_alarms_for_metric(Namespace="Suite", MetricName="x")
    assert name in [it["AlarmName"] for it in found["MetricAlarms"]]
    cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="asked for")
    cloudwatch.disable_alarm_actions(AlarmNames=[name])
    assert not cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"][0]["ActionsEnabled"]
    cloudwatch.enable_alarm_actions(AlarmNames=[name])
    assert cloudwatch.describe_alarm_history(AlarmName=name)["AlarmHistoryItems"]
    cloudwatch.delete_alarms(AlarmNames=[name])
    refused("ResourceNotFound", cloudwatch.delete_alarms, 404, AlarmNames=[name])


def test_metrics(cloudwatch, protocol):
    space = f"Suite/{protocol}"
    values = {"SampleCount": 2, "Sum": 3, "Minimum": 1, "Maximum": 2}
    cloudwatch.put_metric_data(
        Namespace=space,
        MetricData=[
            {"MetricName": "x", "Value": 1.5, "Unit": "Count", "Timestamp": NOW},
            {"MetricName": "y", "Values": [1, 2, 3], "Counts": [1, 1, 2]},
            {"MetricName": "z", "StatisticValues": values},
        ],
    )
    listed = {m["MetricName"] for m in cloudwatch.list_metrics(Namespace=space)["Metrics"]}
    assert listed == {"x", "y", "z"}
    span = {"StartTime": NOW - 2 * MINUTE, "EndTime": NOW + 2 * MINUTE}
    stat = {"Metric": {"Namespace": space, "MetricName": "x"}, "Period": 60, "Stat": "p95"}
    data = cloudwatch.get_metric_data(**span, MetricDataQueries=[{"Id": "a", "MetricStat": stat}])
    assert data["MetricDataResults"][0]["StatusCode"] == "Complete"
    cloudwatch.get_metric_statistics(
        **span,
        Namespace=space,
        MetricName="x",
        Period=60,
        Statistics=["Average", "Maximum"],
    )


def test_errors(cloudwatch, refused):
    expression = [{"Id": "e", "Expression": "SUM(METRICS())"}]
    refused(
        "ValidationError",
        cloudwatch.get_metric_data,
        StartTime=NOW - MINUTE,
        EndTime=NOW,
        MetricDataQueries=expression,
    )
    refused("InvalidAction", cloudwatch.list_dashboards)
