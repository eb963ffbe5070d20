//! The primary and its replicas.

use std::collections::BTreeSet;

use aws_sdk_rds::operation::modify_db_instance::builders::ModifyDBInstanceFluentBuilder;
use plan::action::{DB_CERTIFICATE_AUTHORITY, DB_STORAGE_TYPE, DbChange, DbPrimary};
use plan::observed::{DbInstance, DbStatus, PART_TAG};
use secrecy::ExposeSecret;

use super::observe::ENGINE;
use super::tag_list;
use crate::apply::Outcome;
use crate::connect::Cloud;
use crate::error::{Called, EffectError};

/// Without it RDS enrols the instance in Extended Support, and charges for it once the major version is past
/// standard support. A replica has its source's.
const NO_EXTENDED_SUPPORT: &str = "open-source-rds-extended-support-disabled";
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
            .engine_lifecycle_support(NO_EXTENDED_SUPPORT)
            // Versions change by the specification alone: an unplanned restart is what this product is against.
            .auto_minor_version_upgrade(false)
            .db_instance_class(&wanted.class)
            .storage_type(DB_STORAGE_TYPE)
            .allocated_storage(wanted.storage_gib.cast_signed())
            .storage_encrypted(true)
            .publicly_accessible(false)
            .port(PORT)
            .multi_az(wanted.multi_az)
            .backup_retention_period(wanted.backup_days.cast_signed())
            .deletion_protection(wanted.deletion_protection)
            .copy_tags_to_snapshot(true)
            .ca_certificate_identifier(DB_CERTIFICATE_AUTHORITY)
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

    /// A read replica. RDS refuses it (`InvalidDBInstanceState`) while the source is busy or takes no
    /// backups, and refuses to be told a parameter group for PostgreSQL.
    pub(crate) async fn ensure_db_replica(
        &self,
        id: &str,
        source: &str,
        class: &str,
        security_groups: &BTreeSet<String>,
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
            .ca_certificate_identifier(DB_CERTIFICATE_AUTHORITY)
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

    /// A change that RDS makes at once, not in the maintenance window: the caller chose the moment.
    fn modify_now(&self, id: &str) -> ModifyDBInstanceFluentBuilder {
        self.act()
            .rds
            .modify_db_instance()
            .db_instance_identifier(id)
            .apply_immediately(true)
    }

    /// Only what differs is sent, because RDS may restart an instance for a value that it already has.
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
        self.modify_now(id)
            .set_db_instance_class(open.class)
            .set_multi_az(open.multi_az)
            .set_backup_retention_period(open.backup_days.map(u32::cast_signed))
            .set_deletion_protection(open.deletion_protection)
            .set_db_parameter_group_name(open.parameter_group)
            .set_vpc_security_group_ids(
                open.security_groups
                    .map(|groups| groups.into_iter().collect()),
            )
            .set_publicly_accessible(open.public)
            .set_auto_minor_version_upgrade(open.auto_minor)
            .set_copy_tags_to_snapshot(open.copy_tags)
            // RDS for PostgreSQL takes another certificate without a restart.
            .set_certificate_rotation_restart(open.ca.as_ref().map(|_| false))
            .set_ca_certificate_identifier(open.ca)
            .send()
            .await
            .called(CALL)?;
        Ok(Outcome::Changed)
    }

    /// At least so much storage, in a call of its own. Refused (`InvalidParameterCombination`) while the
    /// previous change is optimised, and within six hours of it.
    pub(crate) async fn grow_db_storage(
        &self,
        id: &str,
        gib: u32,
        iops: Option<u32>,
    ) -> Result<Outcome, EffectError> {
        const CALL: &str = "rds:ModifyDBInstance";
        let there = self.our_db_instance(CALL, id).await?;
        if there.storage_gib >= gib {
            return Ok(Outcome::Unchanged);
        }
        self.modify_now(id)
            .allocated_storage(gib.cast_signed())
            .set_iops(iops.map(u32::cast_signed))
            .send()
            .await
            .called(CALL)?;
        Ok(Outcome::Changed)
    }

    /// Sets the master's password to the one in its secret. RDS does it within a minute, and tells nobody what
    /// it was before: done twice, it is the same.
    pub(crate) async fn set_db_master_password(
        &self,
        id: &str,
        secret: &str,
    ) -> Result<Outcome, EffectError> {
        const CALL: &str = "rds:ModifyDBInstance";
        let there = self.our_db_instance(CALL, id).await?;
        let login = self.login(secret).await?;
        if there.master != login.username {
            return Err(EffectError::refused(
                CALL,
                "MasterUsername",
                format!(
                    "secret `{secret}` is of the role `{}`, the master of `{id}` is `{}`: RDS cannot change its name",
                    login.username, there.master
                ),
            ));
        }
        self.modify_now(id)
            .master_user_password(login.password.expose_secret())
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
        if !waits || there.status == DbStatus::Rebooting {
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
        if there.status == DbStatus::Deleting {
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
        public: open(change.public.as_ref(), &there.public),
        auto_minor: open(change.auto_minor.as_ref(), &there.auto_minor),
        copy_tags: open(change.copy_tags.as_ref(), &there.copy_tags),
        ca: change.ca.clone().filter(|ca| there.ca.as_ref() != Some(ca)),
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
            backup_days: 1,
            parameter_group: Some(("mm-db".to_owned(), "in-sync".to_owned())),
            ..DbInstance::default()
        };
        let change = DbChange {
            class: Some("db.t4g.small".to_owned()),
            backup_days: Some(7),
            parameter_group: Some("mm-db".to_owned()),
            ..DbChange::default()
        };
        let open = open_changes(&there, &change);
        assert_eq!(
            open,
            DbChange {
                backup_days: Some(7),
                ..DbChange::default()
            }
        );
    }
}
