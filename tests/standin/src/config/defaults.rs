//! The settings that the stand-in knows, with the real server's defaults, in the order they are written.

use serde_json::{Map, Value, json};

use crate::ids;
use crate::release::Version;

/// Characters of a generated salt or key.
const SALT: usize = 32;

/// Settings that are made once, at the first start, and stay: section and key.
const SALTS: [(&str, &str); 3] = [
    ("SqlSettings", "AtRestEncryptKey"),
    ("FileSettings", "PublicLinkSalt"),
    ("EmailSettings", "InviteSalt"),
];

/// Settings that came with a version. An older server drops what it does not know when it writes the
/// configuration; a newer one adds its default, which makes a new row or a new file.
const NEWER: [(&str, &str, Version); 2] = [
    (
        "ServiceSettings",
        "EnableAPIPostDeletion",
        Version::new(11, 9, 0),
    ),
    (
        "FileSettings",
        "AmazonS3StorageClass",
        Version::new(11, 10, 0),
    ),
];

/// A JSON object, by section and key.
pub(crate) type Document = Map<String, Value>;

/// Every setting that `version` knows, with its default; salts are empty.
pub(crate) fn defaults(version: Version) -> Document {
    let Value::Object(mut document) = all() else {
        unreachable!("an object is written below")
    };
    for (section, key, since) in NEWER {
        if version < since
            && let Some(Value::Object(section)) = document.get_mut(section)
        {
            section.shift_remove(key);
        }
    }
    document
}

/// A document in the order of the defaults: what is absent gets its default, empty salts are made,
/// what only a newer version knows is dropped, what nobody knows is kept at the end.
pub(crate) fn complete(document: &Document, version: Version) -> Document {
    let mut whole = defaults(version);
    for (name, given) in document {
        let Value::Object(given) = given else {
            whole.insert(name.clone(), given.clone());
            continue;
        };
        let section = whole
            .entry(name.clone())
            .or_insert_with(|| Value::Object(Map::new()));
        let Value::Object(section) = section else {
            continue;
        };
        for (key, value) in given {
            let newer = NEWER.iter().any(|(in_section, newer, since)| {
                in_section == name && newer == key && version < *since
            });
            if !newer && !value.is_null() {
                section.insert(key.clone(), value.clone());
            }
        }
    }
    for (section, key) in SALTS {
        if text(&whole, section, key).is_empty() {
            set(&mut whole, section, key, salt().into());
        }
    }
    repair(&mut whole);
    whole
}

/// The small repairs that every load makes: no slash after the site URL, one after the directory.
fn repair(document: &mut Document) {
    let site = text(document, "ServiceSettings", "SiteURL");
    if site.ends_with('/') {
        let trimmed = site.trim_end_matches('/');
        set(document, "ServiceSettings", "SiteURL", trimmed.into());
    }
    let directory = text(document, "FileSettings", "Directory");
    if text(document, "FileSettings", "DriverName") == "local"
        && !directory.is_empty()
        && !directory.ends_with('/')
    {
        let path = format!("{directory}/");
        set(document, "FileSettings", "Directory", path.into());
    }
}

fn salt() -> String {
    let mut text = ids::new_id();
    text.push_str(&ids::new_id());
    text.truncate(SALT);
    text
}

/// A setting; none when it is absent.
pub(crate) fn get<'a>(document: &'a Document, section: &str, key: &str) -> Option<&'a Value> {
    document.get(section)?.get(key)
}

/// Sets a setting, making its section when there is none.
pub(crate) fn set(document: &mut Document, section: &str, key: &str, value: Value) {
    let section = document
        .entry(section)
        .or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(section) = section {
        section.insert(key.to_owned(), value);
    }
}

/// A setting as text; empty when it is absent.
pub(crate) fn text(document: &Document, section: &str, key: &str) -> String {
    match get(document, section, key) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    }
}

/// A switch; `false` when it is absent.
pub(crate) fn switch(document: &Document, section: &str, key: &str) -> bool {
    get(document, section, key).is_some_and(|value| value == &Value::Bool(true))
}

/// A whole number; 0 when it is absent.
pub(crate) fn number(document: &Document, section: &str, key: &str) -> i64 {
    get(document, section, key)
        .and_then(Value::as_i64)
        .unwrap_or_default()
}

fn all() -> Value {
    json!({
        "ServiceSettings": {
            "SiteURL": "",
            "ListenAddress": ":8065",
            "ConnectionSecurity": "",
            "EnableDeveloper": false,
            "EnableLocalMode": false,
            "LocalModeSocketLocation": "/var/tmp/mattermost_local.socket",
            "EnableAPIPostDeletion": false
        },
        "TeamSettings": {
            "SiteName": "Mattermost",
            "MaxUsersPerTeam": 50,
            "EnableUserCreation": true,
            "EnableOpenServer": false,
            "CustomDescriptionText": ""
        },
        "SqlSettings": {
            "DriverName": "postgres",
            "DataSource": "postgres://mmuser:mostest@localhost/mattermost_test?sslmode=disable&connect_timeout=10&binary_parameters=yes",
            "DataSourceReplicas": [],
            "DataSourceSearchReplicas": [],
            "MaxIdleConns": 50,
            "MaxOpenConns": 100,
            "Trace": false,
            "AtRestEncryptKey": "",
            "QueryTimeout": 30
        },
        "LogSettings": { "EnableConsole": true, "ConsoleLevel": "DEBUG", "EnableFile": true, "FileLevel": "INFO", "FileLocation": "" },
        "PasswordSettings": { "MinimumLength": 8 },
        "FileSettings": file_settings(),
        "EmailSettings": {
            "EnableSignUpWithEmail": true,
            "SendEmailNotifications": false,
            "FeedbackName": "",
            "FeedbackEmail": "test@example.com",
            "EnableSMTPAuth": false,
            "SMTPUsername": "",
            "SMTPPassword": "",
            "SMTPServer": "localhost",
            "SMTPPort": "10025",
            "ConnectionSecurity": "",
            "InviteSalt": ""
        },
        "SupportSettings": { "HelpLink": "https://mattermost.com/default-help/", "SupportEmail": "" },
        "GitLabSettings": { "Enable": false, "Secret": "", "Id": "" },
        "LdapSettings": { "Enable": false, "LdapServer": "", "BindUsername": "", "BindPassword": "" },
        "SamlSettings": { "Enable": false, "IdpCertificateFile": "", "PublicCertificateFile": "", "PrivateKeyFile": "" },
        "ClusterSettings": {
            "Enable": false,
            "ClusterName": "",
            "OverrideHostname": "",
            "BindAddress": "",
            "AdvertiseAddress": "",
            "ReadOnlyConfig": true,
            "GossipPort": 8074
        },
        "CacheSettings": { "CacheType": "", "RedisAddress": "" },
        "JobSettings": { "RunJobs": true, "RunScheduler": true, "CleanupConfigThresholdDays": -1 },
        "PluginSettings": {
            "Enable": true,
            "EnableUploads": false,
            "AllowInsecureDownloadURL": false,
            "EnableHealthCheck": true,
            "Directory": "./plugins",
            "ClientDirectory": "./client/plugins",
            "Plugins": {},
            "PluginStates": {},
            "EnableMarketplace": true,
            "EnableRemoteMarketplace": true,
            "AutomaticPrepackagedPlugins": true,
            "RequirePluginSignature": false,
            "SignaturePublicKeyFiles": []
        }
    })
}

fn file_settings() -> Value {
    json!({
        "EnableFileAttachments": true,
        "MaxFileSize": 104_857_600,
        "DriverName": "local",
        "Directory": "./data/",
        "EnablePublicLink": false,
        "PublicLinkSalt": "",
        "AmazonS3AccessKeyId": "",
        "AmazonS3SecretAccessKey": "",
        "AmazonS3Bucket": "",
        "AmazonS3PathPrefix": "",
        "AmazonS3Region": "",
        "AmazonS3Endpoint": "s3.amazonaws.com",
        "AmazonS3SSL": true,
        "AmazonS3SignV2": false,
        "AmazonS3SSE": false,
        "AmazonS3Trace": false,
        "AmazonS3RequestTimeoutMilliseconds": 30_000,
        "AmazonS3UploadPartSizeBytes": 5_242_880,
        "AmazonS3StorageClass": ""
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(value: Value) -> Document {
        match value {
            Value::Object(document) => document,
            _ => unreachable!("an object is given"),
        }
    }

    #[test]
    fn salts_are_made_once_and_the_order_is_fixed() {
        let version = Version::new(11, 10, 0);
        let first = complete(&Document::new(), version);
        for (section, key) in SALTS {
            assert_eq!(text(&first, section, key).len(), SALT, "{section}.{key}");
        }
        let turned: Document = first
            .iter()
            .rev()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        assert_eq!(
            Value::Object(complete(&turned, version)).to_string(),
            Value::Object(first).to_string()
        );
    }

    #[test]
    fn an_older_server_drops_what_it_does_not_know() {
        let newest = complete(&Document::new(), Version::new(11, 10, 0));
        assert!(get(&newest, "FileSettings", "AmazonS3StorageClass").is_some());
        let older = complete(&newest, Version::new(11, 9, 0));
        assert!(get(&older, "FileSettings", "AmazonS3StorageClass").is_none());
        assert_eq!(
            text(&older, "FileSettings", "PublicLinkSalt"),
            text(&newest, "FileSettings", "PublicLinkSalt")
        );
    }

    #[test]
    fn a_partial_document_is_completed_and_repaired() {
        let given = document(json!({
            "ServiceSettings": { "SiteURL": "https://chat.example/" },
            "FileSettings": { "Directory": "/data", "MaxFileSize": null },
            "OwnSettings": { "Kept": 1 },
        }));
        let whole = complete(&given, Version::new(11, 10, 0));
        assert_eq!(
            text(&whole, "ServiceSettings", "SiteURL"),
            "https://chat.example"
        );
        assert_eq!(text(&whole, "FileSettings", "Directory"), "/data/");
        assert_eq!(number(&whole, "FileSettings", "MaxFileSize"), 104_857_600);
        assert_eq!(number(&whole, "OwnSettings", "Kept"), 1);
    }
}
