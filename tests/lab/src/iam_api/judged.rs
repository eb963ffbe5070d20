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

/// A managed policy of a role.
#[derive(Clone, Debug)]
pub(super) struct Attached {
    pub name: String,
    /// Statement and action that allowed something to this role.
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
    /// The policies of a role, inline ones by name and managed ones by ARN; none when it is gone.
    pub(crate) fn policies(&self, role: &str) -> Vec<(String, Arc<Document>)> {
        let state = self.lock();
        let Some(role) = state.roles.get(role) else {
            return Vec::new();
        };
        let inline = role.inline.iter();
        let inline = inline.map(|(name, policy)| (name.clone(), Arc::clone(&policy.document)));
        let managed = role.attached.keys().filter_map(|arn| {
            let policy = state.managed.get(arn)?;
            Some((arn.clone(), Arc::clone(&policy.document)))
        });
        inline.chain(managed).collect()
    }

    /// Records that these statements, by policy and number, allowed an action.
    pub(crate) fn used(&self, role: &str, by: &[(String, usize)], action: &str) {
        let mut state = self.lock();
        let Some(role) = state.roles.get_mut(role) else {
            return;
        };
        for (policy, number) in by {
            let inline = role.inline.get_mut(policy).map(|it| &mut it.used);
            let used = inline.or(role.attached.get_mut(policy).map(|it| &mut it.used));
            if let Some(used) = used {
                used.insert((*number, action.to_owned()));
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
            let inline = role.inline.iter().map(|(name, policy)| {
                let statements = usage_of(&policy.document, &policy.used);
                (name.clone(), statements)
            });
            let managed = role.attached.iter().filter_map(|(arn, attached)| {
                let policy = state.managed.get(arn)?;
                let statements = usage_of(&policy.document, &attached.used);
                Some((attached.name.clone(), statements))
            });
            let policies = Value::Object(inline.chain(managed).collect());
            let judged = json!({ "policies": policies, "refused": role.refused });
            (role.name.clone(), judged)
        });
        Value::Object(roles.collect())
    }
}

/// What every statement of a policy allowed, and what it was never asked for.
fn usage_of(document: &Document, used: &BTreeSet<(usize, String)>) -> Value {
    let statements = document.statements.iter().enumerate();
    let statements = statements.map(|(number, statement)| {
        let used = used.iter().filter(|(at, _)| *at == number);
        let used: BTreeSet<&String> = used.map(|(_, action)| action).collect();
        json!({
            "Sid": statement.sid,
            "used": used,
            "unused": statement.actions.unlike(&used),
        })
    });
    Value::from(statements.collect::<Vec<_>>())
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
