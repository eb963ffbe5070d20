"""Throttling, server errors and wrong signatures, in each service's own form and protocol."""

import boto3
import botocore.config
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


@pytest.mark.parametrize("service", READS)
def test_throttling(lab, refused, service):
    code, status = ("RequestLimitExceeded", 503) if service == "ec2" else ("Throttling", 400)
    refused(code, fault(lab, service, "throttle"), status=status)


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
