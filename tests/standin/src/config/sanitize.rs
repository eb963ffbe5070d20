//! Secrets in what the API shows: replaced by stars, and put back when the stars come in again.

use serde_json::Value;

use super::defaults::{Document, get, set, text};

/// What stands for a secret.
const FAKE: &str = "********************************";

/// Secret settings, and whether an empty one is hidden as well.
const SECRETS: [(&str, &str, bool); 8] = [
    ("LdapSettings", "BindPassword", false),
    ("FileSettings", "PublicLinkSalt", true),
    ("FileSettings", "AmazonS3SecretAccessKey", false),
    ("EmailSettings", "InviteSalt", true),
    ("EmailSettings", "SMTPPassword", false),
    ("GitLabSettings", "Secret", false),
    ("SqlSettings", "DataSource", true),
    ("SqlSettings", "AtRestEncryptKey", true),
];

/// Lists of data sources: each member is secret.
const SECRET_LISTS: [(&str, &str); 2] = [
    ("SqlSettings", "DataSourceReplicas"),
    ("SqlSettings", "DataSourceSearchReplicas"),
];

/// The document with stars for its secrets.
pub(crate) fn sanitized(document: &Document) -> Document {
    let mut shown = document.clone();
    for (section, key, always) in SECRETS {
        if always || !text(document, section, key).is_empty() {
            set(&mut shown, section, key, FAKE.into());
        }
    }
    for (section, key) in SECRET_LISTS {
        if let Some(Value::Array(list)) = get(document, section, key) {
            let stars = vec![Value::from(FAKE); list.len()];
            set(&mut shown, section, key, Value::Array(stars));
        }
    }
    shown
}

/// Puts `actual`'s secrets where `target` has stars.
pub(crate) fn restore(target: &mut Document, actual: &Document) {
    for (section, key, _) in SECRETS {
        if text(target, section, key) == FAKE
            && let Some(value) = get(actual, section, key)
        {
            set(target, section, key, value.clone());
        }
    }
    for (section, key) in SECRET_LISTS {
        let stars = get(target, section, key)
            .and_then(Value::as_array)
            .is_some_and(|list| list.iter().any(|value| value == FAKE));
        if stars && let Some(value) = get(actual, section, key) {
            set(target, section, key, value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::defaults::complete;
    use super::*;
    use crate::release::Version;

    #[test]
    fn secrets_go_out_as_stars_and_come_back_as_they_were() {
        let mut stored = complete(&Document::new(), Version::new(11, 10, 0));
        set(
            &mut stored,
            "EmailSettings",
            "SMTPPassword",
            "hidden".into(),
        );
        let salt = text(&stored, "FileSettings", "PublicLinkSalt");
        let mut shown = sanitized(&stored);
        let all = Value::Object(shown.clone()).to_string();
        for secret in ["hidden", "mostest", salt.as_str()] {
            assert!(!all.contains(secret), "{secret}");
        }
        assert_eq!(text(&shown, "LdapSettings", "BindPassword"), "");
        restore(&mut shown, &stored);
        assert_eq!(shown, stored);
    }
}
