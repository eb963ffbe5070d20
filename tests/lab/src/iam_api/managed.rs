//! Managed policies of the account: made, attached to roles, judged like inline ones. A policy of AWS's own
//! (`arn:aws:iam::aws:policy/…`) can be attached; what is in it is not known here, and it allows nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};
use crate::authorize::{self, Document, Of};
use crate::iam::ACCOUNT;

use super::judged::Attached;
use super::linked::check_modifiable;
use super::policies::{length, with_role};
use super::{State, check_name, conflict, long_id, parse_tags, tag_list};

/// Characters of a managed policy, white space not counted ("IAM and AWS STS quotas").
const LONGEST: usize = 6_144;
/// Managed policies of a role, without an increased quota (same page).
const MOST_ATTACHED: usize = 10;
/// The only version that a policy has here: `CreatePolicyVersion` is left out.
const VERSION: &str = "v1";

/// A managed policy.
#[derive(Clone, Debug)]
pub(super) struct Managed {
    pub name: String,
    path: String,
    id: String,
    created: Timestamp,
    description: Option<String>,
    tags: BTreeMap<String, String>,
    /// JSON, as sent.
    text: String,
    pub document: Arc<Document>,
}

impl Managed {
    fn arn(&self) -> String {
        format!("arn:aws:iam::{ACCOUNT}:policy{}{}", self.path, self.name)
    }
}

fn attachments(state: &State, arn: &str) -> usize {
    let roles = state.roles.values();
    roles.filter(|role| role.attached.contains_key(arn)).count()
}

fn xml(state: &State, policy: &Managed) -> Xml {
    let arn = policy.arn();
    Xml::new()
        .text("PolicyName", &policy.name)
        .text("PolicyId", &policy.id)
        .text("AttachmentCount", attachments(state, &arn))
        .text("Arn", arn)
        .text("Path", &policy.path)
        .text("DefaultVersionId", VERSION)
        .text("PermissionsBoundaryUsageCount", 0)
        .text("IsAttachable", true)
        .opt("Description", policy.description.as_ref())
        .time("CreateDate", policy.created)
        .time("UpdateDate", policy.created)
        .list("Tags", "member", tag_list(&policy.tags))
}

fn not_there(arn: &str) -> ApiError {
    ApiError::new("NoSuchEntity", format!("Policy {arn} was not found.")).status(404)
}

fn quota(of: &str, most: usize) -> ApiError {
    let text = format!("Cannot exceed quota for {of}: {most}");
    ApiError::new("LimitExceeded", text).status(409)
}

pub(super) fn create(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let name = p.str("PolicyName")?;
    check_name("policyName", &name, 128)?;
    let text = p.str("PolicyDocument")?;
    let policy = Managed {
        path: p.opt("Path").unwrap_or_else(|| "/".to_owned()),
        id: long_id(lab, "ANPA"),
        created: lab.clock.now(),
        description: p.opt("Description"),
        tags: parse_tags(call)?,
        document: Arc::new(authorize::parse(&text, Of::Identity)?),
        text,
        name,
    };
    p.finish()?;
    if length(&policy.text) > LONGEST {
        return Err(quota("PolicySize", LONGEST));
    }
    let mut state = lab.directory.lock();
    let arn = policy.arn();
    if state.managed.contains_key(&arn) {
        return Err(ApiError::new(
            "EntityAlreadyExists",
            format!(
                "A policy called {} already exists. Duplicate names are not allowed.",
                policy.name
            ),
        )
        .status(409));
    }
    let made = xml(&state, &policy);
    state.managed.insert(arn, policy);
    Ok(Xml::new().child("Policy", made).into())
}

pub(super) fn get(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let arn = call.params.str("PolicyArn")?;
    call.params.finish()?;
    let state = lab.directory.lock();
    let policy = state.managed.get(&arn).ok_or_else(|| not_there(&arn))?;
    Ok(Xml::new().child("Policy", xml(&state, policy)).into())
}

pub(super) fn get_version(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let (arn, version) = (call.params.str("PolicyArn")?, call.params.str("VersionId")?);
    call.params.finish()?;
    let state = lab.directory.lock();
    let policy = state.managed.get(&arn).ok_or_else(|| not_there(&arn))?;
    if version != VERSION {
        let text = format!("Policy {arn} version {version} does not exist or is not attachable.");
        return Err(ApiError::new("NoSuchEntity", text).status(404));
    }
    let document = utf8_percent_encode(&policy.text, NON_ALPHANUMERIC);
    let version = Xml::new()
        .text("Document", document)
        .text("VersionId", VERSION)
        .text("IsDefaultVersion", true)
        .time("CreateDate", policy.created);
    Ok(Xml::new().child("PolicyVersion", version).into())
}

pub(super) fn delete(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let arn = call.params.str("PolicyArn")?;
    call.params.finish()?;
    let mut state = lab.directory.lock();
    if !state.managed.contains_key(&arn) {
        return Err(not_there(&arn));
    }
    if attachments(&state, &arn) > 0 {
        return Err(conflict("Cannot delete a policy attached to entities."));
    }
    state.managed.remove(&arn);
    Ok(Xml::new().into())
}

pub(super) fn attach(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let (role, arn) = (p.str("RoleName")?, p.str("PolicyArn")?);
    p.finish()?;
    let known = lab
        .directory
        .lock()
        .managed
        .get(&arn)
        .map(|it| it.name.clone());
    let name = match (known, arn.strip_prefix("arn:aws:iam::aws:policy/")) {
        (Some(name), _) => name,
        (None, Some(path)) => {
            log::warn!(
                "policy {arn} of role {role}: the lab does not know what is in it, it allows nothing"
            );
            path.rsplit('/').next().unwrap_or_default().to_owned()
        }
        (None, None) => {
            let text = format!("Policy {arn} does not exist or is not attachable.");
            return Err(ApiError::new("NoSuchEntity", text).status(404));
        }
    };
    with_role(lab, &role, |role| {
        check_modifiable(role)?;
        if role.attached.len() >= MOST_ATTACHED && !role.attached.contains_key(&arn) {
            return Err(quota("PoliciesPerRole", MOST_ATTACHED));
        }
        role.attached.entry(arn).or_insert(Attached {
            name,
            used: BTreeSet::new(),
        });
        Ok(Xml::new().into())
    })
}

pub(super) fn detach(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let (role, arn) = (p.str("RoleName")?, p.str("PolicyArn")?);
    p.finish()?;
    with_role(lab, &role, |role| {
        role.attached.remove(&arn).ok_or_else(|| not_there(&arn))?;
        Ok(Xml::new().into())
    })
}
