"""The checker itself: answers that are right pass, each kind of fault is found."""

import json

import botocore.session
import cbor2
import pytest

import strict

SESSION = botocore.session.Session()
HEADERS = {"x-amzn-requestid": "1", "content-type": "text/xml"}
EC2 = "http://ec2.amazonaws.com/doc/2016-11-15/"
STS = "https://sts.amazonaws.com/doc/2011-06-15/"


def check(service, action, body, status=200, **headers):
    operation = SESSION.get_service_model(service).operation_model(action)
    return strict.check(operation, status, {**HEADERS, **headers}, body)


def regions(inner, request_id="<requestId>1</requestId>"):
    text = f'<DescribeRegionsResponse xmlns="{EC2}">{request_id}{inner}</DescribeRegionsResponse>'
    return check("ec2", "DescribeRegions", text.encode())


def identity(inner, wrapper="GetCallerIdentityResult"):
    meta = "<ResponseMetadata><RequestId>1</RequestId></ResponseMetadata>"
    outer = "GetCallerIdentityResponse"
    text = f'<{outer} xmlns="{STS}"><{wrapper}>{inner}</{wrapper}>{meta}</{outer}>'
    return check("sts", "GetCallerIdentity", text.encode())


def alarms(value, cbor=False):
    kind = "application/cbor" if cbor else "application/x-amz-json-1.0"
    headers = {"content-type": kind, "smithy-protocol": "rpc-v2-cbor"}
    body = cbor2.dumps(value) if cbor else json.dumps(value).encode()
    return check("cloudwatch", "DescribeAlarms", body, **headers)


def secret(value, version="1.1"):
    kind = {"content-type": f"application/x-amz-json-{version}"}
    return check("secretsmanager", "GetSecretValue", json.dumps(value).encode(), **kind)


def failure(code, status, side="Sender"):
    text = f"<Error><Type>{side}</Type><Code>{code}</Code><Message>m</Message></Error>"
    text = f"<ErrorResponse>{text}<RequestId>1</RequestId></ErrorResponse>"
    return check("rds", "DescribeDBInstances", text.encode(), status)


def test_right_answers():
    item = "<item><regionName>us-east-1</regionName></item>"
    assert regions(f"<regionInfo>{item}</regionInfo>") == []
    assert identity("<Account>1</Account>") == []
    assert alarms({"MetricAlarms": [{"Threshold": 1.5, "StateValue": "OK"}]}) == []
    assert alarms({"MetricAlarms": []}, cbor=True) == []
    assert failure("DBInstanceNotFound", 404) == []
    assert secret({"Name": "n", "SecretBinary": "AAE="}) == []


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (lambda: regions("<bogus/>"), "unknown member bogus"),
        (lambda: regions("<regionInfo><member/></regionInfo>"), "list item member"),
        (lambda: regions("", request_id=""), "no requestId"),
        (lambda: regions("<regionInfo>"), "cannot be read"),
        (lambda: identity("<Account>1</Account>", wrapper="Result"), "instead of"),
        (lambda: identity("<Account>1</Account><Account>2</Account>"), "twice"),
        (lambda: identity("<Account><x/></Account>"), "elements in a string"),
        (lambda: alarms({"MetricAlarms": [{"Threshold": "1"}]}), "is no double"),
        (lambda: alarms({"MetricAlarms": [{"StateValue": "bad"}]}), "is not one of"),
        (lambda: alarms({"MetricAlarms": None}), "null for MetricAlarms"),
        (lambda: alarms({"MetricAlarms": [{"StateUpdatedTimestamp": 1}]}, cbor=True), "timestamp"),
        (lambda: secret({"Name": ""}), "below the minimum"),
        (lambda: secret({"SecretBinary": "no base"}), "no Base64"),
        (lambda: secret({}, version="1.0"), "content type"),
        (lambda: failure("InternalFailure", 500), "error Type 'Sender'"),
        (lambda: failure("NoSuchCode", 400), "is not in the model"),
        (lambda: failure("DBInstanceAlreadyExists", 400), "is not documented"),
        (lambda: failure("DBInstanceNotFound", 400), "the model says 404"),
    ],
)
def test_faults_are_found(found, words):
    assert words in "; ".join(found())
