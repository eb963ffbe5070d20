"""STS and IAM, and signatures that are not good."""

import json

import botocore.config
import botocore.exceptions
import boto3

POLICY = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "ec2.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ],
}
ACCESS = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}],
}
# What each service calls an action that is not allowed, by a call that needs no parameters or few.
DENIED = [
    ("ec2", "UnauthorizedOperation", 403, "describe_vpcs", {}),
    ("autoscaling", "AccessDenied", 403, "describe_auto_scaling_groups", {}),
    ("elbv2", "AccessDenied", 403, "describe_load_balancers", {}),
    ("rds", "AccessDenied", 403, "describe_db_instances", {}),
    ("cloudwatch", "AccessDenied", 403, "describe_alarms", {}),
    ("iam", "AccessDenied", 403, "list_roles", {}),
    ("secretsmanager", "AccessDeniedException", 400, "get_secret_value", {"SecretId": "a"}),
    ("acm", "AccessDeniedException", 400, "list_certificates", {}),
]


def client_of(lab, credentials, service):
    """A client with temporary credentials, whose answers are checked as those of the others are."""
    client = boto3.client(
        service,
        endpoint_url=lab.endpoint,
        region_name="us-east-1",
        aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"],
        aws_session_token=credentials["SessionToken"],
        config=botocore.config.Config(retries={"total_max_attempts": 1}),
    )
    client.meta.events.register("before-parse", lab.watch)
    return client


def test_caller_identity(lab):
    identity = lab.client("sts").get_caller_identity()
    assert identity["Arn"].split(":")[4] == identity["Account"]


def test_unimplemented_actions(lab, refused):
    refused("InvalidAction", lab.client("sts").get_session_token)
    refused("InvalidAction", lab.client("iam").list_users)


def test_bad_signatures(lab, refused):
    config = botocore.config.Config(retries={"total_max_attempts": 1})
    good = lab.ready["access_key_id"], lab.ready["secret_access_key"]
    for service, code, keys in [
        ("ec2", "SignatureDoesNotMatch", (good[0], "wrong")),
        ("rds", "SignatureDoesNotMatch", (good[0], "wrong")),
        ("sts", "SignatureDoesNotMatch", (good[0], "wrong")),
        ("sts", "InvalidClientTokenId", ("AKIAUNKNOWNUNKNOWN00", "wrong")),
    ]:
        client = boto3.client(
            service,
            endpoint_url=lab.endpoint,
            region_name="us-east-1",
            aws_access_key_id=keys[0],
            aws_secret_access_key=keys[1],
            config=config,
        )
        client.meta.events.register("before-parse", lab.watch)
        call = {
            "ec2": "describe_instances",
            "rds": "describe_db_instances",
            "sts": "get_caller_identity",
        }
        refused(code, getattr(client, call[service]))


def test_roles_and_profiles(lab, refused, wait):
    iam = lab.client("iam")
    role, profile = {"RoleName": "made"}, {"InstanceProfileName": "made"}
    iam.create_role(**role, AssumeRolePolicyDocument=json.dumps(TRUST))
    wait(iam, "role_exists", **role)
    refused(
        "EntityAlreadyExists",
        iam.create_role,
        409,
        **role,
        AssumeRolePolicyDocument=json.dumps(TRUST),
    )
    assert iam.get_role(**role)["Role"]["AssumeRolePolicyDocument"] == TRUST
    iam.tag_role(**role, Tags=[{"Key": "a", "Value": "b"}])
    assert iam.list_role_tags(**role)["Tags"] == [{"Key": "a", "Value": "b"}]
    iam.create_instance_profile(**profile)
    wait(iam, "instance_profile_exists", **profile)
    iam.add_role_to_instance_profile(**profile, **role)
    iam.put_role_policy(**role, PolicyName="inline", PolicyDocument=json.dumps(ACCESS))
    assert iam.get_role_policy(**role, PolicyName="inline")["PolicyDocument"] == ACCESS
    assert iam.list_role_policies(**role)["PolicyNames"] == ["inline"]
    iam.attach_role_policy(**role, PolicyArn=POLICY)
    attached = iam.list_attached_role_policies(**role)["AttachedPolicies"]
    assert [policy["PolicyArn"] for policy in attached] == [POLICY]
    shown = iam.get_instance_profile(**profile)["InstanceProfile"]
    assert [it["RoleName"] for it in shown["Roles"]] == ["made"]
    assert iam.list_instance_profiles()["InstanceProfiles"]
    assert iam.list_instance_profiles_for_role(**role)["InstanceProfiles"]
    assert iam.list_roles()["Roles"]
    refused("DeleteConflict", iam.delete_role, 409, **role)
    iam.remove_role_from_instance_profile(**profile, **role)
    iam.delete_role_policy(**role, PolicyName="inline")
    iam.detach_role_policy(**role, PolicyArn=POLICY)
    iam.delete_instance_profile(**profile)
    iam.delete_role(**role)
    refused("NoSuchEntity", iam.get_role, 404, **role)


def test_a_service_linked_role_is_made_once_and_by_nobody_changed(lab, refused):
    iam = lab.client("iam")
    # One that no other test has a service make.
    service = {"AWSServiceName": "spot.amazonaws.com"}
    made = iam.create_service_linked_role(**service, Description="a test")["Role"]
    assert made["Path"] == "/aws-service-role/spot.amazonaws.com/"
    refused("InvalidInput", iam.create_service_linked_role, 400, **service)
    role = {"RoleName": made["RoleName"]}
    refused("UnmodifiableEntity", iam.delete_role, 400, **role)
    inline = {"PolicyName": "inline", "PolicyDocument": json.dumps(ACCESS)}
    refused("UnmodifiableEntity", iam.put_role_policy, 400, **role, **inline)
    refused("UnmodifiableEntity", iam.attach_role_policy, 400, **role, PolicyArn=POLICY)
    refused("InvalidInput", iam.create_service_linked_role, 400, AWSServiceName="no.amazonaws.com")


def test_a_role_is_taken_and_judged(lab, refused):
    iam, sts = lab.client("iam"), lab.client("sts")
    account = sts.get_caller_identity()["Account"]
    trust = json.loads(json.dumps(TRUST))
    trust["Statement"][0]["Principal"] = {"AWS": f"arn:aws:iam::{account}:root"}
    role = {"RoleName": "taken"}
    bad = json.dumps({**trust, "Statement": []})
    refused("MalformedPolicyDocument", iam.create_role, **role, AssumeRolePolicyDocument=bad)
    made = iam.create_role(
        **role, AssumeRolePolicyDocument=json.dumps(trust), MaxSessionDuration=7200
    )
    session = {"RoleArn": made["Role"]["Arn"], "RoleSessionName": "conformance"}
    for seconds in (900, 7200):
        sts.assume_role(**session, DurationSeconds=seconds)
    refused("ValidationError", sts.assume_role, **session, DurationSeconds=7201)
    for missing in ("nobody", "node"):
        other = {**session, "RoleArn": f"arn:aws:iam::{account}:role/{missing}"}
        refused("AccessDenied", sts.assume_role, 403, **other)
    taken = sts.assume_role(**session)
    assert taken["AssumedRoleUser"]["AssumedRoleId"] == f"{made['Role']['RoleId']}:conformance"
    credentials = taken["Credentials"]
    who = client_of(lab, credentials, "sts").get_caller_identity()
    assert who["Arn"] == taken["AssumedRoleUser"]["Arn"]
    for service, code, status, call, arguments in DENIED:
        client = client_of(lab, credentials, service)
        answer = refused(code, getattr(client, call), status, **arguments)
        said = f"User: {who['Arn']} is not authorized to perform: "
        assert said in answer["Error"]["Message"], answer
    document = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "ec2:DescribeVpcs", "Resource": "*"}],
    }
    iam.put_role_policy(**role, PolicyName="inline", PolicyDocument=json.dumps(document))
    ec2 = client_of(lab, credentials, "ec2")
    assert ec2.describe_vpcs()["Vpcs"]
    refused("UnauthorizedOperation", ec2.describe_subnets, 403)
    document["Statement"][0]["Condition"] = {"StringMatches": {"aws:TagKeys": "a"}}
    inline = {**role, "PolicyName": "inline", "PolicyDocument": json.dumps(document)}
    refused("MalformedPolicyDocument", iam.put_role_policy, **inline)
    iam.delete_role_policy(**role, PolicyName="inline")
    refused("UnauthorizedOperation", ec2.describe_vpcs, 403)
    iam.delete_role(**role)


def test_managed_policies_are_made_attached_and_judged(lab, refused):
    iam, sts = lab.client("iam"), lab.client("sts")
    account = sts.get_caller_identity()["Account"]
    trust = {"Effect": "Allow", "Principal": {"AWS": account}, "Action": "sts:AssumeRole"}
    role = {"RoleName": "managed"}
    made = iam.create_role(
        **role, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": trust})
    )
    taken = sts.assume_role(RoleArn=made["Role"]["Arn"], RoleSessionName="conformance")
    ec2 = client_of(lab, taken["Credentials"], "ec2")
    allow = {"Sid": "See", "Effect": "Allow", "Action": "ec2:DescribeVpcs", "Resource": "*"}
    document = {"Version": "2012-10-17", "Statement": [allow]}
    policy = iam.create_policy(PolicyName="see", PolicyDocument=json.dumps(document, indent=2))["Policy"]
    assert policy["Arn"] == f"arn:aws:iam::{account}:policy/see"
    again = {"PolicyName": "see", "PolicyDocument": json.dumps(document)}
    refused("EntityAlreadyExists", iam.create_policy, 409, **again)
    refused("UnauthorizedOperation", ec2.describe_vpcs, 403)
    arn = {"PolicyArn": policy["Arn"]}
    iam.attach_role_policy(**role, **arn)
    assert ec2.describe_vpcs()["Vpcs"]
    shown = iam.get_policy(**arn)["Policy"]
    assert shown["AttachmentCount"] == 1
    version = iam.get_policy_version(**arn, VersionId=shown["DefaultVersionId"])["PolicyVersion"]
    assert version["Document"] == document
    refused("DeleteConflict", iam.delete_policy, 409, **arn)
    # 6,144 characters, white space not counted.
    filler = {**allow, "Resource": ["arn:aws:ec2:*:*:vpc/" + "x" * 6000] * 2}
    long = json.dumps({**document, "Statement": [filler]})
    refused("LimitExceeded", iam.create_policy, 409, PolicyName="long", PolicyDocument=long)
    missing = {"PolicyArn": f"arn:aws:iam::{account}:policy/missing"}
    refused("NoSuchEntity", iam.attach_role_policy, 404, **role, **missing)
    refused("NoSuchEntity", iam.get_policy, 404, **missing)
    iam.detach_role_policy(**role, **arn)
    refused("UnauthorizedOperation", ec2.describe_vpcs, 403)
    iam.delete_policy(**arn)
    iam.delete_role(**role)


def test_a_demanded_tag_hides_what_does_not_exist(lab, refused):
    """A secret that is not there has no tag: only `…IfExists` lets somebody learn that it is not there."""
    iam, sts = lab.client("iam"), lab.client("sts")
    account = sts.get_caller_identity()["Account"]
    trust = {"Effect": "Allow", "Principal": {"AWS": account}, "Action": "sts:AssumeRole"}
    trust = {"Version": "2012-10-17", "Statement": trust}
    role = {"RoleName": "reader"}
    made = iam.create_role(**role, AssumeRolePolicyDocument=json.dumps(trust))
    taken = sts.assume_role(RoleArn=made["Role"]["Arn"], RoleSessionName="conformance")
    reader = client_of(lab, taken["Credentials"], "secretsmanager")
    owner = lab.client("secretsmanager")
    ours = [{"Key": "stack", "Value": "ours"}]
    owner.create_secret(Name="judged/ours", SecretString="a", Tags=ours)
    owner.create_secret(Name="judged/theirs", SecretString="a", Tags=[{**ours[0], "Value": "theirs"}])
    answers = {}
    for operator in ("StringEquals", "StringEqualsIfExists"):
        statement = {
            "Effect": "Allow",
            "Action": "secretsmanager:GetSecretValue",
            "Resource": f"arn:aws:secretsmanager:*:{account}:secret:judged/*",
            "Condition": {operator: {"aws:ResourceTag/stack": "ours"}},
        }
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_role_policy(**role, PolicyName="inline", PolicyDocument=document)
        assert reader.get_secret_value(SecretId="judged/ours")["SecretString"] == "a"
        refused("AccessDeniedException", reader.get_secret_value, SecretId="judged/theirs")
        refused("AccessDeniedException", reader.get_secret_value, SecretId="elsewhere")
        try:
            reader.get_secret_value(SecretId="judged/missing")
        except botocore.exceptions.ClientError as error:
            answers[operator] = error.response["Error"]["Code"]
    assert answers == {
        "StringEquals": "AccessDeniedException",
        "StringEqualsIfExists": "ResourceNotFoundException",
    }
    for name in ("judged/ours", "judged/theirs"):
        owner.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)
    iam.delete_role_policy(**role, PolicyName="inline")
    iam.delete_role(**role)
