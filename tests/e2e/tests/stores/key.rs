//! The stack's own bucket with a KMS key of the account's.

use anyhow::{Context, ensure};
use e2e::{Stage, role};
use serde_json::Value;

use super::{LARGE, more_users, serves_and_says, upload_more, well_again};

/// Makes a key, and writes the specification that names it for the stack's own bucket; its ARN.
pub async fn name(stage: &Stage, plain: &str) -> anyhow::Result<String> {
    let made = stage.aws(&["kms", "create-key"]).await?;
    let key = made["KeyMetadata"]["Arn"].as_str().context("no key")?;
    let files = format!("\n[files]\nkms_key = \"{key}\"\n");
    let spec = plain.replace("\n[files]\n", &files);
    std::fs::write(&stage.orchestrator.spec, spec)?;
    Ok(key.to_owned())
}

/// What users upload by the nodes is kept with the key, a large file in parts too, and is read back; the nodes'
/// role needed both of its rights on the key for it.
pub async fn encrypts(stage: &Stage, own: &str, key: &str, url: &str) -> anyhow::Result<()> {
    upload_more(url).await?;
    let list = ["s3api", "list-objects-v2", "--bucket", own];
    let list = stage.aws(&list).await?;
    let of = |key: &Value| {
        let (size, at) = (key["Size"].as_u64()?, key["LastModified"].as_str()?);
        (size >= 300).then(|| (at.to_owned(), size, key["Key"].clone()))
    };
    let mut keys: Vec<_> = list["Contents"]
        .as_array()
        .context("no object")?
        .iter()
        .filter_map(of)
        .collect();
    keys.sort_by(|one, other| one.0.cmp(&other.0));
    let newest = keys.split_off(keys.len().saturating_sub(3));
    ensure!(
        newest.iter().any(|(_, size, _)| *size == LARGE as u64),
        "{newest:?}"
    );
    for (_, _, name) in &newest {
        is_kept_with(stage, own, key, name.as_str().unwrap_or_default()).await?;
    }
    let judged = stage.region.read("iam").await?;
    let statements = judged[role::NODE_ROLE]["policies"]["stack"].as_array();
    let found = |statement: &&Value| statement["Sid"] == "EncryptFiles";
    let statement = statements.and_then(|all| all.iter().find(found));
    let statement = statement.with_context(|| format!("no `EncryptFiles` in {judged}"))?;
    let used = serde_json::json!(["kms:Decrypt", "kms:GenerateDataKey"]);
    ensure!(statement["used"] == used, "{statement}");
    Ok(())
}

async fn is_kept_with(stage: &Stage, own: &str, key: &str, name: &str) -> anyhow::Result<()> {
    let head = ["s3api", "head-object", "--bucket", own, "--key", name];
    let head = stage.aws(&head).await?;
    ensure!(
        head["ServerSideEncryption"] == "aws:kms"
            && head["SSEKMSKeyId"] == key
            && head["BucketKeyEnabled"] == true,
        "`{name}` is not kept with {key}: {head:#}"
    );
    Ok(())
}

/// Somebody disables the key: the node serves on and names it, for whoever reads the status. Files answer 404, as
/// a real server answers whatever it cannot read; with the key enabled all of them are there.
pub async fn disabled(stage: &Stage, own: &str, key: &str, url: &str) -> anyhow::Result<()> {
    let users = more_users(url).await?;
    stage.aws(&["kms", "disable-key", "--key-id", key]).await?;
    let words = [own, "KMS.DisabledException", key, "KMS key is disabled"];
    serves_and_says(stage, &words).await?;
    stage.aws(&["kms", "enable-key", "--key-id", key]).await?;
    well_again(stage).await?;
    let files = users.finish().await.files.context("no files")?;
    ensure!(
        files.uploaded == 3 && [files.lost, files.corrupt] == [0; 2],
        "{files}"
    );
    Ok(())
}
