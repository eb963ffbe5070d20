"""Auto Scaling: groups that launch, scale, rest and go. botocore has no waiters for it."""

import datetime

import pytest

from conftest import outdated


@pytest.fixture(scope="module")
def autoscaling(lab):
    return lab.client("autoscaling")


@pytest.fixture(scope="module")
def template(ec2, image):
    made = ec2.create_launch_template(
        LaunchTemplateName="group", LaunchTemplateData={"ImageId": image, "InstanceType": "t3.small"}
    )["LaunchTemplate"]
    yield {"LaunchTemplateId": made["LaunchTemplateId"], "Version": "$Latest"}
    ec2.delete_launch_template(LaunchTemplateId=made["LaunchTemplateId"])


@pytest.fixture
def group(autoscaling, template, network, until):
    """Makes groups and ends them with the test."""
    made = []

    def make(name, **more):
        arguments = {"MinSize": 0, "MaxSize": 4, "DesiredCapacity": 0, **more}
        autoscaling.create_auto_scaling_group(
            AutoScalingGroupName=name,
            LaunchTemplate=template,
            VPCZoneIdentifier=",".join(network["subnets"]),
            **arguments,
        )
        made.append(name)
        return {"AutoScalingGroupName": name}

    yield make
    for name in made:
        autoscaling.delete_auto_scaling_group(AutoScalingGroupName=name, ForceDelete=True)

    def left():
        shown = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=made)
        return shown["AutoScalingGroups"]

    until(lambda: not made or not left(), f"the end of {made}")


def members(autoscaling, name):
    shown = autoscaling.describe_auto_scaling_groups(**name)["AutoScalingGroups"][0]
    return {it["InstanceId"]: it["LifecycleState"] for it in shown["Instances"]}


@pytest.fixture
def settled(autoscaling, until):
    """Waits until a group has just so many instances, all in the state."""

    def wait(name, count, state="InService"):
        key = {"AutoScalingGroupNames": [name["AutoScalingGroupName"]]}
        until(
            lambda: list(members(autoscaling, key).values()) == [state] * count,
            f"{count} instances in {state}",
        )
        return list(members(autoscaling, key))

    return wait


def test_hooks_health_and_standby(autoscaling, group, settled, until, refused):
    hook = {
        "LifecycleHookName": "up",
        "LifecycleTransition": "autoscaling:EC2_INSTANCE_LAUNCHING",
        "HeartbeatTimeout": 7200,
        "DefaultResult": "ABANDON",
    }
    web = group(
        "web",
        DesiredCapacity=2,
        HealthCheckGracePeriod=300,
        DefaultInstanceWarmup=60,
        TerminationPolicies=["OldestLaunchTemplate", "Default"],
        LifecycleHookSpecificationList=[hook],
        Tags=[{"Key": "a", "Value": "b", "PropagateAtLaunch": True}],
    )
    ids = settled(web, 2, "Pending:Wait")
    answer = {**web, "LifecycleHookName": "up"}
    for instance in ids:
        autoscaling.record_lifecycle_action_heartbeat(**answer, InstanceId=instance)
        autoscaling.complete_lifecycle_action(
            **answer, InstanceId=instance, LifecycleActionResult="CONTINUE"
        )
    settled(web, 2)
    shown = autoscaling.describe_auto_scaling_instances(InstanceIds=ids)["AutoScalingInstances"]
    assert {it["AutoScalingGroupName"] for it in shown} == {"web"}
    autoscaling.put_lifecycle_hook(**web, **{**hook, "HeartbeatTimeout": 3600})
    hooks = autoscaling.describe_lifecycle_hooks(**web)["LifecycleHooks"]
    assert [it["HeartbeatTimeout"] for it in hooks] == [3600]
    autoscaling.delete_lifecycle_hook(**answer)

    refused("ResourceInUse", autoscaling.delete_auto_scaling_group, **web)
    autoscaling.set_instance_protection(**web, InstanceIds=ids[:1], ProtectedFromScaleIn=True)
    autoscaling.set_instance_protection(**web, InstanceIds=ids[:1], ProtectedFromScaleIn=False)
    one = {"InstanceIds": ids[:1]}
    autoscaling.enter_standby(**web, **one, ShouldDecrementDesiredCapacity=True)
    key = {"AutoScalingGroupNames": ["web"]}
    until(lambda: members(autoscaling, key)[ids[0]] == "Standby", "standby")
    autoscaling.exit_standby(**web, **one)
    settled(web, 2)
    autoscaling.detach_instances(**web, **one, ShouldDecrementDesiredCapacity=True)
    until(lambda: ids[0] not in members(autoscaling, key), "the detachment")
    autoscaling.attach_instances(**web, **one)
    settled(web, 2)
    autoscaling.set_instance_health(
        InstanceId=ids[0], HealthStatus="Unhealthy", ShouldRespectGracePeriod=False
    )
    until(lambda: ids[0] not in members(autoscaling, key), "the replacement")
    settled(web, 2)
    ended = autoscaling.terminate_instance_in_auto_scaling_group(
        InstanceId=ids[1], ShouldDecrementDesiredCapacity=True
    )["Activity"]
    until(lambda: ids[1] not in members(autoscaling, key), "the end of an instance")

    def finished():
        shown = autoscaling.describe_scaling_activities(ActivityIds=[ended["ActivityId"]])
        return shown["Activities"][0]["StatusCode"] == "Successful"

    until(finished, "the activity")


def test_policies_and_alarms(autoscaling, lab, group, settled, until):
    busy = group("busy", DesiredCapacity=1)
    settled(busy, 1)
    policy = autoscaling.put_scaling_policy(
        **busy,
        PolicyName="out",
        PolicyType="StepScaling",
        AdjustmentType="ChangeInCapacity",
        StepAdjustments=[{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}],
        EstimatedInstanceWarmup=60,
    )["PolicyARN"]
    cloudwatch = lab.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName="group-busy",
        Namespace="AWS/EC2",
        MetricName="CPUUtilization",
        Dimensions=[{"Name": "AutoScalingGroupName", "Value": "busy"}],
        Statistic="Average",
        Period=60,
        EvaluationPeriods=2,
        Threshold=95,
        ComparisonOperator="GreaterThanThreshold",
        AlarmActions=[policy],
    )
    lab.control("POST", "cloudwatch/cpu", {"group": "busy", "percent": 97})
    settled(busy, 2)
    lab.control("POST", "cloudwatch/cpu", {"group": "busy", "percent": None})
    cloudwatch.delete_alarms(AlarmNames=["group-busy"])
    autoscaling.put_scaling_policy(
        **busy,
        PolicyName="all",
        AdjustmentType="ExactCapacity",
        ScalingAdjustment=0,
        Cooldown=10,
    )
    shown = autoscaling.describe_policies(**busy)["ScalingPolicies"]
    assert {it["PolicyName"] for it in shown} == {"all", "out"}
    autoscaling.execute_policy(**busy, PolicyName="all", HonorCooldown=False)
    settled(busy, 0)
    autoscaling.delete_policy(**busy, PolicyName="all")


def test_sizes_tags_and_processes(autoscaling, group, refused):
    name = group("sizes")
    refused(
        "AlreadyExists",
        autoscaling.create_auto_scaling_group,
        **name,
        MinSize=0,
        MaxSize=1,
        LaunchTemplate={"LaunchTemplateName": "group"},
        AvailabilityZones=["us-east-1a"],
    )
    refused("ValidationError", autoscaling.set_desired_capacity, **name, DesiredCapacity=9)
    autoscaling.update_auto_scaling_group(**name, MaxSize=5, DefaultCooldown=10)
    autoscaling.set_desired_capacity(**name, DesiredCapacity=0)
    tag = {"ResourceId": "sizes", "ResourceType": "auto-scaling-group", "Key": "o"}
    autoscaling.create_or_update_tags(Tags=[{**tag, "Value": "w", "PropagateAtLaunch": False}])
    filters = [{"Name": "key", "Values": ["o"]}]
    assert len(autoscaling.describe_tags(Filters=filters)["Tags"]) == 1
    autoscaling.delete_tags(Tags=[tag])
    assert autoscaling.describe_tags(Filters=filters)["Tags"] == []
    autoscaling.suspend_processes(**name, ScalingProcesses=["AZRebalance"])
    autoscaling.resume_processes(**name, ScalingProcesses=["AZRebalance"])
    autoscaling.enable_metrics_collection(**name, Granularity="1Minute")
    autoscaling.disable_metrics_collection(**name)
    later = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=2)
    action = {**name, "ScheduledActionName": "later"}
    autoscaling.put_scheduled_update_group_action(**action, StartTime=later, DesiredCapacity=1)
    assert autoscaling.describe_scheduled_actions(**name)["ScheduledUpdateGroupActions"]
    autoscaling.delete_scheduled_action(**action)


def test_target_groups(autoscaling, elbv2, network, group, until):
    made = elbv2.create_target_group(Name="grouped", Protocol="HTTP", Port=80, VpcId=network["vpc"])
    arn = made["TargetGroups"][0]["TargetGroupArn"]
    name = group("targets")

    def states():
        shown = autoscaling.describe_traffic_sources(**name)["TrafficSources"]
        return [it["State"] for it in shown]

    autoscaling.attach_load_balancer_target_groups(**name, TargetGroupARNs=[arn])
    until(lambda: states() in (["Added"], ["InService"]), "the target group")
    assert autoscaling.describe_load_balancer_target_groups(**name)["LoadBalancerTargetGroups"]
    autoscaling.detach_load_balancer_target_groups(**name, TargetGroupARNs=[arn])
    until(lambda: states() == [], "the detachment")
    source = [{"Identifier": arn, "Type": "elbv2"}]
    autoscaling.attach_traffic_sources(**name, TrafficSources=source)
    until(lambda: states() in (["Added"], ["InService"]), "the traffic source")
    autoscaling.detach_traffic_sources(**name, TrafficSources=source)
    until(lambda: states() == [], "the detachment")
    elbv2.delete_target_group(TargetGroupArn=arn)


def test_paging(autoscaling, group):
    for number in range(3):
        group(f"page-{number}")
    filters = [{"Name": "tag-key", "Values": ["never"]}]
    assert autoscaling.describe_auto_scaling_groups(Filters=filters)["AutoScalingGroups"] == []
    names = [f"page-{number}" for number in range(3)]
    pages = autoscaling.get_paginator("describe_auto_scaling_groups").paginate(
        AutoScalingGroupNames=names, PaginationConfig={"PageSize": 2}
    )
    assert [len(page["AutoScalingGroups"]) for page in pages] == [2, 1]


def test_catalogues(autoscaling):
    assert autoscaling.describe_scaling_process_types()["Processes"]
    assert autoscaling.describe_adjustment_types()["AdjustmentTypes"]
    assert autoscaling.describe_termination_policy_types()["TerminationPolicyTypes"]
    assert autoscaling.describe_lifecycle_hook_types()["LifecycleHookTypes"]


@pytest.mark.xfail(
    outdated("asg/mod.rs"), reason="LAB_BINARY is older than tests/lab/src/asg/mod.rs", strict=False
)
def test_account_limits(autoscaling):
    assert autoscaling.describe_account_limits()["MaxNumberOfAutoScalingGroups"] == 500


@pytest.mark.parametrize(
    ("code", "call", "arguments"),
    [
        ("ValidationError", "set_desired_capacity", {"AutoScalingGroupName": "nope", "DesiredCapacity": 1}),
        ("ValidationError", "delete_auto_scaling_group", {"AutoScalingGroupName": "nope"}),
        ("InvalidAction", "describe_launch_configurations", {}),
        ("ValidationError", "describe_auto_scaling_groups", {"Filters": [{"Name": "bogus", "Values": ["x"]}]}),
        (
            "ValidationError",
            "create_auto_scaling_group",
            {
                "AutoScalingGroupName": "never",
                "MinSize": 0,
                "MaxSize": 0,
                "LaunchTemplate": {"LaunchTemplateName": "group"},
                "AvailabilityZones": ["us-east-1a"],
                "PlacementGroup": "p",
            },
        ),
    ],
)
def test_errors(autoscaling, refused, code, call, arguments):
    refused(code, getattr(autoscaling, call), **arguments)
