"""What AWS refuses at the call, as boto3 and a person at a terminal meet it."""

import pytest

PERMISSION = {"IpProtocol": "tcp", "FromPort": 8443, "ToPort": 8443}
NOWHERE = "ami-0123456789abcdef0"
NOT_FULLY_FORMED = "You must use a valid fully-formed launch template. "


@pytest.fixture(scope="module")
def autoscaling(lab):
    return lab.client("autoscaling")


@pytest.fixture
def zone_without_t3_xlarge(lab):
    path, body = "ec2/zones/us-east-1b/types", {"instance_type": "t3.xlarge"}
    lab.control("POST", path, {**body, "offered": False})
    yield "us-east-1b"
    lab.control("POST", path, {**body, "offered": True})


def test_ids_and_a_size_of_page(ec2, network, refused):
    """aws-cli#1976 and aws-sdk-ruby#3028 have AWS's words."""
    code = "InvalidParameterCombination"
    for call, ids, words in [
        ("instances", {"InstanceIds": ["i-0"]}, "instancesSet cannot be used with the parameter maxResults"),
        ("instance_status", {"InstanceIds": ["i-0"]}, "instancesSet"),
        ("volumes", {"VolumeIds": ["vol-0"]}, "volumeSet cannot be used with the parameter maxResults"),
        ("snapshots", {"SnapshotIds": ["snap-0"]}, "snapshotSet"),
        ("images", {"ImageIds": ["ami-0"]}, "imageIdsSet"),
        ("vpcs", {"VpcIds": [network["vpc"]]}, "VpcIds cannot be used with the parameter MaxResults"),
    ]:
        answer = refused(code, getattr(ec2, f"describe_{call}"), 400, **ids, MaxResults=5)
        assert f"The parameter {words}" in answer["Error"]["Message"]


def test_the_same_permission_twice(ec2, network, refused):
    ranges = [{"CidrIp": "127.9.0.0/16"}, {"CidrIp": "127.9.0.0/16", "Description": "again"}]
    answer = refused(
        "InvalidParameterValue",
        ec2.authorize_security_group_ingress,
        GroupId=network["group"],
        IpPermissions=[{**PERMISSION, "IpRanges": ranges}],
    )
    assert answer["Error"]["Message"] == "The same permission must not appear multiple times"


def test_a_type_that_a_zone_does_not_offer(ec2, image, zone_without_t3_xlarge, refused):
    offerings = ec2.get_paginator("describe_instance_type_offerings").paginate(
        LocationType="availability-zone",
        Filters=[{"Name": "instance-type", "Values": ["t3.xlarge", "m7g.large"]}],
    )
    found = {
        (it["InstanceType"], it["Location"][-1])
        for page in offerings
        for it in page["InstanceTypeOfferings"]
    }
    wanted = {("t3.xlarge", "a"), ("t3.xlarge", "c"), ("m7g.large", "a"), ("m7g.large", "b")}
    assert found == wanted
    answer = refused(
        "Unsupported",
        ec2.run_instances,
        400,
        ImageId=image,
        InstanceType="t3.xlarge",
        MinCount=1,
        MaxCount=1,
        Placement={"AvailabilityZone": zone_without_t3_xlarge},
    )
    assert answer["Error"]["Message"].endswith("choosing us-east-1a, us-east-1c.")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"InstanceType": "t3.small"}, "The request must contain the parameter ImageId"),
        ({"ImageId": NOWHERE}, f"The image id '[{NOWHERE}]' does not exist"),
        ({"ImageId": None, "InstanceType": "x9.huge"}, "Invalid value 'x9.huge' for InstanceType."),
        ({"ImageId": None, "InstanceType": "t4g.small"}, "The architecture 'arm64' of the specified"),
        ({"ImageId": None, "SecurityGroupIds": ["sg-0"]}, "The security group 'sg-0' does not exist"),
        ({"ImageId": None, "KeyName": "nokey"}, "The key pair 'nokey' does not exist"),
        (
            {"ImageId": None, "InstanceType": "t3.xlarge"},
            "Your requested instance type (t3.xlarge) is not supported in your requested Availability",
        ),
    ],
)
def test_templates_that_launch_nothing(
    autoscaling, ec2, image, network, zone_without_t3_xlarge, refused, data, words
):
    if "ImageId" in data:
        data = {**data, "ImageId": data["ImageId"] or image}
    name = {"LaunchTemplateName": "launches-nothing"}
    ec2.create_launch_template(**name, LaunchTemplateData=data)
    answer = refused(
        "ValidationError",
        autoscaling.create_auto_scaling_group,
        400,
        AutoScalingGroupName="never",
        MinSize=0,
        MaxSize=0,
        LaunchTemplate=name,
        VPCZoneIdentifier=",".join(network["subnets"]),
    )
    assert answer["Error"]["Message"].startswith(f"{NOT_FULLY_FORMED}{words}")
    ec2.delete_launch_template(**name)


def test_empty_lists(lab, autoscaling, ec2, elbv2, image, network):
    """botocore writes an empty list of awsQuery as `Tags=`."""
    template = {"LaunchTemplateName": "empty-lists"}
    ec2.create_launch_template(**template, LaunchTemplateData={"ImageId": image})
    group = {"AutoScalingGroupName": "empty-lists"}
    autoscaling.create_auto_scaling_group(
        **group,
        MinSize=0,
        MaxSize=0,
        LaunchTemplate=template,
        VPCZoneIdentifier=network["subnets"][0],
        Tags=[],
        TargetGroupARNs=[],
        LifecycleHookSpecificationList=[],
    )
    shown = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[], Filters=[])
    assert {"Tags": [], "TargetGroupARNs": []}.items() <= {
        key: found
        for it in shown["AutoScalingGroups"]
        if it["AutoScalingGroupName"] == "empty-lists"
        for key, found in it.items()
        if isinstance(found, list)
    }.items()
    # A hook that is not there is left out; it is no error.
    hooks = autoscaling.describe_lifecycle_hooks(**group, LifecycleHookNames=["nope"])
    assert hooks["LifecycleHooks"] == []
    autoscaling.delete_auto_scaling_group(**group, ForceDelete=True)
    ec2.delete_launch_template(**template)

    assert elbv2.describe_target_groups(TargetGroupArns=[], Names=[])["TargetGroups"] == []

    rds = lab.client("rds")
    rds.create_db_parameter_group(
        DBParameterGroupName="empty-lists", DBParameterGroupFamily="postgres15", Description="x", Tags=[]
    )
    assert rds.describe_db_parameter_groups(Filters=[])["DBParameterGroups"]
    rds.delete_db_parameter_group(DBParameterGroupName="empty-lists")
