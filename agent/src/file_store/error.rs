//! Why the node's probe of the file store failed, told apart by who can mend it.

use std::fmt;

use reqwest::Method;

use super::refusal::{Kind, Refusal};
use crate::coded::Coded;
use crate::disk::DiskError;
use crate::imds::ImdsError;

/// One request of the probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Writes the object.
    Put,
    /// Reads it.
    Get,
    /// Deletes it.
    Delete,
    /// Asks what is there.
    Head,
}

impl Verb {
    /// Of HTTP.
    pub fn method(self) -> Method {
        match self {
            Self::Put => Method::PUT,
            Self::Get => Method::GET,
            Self::Delete => Method::DELETE,
            Self::Head => Method::HEAD,
        }
    }

    /// The right that it needs.
    fn right(self) -> &'static str {
        match self {
            Self::Put => "s3:PutObject",
            Self::Get | Self::Head => "s3:GetObject",
            Self::Delete => "s3:DeleteObject",
        }
    }
}

/// What was tried where, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which request.
    pub verb: Verb,
    /// Of the object.
    pub key: String,
    /// In which bucket.
    pub bucket: String,
    /// Asked of whom.
    pub host: String,
    /// That was signed.
    pub region: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, bucket, .. } = self;
        match self.verb {
            Verb::Put => write!(f, "cannot write `{key}` to bucket `{bucket}`")?,
            Verb::Get => write!(f, "cannot read `{key}` of bucket `{bucket}`")?,
            Verb::Head => write!(f, "cannot look at `{key}` of bucket `{bucket}`")?,
            Verb::Delete => write!(f, "cannot delete `{key}` of bucket `{bucket}`")?,
        }
        write!(f, " at `{}`", self.host)
    }
}

/// The named kinds.
#[derive(Debug, thiserror::Error)]
pub enum FileStoreError {
    /// The store has keys of its own, and one did not come with the secrets.
    #[error("bucket `{bucket}` has keys of its own, and `{name}` is not among the secrets")]
    NoKeys {
        /// Which bucket.
        bucket: String,
        /// Which variable.
        name: &'static str,
    },
    /// The role's credentials cannot be had.
    #[error("bucket `{0}`: the node's role has no credentials to sign with")]
    Credentials(String, #[source] ImdsError),
    /// `AWS_CA_BUNDLE` names a file that cannot be read.
    #[error("the roots that AWS_CA_BUNDLE names cannot be read")]
    Roots(#[source] DiskError),
    /// The HTTP client cannot be made.
    #[error("bucket `{0}`: the client for it cannot be set up")]
    Client(String, #[source] reqwest::Error),
    /// Bucket and key make no address.
    #[error("bucket `{0}`: the object's address is none")]
    Address(String, #[source] url::ParseError),
    /// The signer refused; the place is boxed in all of these, because it is large.
    #[error("{0}: the request cannot be signed: {1}")]
    Sign(Box<Place>, String),
    /// Nothing in time, in seconds.
    #[error("{0}: no answer within {1} s")]
    Timeout(Box<Place>, u64),
    /// No connection, or it broke.
    #[error("{0}: the connection failed")]
    Unreachable(Box<Place>, #[source] reqwest::Error),
    /// Its certificate.
    #[error("{0}: the certificate is not trusted")]
    Untrusted(Box<Place>, #[source] reqwest::Error),
    /// S3 said no.
    #[error("{0}: S3 answered {1}")]
    Refused(Box<Place>, Refusal),
    /// What came back was not what was written.
    #[error("{0}: it is not what was written a moment before")]
    Different(Box<Place>),
}

impl FileStoreError {
    /// May be gone in a second.
    pub(super) fn passing(&self) -> bool {
        match self {
            Self::Timeout(..) | Self::Unreachable(..) => true,
            Self::Refused(_, refusal) => refusal.kind() == Kind::Busy,
            _ => false,
        }
    }
}

impl Coded for FileStoreError {
    fn code(&self) -> &'static str {
        match self {
            Self::NoKeys { .. } => "file_store_keys_missing",
            Self::Credentials(..) => "file_store_credentials",
            Self::Roots(_) => "file_store_roots",
            Self::Client(..) | Self::Address(..) => "file_store_client",
            Self::Sign(..) => "file_store_signature",
            Self::Timeout(..) => "file_store_timeout",
            Self::Unreachable(..) => "file_store_unreachable",
            Self::Untrusted(..) => "file_store_untrusted",
            Self::Different(_) => "file_store_different",
            Self::Refused(_, refusal) => match refusal.kind() {
                Kind::Denied => "file_store_denied",
                Kind::Key => "file_store_key",
                Kind::NoBucket => "file_store_bucket_missing",
                Kind::Region(_) => "file_store_region",
                Kind::Busy => "file_store_busy",
                Kind::Signer => "file_store_signer",
                Kind::Clock => "file_store_clock",
                Kind::Other => "file_store_refused",
            },
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::NoKeys { .. } => "name the secret of the store's keys in `[files]`".to_owned(),
            Self::Credentials(..) => {
                "the launch template's instance profile, and its role".to_owned()
            }
            Self::Timeout(..) | Self::Unreachable(..) => {
                "no way to S3 from this subnet: add a gateway endpoint for S3 to its route table, \
                 or a way to the internet"
                    .to_owned()
            }
            Self::Untrusted(..) => {
                "the node trusts its system's roots, and those in AWS_CA_BUNDLE".to_owned()
            }
            Self::Different(_) => {
                "the store does not keep what it takes; another program may write the same key"
                    .to_owned()
            }
            Self::Refused(place, refusal) => refused_hint(place, &refusal.kind()),
            Self::Roots(_) | Self::Client(..) | Self::Address(..) | Self::Sign(..) => String::new(),
        }
    }

    /// A person can give a right, make a bucket, open a way: that is tried again. Another region and
    /// missing keys come with another desired state only.
    fn permanent(&self) -> bool {
        match self {
            Self::NoKeys { .. } => true,
            Self::Refused(_, refusal) => matches!(refusal.kind(), Kind::Region(_)),
            _ => false,
        }
    }
}

fn refused_hint(place: &Place, kind: &Kind) -> String {
    match kind {
        Kind::Denied => format!(
            "the role's policy lacks `{}` on `{}/{}`, the bucket's policy denies it, or the bucket is \
             another account's",
            place.verb.right(),
            place.bucket,
            place.key
        ),
        Kind::Key => {
            "the bucket's KMS key is disabled, or the role lacks `kms:GenerateDataKey` and \
                      `kms:Decrypt` on it"
                .to_owned()
        }
        Kind::NoBucket => format!(
            "bucket `{}` was deleted or never made; `orchestrator up` makes the stack's own",
            place.bucket
        ),
        Kind::Region(Some(found)) => format!(
            "the bucket is in {found}, and {} was signed: correct `[files]`",
            place.region
        ),
        Kind::Region(None) => format!("the bucket is not in {}: correct `[files]`", place.region),
        Kind::Busy => "S3 is busy or fails just now; this is tried again".to_owned(),
        Kind::Signer => {
            "the store does not know these keys, or their secret is another one: compare them \
                         with the secret that `[files]` names"
                .to_owned()
        }
        Kind::Clock => "the node's clock differs from S3's: is its time synchronised?".to_owned(),
        Kind::Other => String::new(),
    }
}
