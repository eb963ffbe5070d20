"""RDS: real PostgreSQL servers through botocore, from creation to deletion."""

import datetime

import pytest


@pytest.fixture(scope="module")
def rds(lab):
    return lab.client("rds")


@pytest.fixture(scope="module")
def place(rds, network):
    """A subnet group and a parameter group for the instances of this file."""
    rds.create_db_subnet_group(
        DBSubnetGroupName="place", DBSubnetGroupDescription="d", SubnetIds=network["subnets"]
    )
    family = rds.describe_db_engine_versions(Engine="postgres")["DBEngineVersions"][0]
    family = family["DBParameterGroupFamily"]
    rds.create_db_parameter_group(
        DBParameterGroupName="place", DBParameterGroupFamily=family, Description="d"
    )
    yield {"DBSubnetGroupName": "place", "DBParameterGroupName": "place"}
    rds.delete_db_subnet_group(DBSubnetGroupName="place")
    rds.delete_db_parameter_group(DBParameterGroupName="place")


def creation(name, **more):
    return {
        "DBInstanceIdentifier": name,
        "Engine": "postgres",
        "DBInstanceClass": "db.t3.medium",
        "AllocatedStorage": 20,
        "MasterUsername": "mm",
        "ManageMasterUserPassword": True,
        **more,
    }


def test_the_life_of_a_primary(rds, lab, place, network, refused, wait, until):
    wanted = creation(
        "primary",
        **place,
        DBName="mattermost",
        VpcSecurityGroupIds=[network["group"]],
        BackupRetentionPeriod=7,
        MultiAZ=True,
        StorageType="gp3",
        StorageEncrypted=True,
        DeletionProtection=True,
        PubliclyAccessible=False,
        CopyTagsToSnapshot=True,
        EnablePerformanceInsights=True,
        EnableCloudwatchLogsExports=["postgresql"],
        MaxAllocatedStorage=100,
        Tags=[{"Key": "stack", "Value": "x"}],
    )
    made = rds.create_db_instance(**wanted)["DBInstance"]
    assert made["DBInstanceStatus"] == "creating"
    assert "Endpoint" not in made
    primary = {"DBInstanceIdentifier": "primary"}
    source = {"SourceDBInstanceIdentifier": "primary"}
    refused("InvalidDBInstanceState", rds.create_db_instance_read_replica, DBInstanceIdentifier="replica", **source)
    refused("DBInstanceAlreadyExists", rds.create_db_instance, **wanted)
    refused("DBInstanceAlreadyExists", rds.create_db_instance, **creation("primary"))
    wait(rds, "db_instance_available", **primary)
    refused("InvalidParameterCombination", rds.delete_db_instance, **primary, SkipFinalSnapshot=True)

    replica = {"DBInstanceIdentifier": "replica"}
    rds.create_db_instance_read_replica(**replica, **source)
    wait(rds, "db_instance_available", **replica)
    shown = rds.describe_db_instances(**replica)["DBInstances"][0]
    assert shown["ReadReplicaSourceDBInstanceIdentifier"] == "primary"

    rds.create_db_snapshot(**primary, DBSnapshotIdentifier="first")
    wait(rds, "db_snapshot_available", DBSnapshotIdentifier="first")
    wait(rds, "db_snapshot_completed", DBSnapshotIdentifier="first")
    refused(
        "DBSnapshotAlreadyExists", rds.create_db_snapshot, **primary, DBSnapshotIdentifier="first"
    )
    rds.copy_db_snapshot(SourceDBSnapshotIdentifier="first", TargetDBSnapshotIdentifier="second")
    wait(rds, "db_snapshot_available", DBSnapshotIdentifier="second")
    wait(rds, "db_instance_available", **primary)

    restored = {"DBInstanceIdentifier": "restored"}
    rds.restore_db_instance_from_db_snapshot(
        **restored, DBSnapshotIdentifier="second", DBSubnetGroupName="place"
    )
    change = {"AllocatedStorage": 30, "DeletionProtection": False}
    rds.modify_db_instance(**primary, ApplyImmediately=True, **change)
    rds.reboot_db_instance(**replica)

    def grown():
        shown = rds.describe_db_instances(**primary)["DBInstances"][0]
        return shown["AllocatedStorage"] == 30 and shown["DBInstanceStatus"] == "storage-optimization"

    until(grown, "the larger storage")
    again = {"AllocatedStorage": 40, "ApplyImmediately": True}
    refused("InvalidParameterCombination", rds.modify_db_instance, **primary, **again)
    arn = made["DBInstanceArn"]
    rds.add_tags_to_resource(ResourceName=arn, Tags=[{"Key": "k", "Value": "v"}])
    rds.remove_tags_from_resource(ResourceName=arn, TagKeys=["k"])
    assert {t["Key"] for t in rds.list_tags_for_resource(ResourceName=arn)["TagList"]} == {"stack"}
    both = [{"Name": "db-instance-id", "Values": ["primary", "replica"]}]
    assert len(rds.describe_db_instances(Filters=both)["DBInstances"]) == 2
    for pages in ["describe_db_instances", "describe_db_snapshots", "describe_events"]:
        assert list(rds.get_paginator(pages).paginate(PaginationConfig={"PageSize": 20}))

    point = {"TargetDBInstanceIdentifier": "earlier", "DBSubnetGroupName": "place", **source}
    to = rds.restore_db_instance_to_point_in_time
    late = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
    refused("InvalidParameterValue", to, **point, RestoreTime=late)
    refused("InvalidParameterCombination", to, **point)
    to(**point, UseLatestRestorableTime=True)
    earlier = {"DBInstanceIdentifier": "earlier"}
    wait(rds, "db_instance_available", **earlier)
    rds.delete_db_instance(**earlier, SkipFinalSnapshot=True)
    wait(rds, "db_instance_deleted", **earlier)
    wait(rds, "db_instance_available", **restored)
    wait(rds, "db_instance_available", **replica)
    rds.stop_db_instance(**restored)
    wait_stopped = rds.describe_db_instances
    until(
        lambda: wait_stopped(**restored)["DBInstances"][0]["DBInstanceStatus"] == "stopped",
        "the stop",
    )
    rds.start_db_instance(**restored)
    rds.promote_read_replica(**replica, BackupRetentionPeriod=1)
    wait(rds, "db_instance_available", **restored)
    rds.delete_db_instance(**restored, SkipFinalSnapshot=True)
    rds.delete_db_instance(**primary, FinalDBSnapshotIdentifier="final")
    wait(rds, "db_instance_deleted", **restored)
    wait(rds, "db_instance_deleted", **primary)
    wait(rds, "db_instance_available", **replica)
    rds.delete_db_instance(**replica, SkipFinalSnapshot=True)
    wait(rds, "db_instance_deleted", **replica)
    manual = rds.describe_db_snapshots(SnapshotType="manual")["DBSnapshots"]
    assert {it["DBSnapshotIdentifier"] for it in manual} == {"first", "second", "final"}
    for name in ["first", "second", "final"]:
        rds.delete_db_snapshot(DBSnapshotIdentifier=name)
        wait(rds, "db_snapshot_deleted", DBSnapshotIdentifier=name)
    refused("DBInstanceNotFound", rds.describe_db_instances, 404, **primary)


def test_parameter_groups(rds, refused):
    group = {"DBParameterGroupName": "parameters"}
    family = rds.describe_db_engine_versions(Engine="postgres")["DBEngineVersions"][0]
    made = {**group, "DBParameterGroupFamily": family["DBParameterGroupFamily"], "Description": "d"}
    rds.create_db_parameter_group(**made)
    refused("DBParameterGroupAlreadyExists", rds.create_db_parameter_group, **made)
    value = {"ParameterName": "rds.force_ssl", "ParameterValue": "1", "ApplyMethod": "immediate"}
    rds.modify_db_parameter_group(**group, Parameters=[value])
    pages = rds.get_paginator("describe_db_parameters").paginate(**group)
    shown = {p["ParameterName"]: p for page in pages for p in page["Parameters"]}
    assert shown["rds.force_ssl"]["ParameterValue"] == "1"
    assert shown["rds.force_ssl"]["Source"] == "system", "the family's own"
    rds.reset_db_parameter_group(**group, ResetAllParameters=True)
    assert rds.describe_db_parameter_groups(**group)["DBParameterGroups"]
    unknown = {**value, "ParameterName": "no_such_parameter"}
    refused("InvalidParameterValue", rds.modify_db_parameter_group, **group, Parameters=[unknown])
    rds.delete_db_parameter_group(**group)
    refused("DBParameterGroupNotFound", rds.describe_db_parameter_groups, 404, **group)


def test_subnet_groups(rds, network, refused):
    group = {"DBSubnetGroupName": "subnets"}
    made = {**group, "DBSubnetGroupDescription": "d", "SubnetIds": network["subnets"]}
    rds.create_db_subnet_group(**made)
    refused("DBSubnetGroupAlreadyExists", rds.create_db_subnet_group, **made)
    rds.modify_db_subnet_group(**group, SubnetIds=network["subnets"][:2])
    shown = rds.describe_db_subnet_groups(**group)["DBSubnetGroups"][0]
    assert len(shown["Subnets"]) == 2
    rds.delete_db_subnet_group(**group)
    refused("DBSubnetGroupNotFoundFault", rds.describe_db_subnet_groups, 404, **group)


def test_catalogues(rds):
    pages = rds.get_paginator("describe_orderable_db_instance_options").paginate(Engine="postgres")
    assert [option for page in pages for option in page["OrderableDBInstanceOptions"]]
    assert rds.describe_certificates()["Certificates"]
    assert rds.describe_account_attributes()["AccountQuotas"]
    assert rds.describe_pending_maintenance_actions()["PendingMaintenanceActions"] == []


@pytest.mark.parametrize(
    ("code", "call", "arguments"),
    [
        ("DBInstanceNotFound", "describe_db_instances", {"DBInstanceIdentifier": "nope"}),
        ("DBSnapshotNotFound", "delete_db_snapshot", {"DBSnapshotIdentifier": "nope"}),
        ("DBInstanceNotFound", "create_db_instance_read_replica", {"DBInstanceIdentifier": "a", "SourceDBInstanceIdentifier": "nope"}),
        ("InvalidParameterValue", "describe_db_instances", {"Filters": [{"Name": "bogus", "Values": ["x"]}]}),
        ("InvalidParameterValue", "create_db_instance", creation("small", AllocatedStorage=1)),
        ("InvalidAction", "describe_db_clusters", {}),
    ],
)
def test_errors(rds, refused, code, call, arguments):
    refused(code, getattr(rds, call), **arguments)
