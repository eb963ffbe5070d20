"""Debian's Packer, as it is, builds an image from a public one and copies it to the second region.

Without SSH (`communicator = "none"`), so that it needs neither root nor a machine to log in to: what is
proven here are the calls and their order. `make image` builds the product's image with its provisioners.
"""

import os
import re
import shutil
import subprocess

import pytest

from conftest import PUBLIC_IMAGE, REGION, SECOND_REGION

DEBIAN = "136693071363"
TEMPLATE = """
source "amazon-ebs" "calls" {
  access_key          = "%(key)s"
  secret_key          = "%(secret)s"
  region              = "%(region)s"
  ami_regions         = ["%(second)s"]
  custom_endpoint_ec2 = "%(endpoint)s"
  instance_type       = "t3.small"
  communicator        = "none"
  ami_name            = "packed-{{timestamp}}"
  ami_description     = "made by Packer"

  source_ami_filter {
    owners      = ["%(owner)s"]
    most_recent = true
    filters = {
      name                = "debian-12-amd64-*"
      virtualization-type = "hvm"
      root-device-type    = "ebs"
    }
  }

  launch_block_device_mappings {
    device_name           = "/dev/xvda"
    volume_size           = 16
    volume_type           = "gp3"
    iops                  = 3000
    throughput            = 125
    delete_on_termination = true
    encrypted             = true
  }

  tags = {
    "mattermost:agent" = "1"
  }
}

build {
  sources = ["source.amazon-ebs.calls"]
}
"""


def packer(directory, lab, owner):
    """Runs `packer build`; gives how it ended and what it said."""
    template = directory / "calls.pkr.hcl"
    keys = {"key": lab.ready["access_key_id"], "secret": lab.ready["secret_access_key"]}
    regions = {"region": REGION, "second": SECOND_REGION}
    template.write_text(TEMPLATE % {**keys, **regions, "endpoint": lab.endpoint, "owner": owner})
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "AWS_POLL_DELAY_SECONDS": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "CHECKPOINT_DISABLE": "1",
    }
    command = ["packer", "build", "-color=false", str(template)]
    return subprocess.run(
        command, env=environment, cwd=directory, capture_output=True, text=True, timeout=180
    )


@pytest.fixture(scope="session", autouse=True)
def installed():
    """Only Packer up to 1.6 has the Amazon builder inside."""
    binary = shutil.which("packer")
    said = binary and subprocess.run([binary, "version"], capture_output=True, text=True).stdout
    if not said or "v1.6" not in said:
        pytest.skip(f"SKIPPED LOUDLY: these tests need Packer 1.6; found: {said or 'none'}")


def test_packer_builds_and_copies_an_image(lab, ec2, tmp_path):
    ended = packer(tmp_path, lab, DEBIAN)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    made = dict(re.findall(r"^(us-\w+-\d): (ami-\w+)", ended.stdout, re.MULTILINE))
    assert set(made) == {REGION, SECOND_REGION}, ended.stdout
    for region, image in made.items():
        shown = lab.client("ec2", region).describe_images(ImageIds=[image])["Images"][0]
        assert shown["State"] == "available"
        assert shown["Name"].startswith("packed-")
        assert shown["Description"] == "made by Packer"
        assert shown["Tags"] == [{"Key": "mattermost:agent", "Value": "1"}]
        disk = shown["BlockDeviceMappings"][0]["Ebs"]
        assert (disk["VolumeType"], disk["Encrypted"]) == ("gp3", True), "as it was launched"
        snapshot = disk["SnapshotId"]
        client = lab.client("ec2", region)
        kept = client.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]
        assert kept["Tags"] == shown["Tags"], "Packer tags snapshots as the image"
        assert kept["Encrypted"]
        assert kept["VolumeSize"] == 16, "the size that the builder's root was launched with"
    # What it made on the way is gone.
    assert not names(ec2.describe_key_pairs()["KeyPairs"], "KeyName")
    assert not names(ec2.describe_security_groups()["SecurityGroups"], "GroupName")
    states = [
        instance["State"]["Name"]
        for reservation in ec2.describe_instances(
            Filters=[{"Name": "tag:Name", "Values": ["Packer Builder"]}]
        )["Reservations"]
        for instance in reservation["Instances"]
    ]
    assert states and set(states) <= {"shutting-down", "terminated"}, states
    for region, image in made.items():
        lab.client("ec2", region).deregister_image(ImageId=image)


def names(entries, key):
    return [entry[key] for entry in entries if entry[key].startswith("packer_")]


def test_a_source_that_nobody_published_ends_the_build(lab, tmp_path):
    ended = packer(tmp_path, lab, "999999999999")
    assert ended.returncode != 0
    assert "No AMI was found matching filters" in ended.stdout


def test_debians_image_is_public_and_not_ours(lab, ec2, refused):
    image = lab.ready["images"][PUBLIC_IMAGE]

    def listed(**asked):
        return [shown["ImageId"] for shown in ec2.describe_images(**asked)["Images"]]

    assert listed(Owners=[DEBIAN]) == [image]
    assert image not in listed(Owners=["self"])
    assert listed(ExecutableUsers=["all"]) == [image]
    shown = ec2.describe_images(ImageIds=[image])["Images"][0]
    assert (shown["OwnerId"], shown["Public"]) == (DEBIAN, True)
    assert shown["ImageLocation"] == f"{DEBIAN}/{PUBLIC_IMAGE}"
    refused("AuthFailure", ec2.deregister_image, ImageId=image)
    described = {"ImageId": image, "Description": {"Value": "mine"}}
    refused("AuthFailure", ec2.modify_image_attribute, **described)


def test_empty_strings_are_none(ec2, network):
    """As Packer sends them, where no subnet, zone, key or profile was configured."""
    group = ec2.create_security_group(GroupName="empty", Description="x", VpcId="")["GroupId"]
    shown = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]
    assert shown["VpcId"] == network["vpc"]
    ec2.delete_security_group(GroupId=group)
