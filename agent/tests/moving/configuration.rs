//! What is known of a server's `config.json`.

use std::path::Path;

use mattermost_agent::coded::{Coded, chain};
use mattermost_agent::moving::ConfigurationFile;
use sha2::{Digest, Sha256};

#[test]
fn a_configuration_is_known_by_digests() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    let salt = "s".repeat(32);
    let text = serde_json::json!({
        "FileSettings": { "PublicLinkSalt": salt, "DriverName": "local", "Directory": "./files/" },
        "SqlSettings": { "AtRestEncryptKey": "k".repeat(32) },
        "EmailSettings": { "InviteSalt": "" },
        "TeamSettings": { "SiteName": "Chat" },
    });
    std::fs::write(&path, text.to_string()).unwrap();
    let read = ConfigurationFile::read(&path).unwrap();
    read.check().unwrap();
    let names: Vec<&str> = read.digests.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "FileSettings.PublicLinkSalt",
            "SqlSettings.AtRestEncryptKey",
            "TeamSettings.SiteName"
        ]
    );
    assert_eq!(
        read.digests["FileSettings.PublicLinkSalt"],
        hex::encode(Sha256::digest(&salt))
    );
    assert!(!format!("{read:?}").contains(&salt));
    assert_eq!(read.bucket, None);
    for (prefix, keys) in [("", ""), ("/chat/", "chat/")] {
        let files = serde_json::json!({
            "DriverName": "amazons3", "AmazonS3Bucket": "theirs", "AmazonS3PathPrefix": prefix
        });
        let text = serde_json::json!({ "FileSettings": files }).to_string();
        std::fs::write(&path, text).unwrap();
        let bucket = ConfigurationFile::read(&path).unwrap().bucket;
        assert_eq!(bucket, Some(("theirs".to_owned(), keys.to_owned())));
    }
    assert_eq!(
        read.files(Path::new("/opt/x")),
        Path::new("/opt/x/./files/")
    );
    std::fs::write(&path, "{}").unwrap();
    let empty = ConfigurationFile::read(&path).unwrap();
    assert_eq!(empty.check().unwrap_err().code(), "configuration_file");
    assert_eq!(
        empty.unchanged(&read).unwrap_err().code(),
        "configuration_unstable"
    );
    assert_eq!(empty.files(Path::new("/opt/x")), Path::new("/opt/x/data"));
    std::fs::write(&path, format!("{{\"a\": {salt}")).unwrap();
    let error = ConfigurationFile::read(&path).unwrap_err();
    assert!(!chain(&error).contains(&salt));
}
