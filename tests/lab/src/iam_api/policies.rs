//! Inline policies of roles, and what is attached to them. Inline ones are read when they are put, so that
//! what the lab cannot judge is refused then. Managed ones: [`super::managed`].

use std::collections::BTreeSet;
use std::sync::Arc;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};
use crate::authorize::{self, Of};

use super::judged::Inline;
use super::linked::check_modifiable;
use super::{RoleRecord, no_entity, page};

/// Characters of a role's inline policies together, white space not counted (IAM user guide, "IAM and AWS
/// STS quotas").
const MOST_INLINE: usize = 10_240;

/// Characters of a policy as IAM counts them: without white space.
pub(super) fn length(text: &str) -> usize {
    text.chars()
        .filter(|letter| !letter.is_whitespace())
        .count()
}

pub(super) fn with_role<T>(
    lab: &Lab,
    name: &str,
    apply: impl FnOnce(&mut RoleRecord) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    let mut state = lab.directory.lock();
    let role = state
        .roles
        .get_mut(name)
        .ok_or_else(|| no_entity("The role with name", name))?;
    apply(role)
}

pub(super) fn put(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let (role, policy) = (p.str("RoleName")?, p.str("PolicyName")?);
    let document = p.str("PolicyDocument")?;
    p.finish()?;
    let inline = Inline {
        document: Arc::new(authorize::parse(&document, Of::Identity)?),
        text: document,
        used: BTreeSet::new(),
    };
    with_role(lab, &role, |role| {
        check_modifiable(role)?;
        let others = role.inline.iter().filter(|(name, _)| **name != policy);
        let others: usize = others.map(|(_, other)| length(&other.text)).sum();
        if others + length(&inline.text) > MOST_INLINE {
            return Err(ApiError::new(
                "LimitExceeded",
                format!(
                    "Maximum policy size of {MOST_INLINE} bytes exceeded for role {}",
                    role.name
                ),
            )
            .status(409));
        }
        role.inline.insert(policy, inline);
        Ok(Xml::new().into())
    })
}

pub(super) fn get(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let (role, policy) = (p.str("RoleName")?, p.str("PolicyName")?);
    p.finish()?;
    with_role(lab, &role, |role| {
        let inline = role
            .inline
            .get(&policy)
            .ok_or_else(|| no_entity("The role policy with name", &policy))?;
        Ok(Xml::new()
            .text("RoleName", &role.name)
            .text("PolicyName", &policy)
            .text(
                "PolicyDocument",
                utf8_percent_encode(&inline.text, NON_ALPHANUMERIC),
            )
            .into())
    })
}

pub(super) fn delete(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let (role, policy) = (p.str("RoleName")?, p.str("PolicyName")?);
    p.finish()?;
    with_role(lab, &role, |role| {
        role.inline
            .remove(&policy)
            .ok_or_else(|| no_entity("The role policy with name", &policy))?;
        Ok(Xml::new().into())
    })
}

pub(super) fn list(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let role = call.params.str("RoleName")?;
    let entries = with_role(lab, &role, |role| {
        Ok(role
            .inline
            .keys()
            .map(|name| (name.clone(), Xml::value(name)))
            .collect())
    })?;
    let (entries, end) = page(call, entries)?;
    Ok(Xml::new()
        .list("PolicyNames", "member", entries)
        .then(end)
        .into())
}

pub(super) fn list_attached(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let role = call.params.str("RoleName")?;
    call.params.accept(&["PathPrefix"]);
    let entries = with_role(lab, &role, |role| {
        Ok(role
            .attached
            .iter()
            .map(|(arn, attached)| {
                let xml = Xml::new()
                    .text("PolicyName", &attached.name)
                    .text("PolicyArn", arn);
                (arn.clone(), xml)
            })
            .collect())
    })?;
    let (entries, end) = page(call, entries)?;
    Ok(Xml::new()
        .list("AttachedPolicies", "member", entries)
        .then(end)
        .into())
}
