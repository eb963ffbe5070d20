"""The image's template as a parser that is not Packer reads it, for Debians that have no Packer.

Packer itself says more (`make lint`, `make image`); this says what goes wrong most: a name that nobody
declares, a variable that nobody reads, a file that is not there.
"""

import json
import re
from pathlib import Path

import hcl2
import pytest

TOP = Path(__file__).resolve().parents[2]
PLUGINS = TOP / "packer/plugins.pkr.hcl.example"


def parsed(file):
    return hcl2.loads(file.read_text())


@pytest.fixture(scope="module")
def template():
    return parsed(TOP / "packer/mattermost-base.pkr.hcl")


def names(blocks):
    """The labels of blocks of one label."""
    return {label.strip('"') for block in blocks for label in block if not label.startswith("__")}


def used(template, kind):
    return set(re.findall(rf"\b{kind}\.(\w+)", json.dumps(template)))


def text(value):
    return value.strip('"')


def test_every_variable_is_declared_and_read(template):
    assert names(template["variable"]) == used(template, "var")


def test_every_local_is_declared_and_read(template):
    assert names(template["locals"]) == used(template, "local")


def test_what_is_built_is_a_declared_source(template):
    declared = {
        f"source.{text(kind)}.{text(name)}"
        for source in template["source"]
        for kind, inside in source.items()
        if not kind.startswith("__")
        for name in inside
        if not name.startswith("__")
    }
    assert {text(source) for build in template["build"] for source in build["sources"]} == declared


def test_the_files_that_it_takes_are_there(template):
    provisioners = [
        {text(kind): settings}
        for build in template["build"]
        for provisioner in build["provisioner"]
        for kind, settings in provisioner.items()
        if not kind.startswith("__")
    ]
    assert [kind for provisioner in provisioners for kind in provisioner] == ["shell", "file", "shell"]
    script = text(provisioners[2]["shell"]["script"])
    assert (TOP / script).stat().st_mode & 0o100, script
    folders = re.findall(r'"(\w+/)"', json.dumps(provisioners[1]["file"]["sources"]).replace("\\", ""))
    assert folders == ["systemd/"]
    assert all((TOP / folder).is_dir() for folder in folders)


def test_later_packers_get_the_plugin_that_the_source_is_of(template):
    required = parsed(PLUGINS)["packer"][0]["required_plugins"][0]
    assert {text(name) for name in required if not name.startswith("__")} == {"amazon"}
    assert {text(kind) for source in template["source"] for kind in source} - {"__is_block__"} == {"amazon-ebs"}
