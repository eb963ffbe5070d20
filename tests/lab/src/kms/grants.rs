//! Grants: single operations for one principal, besides the key's policy.

use serde_json::{Value, json};

use super::{Grant, change, judged, not_found, page};
use crate::Lab;
use crate::api::{ApiError, Call};
use crate::iam::ACCOUNT;

/// Operations that a grant may name for a symmetric key (KMS API reference, `CreateGrant`).
const OPERATIONS: [&str; 10] = [
    "Decrypt",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyWithoutPlaintext",
    "ReEncryptFrom",
    "ReEncryptTo",
    "CreateGrant",
    "RetireGrant",
    "DescribeKey",
    "GenerateDataKeyPairWithoutPlaintext",
];

/// `CreateGrant`; the same again by name gives the same grant.
pub(super) fn create(lab: &Lab, call: &Call) -> Result<Value, ApiError> {
    let p = &call.params;
    let key = judged(lab, call)?;
    let grant = Grant {
        id: lab.ids.hex(64),
        name: p.opt("Name"),
        grantee: p.str("GranteePrincipal")?,
        retiring: p.opt("RetiringPrincipal"),
        operations: p.list("Operations"),
        made: lab.clock.now(),
    };
    p.finish()?;
    if !grant.grantee.starts_with("arn:") {
        return Err(ApiError::new(
            "InvalidArnException",
            format!("`{}` is not an ARN", grant.grantee),
        ));
    }
    let known = |name: &String| OPERATIONS.contains(&name.as_str());
    if grant.operations.is_empty() || !grant.operations.iter().all(known) {
        return Err(ApiError::new(
            "ValidationException",
            format!(
                "Operations must be one or more of {}",
                OPERATIONS.join(", ")
            ),
        ));
    }
    let id = change(lab, &call.region, &key.id, |key| {
        let same = |known: &&Grant| {
            known.name.is_some()
                && known.name == grant.name
                && known.grantee == grant.grantee
                && known.operations == grant.operations
        };
        if let Some(known) = key.grants.iter().find(same) {
            return known.id.clone();
        }
        let id = grant.id.clone();
        key.grants.push(grant);
        id
    });
    let id = id.ok_or_else(|| not_found(format!("Key {}", key.arn)))?;
    Ok(json!({ "GrantId": id, "GrantToken": lab.ids.hex(128) }))
}

pub(super) fn list(lab: &Lab, call: &Call) -> Result<Value, ApiError> {
    let key = judged(lab, call)?;
    let only = (
        call.params.opt("GrantId"),
        call.params.opt("GranteePrincipal"),
    );
    page(call, "Grants", 50, || {
        let grants = key.grants.iter().filter(|grant| {
            only.0.as_ref().is_none_or(|id| grant.id == *id)
                && only.1.as_ref().is_none_or(|who| grant.grantee == *who)
        });
        grants.map(|grant| show(&key.arn, grant)).collect()
    })
}

fn show(key: &str, grant: &Grant) -> Value {
    let mut shown = json!({
        "KeyId": key,
        "GrantId": grant.id,
        "CreationDate": grant.made.as_millisecond() as f64 / 1000.0,
        "GranteePrincipal": grant.grantee,
        "IssuingAccount": format!("arn:aws:iam::{ACCOUNT}:root"),
        "Operations": grant.operations,
    });
    if let Some(name) = &grant.name {
        shown["Name"] = name.clone().into();
    }
    if let Some(retiring) = &grant.retiring {
        shown["RetiringPrincipal"] = retiring.clone().into();
    }
    shown
}

pub(super) fn revoke(lab: &Lab, call: &Call) -> Result<Value, ApiError> {
    let key = judged(lab, call)?;
    let id = call.params.str("GrantId")?;
    call.params.finish()?;
    let removed = change(lab, &call.region, &key.id, |key| {
        let before = key.grants.len();
        key.grants.retain(|grant| grant.id != id);
        key.grants.len() < before
    });
    if removed == Some(true) {
        Ok(json!({}))
    } else {
        Err(not_found(format!("Grant ID {id}")))
    }
}
