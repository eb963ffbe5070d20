"""Services that the lab does not have, each in the protocol that its client speaks.

A client reads the error's code from where its protocol has it, so reading it at all shows the form.
"""

import boto3
import botocore.config
import botocore.exceptions
import pytest

from conftest import REGION

JSON_10, JSON_11 = "application/x-amz-json-1.0", "application/x-amz-json-1.1"
UNKNOWN = "UnknownOperationException"

# Service, a call of it, its arguments, protocol, code, status, content type.
ABSENT = [
    ("sns", "list_topics", {}, "query", "InvalidAction", 400, "text/xml"),
    ("cloudformation", "list_stacks", {}, "query", "InvalidAction", 400, "text/xml"),
    ("sqs", "list_queues", {}, "json", UNKNOWN, 400, JSON_10),
    ("dynamodb", "list_tables", {}, "json", UNKNOWN, 400, JSON_10),
    ("logs", "describe_log_groups", {}, "json", UNKNOWN, 400, JSON_11),
    ("ssm", "describe_parameters", {}, "json", UNKNOWN, 400, JSON_11),
    ("lambda", "list_functions", {}, "rest-json", UNKNOWN, 404, "application/json"),
    ("eks", "create_cluster", None, "rest-json", UNKNOWN, 404, "application/json"),
    ("route53", "list_hosted_zones", {}, "rest-xml", UNKNOWN, 404, "text/xml"),
    ("cloudfront", "list_distributions", {}, "rest-xml", UNKNOWN, 404, "text/xml"),
]
CLUSTER = {"name": "x", "roleArn": "arn:aws:iam::1:role/x", "resourcesVpcConfig": {"subnetIds": []}}


@pytest.mark.parametrize(
    ("service", "call", "arguments", "protocol", "code", "status", "kind"),
    ABSENT,
    ids=[row[0] for row in ABSENT],
)
def test_each_in_its_own_protocol(lab, service, call, arguments, protocol, code, status, kind):
    client = boto3.client(
        service,
        region_name=REGION,
        endpoint_url=lab.endpoint,
        aws_access_key_id=lab.ready["access_key_id"],
        aws_secret_access_key=lab.ready["secret_access_key"],
        config=botocore.config.Config(retries={"total_max_attempts": 1}),
    )
    assert client.meta.service_model.metadata["protocol"] == protocol, "botocore speaks another one now"
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        getattr(client, call)(**(CLUSTER if arguments is None else arguments))
    answer = caught.value.response
    assert answer["Error"]["Code"] == code, answer
    name = client.meta.service_model.signing_name
    assert answer["Error"]["Message"] == f"The lab has no service {name}.", answer
    metadata = answer["ResponseMetadata"]
    assert metadata["HTTPStatusCode"] == status
    assert metadata["HTTPHeaders"]["content-type"] == kind
    assert metadata["RequestId"]
