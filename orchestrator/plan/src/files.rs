//! Where a target's nodes keep users' files: decided with the target, kept in its row, given to its nodes.
//!
//! It is part of the target, not of the specification alone, because a stack that serves does not move
//! its files by an edit of the file: servers would look for old uploads in a new, empty place.

mod counted;
mod keys_given;
mod made_anew;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::intent::Target;
use crate::spec::{Endpoint, FileStore, Spec};

pub use counted::{Counted, CountedPlaces};
pub(crate) use keys_given::{encryption_words, wanted_words};
pub use keys_given::{key_tag, unnamed_key, unnamed_key_stays};
pub use made_anew::made_anew;

/// Where users' files live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "store", rename_all = "snake_case")]
pub enum FilesHome {
    /// On the node's disk: they go with the node.
    Local,
    /// In a bucket.
    S3(BucketHome),
}

/// A bucket, and how the server reaches it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketHome {
    /// Its name.
    pub bucket: String,
    /// Its region.
    pub region: String,
    /// Of every key: empty, or ends with a slash.
    pub prefix: String,
    /// Scheme, host and port. None: AWS's endpoint of the region.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// The account that must own it. None: not asked.
    #[serde(default)]
    pub owner: Option<String>,
    /// The server signs with keys of its own, which come with its secrets. Otherwise its node's role signs.
    #[serde(default)]
    pub own_keys: bool,
}

const DRIVER: &str = "MM_FILESETTINGS_DRIVERNAME";
const BUCKET: &str = "MM_FILESETTINGS_AMAZONS3BUCKET";
const REGION: &str = "MM_FILESETTINGS_AMAZONS3REGION";
const PREFIX: &str = "MM_FILESETTINGS_AMAZONS3PATHPREFIX";
const ENDPOINT: &str = "MM_FILESETTINGS_AMAZONS3ENDPOINT";
const TLS: &str = "MM_FILESETTINGS_AMAZONS3SSL";
/// Name of the setting for the access key id of an S3-compatible store.
pub const ACCESS_KEY: &str = "MM_FILESETTINGS_AMAZONS3ACCESSKEYID";
/// Name of the setting for its secret half.
pub const SECRET_KEY: &str = "MM_FILESETTINGS_AMAZONS3SECRETACCESSKEY";

impl FilesHome {
    /// As the specification says now. None: the stack's own bucket is meant, and in which account is
    /// not known yet.
    pub fn wanted(spec: &Spec, account: Option<&str>) -> Option<Self> {
        let ours = &spec.files;
        if ours.store == FileStore::Local {
            return Some(Self::Local);
        }
        let own = ours.is_own_bucket();
        let bucket = match (&ours.bucket, account) {
            (Some(named), _) => named.clone(),
            (None, Some(account)) => spec.files_bucket(account)?,
            (None, None) => return None,
        };
        Some(Self::S3(BucketHome {
            bucket,
            region: spec.files_region(),
            prefix: ours.key_prefix(),
            endpoint: ours.endpoint.clone(),
            // The name was ours to choose, so somebody else may have taken it meanwhile.
            owner: account.filter(|_| own).map(str::to_owned),
            own_keys: ours.own_keys(),
        }))
    }

    /// Where the nodes of a target keep files. A target from before `[files]` says it by its settings,
    /// if at all.
    pub fn of(target: &Target) -> Self {
        if let Some(home) = &target.files {
            return home.clone();
        }
        let setting = |name: &str| target.settings.get(name).cloned().unwrap_or_default();
        if setting(DRIVER) != "amazons3" {
            return Self::Local;
        }
        let scheme = if setting(TLS) == "false" {
            "http"
        } else {
            "https"
        };
        let endpoint = setting(ENDPOINT);
        let prefix = setting(PREFIX);
        let prefix = prefix.trim_matches('/');
        Self::S3(BucketHome {
            bucket: setting(BUCKET),
            region: setting(REGION),
            prefix: if prefix.is_empty() {
                String::new()
            } else {
                format!("{prefix}/")
            },
            endpoint: (!endpoint.is_empty()).then(|| format!("{scheme}://{endpoint}")),
            owner: None,
            own_keys: false,
        })
    }

    /// Whether the same files are found in both.
    pub fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Local, Self::Local) => true,
            (Self::S3(one), Self::S3(other)) => one.place() == other.place(),
            _ => false,
        }
    }

    /// What differs between two ways to the same place; none: nothing.
    pub(crate) fn other_way_to(&self, wanted: &Self) -> Option<&'static str> {
        match (self, wanted) {
            (Self::S3(one), Self::S3(other)) if one.own_keys != other.own_keys => {
                Some(if other.own_keys {
                    "keys of its own for the store of users' files"
                } else {
                    "the nodes' role for the bucket of users' files"
                })
            }
            (one, other) if one != other => Some("region or endpoint of users' files"),
            _ => None,
        }
    }

    /// The server's settings for it, without secrets. Keys of one's own are not among them; without
    /// them they are empty, so that the server asks for its node's role whatever the System Console says.
    pub fn settings(&self) -> BTreeMap<String, String> {
        let pairs = match self {
            Self::Local => vec![(DRIVER, "local".to_owned())],
            Self::S3(home) => {
                let (tls, host) = home.reached_at();
                let mut pairs = vec![
                    (DRIVER, "amazons3".to_owned()),
                    (BUCKET, home.bucket.clone()),
                    (REGION, home.region.clone()),
                    (PREFIX, home.prefix.clone()),
                    (ENDPOINT, host),
                    (TLS, tls.to_string()),
                ];
                if !home.own_keys {
                    pairs.extend([(ACCESS_KEY, String::new()), (SECRET_KEY, String::new())]);
                }
                pairs
            }
        };
        pairs
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }

    /// In a few words, for people.
    pub fn words(&self) -> String {
        match self {
            Self::Local => "the nodes' disks".to_owned(),
            Self::S3(home) => {
                let below = if home.prefix.is_empty() {
                    String::new()
                } else {
                    format!(" below `{}`", home.prefix)
                };
                let at = home
                    .foreign_endpoint()
                    .map_or(String::new(), |endpoint| format!(" at {endpoint}"));
                format!("bucket `{}`{below}{at}", home.bucket)
            }
        }
    }
}

impl BucketHome {
    /// Whether it speaks TLS, and with whom.
    fn reached_at(&self) -> (bool, String) {
        match self.endpoint.as_deref().and_then(Endpoint::parse) {
            Some(endpoint) => (endpoint.tls, endpoint.authority.to_owned()),
            None => (true, aws_endpoint(&self.region)),
        }
    }

    /// The endpoint, when it is none of AWS's public ones: by those the same bucket is reached.
    fn foreign_endpoint(&self) -> Option<&str> {
        let endpoint = self.endpoint.as_deref()?;
        let host = Endpoint::parse(endpoint).map_or(endpoint, |parsed| parsed.host);
        let public = host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn");
        (!public).then_some(endpoint.trim_end_matches('/'))
    }

    /// The same bucket of the same store, however its endpoint is spelled.
    #[must_use]
    pub fn is_same_bucket(&self, other: &Self) -> bool {
        self.bucket == other.bucket && self.foreign_endpoint() == other.foreign_endpoint()
    }

    fn place(&self) -> (&str, &str, Option<&str>) {
        (&self.bucket, &self.prefix, self.foreign_endpoint())
    }
}

/// S3's endpoint of a region, without scheme.
fn aws_endpoint(region: &str) -> String {
    let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("s3.{region}.amazonaws.com{suffix}")
}

/// What a node's disk takes with it.
pub(crate) const LOSES: &str = "users' uploads, avatars, emoji, exports and uploaded plugins lie on the node's disk and are lost with it";

/// Why a rollout from one place to another is not begun; `moved` and `lose` are the operator's flags.
pub(crate) fn refusal(
    from: &FilesHome,
    to: &FilesHome,
    moved: bool,
    lose: bool,
) -> Option<(&'static str, String)> {
    if !from.is_same_place(to) && !moved {
        return Some((
            "files_would_be_left",
            format!(
                "what serves keeps users' files in {}, the specification in {}: servers would not find what was uploaded. Undo the change in `[files]`; or copy the files, and say `orchestrator rollout --files-moved`",
                from.words(),
                to.words()
            ),
        ));
    }
    if *to == FilesHome::Local && !lose {
        return Some((
            "files_would_be_lost",
            format!(
                "this rollout replaces the node, and `[files] store = \"local\"`: {LOSES}. Give `[files]` a bucket; or say `orchestrator rollout --lose-files`"
            ),
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{spec, unlicensed};
    use crate::stack::first_target;

    fn bucket(home: FilesHome) -> BucketHome {
        match home {
            FilesHome::S3(home) => home,
            FilesHome::Local => panic!("no bucket"),
        }
    }

    #[test]
    fn the_specification_says_where_and_the_account_which() {
        assert_eq!(FilesHome::wanted(&unlicensed(), None), None);
        let own = bucket(FilesHome::wanted(&unlicensed(), Some("123456789012")).unwrap());
        assert_eq!(own.bucket, "demo-files-123456789012-us-east-1");
        assert_eq!(own.owner.as_deref(), Some("123456789012"));
        let named = spec(&[
            ("# bucket = \"example-chat-files\"", "bucket = \"theirs\""),
            ("# prefix = \"chat\"", "prefix = \"a/b/\""),
        ]);
        let named = bucket(FilesHome::wanted(&named, None).unwrap());
        assert_eq!(
            (&*named.bucket, &*named.prefix, named.owner),
            ("theirs", "a/b/", None)
        );
    }

    #[test]
    fn settings_name_the_bucket_and_no_key() {
        let home = FilesHome::wanted(&unlicensed(), Some("123456789012")).unwrap();
        let settings = home.settings();
        assert_eq!(settings[ENDPOINT], "s3.us-east-1.amazonaws.com");
        assert_eq!(settings[TLS], "true");
        assert_eq!(settings[ACCESS_KEY], "");
        let lab = bucket(home);
        let lab = FilesHome::S3(BucketHome {
            endpoint: Some("http://127.40.0.1:9000".to_owned()),
            own_keys: true,
            ..lab
        });
        let settings = lab.settings();
        assert_eq!(settings[ENDPOINT], "127.40.0.1:9000");
        assert_eq!(settings[TLS], "false");
        assert!(!settings.contains_key(ACCESS_KEY) && !settings.contains_key(SECRET_KEY));
    }

    #[test]
    fn a_target_from_before_says_it_by_its_settings() {
        let mut target = first_target(&unlicensed(), "ami-1", FilesHome::Local);
        target.files = None;
        assert_eq!(FilesHome::of(&target), FilesHome::Local);
        for (key, value) in [
            (DRIVER, "amazons3"),
            (BUCKET, "theirs"),
            (REGION, "us-east-1"),
            (PREFIX, "chat"),
            (ENDPOINT, "s3.amazonaws.com"),
        ] {
            target.settings.insert(key.to_owned(), value.to_owned());
        }
        let named = spec(&[
            ("# bucket = \"example-chat-files\"", "bucket = \"theirs\""),
            ("# prefix = \"chat\"", "prefix = \"chat\""),
        ]);
        let wanted = FilesHome::wanted(&named, None).unwrap();
        assert!(FilesHome::of(&target).is_same_place(&wanted));
        target
            .settings
            .insert(PREFIX.to_owned(), "other".to_owned());
        assert!(!FilesHome::of(&target).is_same_place(&wanted));
    }

    #[test]
    fn a_move_and_a_loss_are_each_asked_for_by_a_flag_of_their_own() {
        let own = FilesHome::wanted(&unlicensed(), Some("123456789012")).unwrap();
        let code = |from: &FilesHome, to: &FilesHome, moved, lose| {
            refusal(from, to, moved, lose).map(|(code, _)| code)
        };
        let local = FilesHome::Local;
        assert_eq!(code(&own, &own, false, false), None);
        assert_eq!(
            code(&local, &own, false, false),
            Some("files_would_be_left")
        );
        assert_eq!(code(&local, &own, true, false), None);
        assert_eq!(
            code(&local, &local, false, false),
            Some("files_would_be_lost")
        );
        assert_eq!(code(&local, &local, false, true), None);
        assert_eq!(code(&own, &local, false, true), Some("files_would_be_left"));
        assert_eq!(code(&own, &local, true, false), Some("files_would_be_lost"));
    }
}
