//! Roles.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};
use crate::authorize::{self, Of};

use super::linked::check_modifiable;
use super::{
    RoleRecord, check_name, conflict, exists, long_id, no_entity, page, parse_tags, tag_list,
};

pub(super) fn role_xml(role: &RoleRecord) -> Xml {
    // IAM returns documents URL-encoded (API reference, "GetRole").
    let trust = utf8_percent_encode(&role.trust, NON_ALPHANUMERIC).to_string();
    Xml::new()
        .text("Path", &role.path)
        .text("RoleName", &role.name)
        .text("RoleId", &role.id)
        .text("Arn", role.arn())
        .time("CreateDate", role.created)
        .text("AssumeRolePolicyDocument", trust)
        .opt("Description", role.description.as_ref())
        .text("MaxSessionDuration", role.max_session)
        .list("Tags", "member", tag_list(&role.tags))
}

pub(super) fn create(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let name = p.str("RoleName")?;
    check_name("roleName", &name, 64)?;
    let trust = p.str("AssumeRolePolicyDocument")?;
    authorize::parse(&trust, Of::Trust)?;
    let max_session = p.opt_int("MaxSessionDuration")?.unwrap_or(3600);
    if !(3600..=43_200).contains(&max_session) {
        return Err(ApiError::new(
            "ValidationError",
            format!("MaxSessionDuration must be between 3600 and 43200 seconds, not {max_session}"),
        ));
    }
    let role = RoleRecord {
        path: p.opt("Path").unwrap_or_else(|| "/".to_owned()),
        id: long_id(lab, "AROA"),
        created: lab.clock.now(),
        trust,
        description: p.opt("Description"),
        max_session,
        tags: parse_tags(call)?,
        inline: BTreeMap::new(),
        attached: BTreeMap::new(),
        refused: BTreeSet::new(),
        name: name.clone(),
    };
    p.finish()?;
    let mut state = lab.directory.lock();
    if state.roles.contains_key(&name) {
        return Err(exists("Role with name", &name));
    }
    let xml = role_xml(&role);
    state.roles.insert(name, role);
    Ok(Xml::new().child("Role", xml).into())
}

pub(super) fn get(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let name = call.params.str("RoleName")?;
    call.params.finish()?;
    let state = lab.directory.lock();
    let role = state
        .roles
        .get(&name)
        .ok_or_else(|| no_entity("The role with name", &name))?;
    Ok(Xml::new().child("Role", role_xml(role)).into())
}

pub(super) fn list(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let prefix = call.params.opt("PathPrefix").unwrap_or_default();
    let entries = {
        let state = lab.directory.lock();
        let roles = state.roles.values();
        roles
            .filter(|role| role.path.starts_with(&prefix))
            .map(|role| (role.name.clone(), role_xml(role)))
            .collect()
    };
    let (entries, end) = page(call, entries)?;
    Ok(Xml::new().list("Roles", "member", entries).then(end).into())
}

pub(super) fn delete(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let name = call.params.str("RoleName")?;
    call.params.finish()?;
    let mut state = lab.directory.lock();
    let role = state
        .roles
        .get(&name)
        .ok_or_else(|| no_entity("The role with name", &name))?;
    check_modifiable(role)?;
    if !role.inline.is_empty() || !role.attached.is_empty() {
        return Err(conflict(
            "Cannot delete entity, must delete policies first.",
        ));
    }
    if state
        .profiles
        .values()
        .any(|profile| profile.role.as_deref() == Some(&name))
    {
        return Err(conflict(
            "Cannot delete entity, must remove roles from instance profile first.",
        ));
    }
    state.roles.remove(&name);
    Ok(Xml::new().into())
}

pub(super) fn tag(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let name = call.params.str("RoleName")?;
    let tags = parse_tags(call)?;
    call.params.finish()?;
    let mut state = lab.directory.lock();
    let role = state
        .roles
        .get_mut(&name)
        .ok_or_else(|| no_entity("The role with name", &name))?;
    role.tags.extend(tags);
    Ok(Xml::new().into())
}

pub(super) fn list_tags(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let name = call.params.str("RoleName")?;
    let entries = {
        let state = lab.directory.lock();
        let role = state
            .roles
            .get(&name)
            .ok_or_else(|| no_entity("The role with name", &name))?;
        role.tags
            .keys()
            .cloned()
            .zip(tag_list(&role.tags))
            .collect()
    };
    let (entries, end) = page(call, entries)?;
    Ok(Xml::new().list("Tags", "member", entries).then(end).into())
}
