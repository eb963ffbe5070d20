"""Throttling, server errors and wrong signatures, in each service's own form and protocol."""

import time

import boto3
import botocore.config
import botocore.exceptions
import pytest

from conftest import REGION

READS = {
    "acm": ("acm", "list_certificates", "ListCertificates"),
    "autoscaling": ("autoscaling", "describe_auto_scaling_groups", "DescribeAutoScalingGroups"),
    "cloudwatch": ("monitoring", "describe_alarms", "DescribeAlarms"),
    "ec2": ("ec2", "describe_vpcs", "DescribeVpcs"),
    "elbv2": ("elasticloadbalancing", "describe_load_balancers", "DescribeLoadBalancers"),
    "iam": ("iam", "list_roles", "ListRoles"),
    "rds": ("rds", "describe_db_instances", "DescribeDBInstances"),
    "secretsmanager": ("secretsmanager", "list_secrets", "ListSecrets"),
    "sts": ("sts", "get_caller_identity", "GetCallerIdentity"),
}


def fault(lab, service, effect):
    scope, call, action = READS[service]
    lab.control("POST", "faults", {"service": scope, "action": action, "effect": effect})
    return getattr(lab.client(service), call)


def throttled(service):
    """The code of each service for too many calls, and its status."""
    if service == "ec2":
        return "RequestLimitExceeded", 503
    late = {"acm", "elbv2", "rds", "secretsmanager"}
    return ("ThrottlingException" if service in late else "Throttling"), 400


@pytest.mark.parametrize("service", READS)
def test_throttling(lab, refused, service):
    code, status = throttled(service)
    refused(code, fault(lab, service, "throttle"), status=status)


# A read, the size of its bucket, and another one that takes from the same bucket or, on EC2, from its own.
BUCKETS = {
    "ec2": ("describe_regions", 100, "describe_vpcs", False),
    "elbv2": ("describe_target_groups", 40, "describe_load_balancers", True),
    "rds": ("describe_db_subnet_groups", 300, "describe_db_instances", True),
}


@pytest.mark.parametrize("service", BUCKETS)
def test_token_buckets(lab, refused, service):
    read, size, sibling, shared = BUCKETS[service]
    client = lab.client(service)
    lab.control("POST", "speed", {"speed": 0.01})
    try:
        lab.control("DELETE", "calls")
        passed = 0
        with pytest.raises(botocore.exceptions.ClientError) as caught:
            for _ in range(size + 5):
                getattr(client, read)()
                passed += 1
        assert size - 1 <= passed <= size + 1
        code, status = throttled(service)
        assert caught.value.response["Error"]["Code"] == code
        refused(code, getattr(client, read), status=status)
        if shared:
            refused(code, getattr(client, sibling), status=status)
        else:
            getattr(client, sibling)()
        buckets = lab.control("GET", "calls")["buckets"]
        assert [bucket["size"] for bucket in buckets if bucket["refused"]] == [size]
    finally:
        lab.control("POST", "speed", {"speed": 600})
    # It fills by the lab's clock: six hundred times as fast as on AWS.
    deadline = time.monotonic() + 20
    while True:
        try:
            getattr(client, read)()
            break
        except botocore.exceptions.ClientError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.parametrize("service", READS)
def test_server_errors(lab, refused, service):
    code = "InternalError" if service == "ec2" else "InternalFailure"
    refused(code, fault(lab, service, "internal"), status=500)


@pytest.mark.parametrize("service", READS)
@pytest.mark.parametrize("key", ["known", "unknown"])
def test_wrong_signatures(lab, refused, service, key):
    session = boto3.Session(
        aws_access_key_id=lab.ready["access_key_id"] if key == "known" else "AKIAUNKNOWN000000000",
        aws_secret_access_key="wrong",
        region_name=REGION,
    )
    session.events.register("before-parse", lab.watch)
    config = botocore.config.Config(retries={"total_max_attempts": 1})
    client = session.client(service, endpoint_url=lab.endpoint, config=config)
    codes = {
        ("ec2", "unknown"): "AuthFailure",
        ("acm", "unknown"): "UnrecognizedClientException",
        ("secretsmanager", "unknown"): "UnrecognizedClientException",
        ("acm", "known"): "InvalidSignatureException",
        ("secretsmanager", "known"): "InvalidSignatureException",
    }
    default = "SignatureDoesNotMatch" if key == "known" else "InvalidClientTokenId"
    refused(codes.get((service, key), default), getattr(client, READS[service][1]))
