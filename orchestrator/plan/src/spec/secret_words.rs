//! What is taken for a secret by its name or its form.

use serde_json::Value;

/// Ends of keys that hold secrets.
const ENDS: [&str; 8] = [
    "PASSWORD",
    "SALT",
    "ENCRYPTKEY",
    "ACCESSKEY",
    "DEVELOPERKEY",
    "PRIVATEKEY",
    "TOKEN",
    "APIKEY",
];

/// Whether the last part of the key names a secret. The section does not count:
/// `MM_PASSWORDSETTINGS_MINIMUMLENGTH` is none.
pub(super) fn looks_secret(key: &str) -> bool {
    let name = key
        .strip_prefix("MM_")
        .and_then(|rest| rest.split_once('_'))
        .map_or(key, |(_, name)| name);
    name.contains("SECRET") || ENDS.iter().any(|end| name.ends_with(end))
}

/// Whether the value of a setting holds a secret, whatever the setting's name: the login of an address, or,
/// in a value of JSON (`MM_PLUGINSETTINGS_PLUGINS`), a key that is named as one.
pub(super) fn holds_secret(value: &str) -> bool {
    has_login(value)
        || serde_json::from_str::<Value>(value).is_ok_and(|value| member_is_secret(&value))
}

fn member_is_secret(value: &Value) -> bool {
    match value {
        Value::Object(members) => members
            .iter()
            .any(|(key, value)| is_secret_member(key, value) || member_is_secret(value)),
        Value::Array(items) => items.iter().any(member_is_secret),
        Value::String(text) => has_login(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// `"ClientSecret": "…"`; not `"EnableSecret": true`, nor one that is left empty.
fn is_secret_member(key: &str, value: &Value) -> bool {
    let name: String = key.chars().filter(char::is_ascii_alphanumeric).collect();
    let filled = value.as_str().is_some_and(|text| !text.is_empty()) || value.is_number();
    filled && looks_secret(&name.to_ascii_uppercase())
}

/// `https://user:password@host`, also `https://token@host`.
fn has_login(text: &str) -> bool {
    text.split("://").skip(1).any(|rest| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        authority.contains('@')
    })
}

/// Whether a secret may stand here, by where it stands or by its form. A valid reference is none, but what is
/// shown is shown because something is wrong: what was meant for a reference may be the secret itself.
pub(super) fn may_be_secret(path: &str, value: &str) -> bool {
    let path = path.to_ascii_uppercase().replace('_', "");
    let named = ENDS
        .iter()
        .chain(&["SECRET", "PASSWD", "PRIVATE", "DATASOURCE"]);
    // A password may hold a `/`: what is shown is judged more strictly than what is taken.
    let mut behind_scheme = value.split("://").skip(1);
    let login = behind_scheme.any(|rest| rest.contains('@'));
    login || named.into_iter().any(|word| path.contains(word))
}
