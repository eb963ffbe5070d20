"""The AWS CLI against the lab, as a person at a terminal would use it."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

AWS = pathlib.Path(sys.executable).parent / "aws"


@pytest.fixture(scope="session")
def aws(lab, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "AWS_ACCESS_KEY_ID": lab.ready["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": lab.ready["secret_access_key"],
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
    }

    def call(*arguments):
        command = [str(AWS), "--endpoint-url", lab.endpoint, "--output", "json", *arguments]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    return call


@pytest.mark.parametrize(
    ("arguments", "member"),
    [
        (["sts", "get-caller-identity"], "Account"),
        (["ec2", "describe-instances"], "Reservations"),
        (["ec2", "describe-images", "--owners", "self"], "Images"),
        (["autoscaling", "describe-auto-scaling-groups"], "AutoScalingGroups"),
        (["rds", "describe-db-instances"], "DBInstances"),
        (["elbv2", "describe-load-balancers"], "LoadBalancers"),
        (["cloudwatch", "describe-alarms"], "MetricAlarms"),
        (["secretsmanager", "list-secrets"], "SecretList"),
        (["acm", "list-certificates"], "CertificateSummaryList"),
        (["iam", "list-roles"], "Roles"),
    ],
    ids=lambda it: "-".join(it) if isinstance(it, list) else "",
)
def test_reads(aws, arguments, member):
    done = aws(*arguments)
    assert done.returncode == 0, done.stderr
    assert member in json.loads(done.stdout)


def test_a_launch_template(aws, image):
    name = ["--launch-template-name", "by-cli"]
    data = json.dumps({"ImageId": image, "InstanceType": "t3.small"})
    made = aws("ec2", "create-launch-template", *name, "--launch-template-data", data)
    assert made.returncode == 0, made.stderr
    gone = aws("ec2", "delete-launch-template", *name)
    assert gone.returncode == 0, gone.stderr


def test_an_error_is_told(aws):
    done = aws("rds", "describe-db-instances", "--db-instance-identifier", "nope")
    assert done.returncode != 0
    assert "(DBInstanceNotFound)" in done.stderr
