//! The actions on target groups.

use std::sync::Arc;

use super::attributes::Attributes;
use super::balance::Smooth;
use super::health::HealthCheck;
use super::paging::{Page, valid_name};
use super::state::{RegionState, TargetGroup, TargetType, arn};
use super::tags;
use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};

fn validation(message: impl Into<String>) -> ApiError {
    ApiError::new("ValidationError", message)
}

fn unsupported(what: &str, value: &str, has: &str) -> ApiError {
    ApiError::new(
        "InvalidConfigurationRequest",
        format!("{what} '{value}' is not supported; the lab's target groups have {has}"),
    )
}

/// `CreateTargetGroup`
pub(super) fn create(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let params = &call.params;
    let name = valid_name("Target group", params.str("Name")?)?;
    let protocol = params.str("Protocol")?;
    if protocol != "HTTP" {
        return Err(unsupported("Protocol", &protocol, "HTTP"));
    }
    for (key, only) in [("ProtocolVersion", "HTTP1"), ("IpAddressType", "ipv4")] {
        if let Some(value) = params.opt(key).filter(|value| value != only) {
            return Err(unsupported(key, &value, only));
        }
    }
    let port = params
        .opt_int("Port")?
        .ok_or_else(|| validation("A port must be specified"))?;
    let port = u16::try_from(port)
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| validation(format!("Port '{port}' must be in the range 1-65535")))?;
    let vpc_id = params
        .opt("VpcId")
        .ok_or_else(|| validation("A VPC ID must be specified"))?;
    let target_type = match params.opt("TargetType").as_deref() {
        None | Some("instance") => TargetType::Instance,
        Some("ip") => TargetType::Ip,
        Some(other) => return Err(unsupported("TargetType", other, "instance and ip")),
    };
    let check = HealthCheck::default().parse(params)?;
    let given_tags = tags::parse(params)?;
    params.finish()?;
    if !crate::ec2::vpc_exists(lab, &call.region, &vpc_id) {
        return Err(validation(format!("The VPC ID '{vpc_id}' is not found")));
    }
    lab.elbv2.with(&call.region, |state| {
        if let Some(old) = state.target_groups.values().find(|old| old.name == name) {
            let same = old.port == port
                && old.vpc_id == vpc_id
                && old.target_type == target_type
                && old.check == check;
            return if same {
                Ok(one(state, &old.arn))
            } else {
                Err(ApiError::new(
                    "DuplicateTargetGroupName",
                    format!("A target group with the same name '{name}' exists, but with different settings"),
                ))
            };
        }
        let arn = arn(
            &call.region,
            &format!("targetgroup/{name}/{}", lab.ids.hex(16)),
        );
        state.tags.insert(arn.clone(), given_tags);
        state.target_groups.insert(
            arn.clone(),
            TargetGroup {
                arn: arn.clone(),
                name,
                port,
                vpc_id,
                target_type,
                check,
                attributes: Attributes::target_group(),
                targets: Vec::new(),
                turn: Smooth::default(),
            },
        );
        Ok(one(state, &arn))
    })
}

fn one(state: &RegionState, arn: &str) -> Reply {
    let groups = state.target_groups.get(arn).map(|it| it.xml(state));
    Xml::new().list("TargetGroups", "member", groups).into()
}

/// `DescribeTargetGroups`
pub(super) fn describe(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let params = &call.params;
    let (arns, names) = (params.list("TargetGroupArns"), params.list("Names"));
    let balancer = params.opt("LoadBalancerArn");
    let page = Page::parse(params)?;
    params.finish()?;
    lab.elbv2.with(&call.region, |state| {
        if let Some(balancer) = &balancer {
            state.load_balancer(balancer)?;
        }
        let not_found =
            || ApiError::new("TargetGroupNotFound", "One or more target groups not found");
        let has_name = |name: &String| state.target_groups.values().any(|it| it.name == *name);
        if !arns.iter().all(|arn| state.target_groups.contains_key(arn))
            || !names.iter().all(has_name)
        {
            return Err(not_found());
        }
        let found = state.target_groups.values().filter(|group| {
            (arns.is_empty() || arns.contains(&group.arn))
                && (names.is_empty() || names.contains(&group.name))
                && balancer
                    .as_ref()
                    .is_none_or(|arn| state.load_balancers_of(&group.arn).contains(arn))
        });
        Ok(page.reply("TargetGroups", found, |it| &it.arn, |it| it.xml(state)))
    })
}

/// `ModifyTargetGroup`: health check settings; they hold from the next check on.
pub(super) fn modify(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let arn = call.params.str("TargetGroupArn")?;
    let old = lab.elbv2.with(&call.region, |state| {
        Ok::<_, ApiError>(state.target_group(&arn)?.check.clone())
    })?;
    let check = old.parse(&call.params)?;
    call.params.finish()?;
    lab.elbv2.with(&call.region, |state| {
        state.target_group(&arn)?.check = check;
        Ok(one(state, &arn))
    })
}

/// `DeleteTargetGroup`; one that is not there is deleted already.
pub(super) fn delete(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let arn = call.params.str("TargetGroupArn")?;
    call.params.finish()?;
    lab.elbv2.with(&call.region, |state| {
        if !state.load_balancers_of(&arn).is_empty() {
            return Err(ApiError::new(
                "ResourceInUse",
                format!("Target group '{arn}' is currently in use by a listener or a rule"),
            ));
        }
        if let Some(group) = state.target_groups.remove(&arn) {
            for target in group.targets {
                target.backend.close_idle();
                target.backend.cut.cancel();
            }
        }
        state.tags.remove(&arn);
        Ok(Xml::new().into())
    })
}

/// `DescribeTargetGroupAttributes`
pub(super) fn describe_attributes(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let arn = call.params.str("TargetGroupArn")?;
    call.params.finish()?;
    lab.elbv2.with(&call.region, |state| {
        Ok(state.target_group(&arn)?.attributes.xml().into())
    })
}

/// `ModifyTargetGroupAttributes`
pub(super) fn modify_attributes(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let arn = call.params.str("TargetGroupArn")?;
    let changes = Attributes::target_group().parse(&call.params)?;
    call.params.finish()?;
    lab.elbv2.with(&call.region, |state| {
        let group = state.target_group(&arn)?;
        group.attributes.set(changes);
        Ok(group.attributes.xml().into())
    })
}

impl TargetGroup {
    fn xml(&self, state: &RegionState) -> Xml {
        let users = state.load_balancers_of(&self.arn);
        Xml::new()
            .text("TargetGroupArn", &self.arn)
            .text("TargetGroupName", &self.name)
            .text("Protocol", "HTTP")
            .text("Port", self.port)
            .text("VpcId", &self.vpc_id)
            .then(self.check.xml())
            .list("LoadBalancerArns", "member", users.iter().map(Xml::value))
            .text("TargetType", self.target_type.as_str())
            .text("ProtocolVersion", "HTTP1")
            .text("IpAddressType", "ipv4")
    }
}
