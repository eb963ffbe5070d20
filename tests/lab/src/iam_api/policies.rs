//! Policies of roles: kept and shown, never evaluated.

use std::sync::Arc;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};

use super::{RoleRecord, no_entity, page};

fn with_role<T>(
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
    if serde_json::from_str::<serde_json::Value>(&document).is_err() {
        return Err(ApiError::new(
            "MalformedPolicyDocument",
            format!("the document of policy {policy} is not JSON"),
        ));
    }
    with_role(lab, &role, |role| {
        role.inline.insert(policy, document);
        Ok(Xml::new().into())
    })
}

pub(super) fn get(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let (role, policy) = (p.str("RoleName")?, p.str("PolicyName")?);
    p.finish()?;
    with_role(lab, &role, |role| {
        let document = role
            .inline
            .get(&policy)
            .ok_or_else(|| no_entity("The role policy with name", &policy))?;
        Ok(Xml::new()
            .text("RoleName", &role.name)
            .text("PolicyName", &policy)
            .text(
                "PolicyDocument",
                utf8_percent_encode(document, NON_ALPHANUMERIC),
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

pub(super) fn attach(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let (role, arn) = (p.str("RoleName")?, p.str("PolicyArn")?);
    p.finish()?;
    let name = match arn.strip_prefix("arn:aws:iam::") {
        Some(rest) => rest.rsplit('/').next().unwrap_or_default().to_owned(),
        None => {
            return Err(ApiError::new(
                "ValidationError",
                format!("PolicyArn {arn} is not the ARN of a policy"),
            ));
        }
    };
    with_role(lab, &role, |role| {
        role.attached.insert(arn, name);
        Ok(Xml::new().into())
    })
}

pub(super) fn detach(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let (role, arn) = (p.str("RoleName")?, p.str("PolicyArn")?);
    p.finish()?;
    with_role(lab, &role, |role| {
        role.attached
            .remove(&arn)
            .ok_or_else(|| no_entity("Policy", &arn))?;
        Ok(Xml::new().into())
    })
}

pub(super) fn list_attached(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let role = call.params.str("RoleName")?;
    call.params.accept(&["PathPrefix"]);
    let entries = with_role(lab, &role, |role| {
        Ok(role
            .attached
            .iter()
            .map(|(arn, name)| {
                let xml = Xml::new().text("PolicyName", name).text("PolicyArn", arn);
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
