//! Aliases: names of keys that can be moved.

use serde_json::{Value, json};

use super::{Alias, judge_own, judged, not_found, page};
use crate::Lab;
use crate::api::{ApiError, Call};
use crate::iam::ACCOUNT;

fn arn(call: &Call, name: &str) -> String {
    format!("arn:aws:kms:{}:{ACCOUNT}:{name}", call.region)
}

/// `CreateAlias`: allowed on the alias and on the key.
pub(super) fn create(lab: &Lab, call: &Call) -> Result<Value, ApiError> {
    let name = call.params.str("AliasName")?;
    let target = call.params.str("TargetKeyId")?;
    call.params.finish()?;
    let good = name.strip_prefix("alias/").is_some_and(|rest| {
        let allowed = |letter: char| letter.is_ascii_alphanumeric() || "/_-".contains(letter);
        !rest.is_empty() && rest.len() <= 250 && rest.chars().all(allowed)
    });
    if !good || name.starts_with("alias/aws/") {
        return Err(ApiError::new(
            "InvalidAliasNameException",
            format!(
                "`{name}` must begin with alias/, not with alias/aws/, and have letters, digits, / _ - only"
            ),
        ));
    }
    judge_own(lab, call, &arn(call, &name))?;
    let made = lab.clock.now();
    lab.kms.with(&call.region, |state| {
        let Some(key) = state.find(&call.region, &target).map(|key| key.id.clone()) else {
            return Err(not_found(format!(
                "Key '{}'",
                arn(call, &format!("key/{target}"))
            )));
        };
        if state.aliases.contains_key(&name) {
            return Err(ApiError::new(
                "AlreadyExistsException",
                format!("An alias with the name {} already exists", arn(call, &name)),
            ));
        }
        state.aliases.insert(name.clone(), Alias { key, made });
        Ok(json!({}))
    })
}

pub(super) fn delete(lab: &Lab, call: &Call) -> Result<Value, ApiError> {
    let name = call.params.str("AliasName")?;
    call.params.finish()?;
    judge_own(lab, call, &arn(call, &name))?;
    lab.kms.with(&call.region, |state| {
        let removed = state.aliases.remove(&name);
        removed
            .map(|_| json!({}))
            .ok_or_else(|| not_found(format!("Alias {}", arn(call, &name))))
    })
}

/// `ListAliases`: all, or those of a key.
pub(super) fn list(lab: &Lab, call: &Call) -> Result<Value, ApiError> {
    let of = if call.params.has("KeyId") {
        Some(judged(lab, call)?.id)
    } else {
        judge_own(lab, call, "*")?;
        None
    };
    page(call, "Aliases", 50, || {
        lab.kms.with(&call.region, |state| {
            let aliases = state.aliases.iter();
            aliases
                .filter(|(_, alias)| of.as_ref().is_none_or(|id| alias.key == *id))
                .map(|(name, alias)| {
                    let made = alias.made.as_millisecond() as f64 / 1000.0;
                    json!({
                        "AliasName": name,
                        "AliasArn": arn(call, name),
                        "TargetKeyId": alias.key,
                        "CreationDate": made,
                        "LastUpdatedDate": made,
                    })
                })
                .collect()
        })
    })
}
