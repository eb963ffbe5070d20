//! What RDS says of the stack.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_rds::types;
use jiff::Timestamp;
use plan::action::DB_PARAMETERS;
use plan::observed::{DbInstance, DbParameterGroup, DbSnapshot, DbSubnetGroup};
use plan::spec::Names;

use super::{found, tags_of};
use crate::connect::Cloud;
use crate::error::{Called, Failure, ReadError};

/// The engine of every instance of ours.
pub(super) const ENGINE: &str = "postgres";

impl Cloud {
    /// The subnet group.
    pub(crate) async fn observe_db_subnet_group(
        &self,
        name: &str,
    ) -> Result<Option<DbSubnetGroup>, ReadError> {
        Ok(self.subnet_group(name).await?.map(|group| DbSubnetGroup {
            name: name.to_owned(),
            subnets: group
                .subnets()
                .iter()
                .filter_map(|subnet| subnet.subnet_identifier().map(str::to_owned))
                .collect(),
        }))
    }

    pub(super) async fn subnet_group(
        &self,
        name: &str,
    ) -> Result<Option<types::DbSubnetGroup>, Failure> {
        let answer = self
            .look()
            .rds
            .describe_db_subnet_groups()
            .db_subnet_group_name(name)
            .send()
            .await
            .called("rds:DescribeDBSubnetGroups");
        let groups = found(answer, "DBSubnetGroupNotFound")?;
        Ok(groups.and_then(|answer| {
            answer
                .db_subnet_groups
                .unwrap_or_default()
                .into_iter()
                .next()
        }))
    }

    /// The parameter group with what was changed in it. Its name ends with its family: of several, the
    /// one of this major version, else the newest.
    pub(crate) async fn observe_db_parameter_group(
        &self,
        names: &Names,
        major: Option<&str>,
    ) -> Result<Option<DbParameterGroup>, ReadError> {
        let all = self
            .look()
            .rds
            .describe_db_parameter_groups()
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
            .await
            .called("rds:DescribeDBParameterGroups")?;
        let wanted = major.map(|major| format!("{ENGINE}{major}"));
        let newest = all
            .iter()
            .filter_map(types::DbParameterGroup::db_parameter_group_family)
            .filter(|family| {
                all.iter().any(|group| {
                    group.db_parameter_group_name()
                        == Some(names.db_parameter_group(family).as_str())
                })
            })
            .max_by_key(|family| (Some(*family) == wanted.as_deref(), family_number(family)));
        let Some(family) = newest else {
            return Ok(None);
        };
        let name = names.db_parameter_group(family);
        let Some(parameters) = self.parameters(&name).await? else {
            return Ok(None);
        };
        Ok(Some(DbParameterGroup {
            name,
            family: family.to_owned(),
            set_by_user: parameters.set_by_user(),
            parameters: parameters.values(),
        }))
    }

    pub(super) async fn parameter_group(
        &self,
        name: &str,
    ) -> Result<Option<types::DbParameterGroup>, Failure> {
        let answer = self
            .look()
            .rds
            .describe_db_parameter_groups()
            .db_parameter_group_name(name)
            .send()
            .await
            .called("rds:DescribeDBParameterGroups");
        let groups = found(answer, "DBParameterGroupNotFound")?;
        Ok(groups.and_then(|answer| {
            answer
                .db_parameter_groups
                .unwrap_or_default()
                .into_iter()
                .next()
        }))
    }

    /// The parameters that we care for, by name and not by source: one that was set to what its family has
    /// anyway keeps the source `system`. `None`: there is no such group.
    pub(super) async fn parameters(&self, name: &str) -> Result<Option<Parameters>, Failure> {
        let names = types::Filter::builder()
            .name("parameter-name")
            .set_values(Some(DB_PARAMETERS.map(str::to_owned).to_vec()))
            .build();
        let answer = self
            .look()
            .rds
            .describe_db_parameters()
            .db_parameter_group_name(name)
            .filters(names)
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
            .await
            .called("rds:DescribeDBParameters");
        Ok(found(answer, "DBParameterGroupNotFound")?.map(Parameters))
    }

    /// Instances with our tag, and whatever else bears the primary's name or begins with it as our
    /// replicas do, so that a foreign one is seen before its name is wanted.
    pub(crate) async fn observe_db_instances(
        &self,
        primary: &str,
    ) -> Result<BTreeMap<String, DbInstance>, ReadError> {
        let all = self
            .look()
            .rds
            .describe_db_instances()
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
            .await
            .called("rds:DescribeDBInstances")?;
        let replica = format!("{primary}-replica-");
        Ok(all
            .iter()
            .map(seen)
            .filter(|instance| {
                self.owns(&instance.tags)
                    || instance.id == primary
                    || instance.id.starts_with(&replica)
            })
            .map(|instance| (instance.id.clone(), instance))
            .collect())
    }

    /// One instance by its identifier, whosever it is.
    pub(super) async fn db_instance(&self, id: &str) -> Result<Option<DbInstance>, Failure> {
        let answer = self
            .look()
            .rds
            .describe_db_instances()
            .db_instance_identifier(id)
            .send()
            .await
            .called("rds:DescribeDBInstances");
        let instances = found(answer, "DBInstanceNotFound")?;
        Ok(instances.and_then(|answer| answer.db_instances().first().map(seen)))
    }

    /// Manual snapshots of the primary, those of a primary that is gone among them.
    pub(crate) async fn observe_db_snapshots(
        &self,
        primary: &str,
    ) -> Result<BTreeMap<String, DbSnapshot>, ReadError> {
        let answer = self
            .look()
            .rds
            .describe_db_snapshots()
            .db_instance_identifier(primary)
            .snapshot_type("manual")
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
            .await
            .called("rds:DescribeDBSnapshots");
        let snapshots = found(answer, "DBInstanceNotFound")?.unwrap_or_default();
        Ok(snapshots
            .iter()
            .map(seen_snapshot)
            .map(|snapshot| (snapshot.id.clone(), snapshot))
            .collect())
    }

    /// The PostgreSQL versions that RDS offers in the home region, oldest first.
    pub(crate) async fn observe_engine_versions(&self) -> Result<Vec<String>, ReadError> {
        let answer = self
            .look()
            .rds
            .describe_db_engine_versions()
            .engine(ENGINE)
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
            .await
            .called("rds:DescribeDBEngineVersions")?;
        let mut versions: Vec<String> = answer
            .iter()
            .filter_map(|version| version.engine_version().map(str::to_owned))
            .collect();
        versions.sort_by_key(|version| numbers(version));
        versions.dedup();
        Ok(versions)
    }
}

/// Parameters of a group, as RDS shows them.
pub(super) struct Parameters(Vec<types::Parameter>);

impl Parameters {
    fn ours(&self) -> impl Iterator<Item = (&str, &types::Parameter)> {
        self.0
            .iter()
            .filter_map(|one| Some((one.parameter_name()?, one)))
            .filter(|(name, _)| DB_PARAMETERS.contains(name))
    }

    /// Values by name.
    pub(super) fn values(&self) -> BTreeMap<String, String> {
        self.ours()
            .filter_map(|(name, one)| Some((name.to_owned(), one.parameter_value()?.to_owned())))
            .collect()
    }

    /// Names of those that a user set to something else than the family has.
    pub(super) fn set_by_user(&self) -> BTreeSet<String> {
        self.ours()
            .filter(|(_, one)| one.source() == Some("user"))
            .map(|(name, _)| name.to_owned())
            .collect()
    }
}

/// 16 of `postgres16`, 9 of `postgres9.6`.
fn family_number(family: &str) -> Vec<u32> {
    numbers(family.trim_start_matches(ENGINE))
}

/// `17.10` after `17.9`.
fn numbers(version: &str) -> Vec<u32> {
    version
        .split(['.', '-'])
        .map(|part| part.parse().unwrap_or(0))
        .collect()
}

fn seen(instance: &types::DbInstance) -> DbInstance {
    let endpoint = instance.endpoint();
    DbInstance {
        id: instance.db_instance_identifier().unwrap_or("").to_owned(),
        arn: instance.db_instance_arn().unwrap_or("").to_owned(),
        status: instance.db_instance_status().unwrap_or("").into(),
        endpoint: endpoint.and_then(|endpoint| endpoint.address().map(str::to_owned)),
        port: endpoint
            .and_then(types::Endpoint::port)
            .and_then(|port| u16::try_from(port).ok()),
        class: instance.db_instance_class().unwrap_or("").to_owned(),
        engine_version: instance.engine_version().unwrap_or("").to_owned(),
        storage_gib: count(instance.allocated_storage()),
        storage_type: instance.storage_type().unwrap_or("").to_owned(),
        iops: instance.iops().and_then(|iops| u32::try_from(iops).ok()),
        master: instance.master_username().unwrap_or("").to_owned(),
        subnet_group: instance
            .db_subnet_group()
            .and_then(types::DbSubnetGroup::db_subnet_group_name)
            .unwrap_or("")
            .to_owned(),
        auto_minor: instance.auto_minor_version_upgrade().unwrap_or(false),
        copy_tags: instance.copy_tags_to_snapshot().unwrap_or(false),
        extended_support: instance
            .engine_lifecycle_support()
            .map(|word| word == "open-source-rds-extended-support"),
        multi_az: instance.multi_az().unwrap_or(false),
        latest_restorable: instance
            .latest_restorable_time()
            .and_then(|time| Timestamp::new(time.secs(), time.subsec_nanos().cast_signed()).ok()),
        backup_days: count(instance.backup_retention_period()),
        deletion_protection: instance.deletion_protection().unwrap_or(false),
        public: instance.publicly_accessible().unwrap_or(false),
        encrypted: instance.storage_encrypted().unwrap_or(false),
        replica_of: instance
            .read_replica_source_db_instance_identifier()
            .filter(|source| !source.is_empty())
            .map(str::to_owned),
        parameter_group: instance.db_parameter_groups().first().map(|group| {
            (
                group.db_parameter_group_name().unwrap_or("").to_owned(),
                group.parameter_apply_status().unwrap_or("").to_owned(),
            )
        }),
        security_groups: instance
            .vpc_security_groups()
            .iter()
            .filter_map(|group| group.vpc_security_group_id().map(str::to_owned))
            .collect(),
        ca: instance.ca_certificate_identifier().map(str::to_owned),
        pending: instance
            .pending_modified_values()
            .is_some_and(|pending| *pending != types::PendingModifiedValues::builder().build()),
        tags: tags_of(instance.tag_list()),
    }
}

pub(super) fn seen_snapshot(snapshot: &types::DbSnapshot) -> DbSnapshot {
    DbSnapshot {
        id: snapshot.db_snapshot_identifier().unwrap_or("").to_owned(),
        status: snapshot.status().unwrap_or("").to_owned(),
        progress: count(snapshot.percent_progress()),
        instance: snapshot.db_instance_identifier().unwrap_or("").to_owned(),
        tags: tags_of(snapshot.tag_list()),
    }
}

fn count(value: Option<i32>) -> u32 {
    value
        .and_then(|value| u32::try_from(value).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn versions_are_ordered_as_numbers() {
        assert!(numbers("17.10") > numbers("17.9"));
        assert!(numbers("9.6.24") < numbers("10"));
    }
}
