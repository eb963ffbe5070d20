"""Every action that the lab's sources dispatch was answered successfully in this run.

Named so that it is collected last. It can judge a run of the whole suite only, and says so when a part
was asked for.
"""

import pathlib
import re

import pytest

from conftest import SOURCES, outdated

# Where each service's dispatch table is, under botocore's name of the service.
TABLES = {
    "ec2": "ec2/mod.rs",
    "autoscaling": "asg/mod.rs",
    "elbv2": "elbv2/mod.rs",
    "rds": "rds/mod.rs",
    "cloudwatch": "cloudwatch/mod.rs",
    "sts": "sts.rs",
    "iam": "iam_api/mod.rs",
    "secretsmanager": "secrets/mod.rs",
    "acm": "acm.rs",
    "kms": "kms/mod.rs",
    "s3": "s3/table.rs",
}

# Actions that this suite cannot drive, each with the reason: (service, action) -> reason.
EXCEPTIONS: dict[tuple[str, str], str] = {}

ARM = re.compile(r'^\s*((?:"[A-Z][A-Za-z0-9]+"\s*\|?\s*)+)=>', re.MULTILINE)


def dispatched(lab):
    """(service, action) of every arm of the dispatch tables that is an operation of the service."""
    found = set()
    for service, path in TABLES.items():
        text = (SOURCES / path).read_text()
        known = set(lab.client(service).meta.service_model.operation_names)
        arms = [name for arm in ARM.findall(text) for name in re.findall(r'"(\w+)"', arm)]
        actions = known.intersection(arms)
        assert actions, f"no dispatch table of {service} in {path}: this test needs mending"
        found |= {(service, action) for action in actions}
    return found


def test_every_action_was_driven(lab, request):
    files = {path.name for path in pathlib.Path(__file__).parent.glob("test_*.py")}
    run = {item.path.name for item in request.session.items}
    if files - run:
        pytest.skip(f"only a part of the suite runs; left out: {', '.join(sorted(files - run))}")
    missing = dispatched(lab) - lab.succeeded
    old = {pair for pair in missing if outdated(TABLES[pair[0]])}
    unexplained = sorted(missing - old - set(EXCEPTIONS))
    assert not unexplained, f"never answered successfully: {unexplained}"
    stale = sorted(set(EXCEPTIONS) - missing)
    assert not stale, f"exceptions that are none: {stale}"
    if old:
        pytest.xfail(f"LAB_BINARY is older than the sources that have {sorted(old)}")
