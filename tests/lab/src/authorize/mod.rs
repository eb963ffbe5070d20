//! May this caller do this? A role's policies are judged before its call reaches a service.
//!
//! ```text
//!   Call ── table: which actions on which resources, with which condition keys ──► Ask, Ask, …
//!                                                                                     │ every one
//!   role's own policies ───── document: statements ──────────────────────► evaluate ──┘
//!                                                                              │
//!                     explicit denial · allowed, by statement · nothing allows it
//! ```
//!
//! The operator's key is an administrator's and is not judged. A role has what its policies allow;
//! without one it may ask `sts:GetCallerIdentity`, which needs no permission, and nothing else. An action
//! that the table does not know is refused and logged, never allowed by accident.
//!
//! S3 and KMS judge by [`judge`], since a bucket's and a key's own policy have their say there.
//!
//! docs/lab/iam.md says what of IAM's evaluation is not here: boundaries, session policies, organizations,
//! resource policies of other services.

mod condition;
mod document;
mod evaluate;
mod pattern;
mod resource;
mod table;
mod trust;

pub(crate) use document::{Document, Of, parse};
pub(crate) use evaluate::Ask;
pub(crate) use resource::{Guard, is_public, judge};
pub(crate) use trust::may_assume;

use evaluate::{Decision, evaluate};

use crate::Lab;
use crate::api::{ApiError, Call, Protocol, Service};

/// Judges a call; the error is what AWS answers to who may not. KMS, whose keys have policies, judges by
/// itself.
pub(crate) fn check(lab: &Lab, call: &Call) -> Result<(), ApiError> {
    if call.service == Service::Kms {
        return Ok(());
    }
    let Some(role) = &call.caller.role else {
        return Ok(());
    };
    let action = format!("{}:{}", prefix(call.service), call.action);
    if action == "sts:GetCallerIdentity" {
        return Ok(());
    }
    let Some(asks) = table::asks(lab, call) else {
        log::error!(
            "the authorization table has no entry for {action}: role {role} is refused; add one to tests/lab/src/authorize/table"
        );
        return Err(refusal(
            lab,
            call,
            &Ask::new(action, "*"),
            &Decision::NotAllowed,
        ));
    };
    let policies = lab.directory.policies(role);
    for ask in asks {
        match evaluate(&policies, &ask) {
            Decision::Allowed(by) => lab.directory.used(role, &by, &ask.action),
            decision => return Err(refusal(lab, call, &ask, &decision)),
        }
    }
    Ok(())
}

/// What a service is called in policies.
fn prefix(service: Service) -> &'static str {
    match service {
        Service::CloudWatch => "cloudwatch",
        other => other.scope(),
    }
}

/// The refusal in the words of the service (IAM user guide, "Troubleshoot access denied error messages").
fn refusal(lab: &Lab, call: &Call, ask: &Ask, decision: &Decision) -> ApiError {
    let why = match decision {
        Decision::Denied => "with an explicit deny in an identity-based policy".to_owned(),
        _ => format!(
            "because no identity-based policy allows the {} action",
            ask.action
        ),
    };
    let message = format!(
        "User: {} is not authorized to perform: {} on resource: {} {why}",
        call.caller.arn, ask.action, ask.resource
    );
    log::warn!("{} {message}", call.region);
    if let Some(role) = &call.caller.role {
        let what = format!("{} on {}", ask.action, ask.resource);
        lab.directory.refused(role, what);
    }
    // RDS alone does not say which permission it lacked (RDS user guide, "Using service-linked roles").
    if call.service == Service::Rds && ask.action == "iam:CreateServiceLinkedRole" {
        return ApiError::new(
            "InvalidParameterValue",
            "Unable to create the resource. Verify that you have permission to create service linked role. Otherwise wait and try again later",
        );
    }
    match call.service.protocol() {
        Protocol::Ec2Query => ApiError::new(
            "UnauthorizedOperation",
            format!("You are not authorized to perform this operation. {message}"),
        )
        .status(403),
        Protocol::Json => ApiError::new("AccessDeniedException", message),
        Protocol::Query | Protocol::Cbor => ApiError::new("AccessDenied", message).status(403),
    }
}

#[cfg(test)]
mod tests;
