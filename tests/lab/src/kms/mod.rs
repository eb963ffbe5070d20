//! KMS as far as buckets, encrypted images and `doctor` need it: keys with a policy, a state, aliases and
//! grants. There is no key material: nothing is encrypted, but who may use a key is judged.
//!
//! ```text
//!  Enabled <──EnableKey/DisableKey──> Disabled
//!     │ ScheduleKeyDeletion                ▲
//!     ▼                                    │ CancelKeyDeletion
//!  PendingDeletion ────────────────────────┘
//!     │ 7 to 30 days of lab time
//!     ▼
//!    gone
//! ```
//!
//! S3 asks [`use_key`] whenever it encrypts or decrypts.

mod aliases;
mod grants;
mod keys;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::Lab;
use crate::api::{ApiError, Call, Reply};
use crate::authorize::{self, Ask, Document, Guard, Of};
use crate::iam::{ACCOUNT, Caller};

/// The keys of each region.
#[derive(Debug, Default)]
pub struct Kms(Mutex<BTreeMap<String, Region>>);

impl Kms {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Region>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<R>(&self, region: &str, f: impl FnOnce(&mut Region) -> R) -> R {
        f(self.lock().entry(region.to_owned()).or_default())
    }
}

/// One region's keys by id, and aliases by name (`alias/…`).
#[derive(Debug, Default)]
struct Region {
    keys: BTreeMap<String, Key>,
    aliases: BTreeMap<String, Alias>,
}

#[derive(Clone, Debug)]
struct Alias {
    key: String,
    made: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyState {
    Enabled,
    Disabled,
    PendingDeletion,
}

impl KeyState {
    fn name(self) -> &'static str {
        match self {
            Self::Enabled => "Enabled",
            Self::Disabled => "Disabled",
            Self::PendingDeletion => "PendingDeletion",
        }
    }
}

#[derive(Clone, Debug)]
struct Key {
    id: String,
    arn: String,
    description: String,
    /// By AWS, for `alias/aws/…`.
    managed: bool,
    state: KeyState,
    deletion: Option<Timestamp>,
    made: Timestamp,
    /// As sent.
    policy_text: String,
    policy: Arc<Document>,
    grants: Vec<Grant>,
}

#[derive(Clone, Debug)]
struct Grant {
    id: String,
    name: Option<String>,
    grantee: String,
    retiring: Option<String>,
    operations: Vec<String>,
    made: Timestamp,
}

impl Region {
    /// A key by id, ARN, alias or alias ARN.
    fn find(&self, region: &str, name: &str) -> Option<&Key> {
        let arn = format!("arn:aws:kms:{region}:{ACCOUNT}:");
        let name = name.strip_prefix(&arn).unwrap_or(name);
        match name.strip_prefix("key/") {
            Some(id) => self.keys.get(id),
            None if name.starts_with("alias/") => {
                self.aliases.get(name).and_then(|it| self.keys.get(&it.key))
            }
            None => self.keys.get(name),
        }
    }
}

impl Key {
    /// Whether a grant lets the caller do an operation such as `Decrypt`.
    fn grants(&self, caller: Option<&Caller>, operation: &str) -> bool {
        let Some(caller) = caller else { return false };
        let role = caller
            .role
            .as_ref()
            .map(|role| format!("arn:aws:iam::{ACCOUNT}:role/{role}"));
        self.grants.iter().any(|grant| {
            let meant = grant.grantee == caller.arn || role.as_ref() == Some(&grant.grantee);
            meant && grant.operations.iter().any(|known| known == operation)
        })
    }
}

/// Answers a call.
pub fn dispatch(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let answer = match call.action.as_str() {
        "CreateKey" => keys::create(lab, call),
        "DescribeKey" => keys::describe(lab, call),
        "ListKeys" => keys::list(lab, call),
        "EnableKey" => keys::enable(lab, call, KeyState::Enabled),
        "DisableKey" => keys::enable(lab, call, KeyState::Disabled),
        "ScheduleKeyDeletion" => keys::schedule_deletion(lab, call),
        "CancelKeyDeletion" => keys::cancel_deletion(lab, call),
        "GetKeyPolicy" => keys::get_policy(lab, call),
        "PutKeyPolicy" => keys::put_policy(lab, call),
        "CreateAlias" => aliases::create(lab, call),
        "DeleteAlias" => aliases::delete(lab, call),
        "ListAliases" => aliases::list(lab, call),
        "CreateGrant" => grants::create(lab, call),
        "ListGrants" => grants::list(lab, call),
        "RevokeGrant" => grants::revoke(lab, call),
        action => Err(ApiError::invalid_action(action)),
    };
    answer.map(Reply::Json).map_err(|error| {
        let code = match error.code.as_str() {
            "AccessDenied" => "AccessDeniedException",
            "MissingParameter" | "InvalidParameterValue" | "UnknownParameter" => {
                log::error!("kms {}: {error}", call.action);
                "ValidationException"
            }
            "MalformedPolicyDocument" => "MalformedPolicyDocumentException",
            _ => return error,
        };
        ApiError::new(code, error.message)
    })
}

/// The ARN of a key by id, ARN, alias or alias ARN.
pub(crate) fn arn_of(lab: &Lab, region: &str, name: &str) -> Option<String> {
    lab.kms.with(region, |state| {
        state.find(region, name).map(|key| key.arn.clone())
    })
}

/// Judges the use of a key on a caller's behalf by another service, for example S3's. `action` is
/// `GenerateDataKey` or `Decrypt`, `context` the encryption context's entries. Gives the key's ARN; the
/// errors are as S3 words them.
pub(crate) fn use_key(
    lab: &Lab,
    caller: Option<&Caller>,
    (service, region): (&str, &str),
    key: &str,
    action: &str,
    context: &[(&str, String)],
) -> Result<String, ApiError> {
    let key = lab
        .kms
        .with(region, |state| state.find(region, key).cloned())
        .ok_or_else(|| ApiError::new("KMS.NotFoundException", format!("Invalid keyId '{key}'")))?;
    if !key.managed {
        let mut ask = Ask::new(format!("kms:{action}"), &key.arn)
            .with("aws:RequestedRegion", region)
            .with("aws:SecureTransport", "true")
            .with("kms:CallerAccount", ACCOUNT)
            .with(
                "kms:ViaService",
                format!("{service}.{region}.amazonaws.com"),
            );
        for (name, value) in context {
            ask = ask.with(&format!("kms:EncryptionContext:{name}"), value);
        }
        let guard = Guard::Key {
            policy: &key.policy,
            granted: key.grants(caller, action),
        };
        authorize::judge(lab, caller, &ask, guard)?;
    }
    match key.state {
        KeyState::Enabled => Ok(key.arn),
        KeyState::Disabled => Err(ApiError::new(
            "KMS.DisabledException",
            format!("{} is disabled.", key.arn),
        )),
        KeyState::PendingDeletion => Err(ApiError::new(
            "KMS.KMSInvalidStateException",
            format!("{} is pending deletion.", key.arn),
        )),
    }
}

fn not_found(what: impl std::fmt::Display) -> ApiError {
    ApiError::new("NotFoundException", format!("{what} is not found."))
}

/// The key that `KeyId` names, and whether the caller may do this call's action to it.
fn judged(lab: &Lab, call: &Call) -> Result<Key, ApiError> {
    let name = call.params.str("KeyId")?;
    ensure_managed(lab, &call.region, &name);
    let found = lab.kms.with(&call.region, |state| {
        state.find(&call.region, &name).cloned()
    });
    let Some(key) = found else {
        let arn = if name.starts_with("arn:") {
            name.clone()
        } else {
            format!("arn:aws:kms:{}:{ACCOUNT}:key/{name}", call.region)
        };
        judge_own(lab, call, &arn)?;
        let kind = if name.contains("alias/") {
            "Alias"
        } else {
            "Key"
        };
        return Err(not_found(format!("{kind} {arn}")));
    };
    let guard = Guard::Key {
        policy: &key.policy,
        granted: key.grants(Some(&call.caller), &call.action),
    };
    authorize::judge(lab, Some(&call.caller), &ask(call, &key.arn), guard)?;
    Ok(key)
}

/// Judges by the caller's own policies alone: what makes keys, and lists.
fn judge_own(lab: &Lab, call: &Call, resource: &str) -> Result<(), ApiError> {
    let caller = Some(&call.caller);
    authorize::judge(lab, caller, &ask(call, resource), Guard::Bucket(None))
}

fn ask(call: &Call, resource: &str) -> Ask {
    Ask::new(format!("kms:{}", call.action), resource)
        .with("aws:RequestedRegion", &call.region)
        .with("aws:SecureTransport", "true")
        .with("kms:CallerAccount", ACCOUNT)
}

/// Changes a key that was found before.
fn change<R>(lab: &Lab, region: &str, id: &str, f: impl FnOnce(&mut Key) -> R) -> Option<R> {
    lab.kms.with(region, |state| state.keys.get_mut(id).map(f))
}

/// The key that AWS itself manages for a service in a region, made when it is first needed; its ARN.
pub(crate) fn service_key(lab: &Lab, region: &str, service: &str) -> String {
    let alias = format!("alias/aws/{service}");
    ensure_managed(lab, region, &alias);
    let arn = lab.kms.with(region, |state| {
        state.find(region, &alias).map(|key| key.arn.clone())
    });
    arn.unwrap_or(alias)
}

/// AWS makes its own keys when a service first needs them.
fn ensure_managed(lab: &Lab, region: &str, name: &str) {
    const SERVICES: [&str; 4] = ["s3", "ebs", "rds", "secretsmanager"];
    let Some(service) = name.rsplit_once("alias/aws/").map(|(_, service)| service) else {
        return;
    };
    let alias = format!("alias/aws/{service}");
    let known = lab
        .kms
        .with(region, |state| state.aliases.contains_key(&alias));
    if known || !SERVICES.contains(&service) {
        return;
    }
    let description =
        format!("Default key that protects my {service} data when no other key is defined");
    let text = keys::default_policy();
    let policy = authorize::parse(&text, Of::Resource).expect("the default policy is a good one");
    let key = keys::new_key(lab, region, description, text, policy, true);
    let made = key.made;
    lab.kms.with(region, |state| {
        let id = key.id.clone();
        state.keys.insert(id.clone(), key);
        state.aliases.insert(alias, Alias { key: id, made });
    });
}

/// A page of entries: `Limit` and `Marker`, which is a position.
fn page(
    call: &Call,
    member: &str,
    default: i64,
    entries: impl FnOnce() -> Vec<Value>,
) -> Result<Value, ApiError> {
    let limit = call.params.opt_int("Limit")?.unwrap_or(default);
    let marker = call.params.opt("Marker");
    call.params.finish()?;
    if !(1..=1000).contains(&limit) {
        return Err(ApiError::new(
            "ValidationException",
            format!("Limit must be between 1 and 1000, not {limit}"),
        ));
    }
    let start: usize = match marker {
        None => 0,
        Some(marker) => marker
            .parse()
            .map_err(|_| ApiError::new("InvalidMarkerException", "The marker is not valid."))?,
    };
    let entries = entries();
    let end = start.saturating_add(limit as usize).min(entries.len());
    let truncated = end < entries.len();
    let shown: Vec<Value> = entries.into_iter().take(end).skip(start).collect();
    let mut answer = json!({ member: shown, "Truncated": truncated });
    if truncated {
        answer["NextMarker"] = end.to_string().into();
    }
    Ok(answer)
}
