//! `MM_<SECTION>_<KEY>` in the environment: wins over whatever is stored, and is never stored.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::defaults::{Document, get, set};

/// The `MM_` variables, and which of them name a setting.
#[derive(Clone, Default)]
pub(crate) struct Environment(BTreeMap<String, String>);

/// Names only: a value may be a secret.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Environment {
    /// From all variables of the process.
    pub(crate) fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(
            variables
                .into_iter()
                .filter(|(name, _)| name.starts_with("MM_"))
                .collect(),
        )
    }

    /// A variable by its name.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The document with the overrides applied.
    pub(crate) fn apply(&self, document: &Document) -> Document {
        let mut over = document.clone();
        for (section, key, value) in self.overrides(document) {
            set(&mut over, &section, &key, value);
        }
        over
    }

    /// `changed` without the overrides: each overridden setting has the value of `stored` again.
    pub(crate) fn remove(&self, changed: &Document, stored: &Document) -> Document {
        let mut under = changed.clone();
        for (section, key, _) in self.overrides(changed) {
            if let Some(value) = get(stored, &section, &key) {
                set(&mut under, &section, &key, value.clone());
            }
        }
        under
    }

    /// `{"Section": {"Key": true}}` for each overridden setting, as `GET /config/environment` answers.
    pub(crate) fn map(&self, document: &Document) -> Value {
        let mut map = Document::new();
        for (section, key, _) in self.overrides(document) {
            set(&mut map, &section, &key, Value::Bool(true));
        }
        Value::Object(map)
    }

    fn overrides(&self, document: &Document) -> Vec<(String, String, Value)> {
        let mut found = Vec::new();
        for (section, keys) in document {
            let Value::Object(keys) = keys else { continue };
            for (key, present) in keys {
                let name = format!(
                    "MM_{}_{}",
                    section.to_ascii_uppercase(),
                    key.to_ascii_uppercase()
                );
                let value = self.0.get(&name).and_then(|text| parse(text, present));
                if let Some(value) = value {
                    found.push((section.clone(), key.clone(), value));
                }
            }
        }
        found
    }
}

/// A text as a value of the setting's kind. One of the wrong kind is ignored, as the real server ignores it.
fn parse(text: &str, present: &Value) -> Option<Value> {
    match present {
        Value::Bool(_) => match text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(Value::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(Value::Bool(false)),
            _ => None,
        },
        Value::Number(_) => text.parse::<i64>().ok().map(Value::from),
        Value::Array(_) => Some(text.split(' ').map(Value::from).collect()),
        Value::Object(_) => serde_json::from_str::<Map<String, Value>>(text)
            .ok()
            .map(Value::Object),
        Value::String(_) | Value::Null => Some(Value::from(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::defaults::{complete, number, switch, text};
    use super::*;
    use crate::release::Version;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        Environment::new(
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        )
    }

    #[test]
    fn overrides_win_and_leave_no_trace() {
        let stored = complete(&Document::new(), Version::new(11, 10, 0));
        let environment = environment(&[
            ("MM_TEAMSETTINGS_SITENAME", "Ours"),
            ("MM_SQLSETTINGS_MAXOPENCONNS", "9"),
            ("MM_SQLSETTINGS_MAXIDLECONNS", "many"),
            ("MM_PLUGINSETTINGS_ENABLEUPLOADS", "true"),
            ("MM_SQLSETTINGS_DATASOURCEREPLICAS", "one two"),
            ("PATH", "/bin"),
        ]);
        let over = environment.apply(&stored);
        assert_eq!(text(&over, "TeamSettings", "SiteName"), "Ours");
        assert_eq!(number(&over, "SqlSettings", "MaxOpenConns"), 9);
        assert_eq!(number(&over, "SqlSettings", "MaxIdleConns"), 50);
        assert!(switch(&over, "PluginSettings", "EnableUploads"));
        assert_eq!(
            get(&over, "SqlSettings", "DataSourceReplicas").unwrap(),
            &serde_json::json!(["one", "two"])
        );
        assert_eq!(environment.remove(&over, &stored), stored);
        assert_eq!(
            environment.map(&stored),
            serde_json::json!({
                "TeamSettings": { "SiteName": true },
                "SqlSettings": { "DataSourceReplicas": true, "MaxOpenConns": true },
                "PluginSettings": { "EnableUploads": true },
            })
        );
        assert!(!format!("{environment:?}").contains("Ours"));
    }
}
