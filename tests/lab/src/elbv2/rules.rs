//! The actions on rules.

use std::sync::Arc;

use super::action::Action;
use super::balance::Smooth;
use super::condition::Condition;
use super::paging::Page;
use super::state::{Listener, RegionState, Rule, arn};
use super::{tags, targets};
use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};

fn validation(message: impl Into<String>) -> ApiError {
    ApiError::new("ValidationError", message)
}

fn not_found() -> ApiError {
    ApiError::new("RuleNotFound", "One or more rules not found")
}

fn in_use(priority: u32) -> ApiError {
    ApiError::new(
        "PriorityInUse",
        format!("Priority '{priority}' is currently in use"),
    )
}

/// Rules of one load balancer, default rules not counted ("Quotas for your Application Load Balancers").
const MAX_RULES: usize = 100;

fn valid_priority(priority: i64) -> Result<u32, ApiError> {
    u32::try_from(priority)
        .ok()
        .filter(|it| (1..=50_000).contains(it))
        .ok_or_else(|| validation(format!("Priority '{priority}' must be between 1 and 50000")))
}

/// `CreateRule`
pub(super) fn create(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let params = &call.params;
    let listener_arn = params.str("ListenerArn")?;
    let priority = valid_priority(params.int("Priority")?)?;
    let conditions = Condition::parse_all(params)?;
    let action = Action::parse(params, "Actions")?;
    let given_tags = tags::parse(params)?;
    params.finish()?;
    let xml = lab.elbv2.with(&call.region, |state| {
        let balancer = state.listener(&listener_arn)?.load_balancer.clone();
        state.check_targets(&balancer, &action)?;
        let listener = state.listener(&listener_arn)?;
        if listener
            .rules
            .iter()
            .any(|it| it.priority == Some(priority))
        {
            return Err(in_use(priority));
        }
        let rules: usize = state
            .listeners_of(&balancer)
            .map(|listener| listener.rules.len())
            .sum();
        if rules >= MAX_RULES {
            return Err(ApiError::new(
                "TooManyRules",
                format!("Load balancer '{balancer}' has {rules} rules, and may have {MAX_RULES}"),
            ));
        }
        let listener = state.listener(&listener_arn)?;
        let resource = listener_arn.splitn(6, ':').nth(5).unwrap_or_default();
        let below = resource.strip_prefix("listener/").unwrap_or(resource);
        let rule_arn = arn(
            &call.region,
            &format!("listener-rule/{below}/{}", lab.ids.hex(16)),
        );
        let rule = Rule {
            arn: rule_arn.clone(),
            priority: Some(priority),
            conditions,
            action,
            turn: Smooth::default(),
        };
        let xml = rule.xml();
        listener.rules.push(rule);
        listener.sort_rules();
        state.tags.insert(rule_arn, given_tags);
        Ok(xml)
    })?;
    targets::settle(lab, &call.region);
    Ok(Xml::new().list("Rules", "member", [xml]).into())
}

/// `ModifyRule`
pub(super) fn modify(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let params = &call.params;
    let rule_arn = params.str("RuleArn")?;
    let conditions = if params.structs("Conditions").is_empty() {
        None
    } else {
        Some(Condition::parse_all(params)?)
    };
    let action = if params.structs("Actions").is_empty() {
        None
    } else {
        Some(Action::parse(params, "Actions")?)
    };
    params.finish()?;
    let xml = lab.elbv2.with(&call.region, |state| {
        let listener = state.listener_of_rule(&rule_arn)?;
        if listener.default.arn == rule_arn {
            return Err(ApiError::new(
                "OperationNotPermitted",
                format!("Default rule '{rule_arn}' cannot be modified; modify its listener"),
            ));
        }
        let balancer = listener.load_balancer.clone();
        if let Some(action) = &action {
            state.check_targets(&balancer, action)?;
        }
        let rule = state
            .listener_of_rule(&rule_arn)?
            .rules
            .iter_mut()
            .find(|rule| rule.arn == rule_arn)
            .ok_or_else(not_found)?;
        if let Some(conditions) = conditions {
            rule.conditions = conditions;
        }
        if let Some(action) = action {
            rule.action = action;
        }
        Ok(rule.xml())
    })?;
    targets::settle(lab, &call.region);
    Ok(Xml::new().list("Rules", "member", [xml]).into())
}

/// `DescribeRules`
pub(super) fn describe(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let listener = call.params.opt("ListenerArn");
    let arns = call.params.list("RuleArns");
    let page = Page::parse(&call.params)?;
    call.params.finish()?;
    if listener.is_none() == arns.is_empty() {
        return Err(validation(
            "You must specify either a listener ARN or one or more rule ARNs",
        ));
    }
    lab.elbv2.with(&call.region, |state| {
        if let Some(listener) = &listener {
            state.listener(listener)?;
        }
        for arn in &arns {
            state.listener_of_rule(arn)?;
        }
        let mut found: Vec<&Rule> = state
            .listeners
            .values()
            .filter(|it| listener.as_ref().is_none_or(|arn| *arn == it.arn))
            .flat_map(Listener::all_rules)
            .filter(|rule| arns.is_empty() || arns.contains(&rule.arn))
            .collect();
        if arns.is_empty() && !page.is_whole(found.len()) {
            // Pages go by ARN; a whole listener is given in the order in which it is tried.
            found.sort_by(|one, other| one.arn.cmp(&other.arn));
        }
        Ok(page.reply("Rules", found.into_iter(), |it| &it.arn, Rule::xml))
    })
}

/// `DeleteRule`
pub(super) fn delete(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let rule_arn = call.params.str("RuleArn")?;
    call.params.finish()?;
    lab.elbv2.with(&call.region, |state| {
        let listener = state.listener_of_rule(&rule_arn)?;
        if listener.default.arn == rule_arn {
            return Err(ApiError::new(
                "OperationNotPermitted",
                format!("Default rule '{rule_arn}' cannot be deleted"),
            ));
        }
        listener.rules.retain(|rule| rule.arn != rule_arn);
        state.tags.remove(&rule_arn);
        Ok(())
    })?;
    targets::settle(lab, &call.region);
    Ok(Xml::new().into())
}

/// `SetRulePriorities`: all or none.
pub(super) fn set_priorities(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let mut pairs = Vec::new();
    for pair in call.params.structs("RulePriorities") {
        pairs.push((pair.str("RuleArn")?, valid_priority(pair.int("Priority")?)?));
    }
    call.params.finish()?;
    if pairs.is_empty() {
        return Err(ApiError::missing("RulePriorities"));
    }
    lab.elbv2.with(&call.region, |state| {
        let listener_arn = state.listener_of_rule(&pairs[0].0)?.arn.clone();
        let listener = state.listener(&listener_arn)?;
        let mut after: Vec<(String, Option<u32>)> = listener
            .rules
            .iter()
            .map(|rule| (rule.arn.clone(), rule.priority))
            .collect();
        for (rule_arn, priority) in &pairs {
            if listener.default.arn == *rule_arn {
                return Err(ApiError::new(
                    "OperationNotPermitted",
                    "The priority of a default rule cannot be set",
                ));
            }
            let entry = after.iter_mut().find(|(arn, _)| arn == rule_arn);
            entry.ok_or_else(not_found)?.1 = Some(*priority);
        }
        for (index, (_, priority)) in after.iter().enumerate() {
            if let Some(priority) = priority
                && after[..index].iter().any(|(_, it)| it == &Some(*priority))
            {
                return Err(in_use(*priority));
            }
        }
        for (rule, (_, priority)) in listener.rules.iter_mut().zip(after) {
            rule.priority = priority;
        }
        listener.sort_rules();
        let changed = listener
            .rules
            .iter()
            .filter(|rule| pairs.iter().any(|(arn, _)| *arn == rule.arn));
        Ok(Xml::new()
            .list("Rules", "member", changed.map(Rule::xml))
            .into())
    })
}

impl RegionState {
    fn listener_of_rule(&mut self, rule: &str) -> Result<&mut Listener, ApiError> {
        self.listeners
            .values_mut()
            .find(|listener| listener.all_rules().any(|it| it.arn == rule))
            .ok_or_else(not_found)
    }
}

impl Listener {
    fn sort_rules(&mut self) {
        self.rules.sort_by_key(|rule| rule.priority);
    }
}

impl Rule {
    fn xml(&self) -> Xml {
        let priority = self
            .priority
            .map_or_else(|| "default".to_owned(), |it| it.to_string());
        Xml::new()
            .text("RuleArn", &self.arn)
            .text("Priority", priority)
            .list(
                "Conditions",
                "member",
                self.conditions.iter().map(Condition::xml),
            )
            .list("Actions", "member", [self.action.xml()])
            .text("IsDefault", self.priority.is_none())
    }
}
