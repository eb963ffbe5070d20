//! Judging where the resource has a policy of its own: a bucket's, a key's.
//!
//! ```text
//!   denied by either policy ────────────────────────────────────────────────────► refused
//!   bucket: the caller's policies allow it, or the bucket's names the caller ────► allowed
//!   key:    the key's policy names the caller ───────────────────────────────────► allowed
//!           the key's policy trusts the account and the caller's policies allow it ► allowed
//! ```
//!
//! From the IAM user guide, "Policy evaluation logic" for one account, and KMS's developer guide, "Key
//! policies": without a statement for the account, policies of users and roles have no effect on a key.

use super::document::{Document, Effect, Principal};
use super::evaluate::{Ask, Decision, applies, evaluate};
use super::trust::{Reach, reach};
use crate::Lab;
use crate::api::ApiError;
use crate::iam::Caller;

/// What guards a resource besides the caller's own policies.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Guard<'a> {
    /// A bucket, with its policy if it has one.
    Bucket(Option<&'a Document>),
    /// A key, with its policy; `granted` is whether a grant lets the caller do it.
    Key {
        /// Every key has one.
        policy: &'a Document,
        /// By `CreateGrant`.
        granted: bool,
    },
}

/// What a resource's policy says to a question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Said {
    denied: bool,
    named: bool,
    trusts_account: bool,
}

/// Judges a question about a guarded resource; without a caller nobody signed. The error is `AccessDenied`
/// with the words that AWS has for it.
pub(crate) fn judge(
    lab: &Lab,
    caller: Option<&Caller>,
    ask: &Ask,
    guard: Guard<'_>,
) -> Result<(), ApiError> {
    let said = match guard {
        Guard::Bucket(None) => Said::default(),
        Guard::Bucket(Some(policy)) | Guard::Key { policy, .. } => says(policy, caller, ask),
    };
    if said.denied {
        return Err(refusal(
            lab,
            caller,
            ask,
            "with an explicit deny in a resource-based policy",
        ));
    }
    let own = own(lab, caller, ask);
    if own == Decision::Denied {
        return Err(refusal(
            lab,
            caller,
            ask,
            "with an explicit deny in an identity-based policy",
        ));
    }
    let own = matches!(own, Decision::Allowed(_));
    let (allowed, kind) = match guard {
        Guard::Bucket(_) => (own || said.named, "identity"),
        Guard::Key { granted, .. } if said.trusts_account => {
            (own || said.named || granted, "identity")
        }
        Guard::Key { granted, .. } => (said.named || granted, "resource"),
    };
    if allowed {
        return Ok(());
    }
    let why = format!(
        "because no {kind}-based policy allows the {} action",
        ask.action
    );
    Err(refusal(lab, caller, ask, &why))
}

/// Whether a bucket policy lets everybody do something (S3 user guide, "The meaning of public"): here a
/// statement that allows, names everybody and has no condition.
pub(crate) fn is_public(policy: &Document) -> bool {
    policy.statements.iter().any(|statement| {
        let everybody = |principal: &Principal| *principal == Principal::Aws("*".to_owned());
        statement.effect == Effect::Allow
            && statement.conditions.is_empty()
            && statement.principals.iter().any(everybody)
    })
}

fn says(policy: &Document, caller: Option<&Caller>, ask: &Ask) -> Said {
    let mut said = Said::default();
    for statement in &policy.statements {
        let reach = reach(statement, caller);
        if reach == Reach::Nobody || !applies(statement, ask) {
            continue;
        }
        match (statement.effect, reach) {
            (Effect::Deny, _) => said.denied = true,
            (Effect::Allow, Reach::Named) => said.named = true,
            (Effect::Allow, _) => said.trusts_account = true,
        }
    }
    said
}

/// What the caller's own policies say; those of the operator allow everything.
fn own(lab: &Lab, caller: Option<&Caller>, ask: &Ask) -> Decision {
    let Some(caller) = caller else {
        return Decision::NotAllowed;
    };
    let Some(role) = &caller.role else {
        return Decision::Allowed(Vec::new());
    };
    let decision = evaluate(&lab.directory.policies(role), ask);
    if let Decision::Allowed(by) = &decision {
        lab.directory.used(role, by, &ask.action);
    }
    decision
}

fn refusal(lab: &Lab, caller: Option<&Caller>, ask: &Ask, why: &str) -> ApiError {
    let Some(caller) = caller else {
        return ApiError::new("AccessDenied", "Access Denied").status(403);
    };
    let message = format!(
        "User: {} is not authorized to perform: {} on resource: \"{}\" {why}",
        caller.arn, ask.action, ask.resource
    );
    log::warn!("{message}");
    if let Some(role) = &caller.role {
        let what = format!("{} on {}", ask.action, ask.resource);
        lab.directory.refused(role, what);
    }
    ApiError::new("AccessDenied", message).status(403)
}
