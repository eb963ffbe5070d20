//! Reading what Auto Scaling's calls send.

use std::str::FromStr;
use std::time::Duration;

use super::balance::TerminationPolicy;
use super::model::{ActionResult, Attachment, Hook, Subnet, Tag, Template, Transition};
use crate::api::{ApiError, Call, Params};
use crate::{Lab, ec2, elbv2};

/// AWS's `ValidationError`, which Auto Scaling answers to nearly everything.
pub fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("ValidationError", message)
}

/// The group does not exist.
pub fn no_group(name: &str) -> ApiError {
    invalid(format!(
        "AutoScalingGroup name not found - AutoScalingGroup: {name} not found"
    ))
}

/// A required parameter; missing is a `ValidationError` here.
pub fn required(params: &Params, name: &str) -> Result<String, ApiError> {
    params
        .opt(name)
        .filter(|text| !text.is_empty())
        .ok_or_else(|| invalid(format!("1 validation error detected: Value null at '{name}' failed to satisfy constraint: Member must not be null")))
}

/// A required boolean.
pub fn required_flag(params: &Params, name: &str) -> Result<bool, ApiError> {
    required(params, name)?;
    params
        .opt_bool(name)?
        .ok_or_else(|| invalid(format!("{name} must be true or false")))
}

/// A number that must not be below zero.
pub fn count(params: &Params, name: &str) -> Result<Option<i64>, ApiError> {
    match params.opt_int(name)? {
        Some(number) if number < 0 => Err(invalid(format!(
            "{name} must be 0 or greater, got {number}"
        ))),
        number => Ok(number),
    }
}

/// One word of a fixed set.
pub fn word<T: FromStr>(name: &str, text: &str, known: &str) -> Result<T, ApiError> {
    text.parse()
        .map_err(|_| invalid(format!("{name} `{text}` is not valid; valid are: {known}")))
}

/// The launch template that a call names, as the group shows it.
pub fn template(lab: &Lab, call: &Call) -> Result<Option<Template>, ApiError> {
    let Some(sent) = call.params.sub("LaunchTemplate") else {
        return Ok(None);
    };
    let (id, name) = (sent.opt("LaunchTemplateId"), sent.opt("LaunchTemplateName"));
    if id.is_some() == name.is_some() {
        return Err(invalid(
            "Valid requests must contain either launchTemplateId or LaunchTemplateName",
        ));
    }
    let version = sent
        .opt("Version")
        .filter(|version| !version.is_empty())
        .unwrap_or_else(|| "$Default".to_owned());
    let wanted = id.or(name).unwrap_or_default();
    let (id, name, _) =
        ec2::resolve_template(lab, &call.region, &wanted, &version).map_err(not_fully_formed)?;
    Ok(Some(Template { id, name, version }))
}

/// Refuses a launch template from which EC2 would launch nothing in one of these subnets: no image or one
/// that is missing or pending, a missing security group, key pair or profile, a wrong type.
pub fn check_launch(
    lab: &Lab,
    region: &str,
    template: &Template,
    subnets: &[Subnet],
) -> Result<(), ApiError> {
    let subnets: Vec<String> = subnets.iter().map(|subnet| subnet.id.clone()).collect();
    let template = (template.id.as_str(), template.version.as_str());
    ec2::check_launch(lab, region, template, &subnets).map_err(not_fully_formed)
}

/// EC2's refusal in Auto Scaling's words.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn not_fully_formed(error: ApiError) -> ApiError {
    invalid(format!(
        "You must use a valid fully-formed launch template. {}",
        error.message
    ))
}

/// Where the group lives: `VPCZoneIdentifier`, held to `AvailabilityZones` when both are sent, or
/// the default subnets of those zones. None when neither is sent.
pub fn subnets(lab: &Lab, call: &Call) -> Result<Option<Vec<Subnet>>, ApiError> {
    let identifier = call.params.opt("VPCZoneIdentifier").unwrap_or_default();
    let zones = call.params.list("AvailabilityZones");
    let known = lab.region(&call.region).map(|region| &region.zones);
    if let Some(bad) = zones
        .iter()
        .find(|zone| !known.is_some_and(|known| known.contains(zone)))
    {
        return Err(invalid(format!(
            "Invalid availability zones: [{bad}] is not a zone of {}",
            call.region
        )));
    }
    let mut subnets = Vec::new();
    for id in identifier
        .split(',')
        .map(str::trim)
        .filter(|id| !id.is_empty())
    {
        let view = ec2::subnet(lab, &call.region, id)
            .ok_or_else(|| invalid(format!("The subnet ID '{id}' does not exist")))?;
        if !zones.is_empty() && !zones.contains(&view.zone) {
            return Err(invalid(format!(
                "The availability zones of the specified subnets and the AutoScalingGroup do not match: {id} is in {}",
                view.zone
            )));
        }
        subnets.push(Subnet {
            id: view.id,
            zone: view.zone,
        });
    }
    if subnets.is_empty() && !zones.is_empty() {
        let defaults = ec2::default_subnets(lab, &call.region);
        for zone in &zones {
            let Some(view) = defaults.iter().find(|view| &view.zone == zone) else {
                return Err(invalid(format!(
                    "No default subnet for availability zone: '{zone}'."
                )));
            };
            subnets.push(Subnet {
                id: view.id.clone(),
                zone: view.zone.clone(),
            });
        }
    }
    Ok((!subnets.is_empty()).then_some(subnets))
}

/// `TargetGroupARNs` or traffic sources of type `elbv2`, each of which must exist.
pub fn attachments(
    lab: &Lab,
    region: &str,
    arns: Vec<String>,
) -> Result<Vec<Attachment>, ApiError> {
    arns.into_iter()
        .map(|arn| {
            if elbv2::target_group_exists(lab, region, &arn) {
                Ok(Attachment {
                    arn,
                    removing: false,
                    in_service: false,
                })
            } else {
                Err(invalid(format!(
                    "Provided Target Groups may not be valid. Please ensure they exist and try again. {arn}"
                )))
            }
        })
        .collect()
}

/// The identifiers of `TrafficSources`; only target groups are known to the lab.
pub fn traffic_sources(params: &Params) -> Result<Vec<String>, ApiError> {
    params
        .structs("TrafficSources")
        .into_iter()
        .map(|source| {
            let identifier = required(&source, "Identifier")?;
            match source.opt("Type").as_deref() {
                None | Some("elbv2") => Ok(identifier),
                Some(other) => Err(invalid(format!(
                    "Traffic source type `{other}` is not supported here; use `elbv2`"
                ))),
            }
        })
        .collect()
}

/// `HealthCheckType`: whether target groups' health counts. EC2's always does.
pub fn elb_health(params: &Params) -> Result<Option<bool>, ApiError> {
    let Some(text) = params.opt("HealthCheckType") else {
        return Ok(None);
    };
    let mut elb = false;
    for kind in text.split(',').map(str::trim) {
        match kind {
            "EC2" => {}
            "ELB" => elb = true,
            other => {
                return Err(invalid(format!(
                    "Invalid HealthCheckType `{other}`; the lab knows EC2 and ELB"
                )));
            }
        }
    }
    Ok(Some(elb))
}

/// `TerminationPolicies`, when sent.
pub fn termination_policies(params: &Params) -> Result<Option<Vec<TerminationPolicy>>, ApiError> {
    let names = params.list("TerminationPolicies");
    if names.is_empty() {
        return Ok(None);
    }
    names
        .iter()
        .map(|name| {
            word(
                "TerminationPolicies",
                name,
                "Default, OldestInstance, NewestInstance, OldestLaunchTemplate, OldestLaunchConfiguration, ClosestToNextInstanceHour, AllocationStrategy",
            )
        })
        .collect::<Result<_, _>>()
        .map(Some)
}

/// A hook's settings over what it was before.
pub fn hook(params: &Params, before: Option<&Hook>) -> Result<Hook, ApiError> {
    let transition = match params.opt("LifecycleTransition") {
        Some(text) => word::<Transition>(
            "LifecycleTransition",
            &text,
            "autoscaling:EC2_INSTANCE_LAUNCHING, autoscaling:EC2_INSTANCE_TERMINATING",
        )?,
        None => before.map(|hook| hook.transition).ok_or_else(|| {
            invalid("You must specify LifecycleTransition for a new lifecycle hook")
        })?,
    };
    let heartbeat = match params.opt_int("HeartbeatTimeout")? {
        Some(seconds) if (30..=7200).contains(&seconds) => Duration::from_secs(seconds as u64),
        Some(seconds) => {
            return Err(invalid(format!(
                "HeartbeatTimeout must be between 30 and 7200 seconds, got {seconds}"
            )));
        }
        None => before.map_or(Duration::from_hours(1), |hook| hook.heartbeat),
    };
    let default_result = match params.opt("DefaultResult") {
        Some(text) => word::<ActionResult>("DefaultResult", &text, "CONTINUE, ABANDON")?,
        None => before.map_or(ActionResult::Abandon, |hook| hook.default_result),
    };
    let kept = |name: &str, old: Option<&String>| params.opt(name).or_else(|| old.cloned());
    Ok(Hook {
        transition,
        heartbeat,
        default_result,
        metadata: kept(
            "NotificationMetadata",
            before.and_then(|hook| hook.metadata.as_ref()),
        ),
        target: kept(
            "NotificationTargetARN",
            before.and_then(|hook| hook.target.as_ref()),
        ),
        role: kept("RoleARN", before.and_then(|hook| hook.role.as_ref())),
    })
}

/// One entry of `Tags`: group (none when not sent), key and tag.
pub fn tag(params: &Params) -> Result<(Option<String>, String, Tag), ApiError> {
    let key = required(params, "Key")?;
    if key.starts_with("aws:") {
        return Err(invalid(format!(
            "Tag key `{key}`: `aws:` prefixed tag key names are not allowed for external use"
        )));
    }
    if let Some(kind) = params.opt("ResourceType")
        && kind != "auto-scaling-group"
    {
        return Err(invalid(format!(
            "ResourceType `{kind}` is not valid; the only one is auto-scaling-group"
        )));
    }
    let tag = Tag {
        value: params.opt("Value").unwrap_or_default(),
        propagate: params.opt_bool("PropagateAtLaunch")?.unwrap_or(true),
    };
    Ok((params.opt("ResourceId"), key, tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        let pairs = pairs.iter();
        Params::from_form(
            pairs.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
            true,
        )
    }

    #[test]
    fn a_hook_keeps_what_is_not_sent_again() {
        let made = hook(
            &params(&[
                ("LifecycleTransition", "autoscaling:EC2_INSTANCE_LAUNCHING"),
                ("HeartbeatTimeout", "300"),
                ("DefaultResult", "CONTINUE"),
            ]),
            None,
        )
        .unwrap();
        assert_eq!(made.global_timeout(), Duration::from_mins(500));
        let again = hook(&params(&[("HeartbeatTimeout", "7200")]), Some(&made)).unwrap();
        assert_eq!(again.default_result, ActionResult::Continue);
        assert_eq!(again.global_timeout(), Duration::from_secs(48 * 3600));
        for bad in [
            &[("LifecycleTransition", "autoscaling:NONE")][..],
            &[("HeartbeatTimeout", "300")][..],
            &[
                ("LifecycleTransition", "autoscaling:EC2_INSTANCE_LAUNCHING"),
                ("HeartbeatTimeout", "29"),
            ][..],
        ] {
            assert_eq!(
                hook(&params(bad), None).unwrap_err().code,
                "ValidationError"
            );
        }
    }
}
