//! Keys: made, shown, switched off and on, deleted after a window, and their policies.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Key, KeyState, change, judge_own, judged, not_found, page};
use crate::Lab;
use crate::api::{ApiError, Call};
use crate::authorize::{self, Ask, Document, Guard, Of};
use crate::iam::ACCOUNT;

/// Without `PendingWindowInDays`.
const DEFAULT_WINDOW_DAYS: i64 = 30;

/// The policy of a key that is made without one (KMS developer guide, "Default key policy").
pub(super) fn default_policy() -> String {
    json!({
        "Version": "2012-10-17",
        "Id": "key-default-1",
        "Statement": [{
            "Sid": "Enable IAM User Permissions",
            "Effect": "Allow",
            "Principal": { "AWS": format!("arn:aws:iam::{ACCOUNT}:root") },
            "Action": "kms:*",
            "Resource": "*",
        }],
    })
    .to_string()
}

pub(super) fn new_key(
    lab: &Lab,
    region: &str,
    description: String,
    policy_text: String,
    policy: Document,
    managed: bool,
) -> Key {
    let id = lab.ids.uuid();
    Key {
        arn: format!("arn:aws:kms:{region}:{ACCOUNT}:key/{id}"),
        id,
        description,
        managed,
        state: KeyState::Enabled,
        deletion: None,
        made: lab.clock.now(),
        policy_text,
        policy: Arc::new(policy),
        grants: Vec::new(),
    }
}

fn seconds(at: jiff::Timestamp) -> Value {
    json!(at.as_millisecond() as f64 / 1000.0)
}

fn metadata(key: &Key) -> Value {
    let mut shown = json!({
        "AWSAccountId": ACCOUNT,
        "Arn": key.arn,
        "CreationDate": seconds(key.made),
        "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT",
        "Description": key.description,
        "Enabled": key.state == KeyState::Enabled,
        "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"],
        "KeyId": key.id,
        "KeyManager": if key.managed { "AWS" } else { "CUSTOMER" },
        "KeySpec": "SYMMETRIC_DEFAULT",
        "KeyState": key.state.name(),
        "KeyUsage": "ENCRYPT_DECRYPT",
        "MultiRegion": false,
        "Origin": "AWS_KMS",
    });
    if let Some(at) = key.deletion {
        shown["DeletionDate"] = seconds(at);
    }
    shown
}

/// `CreateKey`: a symmetric key for encryption; whatever else is asked for is refused.
pub(super) fn create(lab: &Lab, call: &Call) -> Result<Value, ApiError> {
    let p = &call.params;
    judge_own(lab, call, "*")?;
    let description = p.opt("Description").unwrap_or_default();
    let text = p.opt("Policy").unwrap_or_else(default_policy);
    let bypass = p
        .opt_bool("BypassPolicyLockoutSafetyCheck")?
        .unwrap_or(false);
    for (name, only) in [
        ("KeyUsage", "ENCRYPT_DECRYPT"),
        ("KeySpec", "SYMMETRIC_DEFAULT"),
        ("Origin", "AWS_KMS"),
    ] {
        if let Some(other) = p.opt(name).filter(|value| value != only) {
            return Err(ApiError::new(
                "UnsupportedOperationException",
                format!("{name} {other}: the lab has {only} only"),
            ));
        }
    }
    p.finish()?;
    let policy = authorize::parse(&text, Of::Resource)?;
    let key = new_key(lab, &call.region, description, text, policy, false);
    if !bypass {
        refuse_lockout(lab, call, &key.arn, &key.policy)?;
    }
    let shown = metadata(&key);
    lab.kms.with(&call.region, |state| {
        state.keys.insert(key.id.clone(), key);
    });
    Ok(json!({ "KeyMetadata": shown }))
}

pub(super) fn describe(lab: &Lab, call: &Call) -> Result<Value, ApiError> {
    let key = judged(lab, call)?;
    call.params.finish()?;
    Ok(json!({ "KeyMetadata": metadata(&key) }))
}

pub(super) fn list(lab: &Lab, call: &Call) -> Result<Value, ApiError> {
    judge_own(lab, call, "*")?;
    page(call, "Keys", 100, || {
        lab.kms.with(&call.region, |state| {
            let keys = state.keys.values();
            keys.map(|key| json!({ "KeyId": key.id, "KeyArn": key.arn }))
                .collect()
        })
    })
}

/// `EnableKey` and `DisableKey`.
pub(super) fn enable(lab: &Lab, call: &Call, to: KeyState) -> Result<Value, ApiError> {
    let key = judged(lab, call)?;
    call.params.finish()?;
    refuse_pending(&key)?;
    refuse_managed(&key)?;
    change(lab, &call.region, &key.id, |key| key.state = to);
    Ok(json!({}))
}

pub(super) fn schedule_deletion(lab: &Arc<Lab>, call: &Call) -> Result<Value, ApiError> {
    let days = call.params.opt_int("PendingWindowInDays")?;
    let days = days.unwrap_or(DEFAULT_WINDOW_DAYS);
    let key = judged(lab, call)?;
    call.params.finish()?;
    if !(7..=30).contains(&days) {
        return Err(ApiError::new(
            "ValidationException",
            format!("PendingWindowInDays must be between 7 and 30, not {days}"),
        ));
    }
    refuse_pending(&key)?;
    refuse_managed(&key)?;
    let window = Duration::from_secs(days.unsigned_abs() * 86_400);
    let now = lab.clock.now();
    let date = now.checked_add(window).unwrap_or(now);
    change(lab, &call.region, &key.id, |key| {
        key.state = KeyState::PendingDeletion;
        key.deletion = Some(date);
    });
    let (lab_, region, id) = (Arc::clone(lab), call.region.clone(), key.id);
    lab.spawn(async move {
        lab_.clock.sleep(window).await;
        lab_.kms.with(&region, |state| {
            if state
                .keys
                .get(&id)
                .is_some_and(|key| key.deletion == Some(date))
            {
                state.keys.remove(&id);
                state.aliases.retain(|_, alias| alias.key != id);
            }
        });
    });
    Ok(json!({
        "KeyId": key.arn,
        "DeletionDate": seconds(date),
        "KeyState": KeyState::PendingDeletion.name(),
        "PendingWindowInDays": days,
    }))
}

pub(super) fn cancel_deletion(lab: &Lab, call: &Call) -> Result<Value, ApiError> {
    let key = judged(lab, call)?;
    call.params.finish()?;
    if key.state != KeyState::PendingDeletion {
        return Err(ApiError::new(
            "KMSInvalidStateException",
            format!("{} is not pending deletion.", key.arn),
        ));
    }
    change(lab, &call.region, &key.id, |key| {
        // "When this operation succeeds, the key state of the KMS key is Disabled."
        key.state = KeyState::Disabled;
        key.deletion = None;
    });
    Ok(json!({ "KeyId": key.arn }))
}

pub(super) fn get_policy(lab: &Lab, call: &Call) -> Result<Value, ApiError> {
    policy_name(call)?;
    let key = judged(lab, call)?;
    call.params.finish()?;
    Ok(json!({ "Policy": key.policy_text, "PolicyName": "default" }))
}

pub(super) fn put_policy(lab: &Lab, call: &Call) -> Result<Value, ApiError> {
    policy_name(call)?;
    let text = call.params.str("Policy")?;
    let bypass = call.params.opt_bool("BypassPolicyLockoutSafetyCheck")?;
    let key = judged(lab, call)?;
    call.params.finish()?;
    refuse_managed(&key)?;
    let policy = authorize::parse(&text, Of::Resource)?;
    if bypass != Some(true) {
        refuse_lockout(lab, call, &key.arn, &policy)?;
    }
    change(lab, &call.region, &key.id, |key| {
        key.policy_text = text;
        key.policy = Arc::new(policy);
    });
    Ok(json!({}))
}

fn policy_name(call: &Call) -> Result<(), ApiError> {
    match call.params.opt("PolicyName").as_deref() {
        None | Some("default") => Ok(()),
        Some(other) => Err(not_found(format!("No such policy exists: {other}"))),
    }
}

/// A policy must let its author change it again.
fn refuse_lockout(lab: &Lab, call: &Call, arn: &str, policy: &Document) -> Result<(), ApiError> {
    let ask = Ask::new("kms:PutKeyPolicy", arn)
        .with("aws:RequestedRegion", &call.region)
        .with("aws:SecureTransport", "true")
        .with("kms:CallerAccount", ACCOUNT);
    let guard = Guard::Key {
        policy,
        granted: false,
    };
    authorize::judge(lab, Some(&call.caller), &ask, guard).map_err(|_| {
        ApiError::new(
            "MalformedPolicyDocumentException",
            "The new key policy will not allow you to update the key policy in the future.",
        )
    })
}

fn refuse_pending(key: &Key) -> Result<(), ApiError> {
    if key.state == KeyState::PendingDeletion {
        return Err(ApiError::new(
            "KMSInvalidStateException",
            format!("{} is pending deletion.", key.arn),
        ));
    }
    Ok(())
}

fn refuse_managed(key: &Key) -> Result<(), ApiError> {
    if key.managed {
        let message = format!("{} is managed by AWS and cannot be changed.", key.arn);
        return Err(ApiError::new("AccessDenied", message));
    }
    Ok(())
}
