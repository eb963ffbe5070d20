"""S3 by clients as people use them: the AWS CLI's `s3` commands, MinIO's client, and a process on a node."""

import datetime
import io
import json
import os
import urllib.error
import urllib.request

import minio
import pytest
from minio.commonconfig import CopySource
from minio.error import S3Error
from minio.versioningconfig import ENABLED, VersioningConfig

from conftest import REGION, SECOND_REGION
from test_cli import aws  # noqa: F401  (a fixture)

MIB = 1 << 20


@pytest.fixture
def client(lab):
    def make(region=REGION, **more):
        return minio.Minio(
            lab.endpoint.removeprefix("http://"),
            access_key=lab.ready["access_key_id"],
            secret_key=lab.ready["secret_access_key"],
            secure=False,
            region=region,
            **more,
        )

    return make


def test_the_cli_copies_and_syncs(aws, tmp_path):  # noqa: F811
    def run(*arguments):
        done = aws("s3", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    here, back = tmp_path / "here", tmp_path / "back"
    (here / "folder").mkdir(parents=True)
    files = {"small.txt": b"small", "folder/a b.txt": b"in a folder", "large.bin": os.urandom(20 * MIB)}
    for name, content in files.items():
        (here / name).write_bytes(content)
    run("mb", "s3://by-cli")
    run("sync", str(here), "s3://by-cli/files")
    assert run("sync", str(here), "s3://by-cli/files") == "", "nothing to do"
    run("sync", "s3://by-cli/files", str(back))
    for name, content in files.items():
        assert (back / name).read_bytes() == content, name
    run("cp", "s3://by-cli/files/large.bin", "s3://by-cli/copied.bin")
    assert "folder/a b.txt" in run("ls", "--recursive", "s3://by-cli")
    run("mv", "s3://by-cli/copied.bin", str(tmp_path / "moved"))
    assert (tmp_path / "moved").read_bytes() == files["large.bin"]
    assert aws("s3", "rb", "s3://by-cli").returncode != 0, "it is not empty"
    run("rm", "s3://by-cli/files/small.txt")
    run("rb", "--force", "s3://by-cli")
    assert "by-cli" not in run("ls")


def test_minio_in_one_region(client):
    one = client()
    one.make_bucket("by-minio")
    one.set_bucket_versioning("by-minio", VersioningConfig(ENABLED))
    assert one.bucket_exists("by-minio") and not one.bucket_exists("by-nobody")
    body = os.urandom(12 * MIB)
    one.put_object("by-minio", "big", io.BytesIO(body), len(body), part_size=5 * MIB)
    answer = one.get_object("by-minio", "big")
    assert answer.read() == body
    answer.close()
    one.put_object("by-minio", "unknown", io.BytesIO(body), -1, part_size=5 * MIB)
    assert one.stat_object("by-minio", "unknown").size == len(body)
    one.put_object("by-minio", "a/b ü", io.BytesIO(b"small"), 5, metadata={"who": "me"})
    found = one.stat_object("by-minio", "a/b ü")
    assert (found.size, found.metadata["x-amz-meta-who"]) == (5, "me")
    assert one.copy_object("by-minio", "copy", CopySource("by-minio", "a/b ü")).version_id
    names = [it.object_name for it in one.list_objects("by-minio", recursive=True)]
    assert names == ["a/b ü", "big", "copy", "unknown"]
    url = one.presigned_get_object("by-minio", "copy", expires=datetime.timedelta(minutes=1))
    assert urllib.request.urlopen(url).read() == b"small"
    with pytest.raises(S3Error) as caught:
        one.get_object("by-minio", "missing")
    assert caught.value.code == "NoSuchKey"
    one.remove_object("by-minio", "big")
    listed = list(one.list_objects("by-minio", recursive=True, include_version=True))
    assert {it.is_delete_marker for it in listed if it.object_name == "big"} == {True, False}
    for it in listed:
        one.remove_object("by-minio", it.object_name, version_id=it.version_id)
    one.remove_bucket("by-minio")


def test_minio_finds_the_region_by_itself(client):
    west = client(SECOND_REGION)
    west.make_bucket("minio-west", SECOND_REGION)
    lost = client(region=None)
    lost.put_object("minio-west", "a", io.BytesIO(b"a"), 1)
    assert lost.stat_object("minio-west", "a").size == 1
    west.remove_object("minio-west", "a")
    west.remove_bucket("minio-west")


@pytest.fixture
def node(lab, ec2, image, until):
    """An instance whose role may use one bucket, and the address of its container credentials."""
    statements = [
        {
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
            "Resource": "arn:aws:s3:::of-the-node/chat/*",
        },
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::of-the-node"},
    ]
    document = json.dumps({"Version": "2012-10-17", "Statement": statements})
    inline = {"RoleName": "node", "PolicyName": "files"}
    lab.client("iam").put_role_policy(**inline, PolicyDocument=document)
    lab.client("s3").create_bucket(Bucket="of-the-node")
    one = ec2.run_instances(
        ImageId=image,
        MinCount=1,
        MaxCount=1,
        InstanceType="t3.small",
        IamInstanceProfile={"Name": "node"},
    )["Instances"][0]["InstanceId"]

    def address():
        console = ec2.get_console_output(InstanceId=one).get("Output", "")
        return next((line for line in console.splitlines() if line.startswith("http://127.")), None)

    until(lambda: address() is not None, "an address of credentials")
    yield address()
    ec2.terminate_instances(InstanceIds=[one])
    lab.client("s3").delete_bucket(Bucket="of-the-node")
    lab.client("iam").delete_role_policy(**inline)


def test_a_process_on_a_node_finds_its_role(lab, node, aws, client, monkeypatch, tmp_path):  # noqa: F811
    shown = json.load(urllib.request.urlopen(node))
    assert {"AccessKeyId", "SecretAccessKey", "Token", "Expiration"} <= set(shown)
    for wrong in (node[:-1], node.rpartition("/")[0] + "/"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(wrong)
        assert caught.value.code == 404
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", node)
    provider = minio.credentials.IamAwsProvider()
    bare = minio.Minio(
        lab.endpoint.removeprefix("http://"), credentials=provider, secure=False, region=REGION
    )
    bare.put_object("of-the-node", "chat/a", io.BytesIO(b"a"), 1)
    assert [it.object_name for it in bare.list_objects("of-the-node", "chat/")] == ["chat/a"]
    with pytest.raises(S3Error) as caught:
        bare.put_object("of-the-node", "other/a", io.BytesIO(b"a"), 1)
    assert caught.value.code == "AccessDenied"
    with pytest.raises(S3Error) as caught:
        bare.remove_bucket("of-the-node")
    assert caught.value.code == "AccessDenied"
    # botocore takes the same address.
    import botocore.session

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    session = botocore.session.Session()
    sts = session.create_client("sts", region_name=REGION, endpoint_url=lab.endpoint)
    assert ":assumed-role/node/i-" in sts.get_caller_identity()["Arn"]
    bare.remove_object("of-the-node", "chat/a")
