//! Section `[files]`: where what users upload lives.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SecretRef, Spec, authority};

/// Uploads, avatars, emoji, exports and plugin bundles.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Files {
    /// `s3` (a bucket), or `local` (the node's disk: files go with the node).
    pub store: FileStore,
    /// A bucket that exists: it is used as it is and never changed nor deleted. None: the stack makes
    /// one, `<stack>-files-<account>-<region>`.
    pub bucket: Option<String>,
    /// Folder in the bucket below which every key lies, without a slash at its beginning.
    pub prefix: Option<String>,
    /// Region of the named bucket. None: the home region.
    pub region: Option<String>,
    /// `https://host[:port]` of an S3-compatible store, or of an interface endpoint. None: AWS's
    /// endpoint of the region.
    pub endpoint: Option<String>,
    /// ARN of the KMS key that the bucket encrypts with. None: S3's own keys (AES256).
    pub kms_key: Option<String>,
    /// ARNs of KMS keys under which older files still lie: nodes may read with them, and encrypt nothing anew.
    pub former_kms_keys: Vec<String>,
    /// Access key id of an S3-compatible store, by reference. None: the nodes' role signs.
    pub access_key: Option<SecretRef>,
    /// Secret access key of an S3-compatible store, by reference.
    pub secret_key: Option<SecretRef>,
    /// With `store = "local"`: every rollout and every replaced node loses the files, and that is fine.
    pub accept_losing_files: bool,
}

/// Which store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FileStore {
    /// A bucket.
    #[default]
    S3,
    /// The node's disk.
    Local,
}

/// An endpoint in its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint<'a> {
    /// Whether it speaks TLS.
    pub tls: bool,
    /// `host` or `host:port`.
    pub authority: &'a str,
    /// Host alone; an IPv6 address without its brackets.
    pub host: &'a str,
}

impl<'a> Endpoint<'a> {
    /// Reads `http[s]://host[:port]`, with nothing behind it but one slash.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (tls, rest) = if let Some(rest) = text.strip_prefix("https://") {
            (true, rest)
        } else {
            (false, text.strip_prefix("http://")?)
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let host = authority::host(authority)?;
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let named = host.contains(':') || host.split('.').all(label);
        named.then_some(Self {
            tls,
            authority,
            host,
        })
    }

    /// Whether the way there leaves neither this machine nor a network that no stranger routes:
    /// a literal loopback or private address.
    pub fn is_near(&self) -> bool {
        match self.host.parse::<std::net::IpAddr>() {
            Ok(std::net::IpAddr::V4(address)) => address.is_loopback() || address.is_private(),
            Ok(std::net::IpAddr::V6(address)) => address.is_loopback() || address.is_unique_local(),
            Err(_) => self.host == "localhost",
        }
    }
}

impl Files {
    /// Whether nodes may read what lies under the KMS key with this ARN.
    pub fn names_key(&self, arn: &str) -> bool {
        self.kms_key.as_deref() == Some(arn) || self.former_kms_keys.iter().any(|it| it == arn)
    }

    /// Whether the server signs with keys of its own instead of the nodes' role.
    pub fn own_keys(&self) -> bool {
        self.access_key.is_some() && self.secret_key.is_some()
    }

    /// What every key begins with: empty, or ends with a slash.
    pub fn key_prefix(&self) -> String {
        match self.prefix.as_deref() {
            None | Some("") => String::new(),
            Some(prefix) => format!("{}/", prefix.trim_end_matches('/')),
        }
    }

    /// Whether the bucket is the stack's own: made, mended, and deleted only by `down --delete-files`.
    pub fn is_own_bucket(&self) -> bool {
        self.store == FileStore::S3 && self.bucket.is_none()
    }
}

impl Spec {
    /// The region of the bucket.
    pub fn files_region(&self) -> String {
        self.files
            .region
            .clone()
            .unwrap_or_else(|| self.home_region())
    }

    /// The bucket, in the account `account`. None: files live on the nodes' disks.
    pub fn files_bucket(&self, account: &str) -> Option<String> {
        match (self.files.store, &self.files.bucket) {
            (FileStore::Local, _) => None,
            (FileStore::S3, Some(named)) => Some(named.clone()),
            (FileStore::S3, None) => Some(self.names().files_bucket(account, &self.home_region())),
        }
    }
}
