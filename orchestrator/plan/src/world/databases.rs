//! What an action does to the model's databases.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::World;
use crate::action::Action;
use crate::action::{DB_CERTIFICATE_AUTHORITY, DB_STORAGE_TYPE, DbChange};
use crate::observed::{
    Databases, DbInstance, DbOperation, DbParameterGroup, DbSnapshot, DbStatus, DbSubnetGroup,
};

/// `LatestRestorableTime` is that old in the model: RDS uploads the log every five minutes.
const LOG_SECONDS: i64 = 300;

impl World {
    /// `Err` means: not a database's action.
    pub(super) fn apply_database(&mut self, action: &Action) -> Result<Result<(), String>, ()> {
        match action {
            Action::EnsureDbSubnetGroup { name, subnets } => {
                self.observed.db_subnet_group = Some(DbSubnetGroup {
                    name: name.clone(),
                    subnets: subnets.clone(),
                });
            }
            Action::EnsureDbParameterGroup {
                name,
                family,
                parameters,
            } => {
                let before = self.observed.db_parameter_group.as_ref();
                let connections = |parameters: &BTreeMap<String, String>| {
                    parameters.get("max_connections").cloned()
                };
                if before
                    .is_some_and(|group| connections(&group.parameters) != connections(parameters))
                {
                    for seen in self.observed.db_instances.values_mut() {
                        if let Some((group, state)) = &mut seen.parameter_group
                            && group == name
                        {
                            *state = "pending-reboot".to_owned();
                        }
                    }
                }
                self.observed.db_parameter_group = Some(DbParameterGroup {
                    name: name.clone(),
                    family: family.clone(),
                    parameters: parameters.clone(),
                    // The family's own default stays the system's.
                    set_by_user: parameters
                        .iter()
                        .filter(|(name, value)| {
                            (name.as_str(), value.as_str()) != ("rds.force_ssl", "1")
                        })
                        .map(|(name, _)| name.clone())
                        .collect(),
                });
            }
            Action::EnsureDbPrimary(wanted) => {
                let tags = self.tags("database");
                self.observed
                    .db_instances
                    .entry(wanted.id.clone())
                    .or_insert_with(|| DbInstance {
                        id: wanted.id.clone(),
                        arn: format!("arn:{}", wanted.id),
                        status: DbStatus::Creating,
                        class: wanted.class.clone(),
                        engine_version: wanted.engine_version.clone(),
                        storage_gib: wanted.storage_gib,
                        multi_az: wanted.multi_az,
                        backup_days: wanted.backup_days,
                        deletion_protection: wanted.deletion_protection,
                        parameter_group: Some((
                            wanted.parameter_group.clone(),
                            "in-sync".to_owned(),
                        )),
                        security_groups: wanted.security_groups.clone(),
                        subnet_group: wanted.subnet_group.clone(),
                        extended_support: Some(false),
                        tags,
                        ..as_made()
                    });
            }
            Action::EnsureDbReplica {
                id,
                source,
                class,
                security_groups,
            } => {
                let source = self.observed.db_instances.get(source).cloned();
                let Some(source) = source.filter(|seen| seen.status.allows(DbOperation::Replicate))
                else {
                    return Ok(Err("InvalidDBInstanceState".to_owned()));
                };
                let group = source.parameter_group.map(|(name, _)| name);
                let tags = self.tags("database");
                self.observed
                    .db_instances
                    .entry(id.clone())
                    .or_insert_with(|| DbInstance {
                        id: id.clone(),
                        arn: format!("arn:{id}"),
                        status: DbStatus::Creating,
                        class: class.clone(),
                        engine_version: source.engine_version.clone(),
                        storage_gib: source.storage_gib,
                        iops: source.iops,
                        replica_of: Some(source.id.clone()),
                        parameter_group: group.map(|name| (name, "in-sync".to_owned())),
                        security_groups: security_groups.clone(),
                        subnet_group: source.subnet_group.clone(),
                        extended_support: source.extended_support,
                        tags,
                        ..as_made()
                    });
            }
            Action::SetDbInstance { id, change } => {
                let Some(seen) = self.observed.db_instances.get_mut(id) else {
                    return Ok(Err("DBInstanceNotFound".to_owned()));
                };
                if !seen.status.allows(DbOperation::Modify) {
                    return Ok(Err("InvalidDBInstanceState".to_owned()));
                }
                modify(seen, change.clone());
            }
            Action::GrowDbStorage { id, gib, iops } => return Ok(self.grow(id, *gib, *iops)),
            Action::SetDbMasterPassword { id, .. } => {
                let Some(seen) = self.observed.db_instances.get_mut(id) else {
                    return Ok(Err("DBInstanceNotFound".to_owned()));
                };
                seen.status = DbStatus::ResettingMasterCredentials;
                self.observed.master_refused = false;
                self.observed.unknown.remove("databases");
            }
            Action::RebootDbInstance { id } => return Ok(self.reboot(id)),
            Action::EnsureDatabases { databases } => {
                let mut seen = self.observed.databases.clone().unwrap_or(Databases {
                    max_connections: 5000,
                    server_version: 160_004,
                    ..Databases::default()
                });
                for wanted in databases {
                    seen.owners
                        .insert(wanted.name.clone(), wanted.owner.clone());
                    seen.roles.insert(wanted.owner.clone());
                }
                seen.schema_owner = Some("mattermost".to_owned());
                seen.migrations_applied.get_or_insert(0);
                self.observed.databases = Some(seen);
            }
            Action::EnsureDbSnapshot { id, instance } => {
                let tags = self.tags("snapshot");
                self.observed
                    .db_snapshots
                    .entry(id.clone())
                    .or_insert_with(|| DbSnapshot {
                        id: id.clone(),
                        status: "creating".to_owned(),
                        instance: instance.clone(),
                        tags,
                        ..DbSnapshot::default()
                    });
            }
            _ => return Err(()),
        }
        Ok(Ok(()))
    }
}

/// What every instance of ours is made with.
fn as_made() -> DbInstance {
    DbInstance {
        encrypted: true,
        storage_type: DB_STORAGE_TYPE.to_owned(),
        copy_tags: true,
        ca: Some(DB_CERTIFICATE_AUTHORITY.to_owned()),
        ..DbInstance::default()
    }
}

fn modify(seen: &mut DbInstance, change: DbChange) {
    let DbChange {
        class,
        multi_az,
        backup_days,
        deletion_protection,
        parameter_group,
        security_groups,
        public,
        auto_minor,
        copy_tags,
        ca,
    } = change;
    seen.class = class.unwrap_or(std::mem::take(&mut seen.class));
    seen.multi_az = multi_az.unwrap_or(seen.multi_az);
    seen.backup_days = backup_days.unwrap_or(seen.backup_days);
    seen.deletion_protection = deletion_protection.unwrap_or(seen.deletion_protection);
    seen.security_groups = security_groups.unwrap_or(std::mem::take(&mut seen.security_groups));
    seen.public = public.unwrap_or(seen.public);
    seen.auto_minor = auto_minor.unwrap_or(seen.auto_minor);
    seen.copy_tags = copy_tags.unwrap_or(seen.copy_tags);
    seen.ca = ca.or(seen.ca.take());
    if let Some(group) = parameter_group {
        seen.parameter_group = Some((group, "pending-reboot".to_owned()));
    }
}

impl World {
    /// What RDS does by itself while time passes.
    pub(super) fn advance_databases(&mut self) {
        self.advance_log();
        let states: Vec<(String, DbStatus)> = self
            .observed
            .db_instances
            .values()
            .map(|seen| (seen.id.clone(), seen.status.clone()))
            .collect();
        for (id, status) in states {
            if status == DbStatus::Available {
                continue;
            }
            let age = self.age(format!("db/{id}/{status}"));
            let next = match (status, age) {
                (DbStatus::Creating, 3..) => DbStatus::BackingUp,
                (
                    DbStatus::BackingUp
                    | DbStatus::Rebooting
                    | DbStatus::Modifying
                    | DbStatus::ResettingMasterCredentials,
                    2..,
                )
                | (DbStatus::StorageOptimization, 20..) => DbStatus::Available,
                (DbStatus::Deleting, 2..) => {
                    self.observed.db_instances.remove(&id);
                    self.observed.replica_lag_seconds.remove(&id);
                    self.forget(&format!("db/{id}/"));
                    if self.observed.db_instances.is_empty() {
                        self.observed.databases = None;
                    }
                    continue;
                }
                _ => continue,
            };
            if let Some(seen) = self.observed.db_instances.get_mut(&id) {
                seen.status = next;
                if seen.status == DbStatus::Available && seen.replica_of.is_some() {
                    self.observed.replica_lag_seconds.insert(id.clone(), 0.0);
                }
                seen.endpoint = Some(format!("{id}.rds"));
                seen.port = Some(5432);
            }
        }
        let snapshots: Vec<String> = self
            .observed
            .db_snapshots
            .values()
            .filter(|seen| seen.status == "creating")
            .map(|seen| seen.id.clone())
            .collect();
        for id in snapshots {
            if self.age(format!("snapshot/{id}")) >= self.snapshot_ticks
                && let Some(seen) = self.observed.db_snapshots.get_mut(&id)
            {
                seen.status = "available".to_owned();
                seen.progress = 100;
            }
        }
    }

    /// The log is kept from the first backup on; the clock is the server's own.
    fn advance_log(&mut self) {
        let until = self.now - SignedDuration::from_secs(LOG_SECONDS);
        for seen in self.observed.db_instances.values_mut() {
            let is_kept = seen.backup_days > 0 && seen.status == DbStatus::Available;
            if is_kept && seen.replica_of.is_none() && !self.backups_are_stuck {
                seen.latest_restorable = Some(until);
            }
        }
        if let Some(databases) = &mut self.observed.databases {
            databases.clock = Some(self.now);
        }
    }

    fn grow(&mut self, id: &str, gib: u32, iops: Option<u32>) -> Result<(), String> {
        let Some(seen) = self.observed.db_instances.get_mut(id) else {
            return Err("DBInstanceNotFound".to_owned());
        };
        if !seen.status.allows(DbOperation::GrowStorage) {
            return Err(
                "InvalidParameterCombination: the previous storage change is being optimized"
                    .to_owned(),
            );
        }
        seen.storage_gib = seen.storage_gib.max(gib);
        seen.iops = iops.or(seen.iops);
        seen.status = DbStatus::StorageOptimization;
        Ok(())
    }

    fn reboot(&mut self, id: &str) -> Result<(), String> {
        let Some(seen) = self.observed.db_instances.get_mut(id) else {
            return Err("DBInstanceNotFound".to_owned());
        };
        if !seen.status.allows(DbOperation::Reboot) {
            return Err("InvalidDBInstanceState".to_owned());
        }
        seen.status = DbStatus::Rebooting;
        if let Some((_, state)) = &mut seen.parameter_group {
            *state = "in-sync".to_owned();
        }
        if seen.replica_of.is_none() {
            let set = self.observed.db_parameter_group.as_ref();
            let set = set.and_then(|group| group.parameters.get("max_connections")?.parse().ok());
            if let (Some(connections), Some(databases)) = (set, &mut self.observed.databases) {
                databases.max_connections = connections;
            }
        }
        Ok(())
    }
}
