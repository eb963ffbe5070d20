"""Secrets Manager."""

import pytest


@pytest.fixture
def secrets(lab):
    return lab.client("secretsmanager")


def test_the_life_of_a_secret(secrets, refused):
    secret = {"SecretId": "life"}
    made = secrets.create_secret(Name="life", SecretString="a", Description="d", ClientRequestToken="t" * 32)
    again = secrets.create_secret(Name="life", SecretString="a", Description="d", ClientRequestToken="t" * 32)
    assert again["VersionId"] == made["VersionId"]
    refused("ResourceExistsException", secrets.create_secret, Name="life", SecretString="b")
    secrets.put_secret_value(**secret, SecretBinary=b"zz")
    secrets.update_secret(**secret, SecretString="c")
    current = secrets.get_secret_value(**secret)
    assert current["SecretString"] == "c"
    previous = secrets.get_secret_value(**secret, VersionStage="AWSPREVIOUS")
    assert previous["SecretBinary"] == b"zz"
    secrets.update_secret_version_stage(
        **secret,
        VersionStage="AWSCURRENT",
        MoveToVersionId=previous["VersionId"],
        RemoveFromVersionId=current["VersionId"],
    )
    assert secrets.get_secret_value(**secret)["SecretBinary"] == b"zz"
    secrets.tag_resource(**secret, Tags=[{"Key": "q", "Value": "r"}])
    assert secrets.describe_secret(**secret)["Tags"] == [{"Key": "q", "Value": "r"}]
    secrets.untag_resource(**secret, TagKeys=["q"])
    filters = [{"Key": "name", "Values": ["life"]}]
    assert len(secrets.list_secrets(Filters=filters)["SecretList"]) == 1
    assert secrets.list_secret_version_ids(**secret, IncludeDeprecated=True)["Versions"]
    secrets.delete_secret(**secret)
    refused("InvalidRequestException", secrets.get_secret_value, **secret)
    secrets.restore_secret(**secret)
    secrets.delete_secret(**secret, ForceDeleteWithoutRecovery=True)


def test_random_passwords(secrets):
    made = secrets.get_random_password(PasswordLength=40, ExcludePunctuation=True)
    assert len(made["RandomPassword"]) == 40
    assert made["RandomPassword"].isalnum()


@pytest.mark.parametrize(
    ("code", "call", "arguments"),
    [
        ("ResourceNotFoundException", "get_secret_value", {"SecretId": "nope"}),
        ("ResourceNotFoundException", "describe_secret", {"SecretId": "nope"}),
    ],
)
def test_errors(secrets, refused, code, call, arguments):
    refused(code, getattr(secrets, call), **arguments)


def test_unimplemented_actions(secrets, refused):
    refused("UnknownOperationException", secrets.get_resource_policy, SecretId="nope")
