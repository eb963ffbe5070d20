"""S3: buckets, settings, objects, versions, life-cycle, policies, by boto3."""

import base64
import json
import os
import re
import urllib.error
import urllib.request
import zlib

import boto3
import botocore.config
import pytest

from conftest import REGION, SECOND_REGION, Lab, reserve, start

ACCOUNT = "123456789012"
MIB = 1 << 20


@pytest.fixture(scope="session")
def s3(lab):
    return lab.client("s3")


@pytest.fixture(scope="session")
def made(lab, s3):
    """Makes buckets and removes them with all that is in them."""
    names = []

    def make(name, client=s3, **arguments):
        client.create_bucket(Bucket=name, **arguments)
        names.append((name, client))
        return {"Bucket": name}

    yield make
    for name, client in names:
        empty(client, name)
        client.delete_bucket(Bucket=name)
    lab.violations.clear()


def empty(client, name):
    try:
        client.delete_bucket_policy(Bucket=name)
    except client.exceptions.NoSuchBucket:
        return
    for page in client.get_paginator("list_object_versions").paginate(Bucket=name):
        found = page.get("Versions", []) + page.get("DeleteMarkers", [])
        keys = [{"Key": it["Key"], "VersionId": it["VersionId"]} for it in found]
        if keys:
            client.delete_objects(Bucket=name, Delete={"Objects": keys})


@pytest.fixture
def role(lab):
    """A client with a role's credentials and this inline policy."""
    iam, sts = lab.client("iam"), lab.client("sts")
    trust = {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}
    trust = {"Version": "2012-10-17", "Statement": trust}
    made = iam.create_role(RoleName="filer", AssumeRolePolicyDocument=json.dumps(trust))
    taken = sts.assume_role(RoleArn=made["Role"]["Arn"], RoleSessionName="conformance")["Credentials"]

    def client(statements, service="s3"):
        document = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam.put_role_policy(RoleName="filer", PolicyName="inline", PolicyDocument=document)
        client = boto3.client(
            service,
            endpoint_url=lab.endpoint,
            region_name=REGION,
            aws_access_key_id=taken["AccessKeyId"],
            aws_secret_access_key=taken["SecretAccessKey"],
            aws_session_token=taken["SessionToken"],
            config=botocore.config.Config(
                retries={"total_max_attempts": 1},
                signature_version="s3v4" if service == "s3" else None,
            ),
        )
        client.meta.events.register("before-parse", lab.watch)
        return client

    yield client
    iam.delete_role_policy(RoleName="filer", PolicyName="inline")
    iam.delete_role(RoleName="filer")


def policy(bucket, **statement):
    resources = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    statement = {"Principal": "*", "Resource": resources, **statement}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def test_buckets_and_their_names(lab, s3, made, refused):
    tags = [{"Key": "stack", "Value": "chat"}]
    bucket = made("names-east", CreateBucketConfiguration={"Tags": tags})
    assert s3.get_bucket_tagging(**bucket)["TagSet"] == tags
    s3.create_bucket(**bucket)  # One's own again is nothing in us-east-1.
    west = lab.client("s3", SECOND_REGION)
    constraint = {"CreateBucketConfiguration": {"LocationConstraint": SECOND_REGION}}
    other = made("names-west", west, **constraint)
    refused("BucketAlreadyOwnedByYou", west.create_bucket, 409, **other, **constraint)
    refused("IllegalLocationConstraintException", west.create_bucket, 400, Bucket="names-none")
    wrong = {"CreateBucketConfiguration": {"LocationConstraint": "moon-east-1"}}
    refused("InvalidLocationConstraint", s3.create_bucket, 400, Bucket="names-moon", **wrong)
    assert s3.get_bucket_location(**bucket)["LocationConstraint"] is None
    assert s3.get_bucket_location(**other)["LocationConstraint"] == SECOND_REGION
    assert s3.head_bucket(**bucket)["BucketRegion"] == REGION
    listed = s3.list_buckets(Prefix="names-")["Buckets"]
    assert {(it["Name"], it["BucketRegion"]) for it in listed} == {
        ("names-east", REGION),
        ("names-west", SECOND_REGION),
    }
    refused("NoSuchBucket", s3.list_objects_v2, 404, Bucket="names-nobody")
    refused("InvalidBucketName", s3.list_objects_v2, 400, Bucket="names..nobody")


def test_a_bucket_of_another_region(lab, s3, made):
    constraint = {"CreateBucketConfiguration": {"LocationConstraint": SECOND_REGION}}
    bucket = made("elsewhere", lab.client("s3", SECOND_REGION), **constraint)
    # Raw, since boto3 follows by itself.
    config = botocore.config.Config(signature_version="s3v4")
    signer = boto3.client(
        "s3",
        endpoint_url=lab.endpoint,
        region_name=REGION,
        aws_access_key_id=lab.ready["access_key_id"],
        aws_secret_access_key=lab.ready["secret_access_key"],
        config=config,
    )
    url = signer.generate_presigned_url("get_object", {**bucket, "Key": "a"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(url)
    assert caught.value.code == 301
    assert caught.value.headers["x-amz-bucket-region"] == SECOND_REGION
    assert b"<Code>PermanentRedirect</Code>" in caught.value.read()
    s3.put_object(**bucket, Key="a", Body=b"followed")
    assert s3.get_object(**bucket, Key="a")["Body"].read() == b"followed"


def test_names_of_others_and_names_that_are_held(lab, s3, made, refused):
    lab.control("POST", "s3/foreign", {"bucket": "somebody-elses"})
    other = {"Bucket": "somebody-elses"}
    refused("BucketAlreadyExists", s3.create_bucket, 409, **other)
    refused("AccessDenied", s3.get_bucket_location, 403, **other)
    refused("403", s3.head_bucket, 403, **other)
    lab.control("POST", "s3/names", {"held_for": 600})  # A second at this speed.
    s3.create_bucket(Bucket="held")
    s3.delete_bucket(Bucket="held")
    refused("OperationAborted", s3.create_bucket, 409, Bucket="held")
    lab.control("POST", "s3/names", {"held_for": 0})
    bucket = made("owned")
    s3.head_bucket(**bucket, ExpectedBucketOwner=ACCOUNT)
    wrong = {"ExpectedBucketOwner": "210987654321"}
    refused("AccessDenied", s3.get_bucket_tagging, 403, **bucket, **wrong)
    refused("AccessDenied", s3.put_object, 403, **bucket, **wrong, Key="a", Body=b"a")


def test_what_a_new_bucket_is_like(s3, made, refused):
    bucket = made("fresh")
    block = s3.get_public_access_block(**bucket)["PublicAccessBlockConfiguration"]
    assert block and all(block.values())
    rules = s3.get_bucket_ownership_controls(**bucket)["OwnershipControls"]["Rules"]
    assert rules == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    rule = s3.get_bucket_encryption(**bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    assert rule["BlockedEncryptionTypes"] == {"EncryptionType": ["SSE-C"]}
    assert "Status" not in s3.get_bucket_versioning(**bucket)
    for code, call in [
        ("NoSuchTagSet", s3.get_bucket_tagging),
        ("NoSuchLifecycleConfiguration", s3.get_bucket_lifecycle_configuration),
        ("NoSuchBucketPolicy", s3.get_bucket_policy),
        ("NoSuchBucketPolicy", s3.get_bucket_policy_status),
    ]:
        refused(code, call, 404, **bucket)
    refused("NotImplemented", s3.get_bucket_acl, 501, **bucket)
    key = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": b"k" * 32}
    refused("AccessDenied", s3.put_object, 403, **bucket, Key="a", **key)
    refused("AccessControlListNotSupported", s3.put_object, 400, **bucket, Key="a", ACL="public-read")


def test_settings_are_kept(s3, made, refused):
    bucket = made("settings")
    block = {"BlockPublicAcls": True, "IgnorePublicAcls": False}
    s3.put_public_access_block(**bucket, PublicAccessBlockConfiguration=block)
    shown = s3.get_public_access_block(**bucket)["PublicAccessBlockConfiguration"]
    assert (shown["BlockPublicAcls"], shown["RestrictPublicBuckets"]) == (True, False)
    s3.delete_public_access_block(**bucket)
    refused("NoSuchPublicAccessBlockConfiguration", s3.get_public_access_block, 404, **bucket)
    controls = {"Rules": [{"ObjectOwnership": "BucketOwnerPreferred"}]}
    s3.put_bucket_ownership_controls(**bucket, OwnershipControls=controls)
    assert s3.get_bucket_ownership_controls(**bucket)["OwnershipControls"] == controls
    s3.delete_bucket_ownership_controls(**bucket)
    refused("OwnershipControlsNotFoundError", s3.get_bucket_ownership_controls, 404, **bucket)
    rule = {
        "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"},
        "BucketKeyEnabled": True,
        "BlockedEncryptionTypes": {"EncryptionType": ["NONE"]},
    }
    rules = {"ServerSideEncryptionConfiguration": {"Rules": [rule]}}
    s3.put_bucket_encryption(**bucket, **rules)
    shown = s3.get_bucket_encryption(**bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert shown == [rule]
    s3.delete_bucket_encryption(**bucket)
    tags = [{"Key": "a", "Value": "b & c"}]
    s3.put_bucket_tagging(**bucket, Tagging={"TagSet": tags})
    assert s3.get_bucket_tagging(**bucket)["TagSet"] == tags
    reserved = {"TagSet": [{"Key": "aws:a", "Value": "b"}]}
    refused("InvalidTag", s3.put_bucket_tagging, 400, **bucket, Tagging=reserved)
    s3.delete_bucket_tagging(**bucket)
    refused("NoSuchTagSet", s3.get_bucket_tagging, 404, **bucket)


def test_objects(s3, made, refused):
    bucket = made("objects")
    key = {"Key": "a/b c+d ü&<.txt"}
    put = s3.put_object(
        **bucket,
        **key,
        Body=b"0123456789",
        ContentType="text/plain",
        CacheControl="no-cache",
        Metadata={"from": "here"},
        Tagging="one=1&two=2",
    )
    assert put["ETag"] == '"781e5e245d69b566979b86e28d23f2c7"'
    crc = base64.b64encode(zlib.crc32(b"0123456789").to_bytes(4, "big")).decode()
    assert put["ChecksumCRC32"] == crc
    got = s3.get_object(**bucket, **key)
    assert got["Body"].read() == b"0123456789"
    assert (got["ContentType"], got["CacheControl"]) == ("text/plain", "no-cache")
    assert (got["Metadata"], got["TagCount"]) == ({"from": "here"}, 2)
    assert "VersionId" not in got
    for wanted, bytes_ in [("bytes=2-4", b"234"), ("bytes=-3", b"789"), ("bytes=8-99", b"89")]:
        part = s3.get_object(**bucket, **key, Range=wanted)
        assert (part["Body"].read(), part["ResponseMetadata"]["HTTPStatusCode"]) == (bytes_, 206)
    refused("InvalidRange", s3.get_object, 416, **bucket, **key, Range="bytes=10-")
    head = s3.head_object(**bucket, **key, ChecksumMode="ENABLED")
    assert (head["ContentLength"], head["ChecksumCRC32"]) == (10, crc)
    refused("304", s3.head_object, 304, **bucket, **key, IfNoneMatch=put["ETag"])
    refused("PreconditionFailed", s3.get_object, 412, **bucket, **key, IfMatch='"other"')
    refused("PreconditionFailed", s3.put_object, 412, **bucket, **key, Body=b"", IfNoneMatch="*")
    assert [it["Value"] for it in s3.get_object_tagging(**bucket, **key)["TagSet"]] == ["1", "2"]
    s3.put_object_tagging(**bucket, **key, Tagging={"TagSet": [{"Key": "x", "Value": "y"}]})
    s3.delete_object_tagging(**bucket, **key)
    assert s3.get_object_tagging(**bucket, **key)["TagSet"] == []
    source = {"CopySource": {**bucket, **key}}
    copied = s3.copy_object(**bucket, Key="copy", **source)["CopyObjectResult"]
    assert copied["ETag"] == put["ETag"]
    assert s3.head_object(**bucket, Key="copy")["Metadata"] == {"from": "here"}
    new = {"MetadataDirective": "REPLACE", "Metadata": {"b": "c"}}
    s3.copy_object(**bucket, Key="copy", **source, **new)
    assert s3.head_object(**bucket, Key="copy")["Metadata"] == {"b": "c"}
    refused("InvalidRequest", s3.copy_object, 400, **bucket, **key, **source)
    refused("BadDigest", s3.put_object, 400, **bucket, Key="bad", Body=b"a", ChecksumCRC32="AAAAAA==")
    refused("NoSuchKey", s3.get_object, 404, **bucket, Key="bad")
    refused("BucketNotEmpty", s3.delete_bucket, 409, **bucket)
    s3.delete_object(**bucket, Key="never there")
    gone = s3.delete_objects(**bucket, Delete={"Objects": [key, {"Key": "copy"}]})
    assert len(gone["Deleted"]) == 2
    assert s3.list_objects_v2(**bucket)["KeyCount"] == 0


def test_lists(s3, made):
    bucket = made("lists")
    keys = [f"{folder}/{number}" for folder in "ab" for number in range(4)] + ["c", "d e"]
    for key in keys:
        s3.put_object(**bucket, Key=key, Body=key.encode())
    for call in ("list_objects_v2", "list_objects", "list_object_versions"):
        pages = list(s3.get_paginator(call).paginate(**bucket, PaginationConfig={"PageSize": 3}))
        found = [it["Key"] for page in pages for it in page.get("Contents", page.get("Versions", []))]
        assert (found, len(pages)) == (keys, 4), call
        folders = s3.get_paginator(call).paginate(
            **bucket, Delimiter="/", PaginationConfig={"PageSize": 1}
        )
        folders = [it["Prefix"] for page in folders for it in page.get("CommonPrefixes", [])]
        assert folders == ["a/", "b/"], call
    below = s3.list_objects_v2(**bucket, Prefix="a/", Delimiter="/", StartAfter="a/1")
    assert [it["Key"] for it in below["Contents"]] == ["a/2", "a/3"]


def test_versions(s3, made, refused):
    bucket, key = made("versions"), {"Key": "k"}
    s3.put_object(**bucket, **key, Body=b"before")
    s3.put_bucket_versioning(**bucket, VersioningConfiguration={"Status": "Enabled"})
    assert s3.get_bucket_versioning(**bucket)["Status"] == "Enabled"
    first = s3.put_object(**bucket, **key, Body=b"first")["VersionId"]
    second = s3.put_object(**bucket, **key, Body=b"second")["VersionId"]
    marker = s3.delete_object(**bucket, **key)
    assert marker["DeleteMarker"]
    refused("NoSuchKey", s3.get_object, 404, **bucket, **key)
    version = {"VersionId": marker["VersionId"]}
    refused("MethodNotAllowed", s3.get_object, 405, **bucket, **key, **version)
    listed = s3.list_object_versions(**bucket)
    assert [it["VersionId"] for it in listed["Versions"]] == [second, first, "null"]
    assert listed["DeleteMarkers"][0]["IsLatest"]
    assert s3.get_object(**bucket, **key, VersionId=first)["Body"].read() == b"first"
    assert s3.get_object(**bucket, **key, VersionId="null")["Body"].read() == b"before"
    refused("NoSuchVersion", s3.get_object, 404, **bucket, **key, VersionId="0" * 32)
    s3.delete_object(**bucket, **key, VersionId=marker["VersionId"])
    assert s3.get_object(**bucket, **key)["Body"].read() == b"second"
    s3.delete_object(**bucket, **key, VersionId=second)
    assert s3.get_object(**bucket, **key)["Body"].read() == b"first"
    s3.put_bucket_versioning(**bucket, VersioningConfiguration={"Status": "Suspended"})
    assert s3.put_object(**bucket, **key, Body=b"null again")["VersionId"] == "null"
    assert len(s3.list_object_versions(**bucket)["Versions"]) == 2
    refused("BucketNotEmpty", s3.delete_bucket, 409, **bucket)


def test_multipart(s3, made, refused):
    bucket, key = made("multipart"), {"Key": "big"}
    upload = s3.create_multipart_upload(**bucket, **key, ChecksumAlgorithm="CRC32")
    upload = {**bucket, **key, "UploadId": upload["UploadId"]}
    parts, bodies = [], [os.urandom(5 * MIB), os.urandom(MIB)]
    for number, body in enumerate(bodies, 1):
        done = s3.upload_part(**upload, PartNumber=number, Body=body, ChecksumAlgorithm="CRC32")
        part = {"PartNumber": number, "ETag": done["ETag"], "ChecksumCRC32": done["ChecksumCRC32"]}
        parts.append(part)
    assert [it["Size"] for it in s3.list_parts(**upload)["Parts"]] == [5 * MIB, MIB]
    page = s3.list_parts(**upload, MaxParts=1)
    assert (page["IsTruncated"], page["NextPartNumberMarker"]) == (True, 1)
    assert s3.list_multipart_uploads(**bucket)["Uploads"][0]["Key"] == "big"
    order = {"MultipartUpload": {"Parts": parts[::-1]}}
    refused("InvalidPartOrder", s3.complete_multipart_upload, 400, **upload, **order)
    wrong = {"MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": '"0"'}]}}
    refused("InvalidPart", s3.complete_multipart_upload, 400, **upload, **wrong)
    done = s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    assert done["ETag"].endswith('-2"') and done["ChecksumCRC32"].endswith("-2")
    refused("NoSuchUpload", s3.list_parts, 404, **upload)
    whole = b"".join(bodies)
    assert s3.get_object(**bucket, **key)["Body"].read() == whole
    edge = f"bytes={5 * MIB - 2}-{5 * MIB + 1}"
    assert s3.get_object(**bucket, **key, Range=edge)["Body"].read() == whole[5 * MIB - 2 : 5 * MIB + 2]
    second = s3.get_object(**bucket, **key, PartNumber=2)
    assert (second["PartsCount"], second["Body"].read()) == (2, bodies[1])
    again = s3.create_multipart_upload(**bucket, Key="again")
    again = {**bucket, "Key": "again", "UploadId": again["UploadId"]}
    copied = [
        s3.upload_part_copy(
            **again, PartNumber=number, CopySource={**bucket, **key}, CopySourceRange=part
        )["CopyPartResult"]["ETag"]
        for number, part in enumerate([f"bytes=0-{5 * MIB - 1}", f"bytes={5 * MIB}-{6 * MIB - 1}"], 1)
    ]
    parts = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(copied, 1)]
    s3.complete_multipart_upload(**again, MultipartUpload={"Parts": parts})
    assert s3.get_object(**bucket, Key="again")["Body"].read() == whole
    small = s3.create_multipart_upload(**bucket, Key="small")
    small = {**bucket, "Key": "small", "UploadId": small["UploadId"]}
    tags = [s3.upload_part(**small, PartNumber=it, Body=b"tiny")["ETag"] for it in (1, 2)]
    parts = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, 1)]
    named = {"MultipartUpload": {"Parts": parts}}
    refused("EntityTooSmall", s3.complete_multipart_upload, 400, **small, **named)
    s3.abort_multipart_upload(**small)
    refused("NoSuchUpload", s3.abort_multipart_upload, 404, **small)
    assert "Uploads" not in s3.list_multipart_uploads(**bucket)


def test_multipart_of_a_name_that_xml_does_not_carry(lab, s3, made):
    """S3 writes such a character as a reference that XML 1.0 does not have (botocore #3496)."""
    bucket, key = made("control"), "a\x07b"
    signer = boto3.client(
        "s3",
        endpoint_url=lab.endpoint,
        region_name=REGION,
        config=botocore.config.Config(signature_version="s3v4"),
        aws_access_key_id=lab.ready["access_key_id"],
        aws_secret_access_key=lab.ready["secret_access_key"],
    )

    def ask(method, operation, body=None, **arguments):
        named = {**bucket, "Key": key, **arguments}
        url = signer.generate_presigned_url(operation, Params=named)
        request = urllib.request.Request(url, body, {"Content-Type": "application/xml"}, method=method)
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read().decode()

    status, text = ask("POST", "create_multipart_upload")
    assert status == 200 and "<Key>a&#x7;b</Key>" in text
    upload = {"UploadId": text.split("<UploadId>")[1].split("<")[0]}
    tag = s3.upload_part(**bucket, Key=key, PartNumber=1, Body=b"content", **upload)["ETag"]
    assert "<Key>a&#x7;b</Key>" in ask("GET", "list_parts", **upload)[1]
    part = f"<Part><PartNumber>1</PartNumber><ETag>{tag}</ETag></Part>"
    whole = f"<CompleteMultipartUpload>{part}</CompleteMultipartUpload>".encode()
    status, text = ask("POST", "complete_multipart_upload", whole, **upload)
    assert status == 200 and "<Key>a&#x7;b</Key>" in text
    assert s3.get_object(**bucket, Key=key)["Body"].read() == b"content"
    # No list of `DeleteObjects` carries the name, so that whoever empties the bucket could not.
    s3.delete_object(**bucket, Key=key)


def test_presigned_and_wrong_signatures(lab, made, refused):
    bucket = made("presigned")
    config = botocore.config.Config(signature_version="s3v4", retries={"total_max_attempts": 1})

    def client(key, secret, region=REGION):
        keys = {"aws_access_key_id": key, "aws_secret_access_key": secret}
        return boto3.client(
            "s3", endpoint_url=lab.endpoint, region_name=region, config=config, **keys
        )

    good = client(lab.ready["access_key_id"], lab.ready["secret_access_key"])
    url = good.generate_presigned_url("put_object", {**bucket, "Key": "a b"})
    urllib.request.urlopen(urllib.request.Request(url, b"by url", method="PUT"))
    url = good.generate_presigned_url("get_object", {**bucket, "Key": "a b"})
    assert urllib.request.urlopen(url).read() == b"by url"
    for bad, code in [(url.replace("a%20b", "a%20c"), 403), (f"{lab.endpoint}/presigned/a%20b", 403)]:
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(bad)
        assert caught.value.code == code
    get = ("get_object", {**bucket, "Key": "a b"})
    assert urllib.request.urlopen(good.generate_presigned_url(*get, ExpiresIn=604_800)).read() == b"by url"
    for term, status, code, words in [
        (604_801, 400, "AuthorizationQueryParametersError", "must be less than a week"),
        (-1, 400, "AuthorizationQueryParametersError", "must be non-negative"),
        ("soon", 400, "AuthorizationQueryParametersError", "should be a number"),
        (0, 403, "AccessDenied", "Request has expired"),
    ]:
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(good.generate_presigned_url(*get, ExpiresIn=term))
        said = caught.value.read().decode()
        assert (caught.value.code, f"<Code>{code}</Code>" in said, words in said) == (status, True, True), said
    far = client(lab.ready["access_key_id"], lab.ready["secret_access_key"], "eu-west-1")
    said = refused("AuthorizationHeaderMalformed", far.list_buckets, 400)
    assert said["Error"]["Region"] == REGION
    wrong = client(lab.ready["access_key_id"], "wrong")
    refused("SignatureDoesNotMatch", wrong.list_buckets, 403)
    refused("InvalidAccessKeyId", client("AKIAUNKNOWNUNKNOWN00", "wrong").list_buckets, 403)


def test_the_policy_of_a_role(s3, made, role, refused):
    bucket = made("of-a-role")
    name = bucket["Bucket"]
    objects = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
    within = {"StringLike": {"s3:prefix": ["chat/*"]}}
    own = [
        {"Effect": "Allow", "Action": objects, "Resource": f"arn:aws:s3:::{name}/chat/*"},
        {
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": f"arn:aws:s3:::{name}",
            "Condition": within,
        },
    ]
    node = role(own)
    node.put_object(**bucket, Key="chat/a", Body=b"a")
    assert node.get_object(**bucket, Key="chat/a")["Body"].read() == b"a"
    assert node.list_objects_v2(**bucket, Prefix="chat/")["KeyCount"] == 1
    url = node.generate_presigned_url("get_object", {**bucket, "Key": "chat/a"})
    assert urllib.request.urlopen(url).read() == b"a"
    without_token = re.sub("X-Amz-Security-Token=[^&]*&", "", url)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(without_token)
    assert (caught.value.code, b"<Code>InvalidToken</Code>" in caught.value.read()) == (400, True)
    said = refused("AccessDenied", node.put_object, 403, **bucket, Key="other/a", Body=b"a")
    assert "is not authorized to perform: s3:PutObject on resource" in said["Error"]["Message"]
    refused("AccessDenied", node.list_objects_v2, 403, **bucket)
    refused("AccessDenied", node.list_object_versions, 403, **bucket)
    refused("AccessDenied", node.get_bucket_policy, 403, **bucket)
    refused("AccessDenied", node.list_buckets, 403)
    # Who may not list is not told that a key is not there; the key is the prefix that is listed.
    refused("NoSuchKey", node.get_object, 404, **bucket, Key="chat/missing")
    wider = [{**own[0], "Resource": f"arn:aws:s3:::{name}/*"}, own[1]]
    refused("AccessDenied", role(wider).get_object, 403, **bucket, Key="other/missing")
    node = role(own)
    version = {"Key": "chat/a", "VersionId": "null"}
    refused("AccessDenied", node.delete_object, 403, **bucket, **version)
    mixed = {"Objects": [{"Key": "chat/a"}, {"Key": "other/a"}]}
    answer = node.delete_objects(**bucket, Delete=mixed)
    assert [it["Key"] for it in answer["Deleted"]] == ["chat/a"]
    assert [it["Code"] for it in answer["Errors"]] == ["AccessDenied"]
    refused("AccessDenied", node.create_bucket, 403, Bucket="not-by-a-role")
    create = {"Effect": "Allow", "Action": "s3:CreateBucket", "Resource": "*"}
    tags = {"CreateBucketConfiguration": {"Tags": [{"Key": "a", "Value": "b"}]}}
    refused("AccessDenied", role([create]).create_bucket, 403, Bucket="not-by-a-role", **tags)


def test_the_policy_of_a_bucket(lab, s3, made, role, refused):
    bucket = made("with-a-policy")
    name = bucket["Bucket"]
    s3.put_object(**bucket, Key="a", Body=b"a")
    tls = {"Bool": {"aws:SecureTransport": "false"}}
    text = policy(name, Effect="Deny", Action="s3:*", Condition=tls)
    s3.put_bucket_policy(**bucket, Policy=text)
    assert json.loads(s3.get_bucket_policy(**bucket)["Policy"]) == json.loads(text)
    assert s3.get_bucket_policy_status(**bucket)["PolicyStatus"]["IsPublic"] is False
    s3.get_object(**bucket, Key="a")
    lab.control("POST", "s3/transport", {"secure": False})
    refused("AccessDenied", s3.get_object, 403, **bucket, Key="a")
    lab.control("POST", "s3/transport", {"secure": True})
    public = policy(name, Effect="Allow", Action="s3:GetObject")
    refused("AccessDenied", s3.put_bucket_policy, 403, **bucket, Policy=public)
    elsewhere = policy("elsewhere-else", Effect="Deny", Action="s3:*")
    refused("MalformedPolicy", s3.put_bucket_policy, 400, **bucket, Policy=elsewhere)
    nothing = role([{"Effect": "Allow", "Action": "ec2:DescribeVpcs", "Resource": "*"}])
    refused("AccessDenied", nothing.get_object, 403, **bucket, Key="a")
    who = f"arn:aws:iam::{ACCOUNT}:role/filer"
    grant = policy(name, Effect="Allow", Action="s3:GetObject", Principal={"AWS": who})
    s3.put_bucket_policy(**bucket, Policy=grant)
    assert nothing.get_object(**bucket, Key="a")["Body"].read() == b"a"
    s3.delete_bucket_policy(**bucket)
    refused("AccessDenied", nothing.get_object, 403, **bucket, Key="a")


def test_the_life_cycle(lab, s3, made, refused):
    bucket = made("ages")
    s3.put_bucket_versioning(**bucket, VersioningConfiguration={"Status": "Enabled"})
    rule = {
        "ID": "old",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "NoncurrentVersionExpiration": {"NoncurrentDays": 30},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
        "Expiration": {"ExpiredObjectDeleteMarker": True},
    }
    s3.put_bucket_lifecycle_configuration(**bucket, LifecycleConfiguration={"Rules": [rule]})
    assert s3.get_bucket_lifecycle_configuration(**bucket)["Rules"] == [rule]
    empty_rule = {"Rules": [{"Status": "Enabled", "Filter": {"Prefix": ""}}]}
    put = s3.put_bucket_lifecycle_configuration
    refused("InvalidRequest", put, 400, **bucket, LifecycleConfiguration=empty_rule)
    for body in (b"1", b"2"):
        s3.put_object(**bucket, Key="kept", Body=body)
    s3.put_object(**bucket, Key="gone", Body=b"1")
    s3.delete_object(**bucket, Key="gone")
    s3.create_multipart_upload(**bucket, Key="unfinished")

    def counted():
        shown = lab.control("GET", "s3")["buckets"]["ages"]
        return shown["versions"], shown["markers"], shown["uploads"]

    assert counted() == (3, 1, 1)
    lab.control("POST", "s3/lifecycle", {"days": 6})
    assert counted() == (3, 1, 1)
    lab.control("POST", "s3/lifecycle", {"days": 2})
    assert counted() == (3, 1, 0), "the upload is older than 7 days"
    lab.control("POST", "s3/lifecycle", {"days": 23})
    assert counted() == (1, 0, 0), "the replaced versions, and the marker that hides nothing"
    assert s3.get_object(**bucket, Key="kept")["Body"].read() == b"2"
    s3.delete_bucket_lifecycle(**bucket)


def test_the_clock_alone_moves_the_life_cycle(tmp_path, until):
    octet, held = reserve()
    process, ready = start(tmp_path, octet, speed=200_000)  # A day in 0.4 s.
    try:
        own = Lab(ready)
        s3, bucket = own.client("s3"), {"Bucket": "fast"}
        s3.create_bucket(**bucket)
        rule = {
            "Status": "Enabled",
            "Filter": {"Prefix": "logs/"},
            "Expiration": {"Days": 1},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
        }
        s3.put_bucket_lifecycle_configuration(**bucket, LifecycleConfiguration={"Rules": [rule]})
        for key in ("logs/old", "kept"):
            s3.put_object(**bucket, Key=key, Body=b"a")
        s3.create_multipart_upload(**bucket, Key="logs/unfinished")

        def left():
            shown = own.control("GET", "s3")["buckets"]["fast"]
            return shown["versions"], shown["uploads"]

        until(lambda: left() == (1, 0), "the end of what is a day old")
        assert s3.get_object(**bucket, Key="kept")["Body"].read() == b"a"
        assert own.violations == []
    finally:
        process.terminate()
        process.wait(30)
        for listener in held:
            listener.close()


def test_a_bad_day(lab, s3, made, refused):
    bucket = made("bad-day")
    for effect, code, status in [
        ("throttle", "SlowDown", 503),
        ("internal", "InternalError", 500),
        ({"error": {"code": "NoSuchBucket", "message": "for once"}}, "NoSuchBucket", 404),
    ]:
        fault = {"service": "s3", "action": "PutObject", "effect": effect}
        lab.control("POST", "faults", fault)
        refused(code, s3.put_object, status, **bucket, Key="a", Body=b"a")
    lose = {"service": "s3", "action": "PutObject", "effect": "lose_answer"}
    lab.control("POST", "faults", lose)
    with pytest.raises(botocore.exceptions.HTTPClientError):
        s3.put_object(**bucket, Key="a", Body=b"lost")
    assert s3.get_object(**bucket, Key="a")["Body"].read() == b"lost"
