//! Encryption at rest: what a bucket does by default, what a write asks for, and who may use the key.
//!
//! No byte is encrypted. What is real is the decision: a write with a KMS key asks `kms:GenerateDataKey` of
//! its caller, a read `kms:Decrypt`, and both fail as on AWS when the key is gone, off or not theirs.

use http::HeaderMap;

use super::state::State;
use super::xml_tree::{Element, malformed};
use super::{S3Store, not_implemented};
use crate::Lab;
use crate::api::{ApiError, Xml};
use crate::iam::Caller;
use crate::kms;

const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";
/// The one kind that a bucket can block.
const SSE_C: &str = "SSE-C";

/// Who holds the key of what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// S3.
    Aes256,
    /// KMS.
    Kms,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Aes256 => "AES256",
            Self::Kms => "aws:kms",
        }
    }

    fn from_name(name: &str) -> Result<Self, ApiError> {
        match name {
            "AES256" => Ok(Self::Aes256),
            "aws:kms" => Ok(Self::Kms),
            "aws:kms:dsse" => Err(not_implemented("aws:kms:dsse")),
            other => Err(ApiError::new(
                "InvalidEncryptionAlgorithmError",
                format!(
                    "The Encryption request you specified is not valid: {other}. Supported value: AES256."
                ),
            )),
        }
    }
}

/// A bucket's default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BucketEncryption {
    kind: Kind,
    /// As sent; none with KMS is `alias/aws/s3`.
    key: Option<String>,
    bucket_key: bool,
    /// `SSE-C`, or `NONE`.
    blocked: String,
}

impl BucketEncryption {
    /// Of a bucket that nobody configured (S3 user guide, "Setting default server-side encryption", and
    /// "Blocking or unblocking SSE-C": since April 2026 new buckets block it).
    pub fn new_bucket() -> Self {
        Self {
            kind: Kind::Aes256,
            key: None,
            bucket_key: false,
            blocked: SSE_C.to_owned(),
        }
    }

    /// Reads `ServerSideEncryptionConfiguration`.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let root = Element::parse(body, "ServerSideEncryptionConfiguration")?;
        root.only(&["Rule"])?;
        let [rule] = root.children.as_slice() else {
            return Err(malformed("there must be one `Rule`"));
        };
        rule.only(&[
            "ApplyServerSideEncryptionByDefault",
            "BucketKeyEnabled",
            "BlockedEncryptionTypes",
        ])?;
        let mut read = Self::new_bucket();
        if let Some(default) = rule.child("ApplyServerSideEncryptionByDefault") {
            default.only(&["SSEAlgorithm", "KMSMasterKeyID"])?;
            let name = default.child_text("SSEAlgorithm");
            read.kind = Kind::from_name(name.ok_or_else(|| malformed("no `SSEAlgorithm`"))?)?;
            read.key = default.child_text("KMSMasterKeyID").map(str::to_owned);
            if read.kind == Kind::Aes256 && read.key.is_some() {
                return Err(ApiError::new(
                    "InvalidArgument",
                    "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms",
                ));
            }
        }
        read.bucket_key = match rule.child_text("BucketKeyEnabled") {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => return Err(malformed(&format!("BucketKeyEnabled `{other}`"))),
        };
        if let Some(blocked) = rule.child("BlockedEncryptionTypes") {
            blocked.only(&["EncryptionType"])?;
            read.blocked = match blocked.child_text("EncryptionType") {
                Some(kind @ (SSE_C | "NONE")) => kind.to_owned(),
                other => return Err(malformed(&format!("EncryptionType {other:?}"))),
            };
        }
        Ok(read)
    }

    /// As `GetBucketEncryption` answers it.
    pub fn render(&self) -> String {
        let default = Xml::new()
            .text("SSEAlgorithm", self.kind.name())
            .opt("KMSMasterKeyID", self.key.as_ref());
        let rule = Xml::new()
            .child("ApplyServerSideEncryptionByDefault", default)
            .text("BucketKeyEnabled", self.bucket_key)
            .child(
                "BlockedEncryptionTypes",
                Xml::new().text("EncryptionType", &self.blocked),
            );
        let rules = Xml::new().child("Rule", rule);
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ServerSideEncryptionConfiguration xmlns=\"{NAMESPACE}\">{}</ServerSideEncryptionConfiguration>",
            rules.render()
        )
    }
}

/// How an object is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    pub kind: Kind,
    /// The key's ARN.
    pub key: Option<String>,
    pub bucket_key: bool,
}

impl Sealed {
    /// Only with KMS the answer says whether the bucket's key was used.
    pub fn bucket_key_header(&self) -> Option<bool> {
        (self.kind == Kind::Kms).then_some(self.bucket_key)
    }

    pub fn sse(&self) -> s3s::dto::ServerSideEncryption {
        s3s::dto::ServerSideEncryption::from_static(self.kind.name())
    }
}

/// What is written to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub region: &'a str,
    pub bucket: &'a str,
    pub key: &'a str,
}

impl Place<'_> {
    /// The encryption context: the bucket with a bucket key, else the object.
    fn context(&self, bucket_key: bool) -> [(&'static str, String); 1] {
        let arn = if bucket_key {
            format!("arn:aws:s3:::{}", self.bucket)
        } else {
            format!("arn:aws:s3:::{}/{}", self.bucket, self.key)
        };
        [("aws:s3:arn", arn)]
    }
}

/// What a write is kept with: what its headers ask for, else the bucket's default. Asks
/// `kms:GenerateDataKey` where KMS is asked for.
pub(super) fn seal(
    lab: &Lab,
    caller: Option<&Caller>,
    place: Place<'_>,
    headers: &HeaderMap,
) -> Result<Sealed, ApiError> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let default = lab.s3.encryption_of(place.bucket)?;
    if header("x-amz-server-side-encryption-customer-algorithm").is_some() {
        if default.blocked == SSE_C {
            let message = "Access Denied: server-side encryption with customer-provided keys is blocked for this bucket";
            return Err(ApiError::new("AccessDenied", message).status(403));
        }
        return Err(not_implemented("encryption with customer-provided keys"));
    }
    if header("x-amz-server-side-encryption-context").is_some() {
        return Err(not_implemented("x-amz-server-side-encryption-context"));
    }
    let asked = header("x-amz-server-side-encryption");
    let (kind, key) = match asked.map(Kind::from_name).transpose()? {
        Some(kind) => (
            kind,
            header("x-amz-server-side-encryption-aws-kms-key-id").map(str::to_owned),
        ),
        None => (default.kind, default.key.clone()),
    };
    if kind == Kind::Aes256 {
        return Ok(Sealed {
            kind,
            key: None,
            bucket_key: false,
        });
    }
    let bucket_key = match header("x-amz-server-side-encryption-bucket-key-enabled") {
        Some(text) => text.eq_ignore_ascii_case("true"),
        None => default.bucket_key,
    };
    let key = match key {
        Some(key) => key,
        None => kms::service_key(lab, place.region, "s3"),
    };
    let context = place.context(bucket_key);
    let service = ("s3", place.region);
    let arn = kms::use_key(lab, caller, service, &key, "GenerateDataKey", &context)?;
    Ok(Sealed {
        kind,
        key: Some(arn),
        bucket_key,
    })
}

/// Asks `kms:Decrypt` for what is kept with KMS.
pub(super) fn unseal(
    lab: &Lab,
    caller: Option<&Caller>,
    place: Place<'_>,
    sealed: &Sealed,
) -> Result<(), ApiError> {
    let Some(key) = &sealed.key else {
        return Ok(());
    };
    let context = place.context(sealed.bucket_key);
    let service = ("s3", place.region);
    kms::use_key(lab, caller, service, key, "Decrypt", &context).map(|_| ())
}

impl S3Store {
    fn encryption_of(&self, bucket: &str) -> Result<BucketEncryption, ApiError> {
        Ok(self.lock().bucket(bucket)?.encryption.clone())
    }
}

impl State {
    /// Replaces a bucket's default; none is a new bucket's.
    pub fn set_encryption(
        &mut self,
        bucket: &str,
        encryption: Option<BucketEncryption>,
    ) -> Result<(), ApiError> {
        let encryption = encryption.unwrap_or_else(BucketEncryption::new_bucket);
        self.bucket_mut(bucket)?.encryption = encryption;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_rendered_is_read_again() {
        let body = b"<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>k</KMSMasterKeyID></ApplyServerSideEncryptionByDefault><BucketKeyEnabled>true</BucketKeyEnabled><BlockedEncryptionTypes><EncryptionType>NONE</EncryptionType></BlockedEncryptionTypes></Rule></ServerSideEncryptionConfiguration>";
        let read = BucketEncryption::parse(body).expect("a good configuration");
        assert_eq!((read.kind, read.bucket_key), (Kind::Kms, true));
        assert_eq!(read.blocked, "NONE");
        let again = BucketEncryption::parse(read.render().as_bytes()).expect("a good one");
        assert_eq!(again, read);
    }

    #[test]
    fn a_new_bucket_blocks_customer_keys() {
        let text = BucketEncryption::new_bucket().render();
        assert!(
            text.contains("<SSEAlgorithm>AES256</SSEAlgorithm>"),
            "{text}"
        );
        assert!(
            text.contains("<EncryptionType>SSE-C</EncryptionType>"),
            "{text}"
        );
    }
}
