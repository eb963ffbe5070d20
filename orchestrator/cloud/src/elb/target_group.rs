//! The target groups: Mattermost's port, probed where Mattermost says that it is well.

use std::collections::BTreeMap;

use aws_sdk_elasticloadbalancingv2::types::{
    self, Matcher, ProtocolEnum, TargetGroupAttribute, TargetTypeEnum,
};
use plan::observed::{HealthCheck, TargetGroup};

use super::{differing, not_found, tag_list};
use crate::apply::Outcome;
use crate::connect::Cloud;
use crate::error::{Called, EffectError, Failure};

/// Mattermost's own default port.
const PORT: i32 = 8065;
impl Cloud {
    /// One target group with attributes and tags.
    pub(super) async fn target_group(&self, name: &str) -> Result<Option<TargetGroup>, Failure> {
        let answer = self
            .look()
            .elb
            .describe_target_groups()
            .names(name)
            .send()
            .await
            .called("elasticloadbalancing:DescribeTargetGroups");
        let found = match answer {
            Ok(answer) => answer.target_groups.unwrap_or_default(),
            Err(failure) if not_found(&failure) => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let Some(found) = found.into_iter().next() else {
            return Ok(None);
        };
        let mut seen = seen(&found)?;
        let (tags, attributes) = futures_util::try_join!(
            self.elb_tags(&seen.arn),
            self.target_group_attributes(&seen.arn)
        )?;
        // Deleted between the calls: not there.
        let (Some(tags), Some(attributes)) = (tags, attributes) else {
            return Ok(None);
        };
        seen.tags = tags;
        seen.attributes = attributes;
        Ok(Some(seen))
    }

    async fn target_group_attributes(
        &self,
        arn: &str,
    ) -> Result<Option<BTreeMap<String, String>>, Failure> {
        let answer = self
            .look()
            .elb
            .describe_target_group_attributes()
            .target_group_arn(arn)
            .send()
            .await
            .called("elasticloadbalancing:DescribeTargetGroupAttributes");
        match answer {
            Ok(answer) => Ok(Some(
                answer
                    .attributes()
                    .iter()
                    .filter_map(|attribute| {
                        Some((
                            attribute.key()?.to_owned(),
                            attribute.value().unwrap_or("").to_owned(),
                        ))
                    })
                    .collect(),
            )),
            Err(failure) if not_found(&failure) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    pub(super) async fn targets(&self, arn: &str) -> Result<BTreeMap<String, String>, Failure> {
        let answer = self
            .look()
            .elb
            .describe_target_health()
            .target_group_arn(arn)
            .send()
            .await
            .called("elasticloadbalancing:DescribeTargetHealth");
        match answer {
            Ok(answer) => Ok(answer
                .target_health_descriptions()
                .iter()
                .filter_map(|target| {
                    let state = target.target_health()?.state()?.as_str().to_owned();
                    Some((target.target()?.id()?.to_owned(), state))
                })
                .collect()),
            Err(failure) if not_found(&failure) => Ok(BTreeMap::new()),
            Err(failure) => Err(failure),
        }
    }

    /// A target group with this health check and these attributes.
    pub(crate) async fn ensure_target_group(
        &self,
        name: &str,
        vpc_id: &str,
        health: &HealthCheck,
        attributes: &BTreeMap<String, String>,
    ) -> Result<Outcome, EffectError> {
        let (there, created) = match self.target_group(name).await? {
            Some(there) => (there, Outcome::Unchanged),
            None => (
                self.create_target_group(name, vpc_id, health).await?,
                Outcome::Changed,
            ),
        };
        self.check_ours(name, &there.tags)?;
        let mut outcome = created;
        if there.health != *health {
            self.act()
                .elb
                .modify_target_group()
                .target_group_arn(&there.arn)
                .health_check_enabled(health.enabled)
                .health_check_protocol(protocol(health))
                .health_check_port(&health.port)
                .health_check_path(&health.path)
                .health_check_interval_seconds(number(health.interval_seconds))
                .health_check_timeout_seconds(number(health.timeout_seconds))
                .healthy_threshold_count(number(health.healthy))
                .unhealthy_threshold_count(number(health.unhealthy))
                .matcher(matcher(health))
                .send()
                .await
                .called("elasticloadbalancing:ModifyTargetGroup")?;
            outcome = Outcome::Changed;
        }
        let differing = differing(attributes, &there.attributes);
        if !differing.is_empty() {
            let list = differing
                .into_iter()
                .map(|(key, value)| {
                    TargetGroupAttribute::builder()
                        .key(key)
                        .value(value)
                        .build()
                })
                .collect();
            self.act()
                .elb
                .modify_target_group_attributes()
                .target_group_arn(&there.arn)
                .set_attributes(Some(list))
                .send()
                .await
                .called("elasticloadbalancing:ModifyTargetGroupAttributes")?;
            outcome = Outcome::Changed;
        }
        Ok(outcome)
    }

    async fn create_target_group(
        &self,
        name: &str,
        vpc_id: &str,
        health: &HealthCheck,
    ) -> Result<TargetGroup, EffectError> {
        const CALL: &str = "elasticloadbalancing:CreateTargetGroup";
        let tags = self.our_tags([("Name", name)]);
        let answer = self
            .act()
            .elb
            .create_target_group()
            .name(name)
            .vpc_id(vpc_id)
            .protocol(ProtocolEnum::Http)
            .port(PORT)
            .target_type(TargetTypeEnum::Instance)
            .health_check_enabled(health.enabled)
            .health_check_protocol(protocol(health))
            .health_check_port(&health.port)
            .health_check_path(&health.path)
            .health_check_interval_seconds(number(health.interval_seconds))
            .health_check_timeout_seconds(number(health.timeout_seconds))
            .healthy_threshold_count(number(health.healthy))
            .unhealthy_threshold_count(number(health.unhealthy))
            .matcher(matcher(health))
            .set_tags(Some(tag_list(&tags)))
            .send()
            .await
            .called(CALL);
        match answer {
            Ok(answer) => {
                let created = answer
                    .target_groups
                    .unwrap_or_default()
                    .into_iter()
                    .next()
                    .ok_or_else(|| Failure::incomplete(CALL, "TargetGroups"))?;
                Ok(TargetGroup {
                    tags,
                    ..seen(&created)?
                })
            }
            Err(failure) if failure.is("DuplicateTargetGroupName") => self
                .target_group(name)
                .await?
                .ok_or_else(|| EffectError::invisible(CALL, name)),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Deletes a target group of ours; refused by AWS (`ResourceInUse`) while a listener names it.
    pub(crate) async fn delete_target_group(&self, arn: &str) -> Result<Outcome, EffectError> {
        if !self.elb_is_there_and_ours(arn).await? {
            return Ok(Outcome::Unchanged);
        }
        let answer = self
            .act()
            .elb
            .delete_target_group()
            .target_group_arn(arn)
            .send()
            .await
            .called("elasticloadbalancing:DeleteTargetGroup");
        Outcome::gone(answer.map(drop), &["TargetGroupNotFound"])
    }
}

fn protocol(health: &HealthCheck) -> ProtocolEnum {
    ProtocolEnum::from(health.protocol.as_str())
}

fn matcher(health: &HealthCheck) -> Matcher {
    Matcher::builder().http_code(&health.expected).build()
}

/// AWS counts in signed numbers; all of ours are small.
fn number(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

fn health(found: &types::TargetGroup) -> HealthCheck {
    let number = |value: Option<i32>| value.and_then(|value| u32::try_from(value).ok());
    HealthCheck {
        // AWS leaves it out where it cannot be switched off.
        enabled: found.health_check_enabled() != Some(false),
        protocol: found
            .health_check_protocol()
            .map_or("", ProtocolEnum::as_str)
            .to_owned(),
        port: found.health_check_port().unwrap_or("").to_owned(),
        path: found.health_check_path().unwrap_or("").to_owned(),
        expected: found
            .matcher()
            .and_then(Matcher::http_code)
            .unwrap_or("")
            .to_owned(),
        interval_seconds: number(found.health_check_interval_seconds()).unwrap_or(0),
        timeout_seconds: number(found.health_check_timeout_seconds()).unwrap_or(0),
        healthy: number(found.healthy_threshold_count()).unwrap_or(0),
        unhealthy: number(found.unhealthy_threshold_count()).unwrap_or(0),
    }
}

fn seen(found: &types::TargetGroup) -> Result<TargetGroup, Failure> {
    let missing =
        |what: &str| Failure::incomplete("elasticloadbalancing:DescribeTargetGroups", what);
    Ok(TargetGroup {
        arn: found
            .target_group_arn()
            .ok_or_else(|| missing("TargetGroupArn"))?
            .to_owned(),
        name: found.target_group_name().unwrap_or("").to_owned(),
        port: found
            .port()
            .and_then(|port| u16::try_from(port).ok())
            .unwrap_or(0),
        health: health(found),
        ..TargetGroup::default()
    })
}
