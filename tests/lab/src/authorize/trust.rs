//! Trust policies: who may take a role. And of whom a policy with principals speaks.

use super::document::{Document, Effect, Principal, Statement};
use super::evaluate::{Ask, applies};
use crate::iam::{ACCOUNT, Caller};

/// Whether a role's trust policy lets this caller take it. Speaking of the account means everybody in it
/// whom a policy of their own allows, which is asked before ([`super::check`]).
pub(crate) fn may_assume(trust: &Document, role_arn: &str, caller: &Caller, region: &str) -> bool {
    let ask = Ask::new("sts:AssumeRole", role_arn).with("aws:RequestedRegion", region);
    let mut allowed = false;
    for statement in &trust.statements {
        if reach(statement, Some(caller)) == Reach::Nobody || !applies(statement, &ask) {
            continue;
        }
        match statement.effect {
            Effect::Deny => return false,
            Effect::Allow => allowed = true,
        }
    }
    allowed
}

/// How a statement's principals mean a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// Not at all.
    Nobody,
    /// As one of the account, whose own policies have to allow it, too.
    Account,
    /// By name, or as everybody.
    Named,
}

/// How a statement means a caller; without one, somebody who did not sign.
pub(super) fn reach(statement: &Statement, caller: Option<&Caller>) -> Reach {
    let principals = statement.principals.iter();
    principals
        .map(|principal| match (principal, caller) {
            (Principal::Aws(name), _) if name == "*" => Reach::Named,
            (Principal::Aws(name), Some(caller)) => reach_by_name(name, caller),
            _ => Reach::Nobody,
        })
        .max()
        .unwrap_or(Reach::Nobody)
}

fn reach_by_name(name: &str, caller: &Caller) -> Reach {
    let role = caller
        .role
        .as_ref()
        .map(|role| format!("arn:aws:iam::{ACCOUNT}:role/{role}"));
    if name == caller.arn || role.as_deref() == Some(name) {
        Reach::Named
    } else if name == ACCOUNT || name == format!("arn:aws:iam::{ACCOUNT}:root") {
        Reach::Account
    } else {
        Reach::Nobody
    }
}
