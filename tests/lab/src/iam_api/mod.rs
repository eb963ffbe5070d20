//! IAM's API: roles with their policies and instance profiles, as far as EC2 and STS use them. Inline and
//! managed policies are judged ([`crate::authorize`]; docs/lab/iam.md).
//!
//! IAM is global: one directory for all regions.

pub(crate) mod credentials;
mod judged;
pub(crate) mod linked;
mod managed;
mod policies;
mod profiles;
mod roles;

pub use credentials::Sessions;
pub(crate) use judged::{Taken, role_arn_of_profile};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};
use crate::ec2::{Profile, ProfileReference, Role};
use crate::iam::ACCOUNT;

/// The account's roles and instance profiles, by name.
#[derive(Debug, Default)]
pub struct Directory(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    roles: BTreeMap<String, RoleRecord>,
    profiles: BTreeMap<String, ProfileRecord>,
    /// By ARN.
    managed: BTreeMap<String, managed::Managed>,
}

#[derive(Clone, Debug)]
struct RoleRecord {
    name: String,
    path: String,
    id: String,
    created: Timestamp,
    /// JSON, as sent.
    trust: String,
    description: Option<String>,
    max_session: i64,
    tags: BTreeMap<String, String>,
    inline: BTreeMap<String, judged::Inline>,
    /// By the policy's ARN.
    attached: BTreeMap<String, judged::Attached>,
    /// Actions on resources that were not allowed.
    refused: BTreeSet<String>,
}

#[derive(Clone, Debug)]
struct ProfileRecord {
    name: String,
    path: String,
    id: String,
    created: Timestamp,
    role: Option<String>,
    tags: BTreeMap<String, String>,
}

impl RoleRecord {
    fn arn(&self) -> String {
        format!("arn:aws:iam::{ACCOUNT}:role{}{}", self.path, self.name)
    }
}

impl ProfileRecord {
    fn arn(&self) -> String {
        format!(
            "arn:aws:iam::{ACCOUNT}:instance-profile{}{}",
            self.path, self.name
        )
    }
}

impl Directory {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers an IAM call.
pub fn dispatch(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    match call.action.as_str() {
        "CreateRole" => roles::create(lab, call),
        "CreateServiceLinkedRole" => linked::create(lab, call),
        "GetRole" => roles::get(lab, call),
        "ListRoles" => roles::list(lab, call),
        "DeleteRole" => roles::delete(lab, call),
        "TagRole" => roles::tag(lab, call),
        "ListRoleTags" => roles::list_tags(lab, call),
        "PutRolePolicy" => policies::put(lab, call),
        "GetRolePolicy" => policies::get(lab, call),
        "DeleteRolePolicy" => policies::delete(lab, call),
        "ListRolePolicies" => policies::list(lab, call),
        "CreatePolicy" => managed::create(lab, call),
        "GetPolicy" => managed::get(lab, call),
        "GetPolicyVersion" => managed::get_version(lab, call),
        "DeletePolicy" => managed::delete(lab, call),
        "AttachRolePolicy" => managed::attach(lab, call),
        "DetachRolePolicy" => managed::detach(lab, call),
        "ListAttachedRolePolicies" => policies::list_attached(lab, call),
        "CreateInstanceProfile" => profiles::create(lab, call),
        "GetInstanceProfile" => profiles::get(lab, call),
        "DeleteInstanceProfile" => profiles::delete(lab, call),
        "ListInstanceProfiles" => profiles::list(lab, call),
        "ListInstanceProfilesForRole" => profiles::list_for_role(lab, call),
        "AddRoleToInstanceProfile" => profiles::add_role(lab, call),
        "RemoveRoleFromInstanceProfile" => profiles::remove_role(lab, call),
        action => Err(ApiError::invalid_action(action)),
    }
}

/// Makes a role with a profile of the same name, as the console does; nothing when both are there.
pub fn seed_profile(lab: &Lab, name: &str) {
    let now = lab.clock.now();
    let mut state = lab.directory.lock();
    state
        .roles
        .entry(name.to_owned())
        .or_insert_with(|| RoleRecord {
            name: name.to_owned(),
            path: "/".to_owned(),
            id: long_id(lab, "AROA"),
            created: now,
            trust: EC2_TRUST.to_owned(),
            description: None,
            max_session: 3600,
            tags: BTreeMap::new(),
            inline: BTreeMap::new(),
            attached: BTreeMap::new(),
            refused: BTreeSet::new(),
        });
    state
        .profiles
        .entry(name.to_owned())
        .or_insert_with(|| ProfileRecord {
            name: name.to_owned(),
            path: "/".to_owned(),
            id: long_id(lab, "AIPA"),
            created: now,
            role: Some(name.to_owned()),
            tags: BTreeMap::new(),
        });
}

/// What an instance needs of its profile; AWS's error when there is none of that name.
pub(crate) fn profile_for_launch(
    lab: &Lab,
    reference: &ProfileReference,
) -> Result<Profile, ApiError> {
    let state = lab.directory.lock();
    let (found, member, value) = match reference {
        ProfileReference::Name(name) => (
            state.profiles.get(name),
            "iamInstanceProfile.name",
            name.as_str(),
        ),
        ProfileReference::Arn(arn) => (
            state
                .profiles
                .values()
                .find(|profile| profile.arn() == *arn),
            "iamInstanceProfile.arn",
            arn.as_str(),
        ),
    };
    let kind = if member.ends_with("arn") {
        "ARN"
    } else {
        "name"
    };
    let profile = found.ok_or_else(|| {
        ApiError::invalid_value(
            member,
            value,
            &format!("Invalid IAM Instance Profile {kind}"),
        )
    })?;
    let role = profile
        .role
        .as_ref()
        .and_then(|name| state.roles.get(name))
        .map(|role| Role {
            name: role.name.clone(),
            id: role.id.clone(),
        });
    Ok(Profile {
        arn: profile.arn(),
        id: profile.id.clone(),
        role,
    })
}

const EC2_TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

/// IAM's unique ids: a prefix and 17 capitals or digits (IAM user guide, "Unique identifiers").
fn long_id(lab: &Lab, prefix: &str) -> String {
    format!("{prefix}{}", lab.ids.hex(17).to_uppercase())
}

fn no_entity(kind: &str, name: &str) -> ApiError {
    ApiError::new("NoSuchEntity", format!("{kind} {name} cannot be found.")).status(404)
}

fn exists(kind: &str, name: &str) -> ApiError {
    ApiError::new(
        "EntityAlreadyExists",
        format!("{kind} {name} already exists."),
    )
    .status(409)
}

fn conflict(message: impl Into<String>) -> ApiError {
    ApiError::new("DeleteConflict", message).status(409)
}

fn check_name(parameter: &str, name: &str, longest: usize) -> Result<(), ApiError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c);
    if (1..=longest).contains(&name.len()) && name.chars().all(allowed) {
        return Ok(());
    }
    Err(ApiError::new(
        "ValidationError",
        format!(
            "The specified value for {parameter} is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_- and have at most {longest} characters"
        ),
    ))
}

fn tag_list(tags: &BTreeMap<String, String>) -> Vec<Xml> {
    tags.iter()
        .map(|(key, value)| Xml::new().text("Key", key).text("Value", value))
        .collect()
}

fn parse_tags(call: &Call) -> Result<BTreeMap<String, String>, ApiError> {
    let mut tags = BTreeMap::new();
    for tag in call.params.structs("Tags") {
        tags.insert(tag.str("Key")?, tag.opt("Value").unwrap_or_default());
    }
    Ok(tags)
}

/// `Marker` and `MaxItems` over entries sorted by name; gives the members that end the answer.
fn page(call: &Call, mut entries: Vec<(String, Xml)>) -> Result<(Vec<Xml>, Xml), ApiError> {
    let max = call.params.opt_int("MaxItems")?.unwrap_or(100);
    if !(1..=1000).contains(&max) {
        return Err(ApiError::new(
            "ValidationError",
            format!("MaxItems must be between 1 and 1000, not {max}"),
        ));
    }
    let after = call.params.opt("Marker");
    call.params.finish()?;
    entries.retain(|(name, _)| after.as_ref().is_none_or(|after| name > after));
    let truncated = entries.len() > max as usize;
    entries.truncate(max as usize);
    let marker = entries
        .last()
        .filter(|_| truncated)
        .map(|(name, _)| name.clone());
    let end = Xml::new()
        .text("IsTruncated", truncated)
        .opt("Marker", marker);
    Ok((entries.into_iter().map(|(_, xml)| xml).collect(), end))
}
