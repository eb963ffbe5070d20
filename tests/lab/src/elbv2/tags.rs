//! Tags of load balancers, listeners, rules and target groups; account limits and TLS policies.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::state::RegionState;
use crate::Lab;
use crate::api::{ApiError, Call, Params, Reply, Xml};

/// AWS's limit of tags per resource.
const MAX_TAGS: usize = 50;

/// The `Tags` of a call.
pub(super) fn parse(params: &Params) -> Result<BTreeMap<String, String>, ApiError> {
    let mut tags = BTreeMap::new();
    for tag in params.structs("Tags") {
        let key = tag.str("Key")?;
        let value = tag.opt("Value").unwrap_or_default();
        if key.is_empty() || key.len() > 128 || value.len() > 256 {
            return Err(ApiError::new(
                "ValidationError",
                format!("Tag key '{key}' must have 1 to 128 characters, and its value at most 256"),
            ));
        }
        if tags.insert(key.clone(), value).is_some() {
            return Err(ApiError::new(
                "DuplicateTagKeys",
                format!("Tag key '{key}' was specified more than once"),
            ));
        }
    }
    Ok(tags)
}

/// The tags of what an ARN names; none when it does not exist.
pub(crate) fn tags_by_arn(lab: &Lab, region: &str, arn: &str) -> BTreeMap<String, String> {
    lab.elbv2.with(region, |state| {
        state.tags.get(arn).cloned().unwrap_or_default()
    })
}

/// Whether the resource exists; the error is of its kind.
fn check(state: &RegionState, arn: &str) -> Result<(), ApiError> {
    let resource = arn.splitn(6, ':').nth(5).unwrap_or_default();
    let kind = resource.split('/').next().unwrap_or_default();
    let (found, code) = match kind {
        "loadbalancer" => (
            state.load_balancers.contains_key(arn),
            "LoadBalancerNotFound",
        ),
        "targetgroup" => (state.target_groups.contains_key(arn), "TargetGroupNotFound"),
        "listener" => (state.listeners.contains_key(arn), "ListenerNotFound"),
        "listener-rule" => (
            state
                .listeners
                .values()
                .any(|listener| listener.all_rules().any(|rule| rule.arn == arn)),
            "RuleNotFound",
        ),
        _ => {
            return Err(ApiError::new(
                "ValidationError",
                format!("'{arn}' is not a valid resource ARN"),
            ));
        }
    };
    if found {
        Ok(())
    } else {
        Err(ApiError::new(code, format!("'{arn}' not found")))
    }
}

fn resources(params: &Params) -> Result<Vec<String>, ApiError> {
    let arns = params.list("ResourceArns");
    if arns.is_empty() {
        return Err(ApiError::missing("ResourceArns"));
    }
    Ok(arns)
}

/// `AddTags`
pub(super) fn add(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let arns = resources(&call.params)?;
    let tags = parse(&call.params)?;
    call.params.finish()?;
    lab.elbv2.with(&call.region, |state| {
        for arn in &arns {
            check(state, arn)?;
            let mut merged = state.tags.get(arn).cloned().unwrap_or_default();
            merged.extend(tags.clone());
            if merged.len() > MAX_TAGS {
                return Err(ApiError::new(
                    "TooManyTags",
                    format!("'{arn}' would have more than {MAX_TAGS} tags"),
                ));
            }
        }
        for arn in arns {
            state.tags.entry(arn).or_default().extend(tags.clone());
        }
        Ok(Xml::new().into())
    })
}

/// `RemoveTags`
pub(super) fn remove(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let arns = resources(&call.params)?;
    let keys = call.params.list("TagKeys");
    call.params.finish()?;
    lab.elbv2.with(&call.region, |state| {
        for arn in &arns {
            check(state, arn)?;
        }
        for arn in &arns {
            if let Some(tags) = state.tags.get_mut(arn) {
                tags.retain(|key, _| !keys.contains(key));
            }
        }
        Ok(Xml::new().into())
    })
}

/// `DescribeTags`
pub(super) fn describe(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let arns = resources(&call.params)?;
    call.params.finish()?;
    if arns.len() > 20 {
        return Err(ApiError::new(
            "ValidationError",
            "ResourceArns must hold at most 20 ARNs",
        ));
    }
    lab.elbv2.with(&call.region, |state| {
        for arn in &arns {
            check(state, arn)?;
        }
        let descriptions = arns.iter().map(|arn| {
            let tags = state.tags.get(arn).into_iter().flatten();
            Xml::new().text("ResourceArn", arn).list(
                "Tags",
                "member",
                tags.map(|(key, value)| Xml::new().text("Key", key).text("Value", value)),
            )
        });
        Ok(Xml::new()
            .list("TagDescriptions", "member", descriptions)
            .into())
    })
}

/// The default quotas of the user guide's page "Quotas for your Application Load Balancers".
const LIMITS: [(&str, u32); 10] = [
    ("application-load-balancers", 50),
    ("target-groups", 3000),
    ("targets-per-application-load-balancer", 1000),
    ("listeners-per-application-load-balancer", 50),
    ("rules-per-application-load-balancer", 100),
    ("certificates-per-application-load-balancer", 25),
    ("targets-per-target-group", 1000),
    ("target-groups-per-application-load-balancer", 100),
    ("target-groups-per-action-on-application-load-balancer", 5),
    ("condition-values-per-alb-rule", 5),
];

/// `DescribeAccountLimits`
pub(super) fn limits(call: &Call) -> Result<Reply, ApiError> {
    call.params.accept(&["Marker", "PageSize"]);
    call.params.finish()?;
    let limits = LIMITS
        .iter()
        .map(|(name, max)| Xml::new().text("Name", name).text("Max", max));
    Ok(Xml::new().list("Limits", "member", limits).into())
}

/// A TLS policy that a listener may name, and the protocols that the lab then speaks.
const POLICIES: [(&str, &[&str]); 5] = [
    ("ELBSecurityPolicy-2016-08", &["TLSv1.2"]),
    ("ELBSecurityPolicy-TLS-1-2-2017-01", &["TLSv1.2"]),
    (
        "ELBSecurityPolicy-TLS13-1-2-2021-06",
        &["TLSv1.2", "TLSv1.3"],
    ),
    (
        "ELBSecurityPolicy-TLS13-1-2-Res-2021-06",
        &["TLSv1.2", "TLSv1.3"],
    ),
    ("ELBSecurityPolicy-TLS13-1-3-2021-06", &["TLSv1.3"]),
];
/// What both protocols' stacks offer here.
const CIPHERS: [(&str, &[&str]); 2] = [
    (
        "TLSv1.3",
        &[
            "TLS_AES_256_GCM_SHA384",
            "TLS_AES_128_GCM_SHA256",
            "TLS_CHACHA20_POLY1305_SHA256",
        ],
    ),
    (
        "TLSv1.2",
        &[
            "ECDHE-ECDSA-AES256-GCM-SHA384",
            "ECDHE-ECDSA-AES128-GCM-SHA256",
            "ECDHE-RSA-AES256-GCM-SHA384",
            "ECDHE-RSA-AES128-GCM-SHA256",
        ],
    ),
];

/// A policy that exists.
pub(super) fn check_policy(name: &str) -> Result<(), ApiError> {
    if POLICIES.iter().any(|(policy, _)| *policy == name) {
        Ok(())
    } else {
        Err(ApiError::new(
            "SSLPolicyNotFound",
            format!("SSL policy '{name}' not found"),
        ))
    }
}

/// `DescribeSSLPolicies`
pub(super) fn policies(call: &Call) -> Result<Reply, ApiError> {
    let names = call.params.list("Names");
    call.params
        .accept(&["Marker", "PageSize", "LoadBalancerType"]);
    call.params.finish()?;
    for name in &names {
        check_policy(name)?;
    }
    let policies = POLICIES
        .iter()
        .filter(|(name, _)| names.is_empty() || names.iter().any(|it| it == name))
        .map(|(name, protocols)| {
            let ciphers = CIPHERS
                .iter()
                .filter(|(protocol, _)| protocols.contains(protocol))
                .flat_map(|(_, ciphers)| ciphers.iter());
            Xml::new()
                .list("SslProtocols", "member", protocols.iter().map(Xml::value))
                .list(
                    "Ciphers",
                    "member",
                    ciphers.enumerate().map(|(index, cipher)| {
                        Xml::new().text("Name", cipher).text("Priority", index + 1)
                    }),
                )
                .text("Name", name)
                .list(
                    "SupportedLoadBalancerTypes",
                    "member",
                    [Xml::value("application")],
                )
        });
    Ok(Xml::new().list("SslPolicies", "member", policies).into())
}
