//! Policy documents, read strictly: whatever the lab would not judge as AWS does is refused.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::condition::Condition;
use super::pattern;
use crate::api::ApiError;
use crate::wildcard;

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Document {
    pub statements: Vec<Statement>,
}

/// One statement of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    pub sid: Option<String>,
    pub effect: Effect,
    pub actions: Selector,
    /// Everything, in a trust policy.
    pub resources: Selector,
    /// None in a policy of an identity.
    pub principals: Vec<Principal>,
    pub conditions: Vec<Condition>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Allow,
    Deny,
}

/// `Action` or `NotAction`, `Resource` or `NotResource`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selector {
    Only(Vec<String>),
    Except(Vec<String>),
}

impl Selector {
    /// Names of actions are compared without regard to case.
    pub(super) fn selects_action(&self, action: &str) -> bool {
        let action = action.to_ascii_lowercase();
        self.selects(|wanted| wildcard::matches(&wanted.to_ascii_lowercase(), &action))
    }

    pub(super) fn selects_resource(&self, resource: &str) -> bool {
        self.selects(|wanted| pattern::arn_matches(wanted, resource))
    }

    /// The entries that none of these actions is like.
    pub(crate) fn unlike(&self, actions: &BTreeSet<&String>) -> Vec<&String> {
        let entries = self.entries();
        let like = |entry: &String| {
            let entry = entry.to_ascii_lowercase();
            let mut actions = actions.iter();
            actions.any(|action| wildcard::matches(&entry, &action.to_ascii_lowercase()))
        };
        entries.iter().filter(|entry| !like(entry)).collect()
    }

    /// All entries, chosen or excepted.
    pub(crate) fn entries(&self) -> &[String] {
        match self {
            Self::Only(entries) | Self::Except(entries) => entries,
        }
    }

    fn selects(&self, matches: impl Fn(&String) -> bool) -> bool {
        match self {
            Self::Only(wanted) => wanted.iter().any(matches),
            Self::Except(unwanted) => !unwanted.iter().any(matches),
        }
    }
}

/// Whom a trust policy speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Principal {
    /// An ARN, an account's number, or `*`.
    Aws(String),
    /// For example `ec2.amazonaws.com`.
    Service(String),
}

/// Which kind of policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    /// It allows its bearer to do something to resources.
    Identity,
    /// It says who may take a role.
    Trust,
    /// It lies with a bucket or a key and says who may do what to it.
    Resource,
}

/// Reads a document; the error is IAM's `MalformedPolicyDocument`, which names what is wrong and where.
pub(crate) fn parse(text: &str, of: Of) -> Result<Document, ApiError> {
    read(text, of).map_err(|what| ApiError::new("MalformedPolicyDocument", what))
}

fn read(text: &str, of: Of) -> Result<Document, String> {
    let value: Value =
        serde_json::from_str(text).map_err(|error| format!("the policy is not JSON: {error}"))?;
    let Value::Object(document) = value else {
        return Err("a policy is a JSON object".to_owned());
    };
    only(&document, &["Version", "Id", "Statement"], "the policy")?;
    if document.get("Version").and_then(Value::as_str) != Some("2012-10-17") {
        return Err("`Version` must be \"2012-10-17\": the lab has no older one".to_owned());
    }
    let statements = match document.get("Statement") {
        Some(Value::Array(statements)) => statements.clone(),
        Some(one @ Value::Object(_)) => vec![one.clone()],
        _ => return Err("`Statement` must be a statement or a list of them".to_owned()),
    };
    if statements.is_empty() {
        return Err("`Statement` is empty".to_owned());
    }
    let statements: Vec<Statement> = statements
        .iter()
        .enumerate()
        .map(|(number, value)| {
            statement(value, of).map_err(|what| format!("statement {}: {what}", number + 1))
        })
        .collect::<Result<_, _>>()?;
    let mut sids: Vec<&String> = statements.iter().filter_map(|it| it.sid.as_ref()).collect();
    let all = sids.len();
    sids.sort();
    sids.dedup();
    if sids.len() != all {
        return Err("Statement IDs (SID) in a single policy must be unique".to_owned());
    }
    Ok(Document { statements })
}

fn statement(value: &Value, of: Of) -> Result<Statement, String> {
    let Value::Object(map) = value else {
        return Err("it is not a JSON object".to_owned());
    };
    let mut known = vec!["Sid", "Effect", "Action", "NotAction", "Condition"];
    known.extend(match of {
        Of::Identity => &["Resource", "NotResource"][..],
        Of::Trust => &["Principal"][..],
        Of::Resource => &["Principal", "Resource", "NotResource"][..],
    });
    only(map, &known, "it")?;
    let sid = map.get("Sid").and_then(Value::as_str).map(str::to_owned);
    if let Some(sid) = &sid
        && of != Of::Resource
        && !sid.chars().all(|letter| letter.is_ascii_alphanumeric())
    {
        return Err(format!("`Sid` `{sid}` may have letters and digits only"));
    }
    let effect = match map.get("Effect").and_then(Value::as_str) {
        Some("Allow") => Effect::Allow,
        Some("Deny") => Effect::Deny,
        _ => return Err("`Effect` must be Allow or Deny".to_owned()),
    };
    let actions = selector(map, "Action", "NotAction", action)?;
    let (resources, principals) = match of {
        Of::Identity => (
            selector(map, "Resource", "NotResource", resource)?,
            Vec::new(),
        ),
        Of::Trust => (Selector::Only(vec!["*".to_owned()]), principals(map)?),
        Of::Resource => (
            selector(map, "Resource", "NotResource", resource)?,
            principals(map)?,
        ),
    };
    Ok(Statement {
        sid,
        effect,
        actions,
        resources,
        principals,
        conditions: conditions(map)?,
    })
}

fn only(map: &Map<String, Value>, known: &[&str], what: &str) -> Result<(), String> {
    match map.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(format!(
            "{what} has `{key}`; known here are {}",
            known.join(", ")
        )),
        None => Ok(()),
    }
}

fn selector(
    map: &Map<String, Value>,
    name: &str,
    inverse: &str,
    check: fn(&str) -> Result<(), String>,
) -> Result<Selector, String> {
    let (entries, selector): (_, fn(Vec<String>) -> Selector) =
        match (map.get(name), map.get(inverse)) {
            (Some(value), None) => (texts(value)?, Selector::Only),
            (None, Some(value)) => (texts(value)?, Selector::Except),
            _ => return Err(format!("it must have either `{name}` or `{inverse}`")),
        };
    entries.iter().try_for_each(|entry| check(entry))?;
    Ok(selector(entries))
}

fn action(text: &str) -> Result<(), String> {
    let plain = |part: &str, more: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || more.contains(letter))
    };
    let good = text == "*"
        || text
            .split_once(':')
            .is_some_and(|(service, action)| plain(service, "-") && plain(action, "*?"));
    if good {
        Ok(())
    } else {
        Err(format!(
            "action `{text}` is not of the form `service:Action`"
        ))
    }
}

fn resource(text: &str) -> Result<(), String> {
    if text.contains("${") {
        return Err(format!("`{text}`: the lab has no policy variables"));
    }
    if text == "*" || (text.starts_with("arn:") && text.splitn(6, ':').count() == 6) {
        return Ok(());
    }
    Err(format!("resource `{text}` must be in ARN format or \"*\""))
}

fn principals(map: &Map<String, Value>) -> Result<Vec<Principal>, String> {
    let Some(value) = map.get("Principal") else {
        return Err("it must have `Principal`".to_owned());
    };
    let kinds = match value {
        Value::String(all) if all == "*" => return Ok(vec![Principal::Aws("*".to_owned())]),
        Value::Object(kinds) => kinds,
        _ => return Err("`Principal` must be \"*\" or an object".to_owned()),
    };
    let mut found = Vec::new();
    for (kind, value) in kinds {
        let make: fn(String) -> Principal = match kind.as_str() {
            "AWS" => Principal::Aws,
            "Service" => Principal::Service,
            _ => {
                return Err(format!(
                    "principals of kind `{kind}`: the lab knows AWS and Service"
                ));
            }
        };
        found.extend(texts(value)?.into_iter().map(make));
    }
    Ok(found)
}

fn conditions(map: &Map<String, Value>) -> Result<Vec<Condition>, String> {
    let operators = match map.get("Condition") {
        None => return Ok(Vec::new()),
        Some(Value::Object(operators)) => operators,
        Some(_) => return Err("`Condition` must be an object".to_owned()),
    };
    let mut found = Vec::new();
    for (operator, keys) in operators {
        let Value::Object(keys) = keys else {
            return Err(format!("`{operator}` must be an object of keys and values"));
        };
        for (key, values) in keys {
            found.push(Condition::parse(operator, key, texts(values)?)?);
        }
    }
    Ok(found)
}

/// A text or a list of them; booleans as text.
fn texts(value: &Value) -> Result<Vec<String>, String> {
    let one = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(flag) => Ok(flag.to_string()),
        other => Err(format!("`{other}` must be a text")),
    };
    match value {
        Value::Array(values) if values.is_empty() => Err("a list must not be empty".to_owned()),
        Value::Array(values) => values.iter().map(one).collect(),
        other => one(other).map(|text| vec![text]),
    }
}
