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

/// Ends of names that say it besides in a value of JSON and in the query of an address.
const MEMBER_ENDS: [&str; 5] = ["PWD", "PASSWD", "PASSPHRASE", "CREDENTIAL", "CREDENTIALS"];

/// Whether the last part of the key names a secret. The section does not count:
/// `MM_PASSWORDSETTINGS_MINIMUMLENGTH` is none.
pub(super) fn looks_secret(key: &str) -> bool {
    let name = key
        .strip_prefix("MM_")
        .and_then(|rest| rest.split_once('_'))
        .map_or(key, |(_, name)| name);
    name.contains("SECRET") || ENDS.iter().any(|end| name.ends_with(end))
}

/// Whether the value of a setting holds a secret, whatever the setting's name: the login of an address, a
/// parameter of its query that is named as one, or, in a value of JSON (`MM_PLUGINSETTINGS_PLUGINS`), such a
/// key. A text in JSON that is JSON itself is looked into, too.
pub(super) fn holds_secret(value: &str) -> bool {
    has_login(value)
        || has_secret_parameter(value)
        || serde_json::from_str::<Value>(value).is_ok_and(|value| member_is_secret(&value))
}

fn member_is_secret(value: &Value) -> bool {
    match value {
        Value::Object(members) => members
            .iter()
            .any(|(key, value)| is_secret_member(key, value) || member_is_secret(value)),
        Value::Array(items) => items.iter().any(member_is_secret),
        Value::String(text) => holds_secret(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// `"ClientSecret": "…"`, `"apiKeys": ["…"]`; not `"EnableSecret": true`, nor one that is left empty.
fn is_secret_member(key: &str, value: &Value) -> bool {
    if let Value::Array(items) = value {
        let one = key.strip_suffix(['s', 'S']).unwrap_or(key);
        let named = is_secret_name(key) || is_secret_name(one);
        return named && items.iter().any(|item| item.is_string() && is_filled(item));
    }
    is_filled(value) && is_secret_name(key)
}

fn is_filled(value: &Value) -> bool {
    let is_switch = |text: &str| matches!(text, "" | "true" | "false");
    value.as_str().is_some_and(|text| !is_switch(text)) || value.is_number()
}

/// Of a member of JSON, or of a parameter.
fn is_secret_name(name: &str) -> bool {
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let name = name.to_ascii_uppercase();
    looks_secret(&name) || MEMBER_ENDS.iter().any(|end| name.ends_with(end))
}

/// `https://host/path?token=…`, also behind a `#`; the name `key` alone counts here, too.
fn has_secret_parameter(text: &str) -> bool {
    text.split("://").skip(1).any(|rest| {
        let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>');
        let address = rest.split(ends).next().unwrap_or_default();
        let mut parameters = address.split(['?', '#', '&', ';']).skip(1);
        parameters.any(|parameter| {
            parameter.split_once('=').is_some_and(|(name, value)| {
                !value.is_empty() && (name.eq_ignore_ascii_case("key") || is_secret_name(name))
            })
        })
    })
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
    login || has_secret_parameter(value) || named.into_iter().any(|word| path.contains(word))
}

#[cfg(test)]
mod tests {
    use super::holds_secret;

    #[test]
    fn a_secret_is_found_however_deep_it_lies() {
        for value in [
            r#"{"a": {"config": "{\"services\":[{\"apiKey\":\"sk-1\"}]}"}}"#,
            r#"{"a": {"list": "[{\"Secret\":\"x\"}]"}}"#,
            r#"{"a": {"db_pwd": "x"}}"#,
            r#"{"a": {"Passphrase": "x"}}"#,
            r#"{"a": {"smtpPasswd": "x"}}"#,
            r#"{"a": {"credential": "x"}}"#,
            r#"{"a": {"aws-credentials": "x"}}"#,
            r#"{"a": {"hook": "https://a.example/hook?channel=1&token=x"}}"#,
            "https://a.example/?key=x",
            "see https://a.example/?client_secret=x#top",
            "https://a.example/hook?Password=x",
            "https://a.example/path#token=x",
            "https://a.example/#/open?access_token=x",
            r#"{"a": {"apiKeys": ["x"]}}"#,
            r#"{"a": {"tokens": ["", "x"], "keys": []}}"#,
            r#"{"a": {"client-secrets": ["x"]}}"#,
        ] {
            assert!(holds_secret(value), "{value}");
        }
    }

    #[test]
    fn what_is_only_named_like_one_passes() {
        for value in [
            r#"{"com.mattermost.calls": {"Enable": true}, "jira": {"Enable": false}}"#,
            r#"{"a": {"EnableSecret": true, "Secret": "", "allowcredentials": "false"}}"#,
            r#"{"a": {"config": "{\"services\":[{\"name\":\"a\",\"apiKey\":\"\"}]}"}}"#,
            r#"{"a": {"text": "{not JSON, token=1}"}}"#,
            r#"{"a": {"keyboard": "x", "keys": "x", "tokens": 5}}"#,
            "https://docs.mattermost.com/?lang=de&keyword=password",
            "https://a.example/reset-password?next=/token",
            "https://a.example/?token=",
            "https://a.example/path#token-is-a-heading",
            "https://a.example/path#a=token",
            r#"{"a": {"apiKeys": [], "tokens": [""], "keys": ["x"], "tokenNames": ["x"]}}"#,
            "token=1 without an address",
            "",
        ] {
            assert!(!holds_secret(value), "{value}");
        }
    }
}
