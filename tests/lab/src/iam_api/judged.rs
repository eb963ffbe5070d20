//! What is judged by the directory: a role's policies and its trust, and what came of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::Directory;
use crate::Lab;
use crate::authorize::{Document, Of};
use crate::ec2::ProfileReference;

/// Different refusals that are remembered of a role; a person reads them.
const MOST_REFUSALS: usize = 1000;

/// An inline policy.
#[derive(Clone, Debug)]
pub(super) struct Inline {
    /// JSON, as sent.
    pub text: String,
    pub document: Arc<Document>,
    /// Statement and action that allowed something.
    pub used: BTreeSet<(usize, String)>,
}

/// What taking a role needs to know of it.
pub(crate) struct Taken {
    pub name: String,
    pub id: String,
    pub trust: Document,
    /// Seconds.
    pub max_session: i64,
}

impl Directory {
    /// The inline policies of a role by name; none when it is gone.
    pub(crate) fn policies(&self, role: &str) -> Vec<(String, Arc<Document>)> {
        let state = self.lock();
        let inline = state.roles.get(role).map(|role| &role.inline);
        inline
            .into_iter()
            .flatten()
            .map(|(name, policy)| (name.clone(), Arc::clone(&policy.document)))
            .collect()
    }

    /// Records that these statements, by policy and number, allowed an action.
    pub(crate) fn used(&self, role: &str, by: &[(String, usize)], action: &str) {
        let mut state = self.lock();
        let Some(role) = state.roles.get_mut(role) else {
            return;
        };
        for (policy, number) in by {
            if let Some(policy) = role.inline.get_mut(policy) {
                policy.used.insert((*number, action.to_owned()));
            }
        }
    }

    /// Records that an action on a resource was refused.
    pub(crate) fn refused(&self, role: &str, what: String) {
        if let Some(role) = self.lock().roles.get_mut(role)
            && role.refused.len() < MOST_REFUSALS
        {
            role.refused.insert(what);
        }
    }

    /// A role by ARN.
    pub(crate) fn to_take(&self, arn: &str) -> Option<Taken> {
        let state = self.lock();
        let role = state.roles.values().find(|role| role.arn() == arn)?;
        Some(Taken {
            name: role.name.clone(),
            id: role.id.clone(),
            trust: crate::authorize::parse(&role.trust, Of::Trust).ok()?,
            max_session: role.max_session,
        })
    }

    /// For each role what every statement of its policies has allowed so far, what it was never asked for,
    /// and what was refused.
    pub(crate) fn usage(&self) -> Value {
        let state = self.lock();
        let roles = state.roles.values().map(|role| {
            let policies = role.inline.iter().map(|(name, policy)| {
                let statements = policy.document.statements.iter().enumerate();
                let statements: Vec<Value> = statements
                    .map(|(number, statement)| {
                        let used = policy.used.iter().filter(|(at, _)| *at == number);
                        let used: BTreeSet<&String> = used.map(|(_, action)| action).collect();
                        json!({
                            "Sid": statement.sid,
                            "used": used,
                            "unused": statement.actions.unlike(&used),
                        })
                    })
                    .collect();
                (name.clone(), Value::from(statements))
            });
            let policies = Value::Object(policies.collect());
            let judged = json!({ "policies": policies, "refused": role.refused });
            (role.name.clone(), judged)
        });
        Value::Object(roles.collect())
    }
}

/// The ARN of the role that an instance profile carries.
pub(crate) fn role_arn_of_profile(lab: &Lab, reference: &ProfileReference) -> Option<String> {
    let state = lab.directory.lock();
    let profile = match reference {
        ProfileReference::Name(name) => state.profiles.get(name),
        ProfileReference::Arn(arn) => state.profiles.values().find(|it| it.arn() == *arn),
    };
    let role = profile?.role.as_ref()?;
    state.roles.get(role).map(super::RoleRecord::arn)
}
