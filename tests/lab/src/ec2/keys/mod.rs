//! Key pairs. CreateKeyPair makes real keys: what it answers works with ssh.

mod openssh;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha256};

use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};

use super::filter::{Fields, Filters, all_exist};
use super::launch_data::{decode_base64, one_of, parse_tag_specifications, tags_for};
use super::proceed;
use super::state::{KeyPair, Regional};
use super::tags::tag_set;

fn no_key(name: &str) -> ApiError {
    ApiError::new(
        "InvalidKeyPair.NotFound",
        format!("The key pair '{name}' does not exist"),
    )
}

fn free(region: &Regional, name: &str) -> Result<(), ApiError> {
    if region.key_pairs.values().any(|pair| pair.name == name) {
        return Err(ApiError::new(
            "InvalidKeyPair.Duplicate",
            format!("The keypair already exists: {name}"),
        ));
    }
    Ok(())
}

/// As `ssh-keygen -l` shows an ed25519 key. For RSA, AWS shows a SHA-1 or MD5 digest; the lab shows the
/// first twenty bytes of the SHA-256 digest in the same form.
fn fingerprint(key_type: &str, blob: &[u8]) -> String {
    let digest = Sha256::digest(blob);
    if key_type == "ed25519" {
        return STANDARD_NO_PAD.encode(digest);
    }
    digest[..20]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<Vec<_>>()
        .join(":")
}

fn insert(lab: &Lab, region: &mut Regional, pair: KeyPair, tags: Vec<(String, String)>) -> Xml {
    if !tags.is_empty() {
        region
            .tags
            .insert(pair.id.clone(), tags.into_iter().collect());
    }
    let xml = Xml::new()
        .text("keyName", &pair.name)
        .text("keyFingerprint", &pair.fingerprint)
        .text("keyPairId", &pair.id)
        .list("tagSet", "item", tag_set(&region.tags_of(&pair.id)));
    log::debug!("key pair {} at {}", pair.name, lab.clock.now());
    region.key_pairs.insert(pair.id.clone(), pair);
    xml
}

/// CreateKeyPair. Making an RSA key takes a moment: it is done off the lock and off the async threads.
pub(crate) async fn create(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let name = p.str("KeyName")?;
    let key_type = one_of(p, "KeyType", &["rsa", "ed25519"])?.unwrap_or_else(|| "rsa".to_owned());
    one_of(p, "KeyFormat", &["pem"])?;
    let tags = tags_for(&parse_tag_specifications(p, &["key-pair"])?, "key-pair");
    proceed(p)?;
    free(&*lab.ec2.region(&call.region)?, &name)?;
    let (kind, comment) = (key_type.clone(), name.clone());
    let made = tokio::task::spawn_blocking(move || openssh::generate(&kind, &comment))
        .await
        .map_err(anyhow::Error::from)
        .and_then(|made| made)
        .map_err(|error| ApiError::new("InternalError", error.to_string()).status(500))?;
    let mut region = lab.ec2.region(&call.region)?;
    free(&region, &name)?;
    let pair = KeyPair {
        id: lab.ids.ec2("key"),
        fingerprint: fingerprint(&key_type, &made.blob),
        public_key: format!("{} {} {name}", made.algorithm, STANDARD.encode(&made.blob)),
        key_type,
        created: lab.clock.now(),
        name,
    };
    Ok(insert(lab, &mut region, pair, tags)
        .text("keyMaterial", made.private_pem)
        .into())
}

/// ImportKeyPair: an OpenSSH public key line, base64.
pub(crate) fn import(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let name = p.str("KeyName")?;
    let material = p.str("PublicKeyMaterial")?;
    let tags = tags_for(&parse_tag_specifications(p, &["key-pair"])?, "key-pair");
    proceed(p)?;
    let bad = || {
        ApiError::new(
            "InvalidKey.Format",
            "Key is not in valid OpenSSH public key format",
        )
    };
    let line = decode_base64(&material)
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(bad)?;
    let mut words = line.split_whitespace();
    let key_type = match words.next() {
        Some("ssh-rsa") => "rsa",
        Some("ssh-ed25519") => "ed25519",
        _ => return Err(bad()),
    };
    let blob = words.next().and_then(decode_base64).ok_or_else(bad)?;
    let mut region = lab.ec2.region(&call.region)?;
    free(&region, &name)?;
    let pair = KeyPair {
        id: lab.ids.ec2("key"),
        fingerprint: fingerprint(key_type, &blob),
        key_type: key_type.to_owned(),
        public_key: line.trim().to_owned(),
        created: lab.clock.now(),
        name,
    };
    Ok(insert(lab, &mut region, pair, tags).into())
}

/// DescribeKeyPairs.
pub(crate) fn describe(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let (names, ids) = (p.list("KeyName"), p.list("KeyPairId"));
    let with_public = p.opt_bool("IncludePublicKey")?.unwrap_or(false);
    let filters = Filters::parse(p, &["key-pair-id", "fingerprint", "key-name"])?;
    proceed(p)?;
    let region = lab.ec2.region(&call.region)?;
    let named = |name: &str| region.key_pairs.values().any(|pair| pair.name == name);
    all_exist(&names, named, no_key)?;
    all_exist(&ids, |id| region.key_pairs.contains_key(id), no_key)?;
    let mut entries = Vec::new();
    for pair in region.key_pairs.values() {
        let fields: Fields = vec![
            ("key-pair-id", pair.id.clone()),
            ("fingerprint", pair.fingerprint.clone()),
            ("key-name", pair.name.clone()),
        ];
        let wanted = names.is_empty() && ids.is_empty()
            || names.contains(&pair.name)
            || ids.contains(&pair.id);
        let tags = region.tags_of(&pair.id);
        if wanted && filters.pass(&fields, &tags) {
            entries.push(
                Xml::new()
                    .text("keyPairId", &pair.id)
                    .text("keyName", &pair.name)
                    .text("keyType", &pair.key_type)
                    .text("keyFingerprint", &pair.fingerprint)
                    .time("createTime", pair.created)
                    .opt("publicKey", with_public.then_some(&pair.public_key))
                    .list("tagSet", "item", tag_set(&tags)),
            );
        }
    }
    Ok(Xml::new().list("keySet", "item", entries).into())
}

/// DeleteKeyPair: one that does not exist is no error, as with AWS.
pub(crate) fn delete(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let (name, id) = (p.opt("KeyName"), p.opt("KeyPairId"));
    proceed(p)?;
    if name.is_none() && id.is_none() {
        return Err(ApiError::missing("KeyName"));
    }
    let mut region = lab.ec2.region(&call.region)?;
    let found = region
        .key_pairs
        .values()
        .find(|pair| Some(&pair.name) == name.as_ref() || Some(&pair.id) == id.as_ref())
        .map(|pair| pair.id.clone());
    if let Some(id) = &found {
        region.key_pairs.remove(id);
        region.tags.remove(id);
    }
    Ok(Xml::new()
        .text("return", true)
        .opt("keyPairId", found)
        .into())
}
