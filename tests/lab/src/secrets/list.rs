//! `ListSecrets` and `ListSecretVersionIds`.

use serde_json::{Value, json};

use super::store::{Secret, Version, seconds};
use super::{ApiError, invalid_parameter};
use crate::Lab;
use crate::api::{Call, Params};

/// "MaxResults: minimum 1, maximum 100."
const MOST: i64 = 100;

/// A secret without its value, as `ListSecrets` and `DescribeSecret` show it.
pub fn entry(secret: &Secret, region: &str) -> Value {
    let mut entry = json!({
        "ARN": secret.arn,
        "Name": secret.name,
        "RotationEnabled": false,
        "LastChangedDate": seconds(secret.changed),
        "CreatedDate": seconds(secret.created),
        "PrimaryRegion": region,
        "Tags": secret.tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect::<Vec<_>>(),
    });
    let optional = [
        ("Description", secret.description.clone().map(Value::from)),
        ("KmsKeyId", secret.kms_key.clone().map(Value::from)),
        ("OwningService", secret.owner.clone().map(Value::from)),
        ("LastAccessedDate", secret.accessed.map(seconds)),
        ("DeletedDate", secret.deleted.map(seconds)),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            entry[name] = value;
        }
    }
    entry
}

/// A page of `all`: the entries and the next token.
fn page<T>(p: &Params, all: Vec<T>) -> Result<(Vec<T>, Option<String>), ApiError> {
    let count = p.opt_int("MaxResults")?.unwrap_or(MOST);
    if !(1..=MOST).contains(&count) {
        return Err(invalid_parameter(format!(
            "Invalid MaxResults: {count}. It must be between 1 and {MOST}."
        )));
    }
    let start: usize = match p.opt("NextToken") {
        None => 0,
        Some(token) => token
            .strip_prefix("from-")
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| ApiError::new("InvalidNextTokenException", "Invalid NextToken"))?,
    };
    let next = start + count as usize;
    let token = (all.len() > next).then(|| format!("from-{next}"));
    let shown = all.into_iter().skip(start).take(count as usize).collect();
    Ok((shown, token))
}

/// Filters: each must hold; a value that begins with `!` excludes.
struct Filter {
    key: String,
    values: Vec<String>,
}

impl Filter {
    fn read(p: &Params) -> Result<Self, ApiError> {
        let key = p.str("Key")?;
        let known = [
            "name",
            "description",
            "tag-key",
            "tag-value",
            "primary-region",
            "owning-service",
        ];
        if !known.contains(&key.as_str()) {
            return Err(invalid_parameter(format!(
                "Invalid filter key: {key}. The lab has {}.",
                known.join(", ")
            )));
        }
        Ok(Self {
            key,
            values: p.list("Values"),
        })
    }

    fn matches(&self, secret: &Secret, region: &str) -> bool {
        let candidates: Vec<&str> = match self.key.as_str() {
            "name" => vec![&secret.name],
            "description" => secret.description.as_deref().into_iter().collect(),
            "tag-key" => secret.tags.iter().map(|(key, _)| key.as_str()).collect(),
            "tag-value" => secret
                .tags
                .iter()
                .map(|(_, value)| value.as_str())
                .collect(),
            "owning-service" => secret.owner.as_deref().into_iter().collect(),
            _ => vec![region],
        };
        // All are matched by their beginning; descriptions without regard to case.
        let begins = |candidate: &str, wanted: &str| {
            if self.key == "description" {
                candidate.to_lowercase().starts_with(&wanted.to_lowercase())
            } else {
                candidate.starts_with(wanted)
            }
        };
        self.values
            .iter()
            .any(|value| match value.strip_prefix('!') {
                Some(excluded) => !candidates.iter().any(|c| begins(c, excluded)),
                None => candidates.iter().any(|c| begins(c, value)),
            })
    }
}

/// `ListSecrets`.
pub fn secrets(lab: &Lab, call: &Call) -> Result<Value, ApiError> {
    let p = &call.params;
    let filters = p
        .structs("Filters")
        .iter()
        .map(Filter::read)
        .collect::<Result<Vec<_>, _>>()?;
    let marked = p.opt_bool("IncludePlannedDeletion")?.unwrap_or(false);
    let order = p.opt("SortOrder").unwrap_or_else(|| "desc".to_owned());
    let by = p.opt("SortBy").unwrap_or_else(|| "created-date".to_owned());
    page::<()>(p, Vec::new())?;
    p.finish()?;
    let mut found: Vec<Secret> = lab.secrets.with(&call.region, |region| {
        region
            .secrets
            .values()
            .filter(|secret| marked || secret.deleted.is_none())
            .filter(|secret| filters.iter().all(|f| f.matches(secret, &call.region)))
            .cloned()
            .collect()
    });
    match by.as_str() {
        "created-date" => found.sort_by_key(|secret| secret.created),
        "last-changed-date" => found.sort_by_key(|secret| secret.changed),
        "last-accessed-date" => found.sort_by_key(|secret| secret.accessed),
        "name" => found.sort_by(|a, b| a.name.cmp(&b.name)),
        other => return Err(invalid_parameter(format!("Invalid SortBy: {other}"))),
    }
    match order.as_str() {
        "asc" => {}
        "desc" => found.reverse(),
        other => return Err(invalid_parameter(format!("Invalid SortOrder: {other}"))),
    }
    let (shown, token) = page(p, found)?;
    let entries: Vec<Value> = shown
        .iter()
        .map(|secret| {
            let mut entry = entry(secret, &call.region);
            entry["SecretVersionsToStages"] = secret.stages_by_version();
            entry
        })
        .collect();
    let mut answer = json!({ "SecretList": entries });
    if let Some(token) = token {
        answer["NextToken"] = token.into();
    }
    Ok(answer)
}

/// `ListSecretVersionIds`.
pub fn versions(lab: &Lab, call: &Call) -> Result<Value, ApiError> {
    let p = &call.params;
    let id = p.str("SecretId")?;
    let deprecated = p.opt_bool("IncludeDeprecated")?.unwrap_or(false);
    page::<()>(p, Vec::new())?;
    p.finish()?;
    let secret = lab
        .secrets
        .with(&call.region, |region| region.find(&id).cloned())?;
    let mut found: Vec<(&String, &Version)> = secret
        .versions
        .iter()
        .filter(|(_, version)| deprecated || !version.stages.is_empty())
        .collect();
    found.sort_by_key(|(_, version)| std::cmp::Reverse(version.created));
    let (shown, token) = page(p, found)?;
    let entries: Vec<Value> = shown
        .into_iter()
        .map(|(id, version)| {
            let mut entry = json!({
                "VersionId": id,
                "CreatedDate": seconds(version.created),
            });
            // A deprecated version has no stages, and no empty list of them.
            if !version.stages.is_empty() {
                entry["VersionStages"] = json!(version.stages);
            }
            if let Some(at) = version.accessed {
                entry["LastAccessedDate"] = seconds(at);
            }
            entry
        })
        .collect();
    let mut answer = json!({ "ARN": secret.arn, "Name": secret.name, "Versions": entries });
    if let Some(token) = token {
        answer["NextToken"] = token.into();
    }
    Ok(answer)
}
