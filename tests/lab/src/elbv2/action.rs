//! What a rule does with a request: forward, redirect, or a fixed response.

use super::redirect::Redirect;
use crate::api::{ApiError, Params, Xml};

/// A rule's one action (the lab has no authentication actions, which would come before it).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// To target groups by weight.
    Forward {
        /// ARN and weight, 0 to 999.
        groups: Vec<(String, u32)>,
        /// How long a client stays with its group, in lab seconds.
        sticky: Option<u32>,
    },
    /// To another address.
    Redirect(Redirect),
    /// An answer by the load balancer itself.
    Fixed {
        status: u16,
        content_type: Option<String>,
        body: Option<String>,
    },
}

/// AWS's limit of target groups in one forward action.
const MAX_GROUPS: usize = 5;
const WEEK: i64 = 604_800;
/// What a fixed response may be (API reference of FixedResponseActionConfig).
const TYPES: [&str; 5] = [
    "text/plain",
    "text/css",
    "text/html",
    "application/javascript",
    "application/json",
];

impl Action {
    /// The action in a call's list, which must hold exactly one.
    pub fn parse(params: &Params, list: &str) -> Result<Self, ApiError> {
        let actions = params.structs(list);
        let [action] = actions.as_slice() else {
            return if actions.is_empty() {
                Err(ApiError::missing(list))
            } else {
                Err(invalid(
                    "InvalidLoadBalancerAction",
                    format!(
                        "{list} must hold exactly one action; the lab has no authentication actions"
                    ),
                ))
            };
        };
        if let Some(order) = action.opt_int("Order")?
            && !(1..=50_000).contains(&order)
        {
            return Err(validation(format!(
                "Action order '{order}' must be between 1 and 50000"
            )));
        }
        let kind = action.str("Type")?;
        match kind.as_str() {
            "forward" => Self::parse_forward(action),
            "redirect" => Redirect::parse(action).map(Self::Redirect),
            "fixed-response" => Self::parse_fixed(action),
            _ => Err(invalid(
                "InvalidLoadBalancerAction",
                format!("Action type '{kind}' is not one of forward, redirect, fixed-response"),
            )),
        }
    }

    fn parse_forward(action: &Params) -> Result<Self, ApiError> {
        let single = action.opt("TargetGroupArn");
        let Some(config) = action.sub("ForwardConfig") else {
            let arn = single.ok_or_else(|| {
                validation("A forward action must name a target group".to_owned())
            })?;
            return Ok(Self::Forward {
                groups: vec![(arn, 1)],
                sticky: None,
            });
        };
        let mut groups = Vec::new();
        for tuple in config.structs("TargetGroups") {
            let (arn, weight) = (
                tuple.str("TargetGroupArn")?,
                tuple.opt_int("Weight")?.unwrap_or(1),
            );
            if !(0..=999).contains(&weight) {
                return Err(validation(format!(
                    "Target group weight '{weight}' must be between 0 and 999"
                )));
            }
            if groups.iter().any(|(other, _)| *other == arn) {
                return Err(validation(format!(
                    "Target group '{arn}' is specified more than once"
                )));
            }
            groups.push((arn, weight as u32));
        }
        if groups.is_empty() || groups.len() > MAX_GROUPS {
            return Err(invalid(
                "InvalidLoadBalancerAction",
                format!("ForwardConfig must hold 1 to {MAX_GROUPS} target groups"),
            ));
        }
        if let Some(single) = single
            && (groups.len() > 1 || groups[0].0 != single)
        {
            return Err(invalid(
                "InvalidLoadBalancerAction",
                "You cannot specify both a target group ARN and a forward config with other target groups".to_owned(),
            ));
        }
        let sticky = match config.sub("TargetGroupStickinessConfig") {
            None => None,
            Some(stickiness) => {
                let duration = stickiness.opt_int("DurationSeconds")?;
                let enabled = stickiness.opt_bool("Enabled")?.unwrap_or(false);
                if let Some(seconds) = duration
                    && !(1..=WEEK).contains(&seconds)
                {
                    return Err(validation(format!(
                        "Target group stickiness duration '{seconds}' must be between 1 and {WEEK}"
                    )));
                }
                match (enabled, duration) {
                    (true, None) => {
                        return Err(validation(
                            "Target group stickiness duration must be specified when it is enabled"
                                .to_owned(),
                        ));
                    }
                    (true, Some(seconds)) => Some(seconds as u32),
                    (false, _) => None,
                }
            }
        };
        Ok(Self::Forward { groups, sticky })
    }

    fn parse_fixed(action: &Params) -> Result<Self, ApiError> {
        let config = action
            .sub("FixedResponseConfig")
            .ok_or_else(|| ApiError::missing("FixedResponseConfig"))?;
        let text = config.str("StatusCode")?;
        let status = text
            .parse()
            .ok()
            .filter(|code| matches!(code, 200..=299 | 400..=599))
            .ok_or_else(|| {
                validation(format!(
                    "Fixed response status code '{text}' must be 2XX, 4XX or 5XX"
                ))
            })?;
        let content_type = config.opt("ContentType");
        if let Some(other) = content_type.as_deref().filter(|it| !TYPES.contains(it)) {
            return Err(validation(format!(
                "Fixed response content type '{other}' must be one of [{}]",
                TYPES.join(", ")
            )));
        }
        let body = config.opt("MessageBody");
        if body.as_ref().is_some_and(|body| body.len() > 1024) {
            return Err(validation(
                "Fixed response message body must have at most 1024 characters".to_owned(),
            ));
        }
        Ok(Self::Fixed {
            status,
            content_type,
            body,
        })
    }

    /// The ARNs that it names, whatever the weight.
    pub fn target_groups(&self) -> impl Iterator<Item = &str> {
        let groups = match self {
            Self::Forward { groups, .. } => groups.as_slice(),
            _ => &[],
        };
        groups.iter().map(|(arn, _)| arn.as_str())
    }

    /// The members of an `Action`.
    pub fn xml(&self) -> Xml {
        match self {
            Self::Forward { groups, sticky } => {
                let stickiness = Xml::new()
                    .text("Enabled", sticky.is_some())
                    .opt("DurationSeconds", *sticky);
                let config = Xml::new()
                    .list(
                        "TargetGroups",
                        "member",
                        groups.iter().map(|(arn, weight)| {
                            Xml::new()
                                .text("TargetGroupArn", arn)
                                .text("Weight", weight)
                        }),
                    )
                    .child("TargetGroupStickinessConfig", stickiness);
                let single = (groups.len() == 1).then(|| &groups[0].0);
                Xml::new()
                    .text("Type", "forward")
                    .opt("TargetGroupArn", single)
                    .child("ForwardConfig", config)
            }
            Self::Redirect(redirect) => Xml::new().text("Type", "redirect").child(
                "RedirectConfig",
                Xml::new()
                    .text("Protocol", &redirect.protocol)
                    .text("Port", &redirect.port)
                    .text("Host", &redirect.host)
                    .text("Path", &redirect.path)
                    .text("Query", &redirect.query)
                    .text("StatusCode", format!("HTTP_{}", redirect.status)),
            ),
            Self::Fixed {
                status,
                content_type,
                body,
            } => Xml::new().text("Type", "fixed-response").child(
                "FixedResponseConfig",
                Xml::new()
                    .opt("MessageBody", body.as_ref())
                    .text("StatusCode", status)
                    .opt("ContentType", content_type.as_ref()),
            ),
        }
    }
}

fn invalid(code: &str, message: String) -> ApiError {
    ApiError::new(code, message)
}

fn validation(message: String) -> ApiError {
    invalid("ValidationError", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(fields: &[(&str, &str)]) -> Result<Action, ApiError> {
        let fields = fields.iter().map(|(key, value)| {
            (
                format!("DefaultActions.member.1.{key}"),
                (*value).to_owned(),
            )
        });
        Action::parse(&Params::from_form(fields, true), "DefaultActions")
    }

    #[test]
    fn weights_and_stickiness() {
        let action = parse(&[
            ("Type", "forward"),
            ("ForwardConfig.TargetGroups.member.1.TargetGroupArn", "blue"),
            ("ForwardConfig.TargetGroups.member.1.Weight", "90"),
            (
                "ForwardConfig.TargetGroups.member.2.TargetGroupArn",
                "green",
            ),
            ("ForwardConfig.TargetGroups.member.2.Weight", "0"),
            ("ForwardConfig.TargetGroupStickinessConfig.Enabled", "true"),
            (
                "ForwardConfig.TargetGroupStickinessConfig.DurationSeconds",
                "60",
            ),
        ])
        .unwrap();
        assert_eq!(
            action.target_groups().collect::<Vec<_>>(),
            ["blue", "green"]
        );
        let Action::Forward { groups, sticky } = action else {
            panic!("not a forward")
        };
        assert_eq!((groups[0].1, groups[1].1, sticky), (90, 0, Some(60)));
    }

    #[test]
    fn bad_actions_are_refused() {
        for fields in [
            &[("Type", "authenticate-oidc")][..],
            &[("Type", "forward")],
            &[
                ("Type", "forward"),
                ("ForwardConfig.TargetGroups.member.1.TargetGroupArn", "a"),
                ("ForwardConfig.TargetGroups.member.1.Weight", "1000"),
            ],
            &[
                ("Type", "redirect"),
                ("RedirectConfig.StatusCode", "HTTP_301"),
            ],
            &[
                ("Type", "fixed-response"),
                ("FixedResponseConfig.StatusCode", "302"),
            ],
        ] {
            assert!(parse(fields).is_err(), "{fields:?}");
        }
    }
}
