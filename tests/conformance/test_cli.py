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


def test_a_profile_that_takes_a_role(aws, lab, tmp_path):
    """What the credential chain of every AWS tool does with `role_arn`."""
    account = json.loads(aws("sts", "get-caller-identity").stdout)["Account"]
    trust = {
        "Version": "2012-10-17",
        "Statement": {"Effect": "Allow", "Principal": {"AWS": account}, "Action": "sts:AssumeRole"},
    }
    role = ["--role-name", "by-profile"]
    made = aws("iam", "create-role", *role, "--assume-role-policy-document", json.dumps(trust))
    assert made.returncode == 0, made.stderr
    config = tmp_path / "config"
    config.write_text(
        f"[profile by-profile]\nrole_arn = arn:aws:iam::{account}:role/by-profile\n"
        "credential_source = Environment\nregion = us-east-1\n"
    )
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "AWS_CONFIG_FILE": str(config),
        "AWS_ENDPOINT_URL": lab.endpoint,
        "AWS_ACCESS_KEY_ID": lab.ready["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": lab.ready["secret_access_key"],
    }
    command = [str(AWS), "--profile", "by-profile", "--output", "json", "sts", "get-caller-identity"]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert ":assumed-role/by-profile/" in json.loads(done.stdout)["Arn"]
    gone = aws("iam", "delete-role", *role)
    assert gone.returncode == 0, gone.stderr
