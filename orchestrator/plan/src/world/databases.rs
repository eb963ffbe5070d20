//! What an action does to the model's databases.

use super::World;
use crate::action::Action;
use crate::observed::{Databases, DbInstance, DbParameterGroup, DbSnapshot, DbSubnetGroup};

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
                self.observed.db_parameter_group = Some(DbParameterGroup {
                    name: name.clone(),
                    family: family.clone(),
                    parameters: parameters.clone(),
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
                        status: "creating".to_owned(),
                        class: wanted.class.clone(),
                        engine_version: wanted.engine_version.clone(),
                        storage_gib: wanted.storage_gib,
                        multi_az: wanted.multi_az,
                        backup_days: wanted.backup_days,
                        deletion_protection: wanted.deletion_protection,
                        encrypted: true,
                        parameter_group: Some((
                            wanted.parameter_group.clone(),
                            "in-sync".to_owned(),
                        )),
                        security_groups: wanted.security_groups.clone(),
                        tags,
                        ..DbInstance::default()
                    });
            }
            Action::EnsureDbReplica {
                id,
                source,
                class,
                security_groups,
                parameter_group,
            } => {
                let available = self
                    .observed
                    .db_instances
                    .get(source)
                    .is_some_and(|seen| seen.status == "available");
                if !available {
                    return Ok(Err("InvalidDBInstanceState".to_owned()));
                }
                let tags = self.tags("database");
                self.observed
                    .db_instances
                    .entry(id.clone())
                    .or_insert_with(|| DbInstance {
                        id: id.clone(),
                        arn: format!("arn:{id}"),
                        status: "creating".to_owned(),
                        class: class.clone(),
                        replica_of: Some(source.clone()),
                        parameter_group: Some((parameter_group.clone(), "in-sync".to_owned())),
                        security_groups: security_groups.clone(),
                        tags,
                        ..DbInstance::default()
                    });
            }
            Action::SetDbInstance { id, change } => {
                let Some(seen) = self.observed.db_instances.get_mut(id) else {
                    return Ok(Err("DBInstanceNotFound".to_owned()));
                };
                let change = change.clone();
                change
                    .class
                    .into_iter()
                    .for_each(|value| seen.class = value);
                change
                    .storage_gib
                    .into_iter()
                    .for_each(|value| seen.storage_gib = value);
                change
                    .multi_az
                    .into_iter()
                    .for_each(|value| seen.multi_az = value);
                change
                    .backup_days
                    .into_iter()
                    .for_each(|value| seen.backup_days = value);
                change
                    .deletion_protection
                    .into_iter()
                    .for_each(|value| seen.deletion_protection = value);
                change
                    .security_groups
                    .into_iter()
                    .for_each(|value| seen.security_groups = value);
                change.parameter_group.into_iter().for_each(|value| {
                    seen.parameter_group = Some((value, "pending-reboot".to_owned()));
                });
            }
            Action::RebootDbInstance { id } => {
                if let Some(seen) = self.observed.db_instances.get_mut(id) {
                    seen.status = "rebooting".to_owned();
                    seen.parameter_group = seen
                        .parameter_group
                        .take()
                        .map(|(name, _)| (name, "in-sync".to_owned()));
                }
            }
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
