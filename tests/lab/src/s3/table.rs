//! Which permissions each action needs, on what, with which condition keys.
//!
//! From AWS's *Service Authorization Reference*, "Actions, resources, and condition keys for Amazon S3", and
//! the S3 API reference's "Permissions" of each action. An action that is not here is not implemented.

use http::HeaderMap;
use s3s::dto::CopySource;

use super::access::Target;
use crate::api::ApiError;

/// One permission that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// For example `s3:PutObject`.
    pub action: &'static str,
    /// An ARN, or `*`.
    pub resource: String,
    /// Whose policy has its say.
    pub bucket: Option<String>,
    pub context: Vec<(String, String)>,
    /// About what is copied from.
    pub source: bool,
}

impl Question {
    /// About a bucket.
    pub fn bucket(action: &'static str, bucket: &str) -> Self {
        Self {
            action,
            resource: format!("arn:aws:s3:::{bucket}"),
            bucket: Some(bucket.to_owned()),
            context: Vec::new(),
            source: false,
        }
    }

    /// About an object.
    pub fn object(action: &'static str, bucket: &str, key: &str) -> Self {
        Self {
            resource: format!("arn:aws:s3:::{bucket}/{key}"),
            ..Self::bucket(action, bucket)
        }
    }

    /// With a condition key.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.context.push((key.to_owned(), value.into()));
        self
    }
}

/// What the questions depend on.
pub(super) struct Request<'a> {
    pub target: &'a Target,
    pub headers: &'a HeaderMap,
    pub query: &'a str,
}

impl Request<'_> {
    fn parameter(&self, wanted: &str) -> Option<String> {
        form_urlencoded::parse(self.query.as_bytes())
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.into_owned())
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn on_bucket(&self, action: &'static str) -> Vec<Question> {
        let bucket = self.target.bucket.as_deref().unwrap_or_default();
        vec![Question::bucket(action, bucket)]
    }

    fn on_object(&self, action: &'static str) -> Vec<Question> {
        let bucket = self.target.bucket.as_deref().unwrap_or_default();
        let key = self.target.key.as_deref().unwrap_or_default();
        let mut question = Question::object(action, bucket, key);
        if let Some(version) = self.parameter("versionId") {
            question = question.with("s3:VersionId", version);
        }
        vec![question]
    }

    /// One action without a version, another with one.
    fn on_version(&self, plain: &'static str, versioned: &'static str) -> Vec<Question> {
        let has_version = self.parameter("versionId").is_some();
        self.on_object(if has_version { versioned } else { plain })
    }

    fn listing(&self, action: &'static str) -> Vec<Question> {
        let mut questions = self.on_bucket(action);
        for (parameter, key) in [
            ("prefix", "s3:prefix"),
            ("delimiter", "s3:delimiter"),
            ("max-keys", "s3:max-keys"),
        ] {
            if let Some(value) = self.parameter(parameter) {
                questions = questions
                    .into_iter()
                    .map(|question| question.with(key, value.clone()))
                    .collect();
            }
        }
        questions
    }

    /// A write of an object, with its tags.
    fn writing(&self) -> Vec<Question> {
        let mut questions = self.on_object("s3:PutObject");
        if let Some(sse) = self.header("x-amz-server-side-encryption") {
            let sse = sse.to_owned();
            questions = questions
                .into_iter()
                .map(|question| question.with("s3:x-amz-server-side-encryption", sse.clone()))
                .collect();
        }
        if self.header("x-amz-tagging").is_some() {
            questions.extend(self.on_object("s3:PutObjectTagging"));
        }
        questions
    }

    /// What is copied from.
    fn reading_source(&self) -> Result<Vec<Question>, ApiError> {
        let invalid = || {
            ApiError::new(
                "InvalidArgument",
                "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
            )
        };
        let header = self.header("x-amz-copy-source").ok_or_else(invalid)?;
        let CopySource::Bucket {
            bucket,
            key,
            version_id,
        } = CopySource::parse(header).map_err(|_| invalid())?
        else {
            return Err(invalid());
        };
        let action = if version_id.is_some() {
            "s3:GetObjectVersion"
        } else {
            "s3:GetObject"
        };
        let mut question = Question::object(action, &bucket, &key);
        question.source = true;
        Ok(vec![question])
    }
}

/// The questions of an action; none when the lab does not have it. Empty where the handler asks by itself,
/// because the request's body says what is touched.
pub(super) fn questions(action: &str, it: &Request<'_>) -> Result<Option<Vec<Question>>, ApiError> {
    Ok(Some(match action {
        "ListBuckets" => vec![Question {
            resource: "*".to_owned(),
            bucket: None,
            ..Question::bucket("s3:ListAllMyBuckets", "")
        }],
        "CreateBucket" | "DeleteObjects" => Vec::new(),
        "DeleteBucket" => it.on_bucket("s3:DeleteBucket"),
        "HeadBucket" => it.on_bucket("s3:ListBucket"),
        "GetBucketLocation" => it.on_bucket("s3:GetBucketLocation"),
        "GetPublicAccessBlock" => it.on_bucket("s3:GetBucketPublicAccessBlock"),
        "PutPublicAccessBlock" | "DeletePublicAccessBlock" => {
            it.on_bucket("s3:PutBucketPublicAccessBlock")
        }
        "GetBucketOwnershipControls" => it.on_bucket("s3:GetBucketOwnershipControls"),
        "PutBucketOwnershipControls" | "DeleteBucketOwnershipControls" => {
            it.on_bucket("s3:PutBucketOwnershipControls")
        }
        "GetBucketEncryption" => it.on_bucket("s3:GetEncryptionConfiguration"),
        "PutBucketEncryption" | "DeleteBucketEncryption" => {
            it.on_bucket("s3:PutEncryptionConfiguration")
        }
        "GetBucketVersioning" => it.on_bucket("s3:GetBucketVersioning"),
        "PutBucketVersioning" => it.on_bucket("s3:PutBucketVersioning"),
        "GetBucketLifecycleConfiguration" => it.on_bucket("s3:GetLifecycleConfiguration"),
        "PutBucketLifecycleConfiguration" | "DeleteBucketLifecycle" => {
            it.on_bucket("s3:PutLifecycleConfiguration")
        }
        "GetBucketPolicy" => it.on_bucket("s3:GetBucketPolicy"),
        "GetBucketPolicyStatus" => it.on_bucket("s3:GetBucketPolicyStatus"),
        "PutBucketPolicy" => it.on_bucket("s3:PutBucketPolicy"),
        "DeleteBucketPolicy" => it.on_bucket("s3:DeleteBucketPolicy"),
        "GetBucketTagging" => it.on_bucket("s3:GetBucketTagging"),
        "PutBucketTagging" | "DeleteBucketTagging" => it.on_bucket("s3:PutBucketTagging"),
        "ListObjects" | "ListObjectsV2" => it.listing("s3:ListBucket"),
        "ListObjectVersions" => it.listing("s3:ListBucketVersions"),
        "ListMultipartUploads" => it.listing("s3:ListBucketMultipartUploads"),
        "GetObject" | "HeadObject" => it.on_version("s3:GetObject", "s3:GetObjectVersion"),
        "PutObject" | "CreateMultipartUpload" => it.writing(),
        "UploadPart" | "CompleteMultipartUpload" => it.on_object("s3:PutObject"),
        "CopyObject" => [it.writing(), it.reading_source()?].concat(),
        "UploadPartCopy" => [it.on_object("s3:PutObject"), it.reading_source()?].concat(),
        "AbortMultipartUpload" => it.on_object("s3:AbortMultipartUpload"),
        "ListParts" => it.on_object("s3:ListMultipartUploadParts"),
        "DeleteObject" => it.on_version("s3:DeleteObject", "s3:DeleteObjectVersion"),
        "GetObjectTagging" => it.on_version("s3:GetObjectTagging", "s3:GetObjectVersionTagging"),
        "PutObjectTagging" => it.on_version("s3:PutObjectTagging", "s3:PutObjectVersionTagging"),
        "DeleteObjectTagging" => {
            it.on_version("s3:DeleteObjectTagging", "s3:DeleteObjectVersionTagging")
        }
        _ => return Ok(None),
    }))
}
