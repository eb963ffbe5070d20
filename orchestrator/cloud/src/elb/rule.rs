//! Rules of listeners: the one that leads the orchestrator's own probes to green.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_elasticloadbalancingv2::types::{self, HttpHeaderConditionConfig, RuleCondition};
use futures_util::future::try_join_all;
use plan::observed::{
    Forward, Listener, ListenerAction, ListenerRule, ListenerRules, PART_TAG, PROBE_HEADER,
    PROBE_PART, Tags,
};

use super::action::{action, seen_action};
use super::{not_found, tag_list, tags_among};
use crate::apply::Outcome;
use crate::connect::Cloud;
use crate::error::{Called, EffectError, Failure};

/// `DescribeTags` takes so many resources in one call (its reference).
const TAGS_AT_ONCE: usize = 20;
/// Priorities go from 1 to this (reference of `CreateRule`).
const LAST_PRIORITY: u32 = 50_000;

impl Cloud {
    /// The rules of all these listeners, whosever they are; default rules are the listeners' own actions and left out.
    pub(super) async fn rules_of(
        &self,
        listeners: &BTreeMap<u16, Listener>,
    ) -> Result<ListenerRules, Failure> {
        let rules = listeners.values().map(|listener| self.rules(&listener.arn));
        let found = try_join_all(rules).await?;
        let found = found.into_iter().flatten();
        Ok(found.map(|rule| (rule.arn.clone(), rule)).collect())
    }

    async fn rules(&self, listener: &str) -> Result<Vec<ListenerRule>, Failure> {
        let answer = self
            .look()
            .elb
            .describe_rules()
            .listener_arn(listener)
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
            .await
            .called("elasticloadbalancing:DescribeRules");
        let found = match answer {
            Ok(found) => found,
            Err(failure) if not_found(&failure) => return Ok(Vec::new()),
            Err(failure) => return Err(failure),
        };
        let seen: Result<Vec<_>, _> = found
            .iter()
            .filter(|rule| rule.is_default() != Some(true))
            .map(|rule| seen(listener, rule))
            .collect();
        self.with_tags(seen?).await
    }

    /// With their tags. One that is gone between the calls is not there.
    async fn with_tags(&self, rules: Vec<ListenerRule>) -> Result<Vec<ListenerRule>, Failure> {
        let mut tagged = Vec::new();
        for some in rules.chunks(TAGS_AT_ONCE) {
            let arns: Vec<String> = some.iter().map(|rule| rule.arn.clone()).collect();
            for (rule, tags) in some.iter().zip(self.tags_of_rules(&arns).await?) {
                tagged.extend(tags.map(|tags| ListenerRule {
                    tags,
                    ..rule.clone()
                }));
            }
        }
        Ok(tagged)
    }

    /// Tags in the order of the ARNs; none for what is not there.
    async fn tags_of_rules(&self, arns: &[String]) -> Result<Vec<Option<Tags>>, Failure> {
        match self.tag_descriptions(arns).await {
            Ok(found) => Ok(arns.iter().map(|arn| tags_among(&found, arn)).collect()),
            // One of them is gone, and which one is not said.
            Err(failure) if not_found(&failure) => {
                try_join_all(arns.iter().map(|arn| self.elb_tags(arn))).await
            }
            Err(failure) => Err(failure),
        }
    }

    /// A rule of the listener for requests with this token, before every rule that is there. The answer to an
    /// earlier creation may have been lost: the rule is found by its token.
    pub(crate) async fn ensure_probe_rule(
        &self,
        listener: &str,
        token: &str,
        target_group: &str,
    ) -> Result<Outcome, EffectError> {
        const CREATE: &str = "elasticloadbalancing:CreateRule";
        const MODIFY: &str = "elasticloadbalancing:ModifyRule";
        if !self.elb_is_there_and_ours(listener).await? {
            return Err(EffectError::refused(
                CREATE,
                "ListenerNotFound",
                format!("listener `{listener}` does not exist"),
            ));
        }
        let forward = Forward::from([(target_group.to_owned(), 1)]);
        let wanted = ListenerAction::Forward(forward);
        let rules = self.rules(listener).await?;
        let own = rules.iter().find(|rule| rule.is_for(token));
        let Some(own) = own else {
            let priority = free_priority(&rules).ok_or_else(|| {
                EffectError::refused(
                    CREATE,
                    "PriorityInUse",
                    format!("every priority of `{listener}` is in use"),
                )
            })?;
            let tags = self.our_tags([(PART_TAG, PROBE_PART)]);
            self.act()
                .elb
                .create_rule()
                .listener_arn(listener)
                .priority(priority.cast_signed())
                .conditions(condition(token))
                .actions(action(CREATE, &wanted)?)
                .set_tags(Some(tag_list(&tags)))
                .send()
                .await
                .called(CREATE)?;
            return Ok(Outcome::Changed);
        };
        self.check_ours(&own.arn, &own.tags)?;
        if same_groups(&own.action, target_group) {
            return Ok(Outcome::Unchanged);
        }
        self.act()
            .elb
            .modify_rule()
            .rule_arn(&own.arn)
            .actions(action(MODIFY, &wanted)?)
            .send()
            .await
            .called(MODIFY)?;
        Ok(Outcome::Changed)
    }

    /// Deletes a rule of ours.
    pub(crate) async fn delete_probe_rule(&self, arn: &str) -> Result<Outcome, EffectError> {
        if !self.elb_is_there_and_ours(arn).await? {
            return Ok(Outcome::Unchanged);
        }
        let answer = self
            .act()
            .elb
            .delete_rule()
            .rule_arn(arn)
            .send()
            .await
            .called("elasticloadbalancing:DeleteRule");
        Outcome::gone(answer.map(drop), &["RuleNotFound"])
    }
}

/// The lowest number that no rule has: of the rules that match, that with the lowest one holds.
fn free_priority(rules: &[ListenerRule]) -> Option<u32> {
    let taken: BTreeSet<u32> = rules.iter().map(|rule| rule.priority).collect();
    (1..=LAST_PRIORITY).find(|priority| !taken.contains(priority))
}

/// Forwards to this group alone, whatever weight AWS shows for a single one.
fn same_groups(seen: &ListenerAction, target_group: &str) -> bool {
    matches!(seen, ListenerAction::Forward(forward)
        if forward.sticky_seconds.is_none() && forward.weights.keys().eq([target_group]))
}

fn condition(token: &str) -> RuleCondition {
    RuleCondition::builder()
        .field("http-header")
        .http_header_config(
            HttpHeaderConditionConfig::builder()
                .http_header_name(PROBE_HEADER)
                .values(token)
                .build(),
        )
        .build()
}

fn seen(listener: &str, rule: &types::Rule) -> Result<ListenerRule, Failure> {
    let missing = |what: &str| Failure::incomplete("elasticloadbalancing:DescribeRules", what);
    Ok(ListenerRule {
        arn: rule
            .rule_arn()
            .ok_or_else(|| missing("RuleArn"))?
            .to_owned(),
        listener: listener.to_owned(),
        priority: rule
            .priority()
            .and_then(|priority| priority.parse().ok())
            .ok_or_else(|| missing("Priority"))?,
        condition: seen_condition(rule.conditions()),
        action: rule
            .actions()
            .iter()
            .max_by_key(|action| action.order().unwrap_or(0))
            .map_or_else(|| ListenerAction::Other("none".to_owned()), seen_action),
        tags: Tags::new(),
    })
}

fn seen_condition(conditions: &[RuleCondition]) -> plan::observed::RuleCondition {
    if let [one] = conditions
        && one.field() == Some("http-header")
        && let Some(config) = one.http_header_config()
        && let (Some(name), [value]) = (config.http_header_name(), config.values())
    {
        return plan::observed::RuleCondition::Header {
            name: name.to_lowercase(),
            value: value.clone(),
        };
    }
    let fields = conditions.iter().filter_map(RuleCondition::field);
    plan::observed::RuleCondition::Other(fields.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use plan::observed::{ListenerRule, PROBE_HEADER};

    use super::{condition, free_priority, seen_condition};

    fn rule(priority: u32) -> ListenerRule {
        ListenerRule {
            arn: format!("arn:{priority}"),
            listener: "arn:listener".to_owned(),
            priority,
            condition: seen_condition(&[condition("12ab")]),
            action: plan::observed::ListenerAction::Redirect(443),
            tags: plan::observed::Tags::new(),
        }
    }

    #[test]
    fn a_condition_reads_back_as_it_was_written() {
        assert!(rule(1).is_for("12ab"));
        assert!(!rule(1).is_for("12AB"));
        let other = plan::observed::RuleCondition::Other("http-header, http-header".to_owned());
        assert_eq!(seen_condition(&[condition("a"), condition("b")]), other);
        let name = PROBE_HEADER.to_lowercase();
        assert_eq!(
            seen_condition(&[condition("12ab")]),
            plan::observed::RuleCondition::Header {
                name,
                value: "12ab".to_owned()
            }
        );
    }

    #[test]
    fn it_gets_the_lowest_number_that_is_free() {
        assert_eq!(free_priority(&[]), Some(1));
        assert_eq!(free_priority(&[rule(2), rule(1), rule(4)]), Some(3));
    }
}
