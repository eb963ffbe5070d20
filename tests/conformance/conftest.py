"""Starts one lab for the whole run and gives clients whose every raw answer is checked.

    test ──► boto3 client ──► lab (a process of its own, 600 lab seconds a second)
                  │ before-parse: raw status, headers, body
                  └──► strict.check ──► a violation fails the test that caused it

LAB_BINARY names the lab's binary. Everything is on loopback; the lab ends with the run, by its pid.
"""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request

import boto3
import botocore.config
import botocore.exceptions
import botocore.session
import pytest

import strict

REGION = "us-east-1"
SECOND_REGION = "us-west-2"
# The port that says which 127.N.0.0/16 a lab under test has, as in the lab's own tests.
RESERVATION = 59_998
# Under this name an image is Debian's, and public.
PUBLIC_IMAGE = "debian-12-amd64-20260101-0000"
AGENT = "#!/bin/sh\necho agent started\necho $AWS_CONTAINER_CREDENTIALS_FULL_URI\nexec sleep 3600\n"


SOURCES = pathlib.Path(__file__).parent.parent / "lab" / "src"


def outdated(source):
    """Whether LAB_BINARY was built before a file of tests/lab/src was last changed."""
    binary = os.environ.get("LAB_BINARY")
    if not binary or not os.path.exists(binary):
        pytest.exit("LAB_BINARY must name the lab's binary, e.g. target/debug/lab", returncode=2)
    built = os.stat(binary).st_mtime
    return built < (SOURCES / source).stat().st_mtime


class Lab:
    """The running lab, and what was asked of it in this run."""

    def __init__(self, ready):
        self.ready = ready
        self.endpoint = ready["endpoint"]
        self.violations = []
        self.succeeded = set()
        self.clients = {}

    def session(self):
        core = botocore.session.Session()
        core.register("before-parse", self.watch)
        return boto3.Session(
            aws_access_key_id=self.ready["access_key_id"],
            aws_secret_access_key=self.ready["secret_access_key"],
            region_name=REGION,
            botocore_session=core,
        )

    def watch(self, response_dict, operation_model, **_):
        status = response_dict["status_code"]
        found = strict.check(
            operation_model, status, response_dict["headers"], response_dict["body"]
        )
        self.violations.extend(found)
        if status < 300:
            name = operation_model.service_model.service_name
            self.succeeded.add((name, operation_model.name))

    def client(self, service, region=REGION):
        key = (service, region)
        if key not in self.clients:
            self.clients[key] = self.new_client(service, region)
        return self.clients[key]

    def new_client(self, service, region=REGION, **more):
        config = botocore.config.Config(retries={"total_max_attempts": 1})
        return self.session().client(
            service, region_name=region, endpoint_url=self.endpoint, config=config, **more
        )

    def control(self, method, path, body=None):
        """Asks the lab itself, below /lab/."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.endpoint}/lab/{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


def reserve():
    """Two neighbouring 127.N.0.0/16 that no other test on this machine has, while the sockets live."""
    for octet in range(40, 248, 2):
        held = []
        try:
            for number in (octet, octet + 1):
                held.append(socket.create_server((f"127.{number}.255.254", RESERVATION)))
            return octet, held
        except OSError:
            for listener in held:
                listener.close()
    pytest.exit("more than a hundred labs run at once", returncode=2)


def start(directory, octet):
    """The lab's process and the line that it prints when it is ready."""
    binary = os.environ["LAB_BINARY"]
    tree = directory / "tree"
    (tree / "usr/bin").mkdir(parents=True)
    agent = tree / "usr/bin/mattermost-agent"
    agent.write_text(AGENT)
    agent.chmod(0o755)
    command = [binary, "run", "--directory", str(directory / "lab"), "--listen", "127.0.0.1:0"]
    command += ["--speed", "600", "--octet", str(octet), "--instance-profile", "node"]
    command += ["--image", f"base={tree}", "--image", f"{PUBLIC_IMAGE}={tree}"]
    with (directory / "lab.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
    line = process.stdout.readline()
    if not line:
        process.wait(10)
        pytest.exit(f"the lab did not start: {(directory / 'lab.log').read_text()}", returncode=2)
    return process, json.loads(line)


@pytest.fixture(scope="session")
def lab():
    directory = pathlib.Path(tempfile.mkdtemp(prefix="lab-conformance-"))
    directory.chmod(0o755)  # PostgreSQL runs as a user of its own below it.
    octet, held = reserve()
    process, ready = start(directory, octet)
    try:
        yield Lab(ready)
        assert process.poll() is None, f"the lab ended: {(directory / 'lab.log').read_text()[-4000:]}"
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for listener in held:
            listener.close()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(autouse=True)
def conforms(request):
    """Fails a test during which an answer went against botocore's models."""
    if "lab" not in request.fixturenames:
        yield
        return
    lab = request.getfixturevalue("lab")
    yield
    found, lab.violations = sorted(set(lab.violations)), []
    assert not found, "answers against the model:\n" + "\n".join(found)


@pytest.fixture(scope="session")
def ec2(lab):
    return lab.client("ec2")


@pytest.fixture(scope="session")
def elbv2(lab):
    return lab.client("elbv2")


@pytest.fixture(scope="session")
def network(ec2):
    """The default VPC, its subnets (one per zone) and its default security group."""
    vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    mine = [{"Name": "vpc-id", "Values": [vpc]}]
    default = [*mine, {"Name": "group-name", "Values": ["default"]}]
    subnets = ec2.describe_subnets(Filters=[*mine, {"Name": "default-for-az", "Values": ["true"]}])
    return {
        "vpc": vpc,
        "subnets": [subnet["SubnetId"] for subnet in subnets["Subnets"]],
        "group": ec2.describe_security_groups(Filters=default)["SecurityGroups"][0]["GroupId"],
    }


@pytest.fixture(scope="session")
def image(lab):
    return lab.ready["images"]["base"]


@pytest.fixture(scope="session")
def refused():
    """Calls and expects an error code."""

    def call(code, function, status=None, **arguments):
        with pytest.raises(botocore.exceptions.ClientError) as caught:
            function(**arguments)
        answer = caught.value.response
        assert answer["Error"]["Code"] == code, answer
        if status is not None:
            assert answer["ResponseMetadata"]["HTTPStatusCode"] == status, answer
        return answer

    return call


@pytest.fixture(scope="session")
def until():
    """Waits for a condition that no waiter of botocore's waits for."""

    def wait(condition, what, seconds=40):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"{what} did not come true within {seconds} s"
            time.sleep(0.1)

    return wait


@pytest.fixture(scope="session")
def wait():
    """One of botocore's waiters as it is, asking more often because the lab's clock runs faster."""

    def call(client, name, **arguments):
        config = {"Delay": 0.25, "MaxAttempts": 240}
        client.get_waiter(name).wait(WaiterConfig=config, **arguments)

    return call


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A certificate of its own authority and its key, as PEM bytes."""
    directory = tmp_path_factory.mktemp("certificate")
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "30", "-subj", "/CN=import.example.com"]
    command += ["-addext", "subjectAltName=DNS:import.example.com"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate.read_bytes(), key.read_bytes()
