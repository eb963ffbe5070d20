//! A listener's default action, in our words and in AWS's.

use std::collections::BTreeMap;

use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, FixedResponseActionConfig, ForwardActionConfig, RedirectActionConfig,
    RedirectActionStatusCodeEnum, TargetGroupStickinessConfig, TargetGroupTuple,
};
use plan::observed::{Forward, ListenerAction};

use crate::error::EffectError;

/// An action as AWS takes it.
pub(super) fn action(call: &'static str, wanted: &ListenerAction) -> Result<Action, EffectError> {
    let built = match wanted {
        ListenerAction::Forward(forward) => Action::builder()
            .r#type(ActionTypeEnum::Forward)
            .forward_config(
                ForwardActionConfig::builder()
                    .target_group_stickiness_config(stickiness(forward.sticky_seconds))
                    .set_target_groups(Some(
                        forward
                            .weights
                            .iter()
                            .map(|(arn, weight)| {
                                TargetGroupTuple::builder()
                                    .target_group_arn(arn)
                                    .weight(weight.cast_signed())
                                    .build()
                            })
                            .collect(),
                    ))
                    .build(),
            )
            .build(),
        ListenerAction::Redirect(port) => Action::builder()
            .r#type(ActionTypeEnum::Redirect)
            .redirect_config(
                RedirectActionConfig::builder()
                    .protocol("HTTPS")
                    .port(port.to_string())
                    .status_code(RedirectActionStatusCodeEnum::Http301)
                    .build(),
            )
            .build(),
        ListenerAction::Fixed(status, body) => Action::builder()
            .r#type(ActionTypeEnum::FixedResponse)
            .fixed_response_config(
                FixedResponseActionConfig::builder()
                    .status_code(status.to_string())
                    .content_type("text/html")
                    .message_body(body)
                    .build(),
            )
            .build(),
        ListenerAction::Other(kind) => {
            return Err(EffectError::refused(
                call,
                "UnknownAction",
                format!("`{kind}` is no action that a listener of ours has"),
            ));
        }
    };
    Ok(built)
}

/// Said also where it is off: an action is replaced as a whole, and this leaves no doubt.
fn stickiness(seconds: Option<u32>) -> TargetGroupStickinessConfig {
    TargetGroupStickinessConfig::builder()
        .enabled(seconds.is_some())
        .set_duration_seconds(seconds.map(u32::cast_signed))
        .build()
}

/// AWS may show a duration also where it is off.
fn seen_stickiness(action: &Action) -> Option<u32> {
    action
        .forward_config()?
        .target_group_stickiness_config()
        .filter(|config| config.enabled() == Some(true))
        .and_then(|config| u32::try_from(config.duration_seconds()?).ok())
}

/// The action that ends the list (authentication may stand before it).
pub(super) fn seen_action(action: &Action) -> ListenerAction {
    let kind = action.r#type().map_or("", ActionTypeEnum::as_str);
    let seen = match kind {
        "forward" => Some(ListenerAction::Forward(Forward {
            weights: weights(action),
            sticky_seconds: seen_stickiness(action),
        })),
        "redirect" => action
            .redirect_config()
            .filter(|redirect| redirect.protocol() == Some("HTTPS"))
            .and_then(|redirect| redirect.port()?.parse().ok())
            .map(ListenerAction::Redirect),
        "fixed-response" => action.fixed_response_config().and_then(|fixed| {
            Some(ListenerAction::Fixed(
                fixed.status_code()?.parse().ok()?,
                fixed.message_body().unwrap_or("").to_owned(),
            ))
        }),
        _ => None,
    };
    seen.unwrap_or_else(|| ListenerAction::Other(kind.to_owned()))
}

/// AWS names a single target group outside of the list, and leaves its weight out: 1.
fn weights(action: &Action) -> BTreeMap<String, u32> {
    let listed: BTreeMap<String, u32> = action
        .forward_config()
        .map(ForwardActionConfig::target_groups)
        .unwrap_or_default()
        .iter()
        .filter_map(|group| {
            let weight = u32::try_from(group.weight().unwrap_or(1)).unwrap_or(0);
            Some((group.target_group_arn()?.to_owned(), weight))
        })
        .collect();
    if listed.is_empty() {
        action
            .target_group_arn()
            .map(|arn| (arn.to_owned(), 1))
            .into_iter()
            .collect()
    } else {
        listed
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use plan::observed::{Forward, ListenerAction};

    use super::{action, seen_action};

    #[test]
    fn an_action_reads_back_as_it_was_written() {
        let weights = BTreeMap::from([("arn:a".to_owned(), 90), ("arn:b".to_owned(), 10)]);
        for wanted in [
            ListenerAction::Forward(Forward {
                weights: weights.clone(),
                sticky_seconds: Some(480),
            }),
            ListenerAction::Forward(weights.into()),
            ListenerAction::Redirect(443),
            ListenerAction::Fixed(503, "<p>back soon".to_owned()),
        ] {
            let sent =
                action("elasticloadbalancing:ModifyListener", &wanted).expect("an action of ours");
            assert_eq!(seen_action(&sent), wanted);
        }
    }

    #[test]
    fn what_we_do_not_make_is_carried_by_name() {
        assert!(
            action(
                "elasticloadbalancing:ModifyListener",
                &ListenerAction::Other("authenticate-oidc".to_owned())
            )
            .is_err()
        );
    }
}
