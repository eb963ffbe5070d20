//! The subnet group and the parameter group.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_rds::types::{ApplyMethod, Parameter};

use super::tag_list;
use crate::apply::Outcome;
use crate::connect::Cloud;
use crate::error::{Called, EffectError};

/// RDS takes this many parameters in one call.
const PARAMETERS_A_CALL: usize = 20;

impl Cloud {
    /// A subnet group of exactly these subnets.
    pub(crate) async fn ensure_db_subnet_group(
        &self,
        name: &str,
        subnets: &BTreeSet<String>,
    ) -> Result<Outcome, EffectError> {
        const CALL: &str = "rds:CreateDBSubnetGroup";
        let there = if let Some(there) = self.subnet_group(name).await? {
            there
        } else {
            let answer = self
                .act()
                .rds
                .create_db_subnet_group()
                .db_subnet_group_name(name)
                .db_subnet_group_description(self.description())
                .set_subnet_ids(Some(subnets.iter().cloned().collect()))
                .set_tags(Some(tag_list(&self.our_tags([]))))
                .send()
                .await
                .called(CALL);
            match answer {
                Ok(_) => return Ok(Outcome::Changed),
                Err(failure) if failure.is("DBSubnetGroupAlreadyExists") => self
                    .subnet_group(name)
                    .await?
                    .ok_or_else(|| EffectError::invisible(CALL, name))?,
                Err(failure) => return Err(failure.into()),
            }
        };
        self.check_rds_ours(name, there.db_subnet_group_arn().unwrap_or(""))
            .await?;
        let now: BTreeSet<&str> = there
            .subnets()
            .iter()
            .filter_map(|subnet| subnet.subnet_identifier())
            .collect();
        if now.iter().copied().eq(subnets.iter().map(String::as_str)) {
            return Ok(Outcome::Unchanged);
        }
        self.act()
            .rds
            .modify_db_subnet_group()
            .db_subnet_group_name(name)
            .set_subnet_ids(Some(subnets.iter().cloned().collect()))
            .send()
            .await
            .called("rds:ModifyDBSubnetGroup")?;
        Ok(Outcome::Changed)
    }

    /// A parameter group in which these parameters have these values, and the others that we care for are as
    /// RDS has them. What else somebody set in it stays.
    pub(crate) async fn ensure_db_parameter_group(
        &self,
        name: &str,
        family: &str,
        parameters: &BTreeMap<String, String>,
    ) -> Result<Outcome, EffectError> {
        const CALL: &str = "rds:CreateDBParameterGroup";
        let mut outcome = Outcome::Unchanged;
        let there = if let Some(there) = self.parameter_group(name).await? {
            Some(there)
        } else {
            let answer = self
                .act()
                .rds
                .create_db_parameter_group()
                .db_parameter_group_name(name)
                .db_parameter_group_family(family)
                .description(self.description())
                .set_tags(Some(tag_list(&self.our_tags([]))))
                .send()
                .await
                .called(CALL);
            match answer {
                Ok(_) => {
                    outcome = Outcome::Changed;
                    None
                }
                Err(failure) if failure.is("DBParameterGroupAlreadyExists") => Some(
                    self.parameter_group(name)
                        .await?
                        .ok_or_else(|| EffectError::invisible(CALL, name))?,
                ),
                Err(failure) => return Err(failure.into()),
            }
        };
        if let Some(there) = there {
            self.check_rds_ours(name, there.db_parameter_group_arn().unwrap_or(""))
                .await?;
            if there.db_parameter_group_family() != Some(family) {
                return Err(EffectError::refused(
                    CALL,
                    "DBParameterGroupFamily",
                    format!(
                        "parameter group `{name}` is of family `{}`, wanted `{family}`: RDS cannot change it",
                        there.db_parameter_group_family().unwrap_or("unknown")
                    ),
                ));
            }
        }
        Ok(outcome.and(self.set_parameters(name, parameters).await?))
    }

    async fn set_parameters(
        &self,
        name: &str,
        wanted: &BTreeMap<String, String>,
    ) -> Result<Outcome, EffectError> {
        let parameters = self
            .parameters(name)
            .await?
            .ok_or_else(|| EffectError::invisible("rds:ModifyDBParameterGroup", name))?;
        let now = parameters.values();
        let missing: Vec<Parameter> = wanted
            .iter()
            .filter(|(key, value)| now.get(*key) != Some(value))
            .map(|(key, value)| parameter(key).parameter_value(value).build())
            .collect();
        let surplus: Vec<Parameter> = parameters
            .set_by_user()
            .iter()
            .filter(|key| !wanted.contains_key(*key))
            .map(|key| parameter(key).build())
            .collect();
        let mut outcome = Outcome::Unchanged;
        for batch in missing.chunks(PARAMETERS_A_CALL) {
            self.act()
                .rds
                .modify_db_parameter_group()
                .db_parameter_group_name(name)
                .set_parameters(Some(batch.to_vec()))
                .send()
                .await
                .called("rds:ModifyDBParameterGroup")?;
            outcome = Outcome::Changed;
        }
        for batch in surplus.chunks(PARAMETERS_A_CALL) {
            self.act()
                .rds
                .reset_db_parameter_group()
                .db_parameter_group_name(name)
                .reset_all_parameters(false)
                .set_parameters(Some(batch.to_vec()))
                .send()
                .await
                .called("rds:ResetDBParameterGroup")?;
            outcome = Outcome::Changed;
        }
        Ok(outcome)
    }

    /// Deletes the subnet group.
    pub(crate) async fn delete_db_subnet_group(&self, name: &str) -> Result<Outcome, EffectError> {
        let Some(there) = self.subnet_group(name).await? else {
            return Ok(Outcome::Unchanged);
        };
        self.check_rds_ours(name, there.db_subnet_group_arn().unwrap_or(""))
            .await?;
        let answer = self
            .act()
            .rds
            .delete_db_subnet_group()
            .db_subnet_group_name(name)
            .send()
            .await
            .called("rds:DeleteDBSubnetGroup");
        Outcome::gone(answer.map(drop), &["DBSubnetGroupNotFound"])
    }

    /// Deletes the parameter group.
    pub(crate) async fn delete_db_parameter_group(
        &self,
        name: &str,
    ) -> Result<Outcome, EffectError> {
        let Some(there) = self.parameter_group(name).await? else {
            return Ok(Outcome::Unchanged);
        };
        self.check_rds_ours(name, there.db_parameter_group_arn().unwrap_or(""))
            .await?;
        let answer = self
            .act()
            .rds
            .delete_db_parameter_group()
            .db_parameter_group_name(name)
            .send()
            .await
            .called("rds:DeleteDBParameterGroup");
        Outcome::gone(answer.map(drop), &["DBParameterGroupNotFound"])
    }

    fn description(&self) -> String {
        format!("Mattermost stack {}", self.stack())
    }
}

/// Static parameters (`max_connections`) accept `pending-reboot` only, dynamic ones accept it as well:
/// one method for all. The instance says `pending-reboot` until it was rebooted.
fn parameter(name: &str) -> aws_sdk_rds::types::builders::ParameterBuilder {
    Parameter::builder()
        .parameter_name(name)
        .apply_method(ApplyMethod::PendingReboot)
}
