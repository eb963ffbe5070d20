//! Trust policies: who may take a role.

use super::document::{Document, Effect, Principal};
use super::evaluate::{Ask, applies};
use crate::iam::{ACCOUNT, Caller};

/// Whether a role's trust policy lets this caller take it. Speaking of the account means everybody in it
/// whom a policy of their own allows, which is asked before ([`super::check`]).
pub(crate) fn may_assume(trust: &Document, role_arn: &str, caller: &Caller, region: &str) -> bool {
    let ask = Ask::new("sts:AssumeRole", role_arn).with("aws:RequestedRegion", region);
    let mut allowed = false;
    for statement in &trust.statements {
        let meant = statement
            .principals
            .iter()
            .any(|principal| speaks_of(principal, caller));
        if !meant || !applies(statement, &ask) {
            continue;
        }
        match statement.effect {
            Effect::Deny => return false,
            Effect::Allow => allowed = true,
        }
    }
    allowed
}

fn speaks_of(principal: &Principal, caller: &Caller) -> bool {
    let Principal::Aws(name) = principal else {
        return false;
    };
    let role = caller
        .role
        .as_ref()
        .map(|role| format!("arn:aws:iam::{ACCOUNT}:role/{role}"));
    name == "*"
        || name == ACCOUNT
        || *name == format!("arn:aws:iam::{ACCOUNT}:root")
        || *name == caller.arn
        || role.as_ref() == Some(name)
}
