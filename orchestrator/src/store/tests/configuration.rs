//! What SQL says of the servers' own settings: rows and digests, never values.

use sha2::{Digest, Sha256};

use super::super::configuration::active;
use super::*;

/// The table as Mattermost makes it.
const TABLE: &str = "CREATE TABLE configurations (id varchar(26) PRIMARY KEY, value text NOT NULL,
     createat bigint NOT NULL, active boolean NULL UNIQUE, sha varchar(64))";

fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

#[tokio::test]
async fn the_active_row_is_known_by_its_id_and_its_salts_by_their_digests() {
    let server = shared().await;
    let access = server.database().await;
    let client = server.beside(&access).await;
    assert_eq!(active(&client).await.unwrap(), None, "no table");
    client.batch_execute(TABLE).await.unwrap();
    assert_eq!(active(&client).await.unwrap(), None, "no row");

    let value = r#"{"FileSettings":{"PublicLinkSalt":"link salt ä"},
        "SqlSettings":{"AtRestEncryptKey":"the key","DataSource":"postgres://u:p@h/d"},
        "EmailSettings":{"InviteSalt":""},"TeamSettings":{"SiteName":"it's \u0000 ours"}}"#;
    let insert = "INSERT INTO configurations (id, value, createat, active) VALUES ($1, $2, $3, $4)";
    let active_flag = Some(true);
    for (id, value, at, flag) in [
        (
            "former",
            r#"{"FileSettings":{"PublicLinkSalt":"former"}}"#,
            1_i64,
            None,
        ),
        ("present", value, 1_800_000_000_123, active_flag),
    ] {
        client
            .execute(insert, &[&id, &value, &at, &flag])
            .await
            .unwrap();
    }
    let seen = active(&client).await.unwrap().expect("an active row");
    assert_eq!(
        (&*seen.id, seen.created_at_ms),
        ("present", 1_800_000_000_123)
    );
    let salts: Vec<(&str, &str)> = seen
        .salts
        .iter()
        .map(|(name, digest)| (&**name, &**digest))
        .collect();
    assert_eq!(
        salts,
        [
            ("FileSettings.PublicLinkSalt", &*sha256("link salt ä")),
            ("SqlSettings.AtRestEncryptKey", &*sha256("the key")),
        ],
        "what is empty has no digest"
    );

    // What is no JSON is a row all the same.
    client
        .batch_execute("UPDATE configurations SET value = 'PublicLinkSalt: link salt' WHERE active")
        .await
        .unwrap();
    let seen = active(&client).await.unwrap().expect("an active row");
    assert_eq!((&*seen.id, seen.salts.len()), ("present", 0));
}
