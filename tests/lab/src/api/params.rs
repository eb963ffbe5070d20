//! Parameters of a call, from whichever protocol, with every read recorded.
//!
//! A handler reads what it implements and then calls [`Params::finish`]; anything that was sent but
//! not read becomes an error, so that an unimplemented option is refused instead of ignored.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::ApiError;

/// Wrapper names of RDS's lists, as its model spells them (`Filters.Filter.1`); `member` is
/// everybody else's. EC2 has none.
const WRAPPERS: [&str; 14] = [
    "member",
    "Filter",
    "Value",
    "VpcSecurityGroupId",
    "Parameter",
    "Tag",
    "SubnetIdentifier",
    "AvailabilityZone",
    "DBSecurityGroupName",
    "ProcessorFeature",
    "AttributeValue",
    "EventCategory",
    "SourceId",
    "DBInstanceIdentifier",
];

/// The parameters of a call, or a structure inside them.
#[derive(Clone, Debug)]
pub struct Params {
    value: Value,
    path: String,
    root: Arc<Value>,
    read: Arc<Mutex<BTreeSet<String>>>,
}

impl Params {
    /// From an already structured body (JSON, CBOR).
    pub fn from_value(value: Value) -> Self {
        Self {
            root: Arc::new(value.clone()),
            value,
            path: String::new(),
            read: Arc::default(),
        }
    }

    /// From form fields: `A.B.1.C=x` becomes `{"A":{"B":[{"C":"x"}]}}`; list wrappers vanish when
    /// the protocol has them.
    pub fn from_form(fields: impl IntoIterator<Item = (String, String)>, wrappers: bool) -> Self {
        let mut root = Value::Object(Map::new());
        for (key, text) in fields {
            if key == "Action" || key == "Version" {
                continue;
            }
            let mut at = &mut root;
            for part in key.split('.') {
                if !at.is_object() {
                    *at = Value::Object(Map::new());
                }
                at = at
                    .as_object_mut()
                    .expect("made an object above")
                    .entry(part)
                    .or_insert(Value::Null);
            }
            *at = Value::String(text);
        }
        let Value::Object(map) = root else {
            return Self::from_value(root);
        };
        Self::from_value(Value::Object(
            map.into_iter()
                .map(|(key, inner)| (key, fold(inner, wrappers)))
                .collect(),
        ))
    }

    /// The same parameters with reads of their own, for whoever looks at a call that is not theirs to
    /// carry out.
    #[must_use]
    pub fn unread(&self) -> Self {
        Self::from_value(self.value.clone())
    }

    fn key(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    fn mark(&self, key: String) {
        self.read
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key);
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.mark(self.key(name));
        self.value.get(name).filter(|value| !value.is_null())
    }

    /// Whether the parameter was sent (does not count as reading it).
    pub fn has(&self, name: &str) -> bool {
        self.value.get(name).is_some_and(|value| !value.is_null())
    }

    /// A string, when sent. Numbers and booleans are given as text.
    pub fn opt(&self, name: &str) -> Option<String> {
        self.get(name).and_then(text)
    }

    /// A string, when sent and not empty: where EC2 takes an empty one for none, as Packer sends it.
    pub fn given(&self, name: &str) -> Option<String> {
        self.opt(name).filter(|text| !text.is_empty())
    }

    /// A string that must be there.
    pub fn str(&self, name: &str) -> Result<String, ApiError> {
        self.opt(name)
            .ok_or_else(|| ApiError::missing(&self.key(name)))
    }

    /// An integer, when sent.
    pub fn opt_int(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.parsed(name, "It must be a whole number.")
    }

    /// An integer that must be there.
    pub fn int(&self, name: &str) -> Result<i64, ApiError> {
        self.opt_int(name)?
            .ok_or_else(|| ApiError::missing(&self.key(name)))
    }

    /// A number, when sent.
    pub fn opt_float(&self, name: &str) -> Result<Option<f64>, ApiError> {
        self.parsed(name, "It must be a number.")
    }

    /// A boolean, when sent.
    pub fn opt_bool(&self, name: &str) -> Result<Option<bool>, ApiError> {
        self.parsed(name, "It must be true or false.")
    }

    /// A time-stamp, when sent: ISO 8601, or seconds since 1970 (JSON, CBOR).
    pub fn opt_time(&self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        let Some(text) = self.opt(name) else {
            return Ok(None);
        };
        let parsed = text.parse::<Timestamp>().ok().or_else(|| {
            let seconds = text.parse::<f64>().ok()?;
            Timestamp::from_millisecond((seconds * 1000.0) as i64).ok()
        });
        parsed.map(Some).ok_or_else(|| {
            ApiError::invalid_value(&self.key(name), &text, "It must be a time-stamp.")
        })
    }

    fn parsed<T: std::str::FromStr>(&self, name: &str, why: &str) -> Result<Option<T>, ApiError> {
        match self.opt(name) {
            None => Ok(None),
            Some(text) => text
                .parse()
                .map(Some)
                .map_err(|_| ApiError::invalid_value(&self.key(name), &text, why)),
        }
    }

    /// A list of strings; empty when not sent. For EC2 name the flattened list (`InstanceId`), for
    /// the others the list without its wrapper (`InstanceIds`). awsQuery sends an empty list as the
    /// list's name with nothing behind it (`InstanceIds=`): that is empty, not one empty string.
    pub fn list(&self, name: &str) -> Vec<String> {
        match self.get(name) {
            Some(Value::Array(items)) => items.iter().filter_map(text).collect(),
            Some(other) if is_empty_list(other) => Vec::new(),
            Some(other) => text(other).into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// A list of structures; empty when not sent, or sent empty as in [`Params::list`].
    pub fn structs(&self, name: &str) -> Vec<Self> {
        let key = self.key(name);
        match self.value.get(name) {
            Some(other) if is_empty_list(other) => {
                self.mark(key);
                Vec::new()
            }
            Some(Value::Array(items)) => items
                .iter()
                .enumerate()
                .map(|(index, item)| self.at(item.clone(), format!("{key}.{}", index + 1)))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// A structure, when sent.
    pub fn sub(&self, name: &str) -> Option<Self> {
        self.value
            .get(name)
            .filter(|value| value.is_object())
            .map(|value| self.at(value.clone(), self.key(name)))
    }

    /// A map of strings (JSON protocols), when sent.
    pub fn raw(&self, name: &str) -> Option<Value> {
        self.get(name).cloned()
    }

    fn at(&self, value: Value, path: String) -> Self {
        Self {
            value,
            path,
            root: Arc::clone(&self.root),
            read: Arc::clone(&self.read),
        }
    }

    /// Declares a parameter as understood and without consequence in the lab (for example
    /// `ClientToken` where idempotency is by name). Use sparingly; each use is in the docs' table.
    pub fn accept(&self, names: &[&str]) {
        for name in names {
            self.mark(self.key(name));
        }
    }

    /// Refuses the call when anything was sent that no read asked for. Call it before the first effect.
    pub fn finish(&self) -> Result<(), ApiError> {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let mut leaves = Vec::new();
        leaf_paths(&self.root, String::new(), &mut leaves);
        let unread = leaves.into_iter().find(|leaf| !covered(leaf, &read));
        match unread {
            None => Ok(()),
            Some(name) => {
                log::error!("the lab does not implement parameter `{name}`");
                Err(ApiError::new(
                    "UnknownParameter",
                    format!("The parameter {name} is not recognized"),
                ))
            }
        }
    }
}

/// What awsQuery sends for an empty list: its name, and no text.
fn is_empty_list(value: &Value) -> bool {
    value.as_str().is_some_and(str::is_empty)
}

fn covered(leaf: &str, read: &BTreeSet<String>) -> bool {
    let mut end = leaf.len();
    loop {
        if read.contains(&leaf[..end]) {
            return true;
        }
        match leaf[..end].rfind('.') {
            Some(dot) => end = dot,
            None => return false,
        }
    }
}

fn leaf_paths(value: &Value, path: String, out: &mut Vec<String>) {
    let join = |part: &str| {
        if path.is_empty() {
            part.to_owned()
        } else {
            format!("{path}.{part}")
        }
    };
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                leaf_paths(inner, join(key), out);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (index, inner) in items.iter().enumerate() {
                leaf_paths(inner, join(&(index + 1).to_string()), out);
            }
        }
        Value::Null => {}
        _ => out.push(path),
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// Objects whose keys are all numbers become lists; wrappers around such a list vanish.
fn fold(value: Value, wrappers: bool) -> Value {
    let Value::Object(map) = value else {
        return value;
    };
    let map: Map<String, Value> = map
        .into_iter()
        .map(|(key, inner)| (key, fold(inner, wrappers)))
        .collect();
    if !map.is_empty() && map.keys().all(|key| key.parse::<u32>().is_ok()) {
        let mut items: Vec<(u32, Value)> = map
            .into_iter()
            .map(|(key, inner)| (key.parse().expect("checked above"), inner))
            .collect();
        items.sort_by_key(|(index, _)| *index);
        return Value::Array(items.into_iter().map(|(_, inner)| inner).collect());
    }
    if wrappers && map.len() == 1 {
        let (key, inner) = map.iter().next().expect("one entry");
        if inner.is_array() && WRAPPERS.contains(&key.as_str()) {
            return inner.clone();
        }
    }
    Value::Object(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(pairs: &[(&str, &str)]) -> Params {
        Params::from_form(
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned())),
            true,
        )
    }

    #[test]
    fn lists_and_structures_unfold() {
        let p = form(&[
            ("Action", "X"),
            ("Filter.1.Name", "vpc-id"),
            ("Filter.1.Value.1", "vpc-1"),
            ("Filter.1.Value.2", "vpc-2"),
            ("Names.member.2", "b"),
            ("Names.member.1", "a"),
        ]);
        let filter = &p.structs("Filter")[0];
        assert_eq!(filter.str("Name").unwrap(), "vpc-id");
        assert_eq!(filter.list("Value"), ["vpc-1", "vpc-2"]);
        assert_eq!(p.list("Names"), ["a", "b"]);
        p.finish().unwrap();
    }

    #[test]
    fn a_list_that_is_sent_empty_is_empty() {
        let p = form(&[
            ("Tags", ""),
            ("Names", ""),
            ("Filters.member.1.Name", "a"),
            ("Filters.member.1.Values", ""),
        ]);
        assert!(p.structs("Tags").is_empty());
        assert!(p.list("Names").is_empty());
        assert!(p.structs("Filters")[0].list("Values").is_empty());
        assert_eq!(p.structs("Filters")[0].opt("Name").as_deref(), Some("a"));
        p.finish().unwrap();
        let unread = form(&[("Tags", "")]);
        assert_eq!(unread.finish().unwrap_err().code, "UnknownParameter");
    }

    #[test]
    fn what_is_not_read_is_refused() {
        let p = form(&[("InstanceId.1", "i-1"), ("Hibernate", "true")]);
        assert_eq!(p.list("InstanceId"), ["i-1"]);
        assert_eq!(p.finish().unwrap_err().code, "UnknownParameter");
    }

    #[test]
    fn numbers_that_are_none_are_named() {
        let p = form(&[("MaxResults", "many")]);
        let error = p.opt_int("MaxResults").unwrap_err();
        assert_eq!(error.code, "InvalidParameterValue");
        assert!(error.message.contains("MaxResults") && error.message.contains("many"));
    }
}
