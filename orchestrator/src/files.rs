//! The place of users' files beside the bucket's settings: the keys of an S3-compatible store, and what lies there.

use std::time::Duration;

use cloud::StoreKeys;
use plan::files::{Counted, CountedPlaces};
use plan::spec::SecretRef;
use plan::{BucketHome, FilesHome};
use secrecy::{ExposeSecret, SecretString};

use crate::core::Core;

/// To count one place: a hundred pages take ten seconds as a rule, and somebody waits.
const PATIENCE: Duration = Duration::from_secs(60);
/// Objects that are listed for a plan.
pub const TOLD: u64 = 100_000;
/// Objects that are listed where only emptiness counts: one page.
pub const ANY: u64 = 1;

/// What lies in both places of a rollout that moves. `most`: how many objects are listed in each, about.
pub async fn count(core: &Core, from: &FilesHome, to: &FilesHome, most: u64) -> CountedPlaces {
    let (old, new) = tokio::join!(
        count_one(core, from, to, false, most),
        count_one(core, to, from, true, most),
    );
    CountedPlaces { old, new }
}

async fn count_one(
    core: &Core,
    home: &FilesHome,
    other: &FilesHome,
    is_new: bool,
    most: u64,
) -> Counted {
    let unlisted = |why: String| Counted::Unlisted { why };
    let FilesHome::S3(bucket) = home else {
        return unlisted("nobody looks into them from here".to_owned());
    };
    let without = match other {
        FilesHome::S3(other) => other_below(bucket, other),
        FilesHome::Local => None,
    };
    let keys = if bucket.own_keys && !is_new && !has_same_keys(bucket, other) {
        return unlisted("its keys are not in the specification any more".to_owned());
    } else if bucket.own_keys {
        match keys(core).await {
            Ok(keys) => keys,
            Err(why) => return unlisted(why),
        }
    } else {
        None
    };
    let counted = core
        .cloud
        .count_objects(bucket, keys.as_ref(), without, most);
    match tokio::time::timeout(PATIENCE, counted).await {
        Ok(Ok(counted)) => counted,
        Ok(Err(error)) => unlisted(crate::chain(&error)),
        Err(_) => unlisted(format!("it takes longer than {} s", PATIENCE.as_secs())),
    }
}

/// The prefix of the other place, when that lies within this one: what is there is not here.
fn other_below<'a>(here: &BucketHome, other: &'a BucketHome) -> Option<&'a str> {
    let within = here.is_same_bucket(other)
        && here.prefix != other.prefix
        && other.prefix.starts_with(&here.prefix);
    within.then_some(other.prefix.as_str())
}

/// Whether the keys of the specification are taken for those of the store of what serves.
fn has_same_keys(old: &BucketHome, new: &FilesHome) -> bool {
    matches!(new, FilesHome::S3(new) if new.own_keys && new.endpoint == old.endpoint)
}

/// The keys of the store, from Secrets Manager. None: it has none of its own.
pub async fn keys(core: &Core) -> Result<Option<StoreKeys>, String> {
    let files = &core.spec.files;
    let (Some(access), Some(secret)) = (&files.access_key, &files.secret_key) else {
        return Ok(None);
    };
    Ok(Some(StoreKeys {
        access_key: value(core, access).await?,
        secret_key: value(core, secret).await?,
    }))
}

async fn value(core: &Core, reference: &SecretRef) -> Result<SecretString, String> {
    let text = core
        .cloud
        .read_secret(reference.secret_id())
        .await
        .map_err(|error| format!("secret `{reference}`: {}", crate::chain(&error)))?;
    let Some(key) = reference.key() else {
        return Ok(text);
    };
    // The parser's error is not passed on: it may quote the value.
    serde_json::from_str::<serde_json::Value>(text.expose_secret())
        .ok()
        .and_then(|json| json.get(key)?.as_str().map(SecretString::from))
        .ok_or_else(|| {
            format!(
                "secret `{reference}` has no text under `{key}`: it must be JSON with that member"
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_the_other_place_does_not_count_here() {
        let home = |bucket: &str, prefix: &str| BucketHome {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            ..BucketHome::default()
        };
        let below =
            |here: &BucketHome, other: &BucketHome| other_below(here, other).map(str::to_owned);
        let (whole, chat) = (home("a", ""), home("a", "chat/"));
        assert_eq!(below(&whole, &chat).as_deref(), Some("chat/"));
        let spelled = |endpoint: &str| BucketHome {
            endpoint: Some(endpoint.to_owned()),
            ..whole.clone()
        };
        let slashed = BucketHome {
            prefix: "chat/".to_owned(),
            ..spelled("https://minio.example/")
        };
        assert_eq!(
            below(&spelled("https://minio.example"), &slashed).as_deref(),
            Some("chat/")
        );
        assert_eq!(below(&chat, &whole), None);
        assert_eq!(below(&chat, &home("a", "chats/")), None);
        assert_eq!(below(&whole, &home("b", "chat/")), None);
    }
}
