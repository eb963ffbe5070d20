//! Instance profiles: the box that carries a role into an instance.

use std::sync::Arc;

use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};

use super::roles::role_xml;
use super::{
    ProfileRecord, State, check_name, conflict, exists, long_id, no_entity, page, parse_tags,
    tag_list,
};

fn profile_xml(state: &State, profile: &ProfileRecord) -> Xml {
    let role = profile
        .role
        .as_ref()
        .and_then(|name| state.roles.get(name))
        .map(role_xml);
    Xml::new()
        .text("Path", &profile.path)
        .text("InstanceProfileName", &profile.name)
        .text("InstanceProfileId", &profile.id)
        .text("Arn", profile.arn())
        .time("CreateDate", profile.created)
        .list("Roles", "member", role)
        .list("Tags", "member", tag_list(&profile.tags))
}

fn find<'a>(state: &'a State, name: &str) -> Result<&'a ProfileRecord, ApiError> {
    state
        .profiles
        .get(name)
        .ok_or_else(|| no_entity("Instance Profile", name))
}

pub(super) fn create(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let name = p.str("InstanceProfileName")?;
    check_name("instanceProfileName", &name, 128)?;
    let profile = ProfileRecord {
        path: p.opt("Path").unwrap_or_else(|| "/".to_owned()),
        id: long_id(lab, "AIPA"),
        created: lab.clock.now(),
        role: None,
        tags: parse_tags(call)?,
        name: name.clone(),
    };
    p.finish()?;
    let mut state = lab.directory.lock();
    if state.profiles.contains_key(&name) {
        return Err(exists("Instance Profile", &name));
    }
    let xml = profile_xml(&state, &profile);
    state.profiles.insert(name, profile);
    Ok(Xml::new().child("InstanceProfile", xml).into())
}

pub(super) fn get(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let name = call.params.str("InstanceProfileName")?;
    call.params.finish()?;
    let state = lab.directory.lock();
    let xml = profile_xml(&state, find(&state, &name)?);
    Ok(Xml::new().child("InstanceProfile", xml).into())
}

pub(super) fn delete(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let name = call.params.str("InstanceProfileName")?;
    call.params.finish()?;
    let mut state = lab.directory.lock();
    if find(&state, &name)?.role.is_some() {
        return Err(conflict(
            "Cannot delete entity, must remove roles from instance profile first.",
        ));
    }
    state.profiles.remove(&name);
    Ok(Xml::new().into())
}

fn listing(
    lab: &Lab,
    call: &Call,
    keep: impl Fn(&ProfileRecord) -> bool,
) -> Result<Reply, ApiError> {
    let entries = {
        let state = lab.directory.lock();
        let profiles = state.profiles.values().filter(|profile| keep(profile));
        profiles
            .map(|profile| (profile.name.clone(), profile_xml(&state, profile)))
            .collect()
    };
    let (entries, end) = page(call, entries)?;
    Ok(Xml::new()
        .list("InstanceProfiles", "member", entries)
        .then(end)
        .into())
}

pub(super) fn list(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let prefix = call.params.opt("PathPrefix").unwrap_or_default();
    listing(lab, call, |profile| profile.path.starts_with(&prefix))
}

pub(super) fn list_for_role(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let role = call.params.str("RoleName")?;
    if !lab.directory.lock().roles.contains_key(&role) {
        return Err(no_entity("The role with name", &role));
    }
    listing(lab, call, |profile| {
        profile.role.as_deref() == Some(role.as_str())
    })
}

pub(super) fn add_role(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let (profile, role) = (p.str("InstanceProfileName")?, p.str("RoleName")?);
    p.finish()?;
    let mut state = lab.directory.lock();
    if !state.roles.contains_key(&role) {
        return Err(no_entity("The role with name", &role));
    }
    let record = state
        .profiles
        .get_mut(&profile)
        .ok_or_else(|| no_entity("Instance Profile", &profile))?;
    if record.role.is_some() {
        return Err(ApiError::new(
            "LimitExceeded",
            "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1",
        )
        .status(409));
    }
    record.role = Some(role);
    Ok(Xml::new().into())
}

pub(super) fn remove_role(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let (profile, role) = (p.str("InstanceProfileName")?, p.str("RoleName")?);
    p.finish()?;
    let mut state = lab.directory.lock();
    let record = state
        .profiles
        .get_mut(&profile)
        .ok_or_else(|| no_entity("Instance Profile", &profile))?;
    if record.role.as_deref() != Some(role.as_str()) {
        return Err(no_entity("The role with name", &role));
    }
    record.role = None;
    Ok(Xml::new().into())
}
