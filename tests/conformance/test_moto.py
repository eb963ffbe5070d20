"""Static answers, compared with those of moto, an emulator that others wrote.

Each row names a call, how its answer is reduced to what does not depend on the account's history, and
how the two may differ. A difference that is not listed fails; a listed one that is gone fails too.
"""

import boto3
import botocore.exceptions
import moto
import pytest

REGIONS = ["us-east-1", "us-west-2"]
NOBODY = {"aws_access_key_id": "none", "aws_secret_access_key": "none"}


def region_facts(answer):
    return {
        it["RegionName"]: (it["OptInStatus"])
        for it in answer["Regions"]
        if it["RegionName"] in REGIONS
    }


def zone_facts(answer):
    wanted = ["us-east-1a", "us-east-1b", "us-east-1c"]
    keys = ["State", "RegionName", "ZoneType"]
    return {
        it["ZoneName"]: {key: it.get(key) for key in keys}
        for it in answer["AvailabilityZones"]
        if it["ZoneName"] in wanted
    }


def type_facts(answer):
    return {
        it["InstanceType"]: {
            "vcpus": it["VCpuInfo"]["DefaultVCpus"],
            "memory": it["MemoryInfo"]["SizeInMiB"],
            "architectures": it["ProcessorInfo"]["SupportedArchitectures"],
            "current": it["CurrentGeneration"],
        }
        for it in answer["InstanceTypes"]
    }


def attribute_facts(answer):
    return sorted(it["AttributeName"] for it in answer["AccountAttributes"])


def offering_facts(answer):
    return sorted(it["Location"] for it in answer["InstanceTypeOfferings"] if it["Location"][-1] in "abc")


def adjustment_facts(answer):
    return sorted(it["AdjustmentType"] for it in answer["AdjustmentTypes"])


def policy_facts(answer):
    return sorted(answer["TerminationPolicyTypes"])


def hook_facts(answer):
    return sorted(answer["LifecycleHookTypes"])


def process_facts(answer):
    return sorted(it["ProcessName"] for it in answer["Processes"])


def arn_facts(answer):
    return sorted(key for key in answer if key != "ResponseMetadata")


def engine_facts(answer):
    return sorted({it["Engine"] for it in answer["DBEngineVersions"]})


def vpc_facts(answer):
    vpc = answer["Vpcs"][0]
    return {key: vpc[key] for key in ["CidrBlock", "InstanceTenancy", "IsDefault", "State"]}


def encryption_facts(answer):
    return answer["EbsEncryptionByDefault"]


STATIC = [
    ("ec2", "describe_regions", {}, region_facts),
    ("ec2", "describe_availability_zones", {}, zone_facts),
    ("ec2", "describe_account_attributes", {}, attribute_facts),
    (
        "ec2",
        "describe_instance_types",
        {"InstanceTypes": ["t3.small", "t3.medium", "m5.large", "c5.xlarge"]},
        type_facts,
    ),
    (
        "ec2",
        "describe_instance_type_offerings",
        {
            "LocationType": "availability-zone",
            "Filters": [{"Name": "instance-type", "Values": ["t3.small"]}],
        },
        offering_facts,
    ),
    (
        "ec2",
        "describe_vpcs",
        {"Filters": [{"Name": "is-default", "Values": ["true"]}]},
        vpc_facts,
    ),
    ("ec2", "get_ebs_encryption_by_default", {}, encryption_facts),
    ("sts", "get_caller_identity", {}, arn_facts),
    ("autoscaling", "describe_adjustment_types", {}, adjustment_facts),
    ("autoscaling", "describe_termination_policy_types", {}, policy_facts),
    ("autoscaling", "describe_lifecycle_hook_types", {}, hook_facts),
    ("autoscaling", "describe_scaling_process_types", {}, process_facts),
    ("rds", "describe_db_engine_versions", {"Engine": "postgres"}, engine_facts),
]

# (service, call) -> why the answers differ.
NO_MOTO = "moto does not implement the call"
DIFFERENCES = {
    ("ec2", "describe_instance_types"): (
        "CurrentGeneration: AWS's list of previous generations has neither m5 nor c5; moto says "
        "false for both"
    ),
    ("ec2", "describe_vpcs"): (
        "CidrBlock: the lab's default VPC is inside 127.0.0.0/8, so that every address can be bound"
    ),
    ("autoscaling", "describe_adjustment_types"): NO_MOTO,
    ("autoscaling", "describe_termination_policy_types"): NO_MOTO,
    ("autoscaling", "describe_lifecycle_hook_types"): NO_MOTO,
    ("autoscaling", "describe_scaling_process_types"): NO_MOTO,
    ("rds", "describe_db_engine_versions"): NO_MOTO,
}


@pytest.mark.parametrize(
    ("service", "call", "arguments", "facts"), STATIC, ids=[f"{row[0]}-{row[1]}" for row in STATIC]
)
def test_static_answers(lab, service, call, arguments, facts):
    ours = facts(getattr(lab.client(service), call)(**arguments))
    with moto.mock_aws():
        client = boto3.client(service, region_name="us-east-1", **NOBODY)
        try:
            theirs = facts(getattr(client, call)(**arguments))
        except NotImplementedError:
            theirs = None
    reason = DIFFERENCES.get((service, call))
    assert (theirs is None) == (reason == NO_MOTO), "moto has the call or has it no more"
    if reason is None:
        assert ours == theirs
    else:
        assert ours != theirs, f"no longer differs: {reason}"


# Calls that both refuse: (service, call, arguments).
REFUSED = [
    ("ec2", "describe_instances", {"InstanceIds": ["i-0123456789abcdef0"], "MaxResults": 5}),
    ("ec2", "deregister_image", {"ImageId": "ami-0123456789abcdef0"}),
]


@pytest.mark.parametrize(
    ("service", "call", "arguments"), REFUSED, ids=[f"{row[0]}-{row[1]}" for row in REFUSED]
)
def test_refusals(lab, service, call, arguments):
    def error(client):
        with pytest.raises(botocore.exceptions.ClientError) as caught:
            getattr(client, call)(**arguments)
        return caught.value.response["Error"]

    ours = error(lab.client(service))
    with moto.mock_aws():
        theirs = error(boto3.client(service, region_name="us-east-1", **NOBODY))
    assert (ours["Code"], ours["Message"]) == (theirs["Code"], theirs["Message"])
