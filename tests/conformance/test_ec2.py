"""EC2: every action of the lab, waiters, idempotency, and the errors that AWS documents."""

import base64

import botocore.exceptions
import pytest

USER_DATA = base64.b64encode(b'stack = "demo"\n').decode()
SHELL_ATTRIBUTES = [
    "instanceType",
    "userData",
    "disableApiTermination",
    "disableApiStop",
    "instanceInitiatedShutdownBehavior",
    "ebsOptimized",
    "enaSupport",
    "sourceDestCheck",
    "rootDeviceName",
    "groupSet",
    "blockDeviceMapping",
]


def tags(kind, **pairs):
    return {"ResourceType": kind, "Tags": [{"Key": k, "Value": v} for k, v in pairs.items()]}


def tcp(port, **peer):
    return [{"IpProtocol": "tcp", "FromPort": port, "ToPort": port, **peer}]


def names(client, key, value):
    return [{"Name": key, "Values": value if isinstance(value, list) else [value]}]


def test_regions_and_zones(ec2):
    regions = {region["RegionName"] for region in ec2.describe_regions()["Regions"]}
    assert regions == {"us-east-1", "us-west-2"}
    zones = ec2.describe_availability_zones()["AvailabilityZones"]
    assert [zone["ZoneName"] for zone in zones] == ["us-east-1a", "us-east-1b", "us-east-1c"]
    ec2.describe_account_attributes()
    assert "EbsEncryptionByDefault" in ec2.get_ebs_encryption_by_default()


def test_the_key_that_volumes_are_encrypted_with(ec2, lab, refused):
    managed = {"KmsKeyId": "alias/aws/ebs"}
    assert ec2.get_ebs_default_kms_key_id().items() >= managed.items()
    refused("InvalidParameterValue", ec2.modify_ebs_default_kms_key_id, KmsKeyId="alias/nobody")
    kms = lab.client("kms")
    own = kms.create_key()["KeyMetadata"]
    assert ec2.modify_ebs_default_kms_key_id(KmsKeyId=own["KeyId"])["KmsKeyId"] == own["Arn"]
    assert ec2.get_ebs_default_kms_key_id()["KmsKeyId"] == own["Arn"]
    assert ec2.enable_ebs_encryption_by_default()["EbsEncryptionByDefault"]
    assert ec2.get_ebs_encryption_by_default()["EbsEncryptionByDefault"]
    assert not ec2.disable_ebs_encryption_by_default()["EbsEncryptionByDefault"]
    assert ec2.reset_ebs_default_kms_key_id().items() >= managed.items()
    kms.schedule_key_deletion(KeyId=own["KeyId"], PendingWindowInDays=30)


def test_network(ec2, refused):
    refused("InvalidVpc.Range", ec2.create_vpc, CidrBlock="10.0.0.0/16")
    vpc = ec2.create_vpc(CidrBlock="127.177.0.0/16", TagSpecifications=[tags("vpc", a="b")])["Vpc"]
    mine = [{"Name": "vpc-id", "Values": [vpc["VpcId"]]}]
    subnet = ec2.create_subnet(
        VpcId=vpc["VpcId"], CidrBlock="127.177.1.0/24", AvailabilityZone="us-east-1b"
    )["Subnet"]
    assert subnet["AvailableIpAddressCount"] == 251
    refused(
        "InvalidSubnet.Conflict",
        ec2.create_subnet,
        VpcId=vpc["VpcId"],
        CidrBlock="127.177.1.128/25",
    )
    ec2.modify_subnet_attribute(
        SubnetId=subnet["SubnetId"], MapPublicIpOnLaunch={"Value": True}
    )
    assert ec2.describe_subnets(Filters=mine)["Subnets"][0]["MapPublicIpOnLaunch"]
    ec2.modify_vpc_attribute(VpcId=vpc["VpcId"], EnableDnsHostnames={"Value": True})
    attribute = ec2.describe_vpc_attribute(VpcId=vpc["VpcId"], Attribute="enableDnsHostnames")
    assert attribute["EnableDnsHostnames"]["Value"]
    ec2.describe_route_tables()
    ec2.describe_internet_gateways()
    assert ec2.describe_addresses()["Addresses"] == []
    refused("DependencyViolation", ec2.delete_vpc, VpcId=vpc["VpcId"])
    ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    ec2.delete_vpc(VpcId=vpc["VpcId"])
    refused("InvalidVpcID.NotFound", ec2.describe_vpcs, VpcIds=[vpc["VpcId"]])


def test_security_groups(ec2, network, refused, wait):
    made = {"GroupName": "rules", "Description": "nodes", "VpcId": network["vpc"]}
    group = ec2.create_security_group(**made, TagSpecifications=[tags("security-group", x="y")])
    group = group["GroupId"]
    wait(ec2, "security_group_exists", GroupIds=[group])
    refused("InvalidGroup.Duplicate", ec2.create_security_group, **made)
    both = tcp(
        8065,
        UserIdGroupPairs=[{"GroupId": group, "Description": "self"}],
        IpRanges=[{"CidrIp": "127.0.0.0/8"}],
    )
    rules = ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=both)
    assert len(rules["SecurityGroupRules"]) == 2
    refused(
        "InvalidPermission.Duplicate",
        ec2.authorize_security_group_ingress,
        GroupId=group,
        IpPermissions=tcp(8065, UserIdGroupPairs=[{"GroupId": group}]),
    )
    shown = ec2.describe_security_group_rules(Filters=names(ec2, "group-id", group))
    assert len(shown["SecurityGroupRules"]) == 3
    nowhere = tcp(1, IpRanges=[{"CidrIp": "127.0.0.0/8"}])
    refused(
        "InvalidPermission.NotFound",
        ec2.revoke_security_group_ingress,
        GroupId=group,
        IpPermissions=nowhere,
    )
    rule = rules["SecurityGroupRules"][0]["SecurityGroupRuleId"]
    ec2.revoke_security_group_ingress(GroupId=group, SecurityGroupRuleIds=[rule])
    world = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    ec2.revoke_security_group_egress(GroupId=group, IpPermissions=world)
    ec2.authorize_security_group_egress(GroupId=group, IpPermissions=world)
    assert ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
    ec2.delete_security_group(GroupId=group)
    refused("InvalidGroup.NotFound", ec2.delete_security_group, GroupId=group)


def test_launch_templates(ec2, image, network, refused):
    data = {
        "ImageId": image,
        "InstanceType": "t3.small",
        "SecurityGroupIds": [network["group"]],
        "UserData": USER_DATA,
        "IamInstanceProfile": {"Name": "node"},
        "MetadataOptions": {"HttpTokens": "required", "InstanceMetadataTags": "enabled"},
        "BlockDeviceMappings": [
            {
                "DeviceName": "/dev/xvda",
                "Ebs": {"VolumeSize": 20, "VolumeType": "gp3", "Encrypted": True},
            }
        ],
        "TagSpecifications": [tags("instance", stack="demo"), tags("volume", stack="demo")],
        "Monitoring": {"Enabled": True},
    }
    made = ec2.create_launch_template(LaunchTemplateName="versions", LaunchTemplateData=data)
    template = {"LaunchTemplateId": made["LaunchTemplate"]["LaunchTemplateId"]}
    refused(
        "InvalidLaunchTemplateName.AlreadyExistsException",
        ec2.create_launch_template,
        LaunchTemplateName="versions",
        LaunchTemplateData={"ImageId": image},
    )
    second = dict(**template, SourceVersion="1", ClientToken="second")
    for _ in range(2):
        version = ec2.create_launch_template_version(
            **second, LaunchTemplateData={"InstanceType": "t3.medium"}
        )["LaunchTemplateVersion"]
        assert version["VersionNumber"] == 2
    assert version["LaunchTemplateData"]["UserData"] == USER_DATA, "inherited from version 1"
    refused(
        "IdempotentParameterMismatch",
        ec2.create_launch_template_version,
        **second,
        LaunchTemplateData={"InstanceType": "t3.large"},
    )
    changed = ec2.modify_launch_template(**template, DefaultVersion="2")["LaunchTemplate"]
    assert changed["DefaultVersionNumber"] == 2
    third = ec2.create_launch_template_version(
        **template, LaunchTemplateData={"InstanceType": "t3.medium"}
    )["LaunchTemplateVersion"]
    assert "UserData" not in third["LaunchTemplateData"], "nothing is inherited without a source"
    shown = ec2.describe_launch_template_versions(**template, Versions=["$Latest", "$Default"])
    assert [v["VersionNumber"] for v in shown["LaunchTemplateVersions"]] == [3, 2]
    pages = ec2.get_paginator("describe_launch_template_versions").paginate(
        **template, PaginationConfig={"PageSize": 1}
    )
    paged = [v["VersionNumber"] for page in pages for v in page["LaunchTemplateVersions"]]
    assert paged == [3, 2, 1]
    gone = ec2.delete_launch_template_versions(**template, Versions=["2", "3", "9"])
    assert [v["VersionNumber"] for v in gone["SuccessfullyDeletedLaunchTemplateVersions"]] == [3]
    assert len(gone["UnsuccessfullyDeletedLaunchTemplateVersions"]) == 2
    assert ec2.describe_launch_templates(**{"LaunchTemplateIds": [template["LaunchTemplateId"]]})
    ec2.delete_launch_template(LaunchTemplateName="versions")
    refused(
        "InvalidLaunchTemplateId.NotFound",
        ec2.describe_launch_template_versions,
        **template,
    )


def test_instances(ec2, image, network, refused, wait, until):
    template = {"LaunchTemplateName": "run"}
    ec2.create_launch_template(
        **template,
        LaunchTemplateData={
            "ImageId": image,
            "InstanceType": "t3.small",
            "UserData": USER_DATA,
            "IamInstanceProfile": {"Name": "node"},
            "TagSpecifications": [tags("instance", stack="run"), tags("volume", stack="run")],
        },
    )
    launch = {"LaunchTemplate": template, "MinCount": 2, "MaxCount": 2}
    launch.update(ClientToken="run", SubnetId=network["subnets"][0])
    refused("DryRunOperation", ec2.run_instances, 412, **launch, DryRun=True)
    ids = [i["InstanceId"] for i in ec2.run_instances(**launch)["Instances"]]
    again = [i["InstanceId"] for i in ec2.run_instances(**launch)["Instances"]]
    assert sorted(again) == sorted(ids), "the same token gives the same instances"
    refused("IdempotentParameterMismatch", ec2.run_instances, **{**launch, "MinCount": 1})
    wait(ec2, "instance_exists", InstanceIds=ids)
    wait(ec2, "instance_running", InstanceIds=ids)
    wait(ec2, "instance_status_ok", InstanceIds=ids)
    wait(ec2, "system_status_ok", InstanceIds=ids)
    one, other = ids
    until(lambda: "agent started" in ec2.get_console_output(InstanceId=one)["Output"], "a console")
    filters = names(ec2, "tag:stack", "run") + names(ec2, "instance-state-name", "running")
    assert ec2.describe_instances(InstanceIds=ids, Filters=filters)["Reservations"]
    attached = names(ec2, "attachment.instance-id", ids) + names(ec2, "tag:stack", "run")
    volumes = ec2.describe_volumes(Filters=attached)["Volumes"]
    assert [(volume["Iops"], volume["Throughput"]) for volume in volumes] == [(3000, 125)] * 2
    refused("VolumeInUse", ec2.delete_volume, VolumeId=volumes[0]["VolumeId"])
    for attribute in SHELL_ATTRIBUTES:
        ec2.describe_instance_attribute(InstanceId=one, Attribute=attribute)
    ec2.modify_instance_attribute(InstanceId=one, DisableApiTermination={"Value": True})
    refused("OperationNotPermitted", ec2.terminate_instances, InstanceIds=ids)
    ec2.modify_instance_attribute(InstanceId=one, DisableApiTermination={"Value": False})
    larger = {"InstanceId": one, "InstanceType": {"Value": "t3.large"}}
    refused("IncorrectInstanceState", ec2.modify_instance_attribute, **larger)
    ec2.modify_instance_metadata_options(InstanceId=one, HttpTokens="required")
    ec2.monitor_instances(InstanceIds=ids)
    ec2.unmonitor_instances(InstanceIds=ids)
    assert ec2.describe_iam_instance_profile_associations()["IamInstanceProfileAssociations"]
    ec2.reboot_instances(InstanceIds=[other])
    ec2.stop_instances(InstanceIds=[one])
    wait(ec2, "instance_stopped", InstanceIds=[one])
    ec2.modify_instance_attribute(**larger)
    ec2.start_instances(InstanceIds=[one])
    wait(ec2, "instance_running", InstanceIds=[one])
    ec2.describe_instance_status(IncludeAllInstances=True)
    ec2.terminate_instances(InstanceIds=ids)
    wait(ec2, "instance_terminated", InstanceIds=ids)
    shown = ec2.describe_instances(InstanceIds=ids)["Reservations"]
    assert {i["State"]["Name"] for r in shown for i in r["Instances"]} == {"terminated"}
    ec2.delete_launch_template(**template)


def test_a_volume_that_stays_can_be_deleted(ec2, image, wait):
    keep = [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 9, "DeleteOnTermination": False}}]
    launched = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, BlockDeviceMappings=keep)
    instance = launched["Instances"][0]["InstanceId"]
    wait(ec2, "instance_running", InstanceIds=[instance])
    attached = names(ec2, "attachment.instance-id", instance)
    volume = ec2.describe_volumes(Filters=attached)["Volumes"][0]["VolumeId"]
    ec2.terminate_instances(InstanceIds=[instance])
    wait(ec2, "instance_terminated", InstanceIds=[instance])
    wait(ec2, "volume_available", VolumeIds=[volume])
    ec2.delete_volume(VolumeId=volume)
    wait(ec2, "volume_deleted", VolumeIds=[volume])


def test_launches_that_are_refused(ec2, lab, image, refused, until):
    one = {"MinCount": 1, "MaxCount": 1}
    nobody = {"Name": "nobody"}
    refused("InvalidParameterValue", ec2.run_instances, ImageId=image, IamInstanceProfile=nobody, **one)
    refused("InvalidAMIID.NotFound", ec2.run_instances, ImageId="ami-12345678901234567", **one)
    hibernate = {"Configured": True}
    refused("UnknownParameter", ec2.run_instances, ImageId=image, HibernationOptions=hibernate, **one)
    fault = {"kind": "insufficient_capacity", "zone": "us-east-1c"}
    lab.control("POST", "ec2/faults", {**fault, "instance_type": "c5.2xlarge"})
    refused(
        "InsufficientInstanceCapacity",
        ec2.run_instances,
        500,
        ImageId=image,
        InstanceType="c5.2xlarge",
        Placement={"AvailabilityZone": "us-east-1c"},
        **one,
    )
    fault = {"kind": "boot_failure", "reason": "disk", "instance_type": "t3.xlarge"}
    lab.control("POST", "ec2/faults", fault)
    launched = ec2.run_instances(ImageId=image, InstanceType="t3.xlarge", **one)
    failed = launched["Instances"][0]["InstanceId"]

    def state():
        return ec2.describe_instances(InstanceIds=[failed])["Reservations"][0]["Instances"][0]

    until(lambda: state()["State"]["Name"] == "terminated", "the failed boot's end")
    assert "StateReason" in state()


def shows(ec2, image):
    """Whether an image that was deregistered still shows."""
    try:
        found = ec2.describe_images(ImageIds=[image])["Images"]
    except botocore.exceptions.ClientError as error:
        assert error.response["Error"]["Code"] == "InvalidAMIID.NotFound"
        return False
    assert {it["State"] for it in found} <= {"deregistered"}
    return True


def test_images(ec2, lab, image, refused, wait, until):
    launched = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)
    instance = launched["Instances"][0]["InstanceId"]
    wait(ec2, "instance_running", InstanceIds=[instance])
    made = {"InstanceId": instance, "Name": "baked 1"}
    baked = ec2.create_image(**made, TagSpecifications=[tags("image", v="1")])["ImageId"]
    refused("InvalidAMIName.Duplicate", ec2.create_image, **made)
    wait(ec2, "image_exists", ImageIds=[baked])
    wait(ec2, "image_available", ImageIds=[baked])
    west = lab.client("ec2", "us-west-2")
    source = {"SourceRegion": "us-east-1", "SourceImageId": baked, "Name": "baked 1"}
    copy = west.copy_image(**source, ClientToken="k", CopyImageTags=True)["ImageId"]
    again = west.copy_image(**source, ClientToken="k", CopyImageTags=True)["ImageId"]
    assert again == copy
    wait(west, "image_available", ImageIds=[copy])
    shown = west.describe_images(ImageIds=[copy])["Images"][0]
    assert shown["SourceImageId"] == baked
    assert shown["Tags"] == [{"Key": "v", "Value": "1"}]
    filters = names(ec2, "tag:v", "1") + names(ec2, "name", "baked*")
    assert len(ec2.describe_images(Owners=["self"], Filters=filters)["Images"]) == 1
    ec2.modify_image_attribute(ImageId=baked, Description={"Value": "baked"})
    for attribute in ["description", "launchPermission"]:
        ec2.describe_image_attribute(ImageId=baked, Attribute=attribute)
    mappings = ec2.describe_images(ImageIds=[baked])["Images"][0]["BlockDeviceMappings"]
    snapshot = mappings[0]["Ebs"]["SnapshotId"]
    wait(ec2, "snapshot_completed", SnapshotIds=[snapshot])
    refused("InvalidSnapshot.InUse", ec2.delete_snapshot, SnapshotId=snapshot)
    ec2.deregister_image(ImageId=baked)
    ec2.delete_snapshot(SnapshotId=snapshot)
    # It shows for a short while as deregistered; asking for it is an error only after that.
    until(lambda: not shows(ec2, baked), "the end of a deregistered image")
    refused("InvalidAMIID.NotFound", ec2.deregister_image, ImageId=baked)
    ec2.describe_snapshots(OwnerIds=["self"])
    west.deregister_image(ImageId=copy)
    ec2.terminate_instances(InstanceIds=[instance])
    wait(ec2, "instance_terminated", InstanceIds=[instance])


def test_key_pairs(ec2, refused, wait):
    made = ec2.create_key_pair(KeyName="one", KeyType="ed25519")
    assert made["KeyMaterial"].startswith("-----BEGIN")
    shown = ec2.describe_key_pairs(KeyNames=["one"], IncludePublicKey=True)["KeyPairs"][0]
    ec2.import_key_pair(KeyName="two", PublicKeyMaterial=shown["PublicKey"].encode())
    wait(ec2, "key_pair_exists", KeyNames=["two"])
    refused("InvalidKeyPair.Duplicate", ec2.create_key_pair, KeyName="two")
    for name in ["one", "two", "never was"]:
        ec2.delete_key_pair(KeyName=name)
    refused("InvalidKeyPair.NotFound", ec2.describe_key_pairs, KeyNames=["one"])


def test_tags(ec2, network):
    group, subnet = network["group"], network["subnets"][0]
    ec2.create_tags(Resources=[group, subnet], Tags=[{"Key": "z", "Value": "1"}])

    def tagged():
        return len(ec2.describe_tags(Filters=names(ec2, "key", "z"))["Tags"])

    assert tagged() == 2
    ec2.delete_tags(Resources=[group], Tags=[{"Key": "z", "Value": "2"}])
    assert tagged() == 2, "another value is another tag"
    ec2.delete_tags(Resources=[group, subnet], Tags=[{"Key": "z"}])
    assert tagged() == 0


def test_instance_types(ec2):
    pages = ec2.get_paginator("describe_instance_types").paginate(PaginationConfig={"PageSize": 7})
    types = [t["InstanceType"] for page in pages for t in page["InstanceTypes"]]
    assert len(types) == len(set(types)) >= 20
    offered = ec2.describe_instance_type_offerings(
        LocationType="availability-zone", Filters=names(ec2, "instance-type", "t3.small")
    )
    assert len(offered["InstanceTypeOfferings"]) == 3


@pytest.mark.parametrize(
    ("code", "call", "arguments"),
    [
        ("InvalidInstanceID.NotFound", "describe_instances", {"InstanceIds": ["i-12345678901234567"]}),
        ("InvalidInstanceID.Malformed", "describe_instances", {"InstanceIds": ["x"]}),
        ("InvalidParameterValue", "describe_instances", {"Filters": [{"Name": "bogus", "Values": ["1"]}]}),
        ("InvalidAction", "describe_nat_gateways", {}),
        ("InvalidAction", "create_nat_gateway", {"SubnetId": "subnet-1"}),
    ],
)
def test_errors(ec2, refused, code, call, arguments):
    refused(code, getattr(ec2, call), **arguments)
