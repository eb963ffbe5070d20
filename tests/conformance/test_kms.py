"""KMS, and what S3 asks of it."""

import json

import pytest

from test_s3 import made, role, s3  # noqa: F401  (fixtures)

ACCOUNT = "123456789012"


@pytest.fixture
def kms(lab):
    return lab.client("kms")


@pytest.fixture
def key(kms):
    made = kms.create_key(Description="files")["KeyMetadata"]
    yield made
    if kms.describe_key(KeyId=made["KeyId"])["KeyMetadata"]["KeyState"] != "PendingDeletion":
        kms.schedule_key_deletion(KeyId=made["KeyId"], PendingWindowInDays=30)


def test_the_life_of_a_key(kms, key, refused):
    named = {"KeyId": key["KeyId"]}
    kms.create_alias(AliasName="alias/files", TargetKeyId=key["KeyId"])
    alias = {"AliasName": "alias/files", "TargetKeyId": key["KeyId"]}
    refused("AlreadyExistsException", kms.create_alias, **alias)
    assert kms.describe_key(KeyId="alias/files")["KeyMetadata"]["Arn"] == key["Arn"]
    assert kms.list_aliases(**named)["Aliases"][0]["AliasName"] == "alias/files"
    assert key["KeyId"] in [it["KeyId"] for it in kms.list_keys()["Keys"]]
    kms.delete_alias(AliasName="alias/files")
    refused("NotFoundException", kms.describe_key, KeyId="alias/files")
    assert kms.describe_key(KeyId="alias/aws/s3")["KeyMetadata"]["KeyManager"] == "AWS"
    kms.disable_key(**named)
    assert kms.describe_key(**named)["KeyMetadata"]["KeyState"] == "Disabled"
    kms.enable_key(**named)
    document = json.loads(kms.get_key_policy(**named)["Policy"])
    kms.put_key_policy(**named, Policy=json.dumps(document))
    document["Statement"][0]["Action"] = "kms:Decrypt"
    lockout = {**named, "Policy": json.dumps(document)}
    refused("MalformedPolicyDocumentException", kms.put_key_policy, **lockout)
    who = f"arn:aws:iam::{ACCOUNT}:role/anybody"
    grant = kms.create_grant(**named, GranteePrincipal=who, Operations=["Decrypt"])["GrantId"]
    assert [it["GrantId"] for it in kms.list_grants(**named)["Grants"]] == [grant]
    kms.revoke_grant(**named, GrantId=grant)
    assert kms.list_grants(**named)["Grants"] == []
    assert kms.schedule_key_deletion(**named, PendingWindowInDays=7)["KeyState"] == "PendingDeletion"
    refused("KMSInvalidStateException", kms.enable_key, **named)
    kms.cancel_key_deletion(**named)
    assert kms.describe_key(**named)["KeyMetadata"]["KeyState"] == "Disabled"
    refused("NotFoundException", kms.describe_key, KeyId="0" * 36)
    refused("UnknownOperationException", kms.encrypt, **named, Plaintext=b"a")


def test_a_bucket_with_a_key(kms, key, s3, made, role, refused):  # noqa: F811
    bucket = made("sealed")
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key["Arn"]}
    rule = {"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": True}
    rules = {"ServerSideEncryptionConfiguration": {"Rules": [rule]}}
    s3.put_bucket_encryption(**bucket, **rules)
    put = s3.put_object(**bucket, Key="a", Body=b"a")
    assert (put["SSEKMSKeyId"], put["BucketKeyEnabled"]) == (key["Arn"], True)
    objects = {
        "Effect": "Allow",
        "Action": ["s3:GetObject", "s3:PutObject"],
        "Resource": "arn:aws:s3:::sealed/*",
    }
    through = {"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}}
    use = {"Effect": "Allow", "Resource": key["Arn"], "Condition": through}
    node = role([objects])
    said = refused("AccessDenied", node.put_object, 403, **bucket, Key="b", Body=b"b")
    assert "kms:GenerateDataKey" in said["Error"]["Message"]
    said = refused("AccessDenied", node.get_object, 403, **bucket, Key="a")
    assert "kms:Decrypt" in said["Error"]["Message"]
    node = role([objects, {**use, "Action": "kms:GenerateDataKey"}])
    node.put_object(**bucket, Key="b", Body=b"b")
    upload = node.create_multipart_upload(**bucket, Key="c")["UploadId"]
    part = {**bucket, "Key": "c", "UploadId": upload, "PartNumber": 1}
    refused("AccessDenied", node.upload_part, 403, **part, Body=b"c")
    node = role([objects, {**use, "Action": ["kms:GenerateDataKey", "kms:Decrypt"]}])
    node.upload_part(**part, Body=b"c")
    assert node.get_object(**bucket, Key="b")["Body"].read() == b"b"
    kms.disable_key(KeyId=key["KeyId"])
    refused("KMS.DisabledException", node.get_object, 400, **bucket, Key="b")
    kms.enable_key(KeyId=key["KeyId"])
    other = {"SSEKMSKeyId": "alias/nowhere", "ServerSideEncryption": "aws:kms"}
    refused("KMS.NotFoundException", s3.put_object, 400, **bucket, Key="b", **other)
