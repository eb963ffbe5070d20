//! The target groups: Mattermost's port, probed where Mattermost says that it is well.

use std::collections::BTreeMap;

use aws_sdk_elasticloadbalancingv2::types::{
    self, Matcher, ProtocolEnum, TargetGroupAttribute, TargetTypeEnum,
};
use futures_util::future::try_join_all;
use plan::observed::TargetGroup;

use super::{differing, not_found, tag_list};
use crate::apply::Outcome;
use crate::connect::Cloud;
use crate::error::{Called, EffectError, Failure, ReadError};

/// Mattermost's own default port.
const PORT: i32 = 8065;
/// Answers 200 once the server serves and its database answers.
const PATH: &str = "/api/v4/system/ping";
/// Two good probes ten seconds apart bring a node in, three bad ones take it out: half a minute, less
/// than a client's patience and more than one slow garbage collection.
const INTERVAL_SECONDS: i32 = 10;
const TIMEOUT_SECONDS: i32 = 5;
const HEALTHY: i32 = 2;
const UNHEALTHY: i32 = 3;
const EXPECTED: &str = "200";

impl Cloud {
    /// The target groups of these names, whosever they are, with the state of their targets.
    pub(crate) async fn observe_target_groups(
        &self,
        names: &[String],
    ) -> Result<BTreeMap<String, TargetGroup>, ReadError> {
        let found = try_join_all(names.iter().map(|name| async move {
            let Some((mut group, _)) = self.target_group(name).await? else {
                return Ok::<_, Failure>(None);
            };
            group.targets = self.targets(&group.arn).await?;
            Ok(Some((name.clone(), group)))
        }))
        .await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// One target group with attributes and tags, and its health check as AWS has it.
    async fn target_group(
        &self,
        name: &str,
    ) -> Result<Option<(TargetGroup, types::TargetGroup)>, Failure> {
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
        Ok(Some((seen, found)))
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

    async fn targets(&self, arn: &str) -> Result<BTreeMap<String, String>, Failure> {
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

    /// A target group with our health check and these attributes.
    pub(crate) async fn ensure_target_group(
        &self,
        name: &str,
        vpc_id: &str,
        attributes: &BTreeMap<String, String>,
    ) -> Result<Outcome, EffectError> {
        let (there, created) = match self.target_group(name).await? {
            Some(there) => (there, Outcome::Unchanged),
            None => (
                self.create_target_group(name, vpc_id).await?,
                Outcome::Changed,
            ),
        };
        let (there, detail) = there;
        self.check_ours(name, &there.tags)?;
        let mut outcome = created;
        if !probes_as_wanted(&detail) {
            self.act()
                .elb
                .modify_target_group()
                .target_group_arn(&there.arn)
                .health_check_enabled(true)
                .health_check_protocol(ProtocolEnum::Http)
                .health_check_port("traffic-port")
                .health_check_path(PATH)
                .health_check_interval_seconds(INTERVAL_SECONDS)
                .health_check_timeout_seconds(TIMEOUT_SECONDS)
                .healthy_threshold_count(HEALTHY)
                .unhealthy_threshold_count(UNHEALTHY)
                .matcher(Matcher::builder().http_code(EXPECTED).build())
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
    ) -> Result<(TargetGroup, types::TargetGroup), EffectError> {
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
            .health_check_enabled(true)
            .health_check_protocol(ProtocolEnum::Http)
            .health_check_port("traffic-port")
            .health_check_path(PATH)
            .health_check_interval_seconds(INTERVAL_SECONDS)
            .health_check_timeout_seconds(TIMEOUT_SECONDS)
            .healthy_threshold_count(HEALTHY)
            .unhealthy_threshold_count(UNHEALTHY)
            .matcher(Matcher::builder().http_code(EXPECTED).build())
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
                let seen = TargetGroup {
                    tags,
                    ..seen(&created)?
                };
                Ok((seen, created))
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

fn probes_as_wanted(group: &types::TargetGroup) -> bool {
    group.health_check_path() == Some(PATH)
        && group.health_check_interval_seconds() == Some(INTERVAL_SECONDS)
        && group.health_check_timeout_seconds() == Some(TIMEOUT_SECONDS)
        && group.healthy_threshold_count() == Some(HEALTHY)
        && group.unhealthy_threshold_count() == Some(UNHEALTHY)
        && group.matcher().and_then(Matcher::http_code) == Some(EXPECTED)
        && group.health_check_enabled() != Some(false)
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
        health_path: found.health_check_path().unwrap_or("").to_owned(),
        ..TargetGroup::default()
    })
}
