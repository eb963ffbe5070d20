//! The primary and its replicas.

use std::collections::BTreeSet;

use plan::action::{DbChange, DbPrimary};
use plan::observed::{DbInstance, PART_TAG};
use secrecy::ExposeSecret;

use super::observe::ENGINE;
use super::tag_list;
use crate::apply::Outcome;
use crate::connect::Cloud;
use crate::error::{Called, EffectError};

/// RDS's certificate authority whose root is valid until 2061; named, so that an account's old default does not count.
const CERTIFICATE_AUTHORITY: &str = "rds-ca-rsa2048-g1";
/// General purpose, with a throughput that does not depend on the size.
const STORAGE: &str = "gp3";
/// PostgreSQL's own.
const PORT: i32 = 5432;

impl Cloud {
    /// The primary: encrypted, not public, with the master's password from its secret. One that is
    /// there is left as it is: changes are `set_db_instance`'s.
    pub(crate) async fn ensure_db_primary(
        &self,
        wanted: &DbPrimary,
    ) -> Result<Outcome, EffectError> {
        const CALL: &str = "rds:CreateDBInstance";
        if let Some(there) = self.db_instance(&wanted.id).await? {
            self.check_ours(&wanted.id, &there.tags)?;
            return Ok(Outcome::Unchanged);
        }
        let login = self.login(&wanted.master_secret).await?;
        let tags = self.our_tags([(PART_TAG, "database"), ("Name", wanted.id.as_str())]);
        let answer = self
            .act()
            .rds
            .create_db_instance()
            .db_instance_identifier(&wanted.id)
            .engine(ENGINE)
            .engine_version(&wanted.engine_version)
            // Versions change by the specification alone: an unplanned restart is what this product is against.
            .auto_minor_version_upgrade(false)
            .db_instance_class(&wanted.class)
            .storage_type(STORAGE)
            .allocated_storage(wanted.storage_gib.cast_signed())
            .storage_encrypted(true)
            .publicly_accessible(false)
            .port(PORT)
            .multi_az(wanted.multi_az)
            .backup_retention_period(wanted.backup_days.cast_signed())
            .deletion_protection(wanted.deletion_protection)
            .copy_tags_to_snapshot(true)
            .ca_certificate_identifier(CERTIFICATE_AUTHORITY)
            .master_username(&login.username)
            .master_user_password(login.password.expose_secret())
            .db_subnet_group_name(&wanted.subnet_group)
            .db_parameter_group_name(&wanted.parameter_group)
            .set_vpc_security_group_ids(Some(wanted.security_groups.iter().cloned().collect()))
            .set_tags(Some(tag_list(&tags)))
            .send()
            .await
            .called(CALL);
        match answer {
            Ok(_) => Ok(Outcome::Changed),
            Err(failure) if failure.is("DBInstanceAlreadyExists") => {
                self.check_created(CALL, &wanted.id).await
            }
            Err(failure) => Err(failure.into()),
        }
    }

    /// A read replica. RDS refuses it (`InvalidDBInstanceState`) while the source is not `available`
    /// or takes no backups.
    pub(crate) async fn ensure_db_replica(
        &self,
        id: &str,
        source: &str,
        class: &str,
        security_groups: &BTreeSet<String>,
        parameter_group: &str,
    ) -> Result<Outcome, EffectError> {
        const CALL: &str = "rds:CreateDBInstanceReadReplica";
        if let Some(there) = self.db_instance(id).await? {
            self.check_ours(id, &there.tags)?;
            return Ok(Outcome::Unchanged);
        }
        let tags = self.our_tags([(PART_TAG, "database-replica"), ("Name", id)]);
        let answer = self
            .act()
            .rds
            .create_db_instance_read_replica()
            .db_instance_identifier(id)
            .source_db_instance_identifier(source)
            .db_instance_class(class)
            .auto_minor_version_upgrade(false)
            .publicly_accessible(false)
            .copy_tags_to_snapshot(true)
            .ca_certificate_identifier(CERTIFICATE_AUTHORITY)
            .db_parameter_group_name(parameter_group)
            .set_vpc_security_group_ids(Some(security_groups.iter().cloned().collect()))
            .set_tags(Some(tag_list(&tags)))
            .send()
            .await
            .called(CALL);
        match answer {
            Ok(_) => Ok(Outcome::Changed),
            Err(failure) if failure.is("DBInstanceAlreadyExists") => {
                self.check_created(CALL, id).await
            }
            Err(failure) => Err(failure.into()),
        }
    }

    /// Somebody was faster: ours?
    async fn check_created(&self, call: &'static str, id: &str) -> Result<Outcome, EffectError> {
        let there = self
            .db_instance(id)
            .await?
            .ok_or_else(|| EffectError::invisible(call, id))?;
        self.check_ours(id, &there.tags)?;
        Ok(Outcome::Unchanged)
    }

    async fn our_db_instance(
        &self,
        call: &'static str,
        id: &str,
    ) -> Result<DbInstance, EffectError> {
        let there = self.db_instance(id).await?.ok_or_else(|| {
            EffectError::refused(
                call,
                "DBInstanceNotFound",
                format!("DB instance `{id}` does not exist"),
            )
        })?;
        self.check_ours(id, &there.tags)?;
        Ok(there)
    }

    /// Changes at once, not in the maintenance window: the caller chose the moment. Only what differs
    /// is sent, because RDS may restart an instance for a value that it already has.
    pub(crate) async fn set_db_instance(
        &self,
        id: &str,
        change: &DbChange,
    ) -> Result<Outcome, EffectError> {
        const CALL: &str = "rds:ModifyDBInstance";
        let there = self.our_db_instance(CALL, id).await?;
        let open = open_changes(&there, change);
        if open == DbChange::default() {
            return Ok(Outcome::Unchanged);
        }
        self.act()
            .rds
            .modify_db_instance()
            .db_instance_identifier(id)
            .apply_immediately(true)
            .set_db_instance_class(open.class)
            .set_allocated_storage(open.storage_gib.map(u32::cast_signed))
            .set_multi_az(open.multi_az)
            .set_backup_retention_period(open.backup_days.map(u32::cast_signed))
            .set_deletion_protection(open.deletion_protection)
            .set_db_parameter_group_name(open.parameter_group)
            .set_vpc_security_group_ids(
                open.security_groups
                    .map(|groups| groups.into_iter().collect()),
            )
            .send()
            .await
            .called(CALL)?;
        Ok(Outcome::Changed)
    }

    /// Reboots an instance whose parameter group waits for it; done twice, it is rebooted once.
    pub(crate) async fn reboot_db_instance(&self, id: &str) -> Result<Outcome, EffectError> {
        const CALL: &str = "rds:RebootDBInstance";
        let there = self.our_db_instance(CALL, id).await?;
        let waits = there
            .parameter_group
            .is_some_and(|(_, status)| status == "pending-reboot");
        if !waits || there.status == "rebooting" {
            return Ok(Outcome::Unchanged);
        }
        self.act()
            .rds
            .reboot_db_instance()
            .db_instance_identifier(id)
            .send()
            .await
            .called(CALL)?;
        Ok(Outcome::Changed)
    }

    /// Deletes an instance of ours. Only a replica goes without a final snapshot.
    pub(crate) async fn delete_db_instance(
        &self,
        id: &str,
        final_snapshot: Option<&str>,
    ) -> Result<Outcome, EffectError> {
        const CALL: &str = "rds:DeleteDBInstance";
        let Some(there) = self.db_instance(id).await? else {
            return Ok(Outcome::Unchanged);
        };
        self.check_ours(id, &there.tags)?;
        if there.status == "deleting" {
            return Ok(Outcome::Unchanged);
        }
        if final_snapshot.is_none() && there.replica_of.is_none() {
            return Err(EffectError::refused(
                CALL,
                "NoFinalSnapshot",
                format!("`{id}` is no replica: it is deleted with a final snapshot or not at all"),
            ));
        }
        let answer = self
            .act()
            .rds
            .delete_db_instance()
            .db_instance_identifier(id)
            .skip_final_snapshot(final_snapshot.is_none())
            .set_final_db_snapshot_identifier(final_snapshot.map(str::to_owned))
            .send()
            .await
            .called(CALL);
        Outcome::gone(answer.map(drop), &["DBInstanceNotFound"])
    }
}

/// What of the change is not so yet. Values that RDS holds as pending show as not yet so, and are sent
/// again: the same value replaces itself.
fn open_changes(there: &DbInstance, change: &DbChange) -> DbChange {
    fn open<T: PartialEq + Clone>(wanted: Option<&T>, now: &T) -> Option<T> {
        wanted.filter(|wanted| *wanted != now).cloned()
    }
    let group = there.parameter_group.as_ref().map(|(name, _)| name);
    DbChange {
        class: open(change.class.as_ref(), &there.class),
        storage_gib: open(change.storage_gib.as_ref(), &there.storage_gib),
        multi_az: open(change.multi_az.as_ref(), &there.multi_az),
        backup_days: open(change.backup_days.as_ref(), &there.backup_days),
        deletion_protection: open(
            change.deletion_protection.as_ref(),
            &there.deletion_protection,
        ),
        parameter_group: change
            .parameter_group
            .clone()
            .filter(|wanted| Some(wanted) != group),
        security_groups: open(change.security_groups.as_ref(), &there.security_groups),
    }
}

#[cfg(test)]
mod tests {
    use plan::action::DbChange;
    use plan::observed::DbInstance;

    use super::open_changes;

    #[test]
    fn only_what_differs_is_sent() {
        let there = DbInstance {
            class: "db.t4g.small".to_owned(),
            storage_gib: 20,
            parameter_group: Some(("mm-db".to_owned(), "in-sync".to_owned())),
            ..DbInstance::default()
        };
        let change = DbChange {
            class: Some("db.t4g.small".to_owned()),
            storage_gib: Some(40),
            parameter_group: Some("mm-db".to_owned()),
            ..DbChange::default()
        };
        let open = open_changes(&there, &change);
        assert_eq!(
            open,
            DbChange {
                storage_gib: Some(40),
                ..DbChange::default()
            }
        );
    }
}
