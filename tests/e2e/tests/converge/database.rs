//! The database, changed by somebody else, and mended.

use anyhow::{Context, ensure};
use e2e::Stage;
use serde_json::{Value, json};

/// Attributes of the primary, and its master's secret: `up`, which begins without a memory, finds the store all
/// the same, by the store's own role.
pub async fn by_hand(stage: &Stage) -> anyhow::Result<()> {
    let by_hand = [
        "rds",
        "modify-db-instance",
        "--db-instance-identifier",
        "chat-db",
        "--no-copy-tags-to-snapshot",
        "--auto-minor-version-upgrade",
    ];
    stage.aws(&by_hand).await?;
    let name = "chat/database/master";
    let secret = stage
        .aws(&["secretsmanager", "get-secret-value", "--secret-id", name])
        .await?;
    let text = secret["SecretString"].as_str().context("no value")?;
    let mut login: Value = serde_json::from_str(text)?;
    login["password"] = json!("set-by-somebody-else-0123456789");
    let put = ["secretsmanager", "put-secret-value", "--secret-id", name];
    let value = login.to_string();
    stage
        .aws(&[&put[..], &["--secret-string", &value]].concat())
        .await?;
    Ok(())
}

/// As it was before, whoever changed it.
pub async fn is_mended(stage: &Stage) -> anyhow::Result<()> {
    let seen = stage
        .aws(&[
            "rds",
            "describe-db-instances",
            "--db-instance-identifier",
            "chat-db",
        ])
        .await?;
    let seen = &seen["DBInstances"][0];
    ensure!(
        seen["CopyTagsToSnapshot"] == true && seen["AutoMinorVersionUpgrade"] == false,
        "not as it was: {seen}"
    );
    ensure!(
        seen["EngineLifecycleSupport"] == "open-source-rds-extended-support-disabled",
        "charged for extended support one day: {seen}"
    );
    let events = stage
        .aws(&[
            "rds",
            "describe-events",
            "--source-type",
            "db-instance",
            "--source-identifier",
            "chat-db",
        ])
        .await?;
    ensure!(
        events.to_string().contains("Reset master credentials"),
        "the master's password was not set: {events}"
    );
    Ok(())
}
