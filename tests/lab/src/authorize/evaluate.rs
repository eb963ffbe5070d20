//! The decision: an explicit denial, else an allowance, else nothing (IAM user guide, "Policy evaluation
//! logic").

use std::collections::BTreeMap;
use std::sync::Arc;

use super::document::{Document, Effect, Statement};

/// What is known of a request, by condition key in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Context(BTreeMap<String, Vec<String>>);

impl Context {
    /// The values of a key; empty when it is not there.
    pub(super) fn values(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }
}

/// One question: may this action be done to this resource?
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    /// For example `ec2:CreateTags`.
    pub action: String,
    /// An ARN, or `*` where AWS lets nobody narrow the action.
    pub resource: String,
    /// Condition keys.
    pub context: Context,
}

impl Ask {
    /// Without any condition key yet.
    pub(crate) fn new(action: impl Into<String>, resource: impl Into<String>) -> Self {
        Self {
            action: action.into(),
            resource: resource.into(),
            context: Context::default(),
        }
    }

    /// With a condition key.
    #[must_use]
    pub(crate) fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.context
            .0
            .entry(key.to_ascii_lowercase())
            .or_default()
            .push(value.into());
        self
    }

    /// With the tags that the request sends.
    #[must_use]
    pub(crate) fn requesting(self, tags: &[(String, String)]) -> Self {
        tags.iter().fold(self, |ask, (key, value)| {
            ask.with(&format!("aws:RequestTag/{key}"), value)
                .with("aws:TagKeys", key)
        })
    }

    /// With the tags that the resource has.
    #[must_use]
    pub(super) fn tagged<'a>(
        self,
        tags: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> Self {
        tags.into_iter().fold(self, |ask, (key, value)| {
            ask.with(&format!("aws:ResourceTag/{key}"), value)
        })
    }
}

/// What policies say to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// By these statements: name of the policy, number of the statement.
    Allowed(Vec<(String, usize)>),
    /// By an explicit denial.
    Denied,
    /// Nothing allows it.
    NotAllowed,
}

/// Judges a question by a principal's policies, by name.
pub(super) fn evaluate(policies: &[(String, Arc<Document>)], ask: &Ask) -> Decision {
    let mut allowed = Vec::new();
    for (name, document) in policies {
        for (number, statement) in document.statements.iter().enumerate() {
            if !applies(statement, ask) {
                continue;
            }
            match statement.effect {
                Effect::Deny => return Decision::Denied,
                Effect::Allow => allowed.push((name.clone(), number)),
            }
        }
    }
    if allowed.is_empty() {
        Decision::NotAllowed
    } else {
        Decision::Allowed(allowed)
    }
}

pub(super) fn applies(statement: &Statement, ask: &Ask) -> bool {
    statement.actions.selects_action(&ask.action)
        && statement.resources.selects_resource(&ask.resource)
        && statement
            .conditions
            .iter()
            .all(|condition| condition.is_met(&ask.context))
}
