//! The Application Load Balancer.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_elasticloadbalancingv2::types::{self, LoadBalancerAttribute, LoadBalancerTypeEnum};
use plan::observed::{LoadBalancer, Tags};

use super::{differing, not_found, tag_list};
use crate::apply::Outcome;
use crate::connect::Cloud;
use crate::error::{Called, EffectError, Failure};

/// What only we change of a load balancer, or a person by hand.
#[derive(Clone, Debug)]
pub(crate) struct LoadBalancerSettings {
    tags: Tags,
    attributes: BTreeMap<String, String>,
}

impl LoadBalancerSettings {
    /// The whole load balancer.
    pub(super) fn of(self, head: LoadBalancer) -> LoadBalancer {
        LoadBalancer {
            tags: self.tags,
            attributes: self.attributes,
            ..head
        }
    }
}

impl Cloud {
    async fn load_balancer(&self, name: &str) -> Result<Option<LoadBalancer>, Failure> {
        let Some(head) = self.load_balancer_head(name).await? else {
            return Ok(None);
        };
        let settings = self.load_balancer_settings(&head.arn).await?;
        Ok(settings.map(|settings| settings.of(head)))
    }

    /// The load balancer of that name, whosever it is, without its tags and attributes.
    pub(super) async fn load_balancer_head(
        &self,
        name: &str,
    ) -> Result<Option<LoadBalancer>, Failure> {
        let answer = self
            .look()
            .elb
            .describe_load_balancers()
            .names(name)
            .send()
            .await
            .called("elasticloadbalancing:DescribeLoadBalancers");
        let found = match answer {
            Ok(answer) => answer.load_balancers.unwrap_or_default(),
            Err(failure) if not_found(&failure) => return Ok(None),
            Err(failure) => return Err(failure),
        };
        found.first().map(seen).transpose()
    }

    /// Its tags and attributes; none when it was deleted meanwhile.
    pub(super) async fn load_balancer_settings(
        &self,
        arn: &str,
    ) -> Result<Option<LoadBalancerSettings>, Failure> {
        let (tags, attributes) =
            futures_util::try_join!(self.elb_tags(arn), self.load_balancer_attributes(arn))?;
        Ok(tags
            .zip(attributes)
            .map(|(tags, attributes)| LoadBalancerSettings { tags, attributes }))
    }

    async fn load_balancer_attributes(
        &self,
        arn: &str,
    ) -> Result<Option<BTreeMap<String, String>>, Failure> {
        let answer = self
            .look()
            .elb
            .describe_load_balancer_attributes()
            .load_balancer_arn(arn)
            .send()
            .await
            .called("elasticloadbalancing:DescribeLoadBalancerAttributes");
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

    /// The load balancer, in these subnets, behind these security groups, with these attributes. Its
    /// scheme is part of its creation only: AWS cannot change it.
    pub(crate) async fn ensure_load_balancer(
        &self,
        name: &str,
        scheme: &str,
        subnets: &BTreeSet<String>,
        security_groups: &BTreeSet<String>,
        attributes: &BTreeMap<String, String>,
    ) -> Result<Outcome, EffectError> {
        let (there, created) = match self.load_balancer(name).await? {
            Some(there) => (there, Outcome::Unchanged),
            None => (
                self.create_load_balancer(name, scheme, subnets, security_groups)
                    .await?,
                Outcome::Changed,
            ),
        };
        self.check_ours(name, &there.tags)?;
        let mut outcome = created;
        if there.subnets != *subnets {
            self.act()
                .elb
                .set_subnets()
                .load_balancer_arn(&there.arn)
                .set_subnets(Some(subnets.iter().cloned().collect()))
                .send()
                .await
                .called("elasticloadbalancing:SetSubnets")?;
            outcome = Outcome::Changed;
        }
        if there.security_groups != *security_groups {
            self.act()
                .elb
                .set_security_groups()
                .load_balancer_arn(&there.arn)
                .set_security_groups(Some(security_groups.iter().cloned().collect()))
                .send()
                .await
                .called("elasticloadbalancing:SetSecurityGroups")?;
            outcome = Outcome::Changed;
        }
        let differing = differing(attributes, &there.attributes);
        if !differing.is_empty() {
            let list = differing
                .into_iter()
                .map(|(key, value)| {
                    LoadBalancerAttribute::builder()
                        .key(key)
                        .value(value)
                        .build()
                })
                .collect();
            self.act()
                .elb
                .modify_load_balancer_attributes()
                .load_balancer_arn(&there.arn)
                .set_attributes(Some(list))
                .send()
                .await
                .called("elasticloadbalancing:ModifyLoadBalancerAttributes")?;
            outcome = Outcome::Changed;
        }
        Ok(outcome)
    }

    async fn create_load_balancer(
        &self,
        name: &str,
        scheme: &str,
        subnets: &BTreeSet<String>,
        security_groups: &BTreeSet<String>,
    ) -> Result<LoadBalancer, EffectError> {
        const CALL: &str = "elasticloadbalancing:CreateLoadBalancer";
        let tags = self.our_tags([("Name", name)]);
        let answer = self
            .act()
            .elb
            .create_load_balancer()
            .name(name)
            .scheme(scheme.into())
            .r#type(LoadBalancerTypeEnum::Application)
            .set_subnets(Some(subnets.iter().cloned().collect()))
            .set_security_groups(Some(security_groups.iter().cloned().collect()))
            .set_tags(Some(tag_list(&tags)))
            .send()
            .await
            .called(CALL);
        match answer {
            Ok(answer) => {
                let created = answer
                    .load_balancers()
                    .first()
                    .ok_or_else(|| Failure::incomplete(CALL, "LoadBalancers"))?;
                Ok(LoadBalancer {
                    tags,
                    subnets: subnets.clone(),
                    security_groups: security_groups.clone(),
                    ..seen(created)?
                })
            }
            Err(failure) if failure.is("DuplicateLoadBalancerName") => self
                .load_balancer(name)
                .await?
                .ok_or_else(|| EffectError::invisible(CALL, name)),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Deletes the load balancer with its listeners. AWS answers success for one that is not there.
    pub(crate) async fn delete_load_balancer(&self, arn: &str) -> Result<Outcome, EffectError> {
        if !self.elb_is_there_and_ours(arn).await? {
            return Ok(Outcome::Unchanged);
        }
        let answer = self
            .act()
            .elb
            .delete_load_balancer()
            .load_balancer_arn(arn)
            .send()
            .await
            .called("elasticloadbalancing:DeleteLoadBalancer");
        Outcome::gone(answer.map(drop), &["LoadBalancerNotFound"])
    }
}

fn seen(found: &types::LoadBalancer) -> Result<LoadBalancer, Failure> {
    let missing =
        |what: &str| Failure::incomplete("elasticloadbalancing:DescribeLoadBalancers", what);
    Ok(LoadBalancer {
        arn: found
            .load_balancer_arn()
            .ok_or_else(|| missing("LoadBalancerArn"))?
            .to_owned(),
        name: found.load_balancer_name().unwrap_or("").to_owned(),
        state: found
            .state()
            .and_then(|state| state.code())
            .map_or("", |code| code.as_str())
            .to_owned(),
        dns_name: found.dns_name().unwrap_or("").to_owned(),
        subnets: found
            .availability_zones()
            .iter()
            .filter_map(|zone| zone.subnet_id().map(str::to_owned))
            .collect(),
        security_groups: found.security_groups().iter().cloned().collect(),
        ..LoadBalancer::default()
    })
}
