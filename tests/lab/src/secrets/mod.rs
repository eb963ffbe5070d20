//! Secrets Manager: secrets with versions, staging labels and a recovery window.
//!
//! ```text
//!  PutSecretValue:   new version  ── AWSCURRENT
//!                    the one before ─ AWSPREVIOUS (its AWSCURRENT moved)
//!                    older ones ───── no label: deprecated, dropped beyond 100
//!  DeleteSecret:     marked for 7 to 30 days (lab time); any use is InvalidRequestException;
//!                    RestoreSecret takes the mark away
//! ```
//!
//! No value ever appears in a log or an error. Encryption is not simulated: the lab keeps values in
//! memory only.

mod list;
mod owned;
mod password;
mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::Lab;
use crate::api::{ApiError, Call, Params, Reply};
use crate::iam::ACCOUNT;
pub use owned::{create_owned, delete_owned, set_value};
use store::{Content, Region, Secret, seconds};

/// Without `RecoveryWindowInDays`.
const DEFAULT_WINDOW_DAYS: i64 = 30;

/// The secrets of each region.
#[derive(Debug, Default)]
pub struct Secrets(Mutex<BTreeMap<String, Region>>);

impl Secrets {
    fn with<R>(&self, region: &str, f: impl FnOnce(&mut Region) -> R) -> R {
        let mut regions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        f(regions.entry(region.to_owned()).or_default())
    }
}

/// ARN and tags of a secret, by name or ARN; none when it does not exist.
pub(crate) fn facts(lab: &Lab, region: &str, id: &str) -> Option<(String, Vec<(String, String)>)> {
    lab.secrets.with(region, |state| {
        let secret = state.find(id).ok()?;
        Some((secret.arn.clone(), secret.tags.clone()))
    })
}

fn invalid_parameter(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidParameterException", message)
}

fn invalid_request(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidRequestException", message)
}

/// Answers a call.
#[expect(
    clippy::unused_async,
    reason = "the lab dispatches to every service alike"
)]
pub async fn dispatch(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let answer = match call.action.as_str() {
        "CreateSecret" => create(lab, call),
        "GetSecretValue" => get(lab, call),
        "PutSecretValue" => put(lab, call),
        "UpdateSecret" => update(lab, call),
        "UpdateSecretVersionStage" => move_stage(lab, call),
        "DescribeSecret" => describe(lab, call),
        "ListSecrets" => list::secrets(lab, call),
        "ListSecretVersionIds" => list::versions(lab, call),
        "DeleteSecret" => delete(lab, call),
        "RestoreSecret" => restore(lab, call),
        "TagResource" => tag(lab, call),
        "UntagResource" => untag(lab, call),
        "GetRandomPassword" => password::random(call),
        action => Err(ApiError::invalid_action(action)),
    };
    // What the shared parameter reader finds has this name here.
    answer
        .map(Reply::Json)
        .map_err(|error| match error.code.as_str() {
            "MissingParameter" | "InvalidParameterValue" => invalid_parameter(error.message),
            _ => error,
        })
}

/// The new value of a call, when there is one.
fn content(p: &Params) -> Result<Option<Content>, ApiError> {
    match (p.opt("SecretString"), p.opt("SecretBinary")) {
        (Some(_), Some(_)) => Err(invalid_parameter(
            "You can't specify both a binary secret value and a string secret value in the same secret.",
        )),
        (Some(text), None) => Content::text(text).map(Some),
        (None, Some(bytes)) => Content::binary(bytes).map(Some),
        (None, None) => Ok(None),
    }
}

/// The version id that the caller chose, or a new one.
fn token(lab: &Lab, p: &Params) -> Result<String, ApiError> {
    match p.opt("ClientRequestToken") {
        None => Ok(lab.ids.uuid()),
        Some(token) if (32..=64).contains(&token.len()) => Ok(token),
        Some(_) => Err(invalid_parameter(
            "Invalid ClientRequestToken: it has 32 to 64 characters.",
        )),
    }
}

fn tags(p: &Params) -> Result<Vec<(String, String)>, ApiError> {
    p.structs("Tags")
        .iter()
        .map(|tag| {
            let key = tag.str("Key")?;
            if key.starts_with("aws:") {
                return Err(invalid_parameter(format!(
                    "Invalid tag key: `{key}`: `aws:` is reserved"
                )));
            }
            Ok((key, tag.opt("Value").unwrap_or_default()))
        })
        .collect()
}

/// A new secret's ARN: six random characters at the end tell it from an earlier one of that name.
fn arn(lab: &Lab, region: &str, name: &str) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let suffix: String = (0..6)
        .map(|_| {
            let at = (lab.ids.fraction() * LETTERS.len() as f64) as usize;
            char::from(LETTERS[at.min(LETTERS.len() - 1)])
        })
        .collect();
    format!("arn:aws:secretsmanager:{region}:{ACCOUNT}:secret:{name}-{suffix}")
}

fn create(lab: &Lab, call: &Call) -> Result<Value, ApiError> {
    let p = &call.params;
    let name = store::check_name(&p.str("Name")?)?;
    let token = token(lab, p)?;
    let description = p.opt("Description");
    let key = p.opt("KmsKeyId");
    let content = content(p)?;
    let tags = tags(p)?;
    p.accept(&["ForceOverwriteReplicaSecret"]);
    p.finish()?;
    let now = lab.clock.now();
    let arn = arn(lab, &call.region, &name);
    lab.secrets.with(&call.region, |region| {
        if let Some(old) = region.secrets.get_mut(&name) {
            if old.deleted.is_some() {
                return Err(invalid_request(
                    "You can't create this secret because a secret with this name is already scheduled for deletion.",
                ));
            }
            let repeated = content
                .as_ref()
                .is_some_and(|content| old.has_version(&token, content));
            if repeated {
                return Ok(json!({ "ARN": old.arn, "Name": old.name, "VersionId": token }));
            }
            return Err(ApiError::new(
                "ResourceExistsException",
                format!("The operation failed because the secret {name} already exists."),
            ));
        }
        let mut secret = Secret::new(name.clone(), arn, now);
        secret.description = description;
        secret.kms_key = key;
        secret.tags = tags;
        let mut answer = json!({ "ARN": secret.arn, "Name": secret.name });
        if let Some(content) = content {
            secret.put(&token, content, &[store::CURRENT.to_owned()], now)?;
            answer["VersionId"] = token.into();
        }
        region.secrets.insert(name, secret);
        Ok(answer)
    })
}

fn get(lab: &Lab, call: &Call) -> Result<Value, ApiError> {
    let p = &call.params;
    let id = p.str("SecretId")?;
    let (version, stage) = (p.opt("VersionId"), p.opt("VersionStage"));
    p.finish()?;
    let now = lab.clock.now();
    lab.secrets.with(&call.region, |region| {
        let secret = region.usable(&id)?;
        let (version, found) = secret.read(version.as_deref(), stage.as_deref(), now)?;
        let mut answer = json!({
            "ARN": secret.arn,
            "Name": secret.name,
            "VersionId": version,
            "VersionStages": found.stages,
            "CreatedDate": seconds(found.created),
        });
        let (member, value) = found.content.member();
        answer[member] = value.into();
        Ok(answer)
    })
}

fn put(lab: &Lab, call: &Call) -> Result<Value, ApiError> {
    let p = &call.params;
    let id = p.str("SecretId")?;
    let token = token(lab, p)?;
    let content = content(p)?.ok_or_else(|| {
        invalid_parameter("You must provide either SecretString or SecretBinary.")
    })?;
    let mut stages = p.list("VersionStages");
    p.finish()?;
    if stages.is_empty() {
        stages.push(store::CURRENT.to_owned());
    }
    let now = lab.clock.now();
    lab.secrets.with(&call.region, |region| {
        let secret = region.usable(&id)?;
        secret.refuse_owned()?;
        secret.put(&token, content, &stages, now)?;
        let stages = secret.stages(&token);
        Ok(json!({ "ARN": secret.arn, "Name": secret.name, "VersionId": token, "VersionStages": stages }))
    })
}

fn update(lab: &Lab, call: &Call) -> Result<Value, ApiError> {
    let p = &call.params;
    let id = p.str("SecretId")?;
    let token = token(lab, p)?;
    let content = content(p)?;
    let description = p.opt("Description");
    let key = p.opt("KmsKeyId");
    p.finish()?;
    let now = lab.clock.now();
    lab.secrets.with(&call.region, |region| {
        let secret = region.usable(&id)?;
        secret.refuse_owned()?;
        let mut answer = json!({ "ARN": secret.arn, "Name": secret.name });
        if let Some(content) = content {
            secret.put(&token, content, &[store::CURRENT.to_owned()], now)?;
            answer["VersionId"] = token.into();
        }
        secret.description = description.or(secret.description.take());
        secret.kms_key = key.or(secret.kms_key.take());
        secret.changed = now;
        Ok(answer)
    })
}

fn move_stage(lab: &Lab, call: &Call) -> Result<Value, ApiError> {
    let p = &call.params;
    let id = p.str("SecretId")?;
    let stage = p.str("VersionStage")?;
    let (from, to) = (p.opt("RemoveFromVersionId"), p.opt("MoveToVersionId"));
    p.finish()?;
    let now = lab.clock.now();
    lab.secrets.with(&call.region, |region| {
        let secret = region.usable(&id)?;
        secret.refuse_owned()?;
        secret.move_stage(&stage, from.as_deref(), to.as_deref(), now)?;
        Ok(json!({ "ARN": secret.arn, "Name": secret.name }))
    })
}

fn describe(lab: &Lab, call: &Call) -> Result<Value, ApiError> {
    let id = call.params.str("SecretId")?;
    call.params.finish()?;
    lab.secrets.with(&call.region, |region| {
        let secret = region.find(&id)?;
        let mut answer = list::entry(secret, &call.region);
        answer["VersionIdsToStages"] = secret.stages_by_version();
        Ok(answer)
    })
}

fn delete(lab: &Arc<Lab>, call: &Call) -> Result<Value, ApiError> {
    let p = &call.params;
    let id = p.str("SecretId")?;
    let force = p.opt_bool("ForceDeleteWithoutRecovery")?.unwrap_or(false);
    let window = p.opt_int("RecoveryWindowInDays")?;
    p.finish()?;
    if force && window.is_some() {
        return Err(invalid_parameter(
            "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.",
        ));
    }
    let days = window.unwrap_or(DEFAULT_WINDOW_DAYS);
    if !(7..=30).contains(&days) {
        return Err(invalid_parameter(
            "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).",
        ));
    }
    let now = lab.clock.now();
    let window = Duration::from_secs(days.unsigned_abs() * 86_400);
    let date = if force {
        now
    } else {
        now.checked_add(window).unwrap_or(now)
    };
    let (answer, name) = lab.secrets.with(&call.region, |region| {
        let secret = match region.find(&id) {
            Ok(secret) => secret,
            // "If you forcibly delete an already deleted or nonexistent secret, the operation does
            // not return ResourceNotFoundException."
            Err(_) if force => {
                return Ok((json!({ "Name": id, "DeletionDate": seconds(date) }), None));
            }
            Err(error) => return Err(error),
        };
        secret.refuse_owned()?;
        if secret.deleted.is_some() && !force {
            return Err(store::marked());
        }
        secret.deleted = Some(date);
        let (arn, name) = (secret.arn.clone(), secret.name.clone());
        if force {
            region.secrets.remove(&name);
        }
        let answer = json!({ "ARN": arn, "Name": name, "DeletionDate": seconds(date) });
        Ok((answer, (!force).then_some(name)))
    })?;
    if let Some(name) = name {
        let (lab2, region) = (Arc::clone(lab), call.region.clone());
        lab.spawn(async move {
            lab2.clock.sleep(window).await;
            lab2.secrets.with(&region, |region| {
                if region
                    .secrets
                    .get(&name)
                    .is_some_and(|s| s.deleted == Some(date))
                {
                    region.secrets.remove(&name);
                }
            });
        });
    }
    Ok(answer)
}

fn restore(lab: &Lab, call: &Call) -> Result<Value, ApiError> {
    let id = call.params.str("SecretId")?;
    call.params.finish()?;
    lab.secrets.with(&call.region, |region| {
        let secret = region.find(&id)?;
        secret.deleted = None;
        Ok(json!({ "ARN": secret.arn, "Name": secret.name }))
    })
}

fn tag(lab: &Lab, call: &Call) -> Result<Value, ApiError> {
    let id = call.params.str("SecretId")?;
    let tags = tags(&call.params)?;
    call.params.finish()?;
    lab.secrets.with(&call.region, |region| {
        let secret = region.usable(&id)?;
        for (key, value) in tags {
            secret.tags.retain(|(known, _)| *known != key);
            secret.tags.push((key, value));
        }
        Ok(json!({}))
    })
}

fn untag(lab: &Lab, call: &Call) -> Result<Value, ApiError> {
    let id = call.params.str("SecretId")?;
    let keys = call.params.list("TagKeys");
    call.params.finish()?;
    lab.secrets.with(&call.region, |region| {
        region
            .usable(&id)?
            .tags
            .retain(|(key, _)| !keys.contains(key));
        Ok(json!({}))
    })
}
