//! The XML of RDS's shapes.

use jiff::Timestamp;

use super::model::{Instance, ParameterGroup, Region, Snapshot, SubnetGroup, Tags};
use super::{arn, storage, support};
use crate::api::Xml;

/// When the lab's certificates end: rcgen's default, the end of the year 4095.
pub const CERTIFICATE_END: Timestamp = Timestamp::constant(67_090_118_400, 0);
/// When they begin: rcgen's default, 1975.
pub const CERTIFICATE_BEGIN: Timestamp = Timestamp::constant(157_766_400, 0);

/// `TagList` after `xml`.
pub fn tags(xml: Xml, tags: &Tags) -> Xml {
    xml.list(
        "TagList",
        "Tag",
        tags.iter()
            .map(|(key, value)| Xml::new().text("Key", key).text("Value", value)),
    )
}

/// `DBSubnetGroup`.
pub fn subnet_group(region: &str, group: &SubnetGroup) -> Xml {
    Xml::new()
        .text("DBSubnetGroupName", &group.name)
        .text("DBSubnetGroupDescription", &group.description)
        .text("VpcId", &group.vpc)
        .text("SubnetGroupStatus", "Complete")
        .list(
            "Subnets",
            "Subnet",
            group.subnets.iter().map(|(id, zone)| {
                Xml::new()
                    .text("SubnetIdentifier", id)
                    .child("SubnetAvailabilityZone", Xml::new().text("Name", zone))
                    .child("SubnetOutpost", Xml::new())
                    .text("SubnetStatus", "Active")
            }),
        )
        .text("DBSubnetGroupArn", arn(region, "subgrp", &group.name))
        .list("SupportedNetworkTypes", "member", [Xml::value("IPV4")])
}

/// `DBParameterGroup`.
pub fn parameter_group(region: &str, group: &ParameterGroup) -> Xml {
    Xml::new()
        .text("DBParameterGroupName", &group.name)
        .text("DBParameterGroupFamily", &group.family)
        .text("Description", &group.description)
        .text("DBParameterGroupArn", arn(region, "pg", &group.name))
}

fn pending(instance: &Instance) -> Xml {
    let pending = &instance.pending;
    Xml::new()
        .opt("DBInstanceClass", pending.class.as_deref())
        .opt("AllocatedStorage", pending.storage)
        .opt(
            "MasterUserPassword",
            pending.password.as_ref().map(|_| "****"),
        )
        .opt("Port", pending.port)
        .opt("BackupRetentionPeriod", pending.retention)
        .opt("MultiAZ", pending.multi_az)
        .opt("Iops", pending.iops)
        .opt("StorageType", pending.storage_type.as_deref())
        .opt(
            "CACertificateIdentifier",
            pending.certificate_authority.as_deref(),
        )
}

/// `DBInstance`.
pub fn instance(region: &str, state: &Region, instance: &Instance) -> Xml {
    let replicas = state
        .instances
        .values()
        .filter(|other| other.source.as_deref() == Some(&instance.id))
        .map(|other| Xml::value(&other.id));
    let major = instance
        .engine_version
        .split('.')
        .next()
        .unwrap_or_default();
    let mut xml = Xml::new()
        .text("DBInstanceIdentifier", &instance.id)
        .text("DBInstanceClass", &instance.class)
        .text("Engine", "postgres")
        .text("DBInstanceStatus", instance.status)
        .text("MasterUsername", &instance.master)
        .opt("DBName", instance.database.as_deref());
    if instance.endpoint_shown {
        xml = xml.child(
            "Endpoint",
            Xml::new()
                .text("Address", instance.address)
                .text("Port", instance.port)
                .text("HostedZoneId", HOSTED_ZONE),
        );
    }
    xml = xml.text("AllocatedStorage", instance.storage);
    if let Some(created) = instance.created {
        xml = xml.time("InstanceCreateTime", created);
    }
    xml = xml
        .text("PreferredBackupWindow", &instance.backup_window)
        .text("BackupRetentionPeriod", instance.retention)
        .list("DBSecurityGroups", "DBSecurityGroup", [])
        .list(
            "VpcSecurityGroups",
            "VpcSecurityGroupMembership",
            instance.security_groups.iter().map(|id| {
                Xml::new()
                    .text("VpcSecurityGroupId", id)
                    .text("Status", "active")
            }),
        )
        .list(
            "DBParameterGroups",
            "DBParameterGroup",
            [Xml::new()
                .text("DBParameterGroupName", &instance.parameter_group)
                .text("ParameterApplyStatus", instance.parameter_status)],
        )
        .text("AvailabilityZone", &instance.zone);
    if let Some(group) = state.subnet_groups.get(&instance.subnet_group) {
        xml = xml.child("DBSubnetGroup", subnet_group(region, group));
    }
    xml = xml
        .text("PreferredMaintenanceWindow", &instance.maintenance_window)
        .child("PendingModifiedValues", pending(instance));
    if let Some(at) = instance.latest_restorable {
        xml = xml.time("LatestRestorableTime", at);
    }
    xml = xml
        .text("MultiAZ", instance.multi_az)
        .text("EngineVersion", &instance.engine_version)
        .text("AutoMinorVersionUpgrade", instance.auto_minor)
        .opt(
            "ReadReplicaSourceDBInstanceIdentifier",
            instance.source.as_deref(),
        )
        .list(
            "ReadReplicaDBInstanceIdentifiers",
            "ReadReplicaDBInstanceIdentifier",
            replicas,
        )
        .text("LicenseModel", "postgresql-license")
        .opt("Iops", storage::shown_iops(instance))
        .opt("StorageThroughput", storage::shown_throughput(instance))
        .list(
            "OptionGroupMemberships",
            "OptionGroupMembership",
            [Xml::new()
                .text("OptionGroupName", format!("default:postgres-{major}"))
                .text("Status", "in-sync")],
        )
        .opt(
            "SecondaryAvailabilityZone",
            instance.secondary_zone.as_deref(),
        )
        .text("PubliclyAccessible", instance.public)
        .text("StorageType", &instance.storage_type)
        .text("DbInstancePort", 0)
        .text("StorageEncrypted", instance.encrypted)
        .opt("KmsKeyId", instance.kms_key.as_deref())
        .text("DbiResourceId", &instance.resource_id)
        .text("CACertificateIdentifier", &instance.certificate_authority)
        .list("DomainMemberships", "DomainMembership", [])
        .text("CopyTagsToSnapshot", instance.copy_tags)
        .text("MonitoringInterval", instance.monitoring_interval)
        .text("DBInstanceArn", arn(region, "db", &instance.id))
        .text("IAMDatabaseAuthenticationEnabled", false)
        .text("PerformanceInsightsEnabled", instance.insights)
        .list(
            "EnabledCloudwatchLogsExports",
            "member",
            instance.log_exports.iter().map(Xml::value),
        )
        .text("DeletionProtection", instance.deletion_protection)
        .list("AssociatedRoles", "DBInstanceRole", [])
        .opt("MaxAllocatedStorage", instance.max_storage)
        .text("CustomerOwnedIpEnabled", false)
        .text("NetworkType", "IPV4")
        .text("ActivityStreamStatus", "stopped")
        .text("BackupTarget", "region")
        .text("DedicatedLogVolume", false)
        .text(
            "EngineLifecycleSupport",
            support::word(instance.extended_support),
        );
    if let Some(replication) = &instance.replication {
        xml = xml.list(
            "StatusInfos",
            "DBInstanceStatusInfo",
            [Xml::new()
                .text("StatusType", "read replication")
                .text("Normal", replication.normal)
                .text("Status", replication.status)
                .text("Message", &replication.message)],
        );
    }
    if instance.endpoint_shown {
        xml = xml.child(
            "CertificateDetails",
            Xml::new()
                .text("CAIdentifier", &instance.certificate_authority)
                .time("ValidTill", CERTIFICATE_END),
        );
    }
    if let Some(secret) = &instance.secret {
        xml = xml.child(
            "MasterUserSecret",
            Xml::new()
                .text("SecretArn", secret)
                .text(
                    "SecretStatus",
                    if instance.endpoint_shown {
                        "active"
                    } else {
                        "creating"
                    },
                )
                .text(
                    "KmsKeyId",
                    format!(
                        "arn:aws:kms:{region}:{}:alias/aws/secretsmanager",
                        crate::iam::ACCOUNT
                    ),
                ),
        );
    }
    tags(xml, &instance.tags)
}

/// The Route 53 zone of RDS endpoints; the lab has no DNS, but clients expect the member.
const HOSTED_ZONE: &str = "Z2R2ITUGPM61AM";

/// `DBSnapshot`.
pub fn snapshot(region: &str, snapshot: &Snapshot) -> Xml {
    let instance = &snapshot.instance;
    let major = instance
        .engine_version
        .split('.')
        .next()
        .unwrap_or_default();
    let mut xml = Xml::new()
        .text("DBSnapshotIdentifier", &snapshot.id)
        .text("DBInstanceIdentifier", &instance.id);
    if let Some(at) = snapshot.created {
        xml = xml
            .time("SnapshotCreateTime", at)
            .time("OriginalSnapshotCreateTime", at)
            .time("SnapshotDatabaseTime", at);
    }
    if let Some(at) = instance.created {
        xml = xml.time("InstanceCreateTime", at);
    }
    xml = xml
        .text("Engine", "postgres")
        .text("AllocatedStorage", instance.storage)
        .text("Status", snapshot.status)
        .text("Port", instance.port)
        .text("AvailabilityZone", &instance.zone)
        .text("VpcId", &snapshot.vpc)
        .text("MasterUsername", &instance.master)
        .text("EngineVersion", &instance.engine_version)
        .text("LicenseModel", "postgresql-license")
        .text("SnapshotType", snapshot.kind)
        .opt("Iops", storage::shown_iops(instance))
        .opt("StorageThroughput", storage::shown_throughput(instance))
        .text("OptionGroupName", format!("default:postgres-{major}"))
        .text("PercentProgress", snapshot.progress)
        .opt(
            "SourceDBSnapshotIdentifier",
            snapshot.copied_from.as_deref(),
        )
        .text("StorageType", &instance.storage_type)
        .text("Encrypted", instance.encrypted)
        .opt("KmsKeyId", instance.kms_key.as_deref())
        .text("DBSnapshotArn", arn(region, "snapshot", &snapshot.id))
        .text("IAMDatabaseAuthenticationEnabled", false)
        .list("ProcessorFeatures", "ProcessorFeature", [])
        .text("DbiResourceId", &instance.resource_id)
        .text("SnapshotTarget", "region")
        .text("DedicatedLogVolume", false);
    tags(xml, &snapshot.tags)
}
