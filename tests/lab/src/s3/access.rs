//! Whether a request is carried out: faults, the bucket's region and owner, the policies.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http::request::Parts;
use http::{HeaderMap, Uri};
use s3s::access::{S3Access, S3AccessContext};
use s3s::{S3ErrorCode, S3Result};

use super::table::{self, Question};
use super::wire::{bucket_in_host, refuse};
use super::{no_such_bucket, not_implemented};
use crate::Lab;
use crate::api::{ApiError, Xml};
use crate::authorize::{self, Ask, Document, Guard};
use crate::iam::{ACCOUNT, Caller};
use crate::throttle::Asked;

/// What a request is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Target {
    pub bucket: Option<String>,
    pub key: Option<String>,
}

impl Target {
    /// By host and path.
    pub fn of(parts: &Parts) -> Self {
        let host = parts.headers.get("host").and_then(|it| it.to_str().ok());
        let path = percent_encoding::percent_decode_str(parts.uri.path()).decode_utf8_lossy();
        let path = path.strip_prefix('/').unwrap_or_default();
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        match host.and_then(bucket_in_host) {
            Some(bucket) => Self {
                bucket: some(bucket),
                key: some(path),
            },
            None => {
                let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
                Self {
                    bucket: some(bucket),
                    key: some(key),
                }
            }
        }
    }
}

/// Where characters for private use begin that stand for those that XML does not have.
const STAND_INS: u32 = 0xF_0000;

fn is_none_of_xml(letter: char) -> bool {
    u32::from(letter) < 0x20 && !matches!(letter, '\t' | '\n' | '\r')
}

/// One request under way; what its parts share.
pub(super) struct Exchange {
    pub lab: Arc<Lab>,
    /// Who signed; none for nobody.
    pub caller: Option<Caller>,
    /// The region that the signature names.
    pub region: String,
    pub target: Target,
    /// Cut the connection instead of answering.
    pub lose_answer: AtomicBool,
    /// The answer's document has keys from [`Exchange::spell`].
    pub spelled: AtomicBool,
    /// Members for an error's document.
    said: Mutex<Vec<(&'static str, String)>>,
    /// Headers of the answer that its model does not have, or that go with an error.
    headers: Mutex<Vec<(&'static str, String)>>,
}

impl Exchange {
    pub fn new(lab: &Arc<Lab>, caller: Option<Caller>, region: String, target: Target) -> Self {
        Self {
            lab: Arc::clone(lab),
            caller,
            region,
            target,
            lose_answer: AtomicBool::new(false),
            spelled: AtomicBool::new(false),
            said: Mutex::default(),
            headers: Mutex::default(),
        }
    }

    /// A key for an answer's document. S3 writes a character that XML 1.0 does not have as a reference to it, which
    /// strict parsers refuse; the wire's crate refuses to write it, so that a stand-in goes through it.
    pub fn spell(&self, key: String) -> String {
        if !key.contains(is_none_of_xml) {
            return key;
        }
        self.spelled.store(true, Ordering::Relaxed);
        let stand_in = |letter: char| match letter {
            letter if is_none_of_xml(letter) => {
                char::from_u32(STAND_INS + u32::from(letter)).unwrap_or(letter)
            }
            letter => letter,
        };
        key.chars().map(stand_in).collect()
    }

    /// The document as S3 writes it.
    pub fn with_references(document: &str) -> String {
        let mut text = String::with_capacity(document.len());
        for letter in document.chars() {
            match u32::from(letter).checked_sub(STAND_INS) {
                Some(code @ 0..0x20) => {
                    let _ = write!(text, "&#x{code:x};");
                }
                _ => text.push(letter),
            }
        }
        text
    }

    /// Adds a member to the error's document, should there be one.
    pub fn say(&self, name: &'static str, value: String) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.push((name, value));
    }

    /// Adds a header to the answer, be it an error or not.
    pub fn head(&self, name: &'static str, value: impl Into<String>) {
        let mut headers = self.headers.lock().unwrap_or_else(PoisonError::into_inner);
        headers.push((name, value.into()));
    }

    /// What [`Exchange::head`] added.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        self.headers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What an error's document has behind code and message.
    pub fn error_members(&self, resource: &str, request_id: &str, host_id: &str) -> Xml {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let members = said
            .iter()
            .fold(Xml::new(), |xml, (name, value)| xml.text(name, value));
        members
            .opt("BucketName", self.target.bucket.as_ref())
            .opt("Key", self.target.key.as_ref())
            .text("Resource", resource)
            .text("RequestId", request_id)
            .text("HostId", host_id)
    }

    /// Lets a request in, or says why not. `action` is the operation's name, for example `PutObject`.
    pub async fn admit(
        &self,
        action: &str,
        headers: &HeaderMap,
        uri: &Uri,
    ) -> Result<(), ApiError> {
        log::debug!("{} s3 {action} {:?}", self.region, self.target);
        self.suffer(action).await?;
        let request = table::Request {
            target: &self.target,
            headers,
            query: uri.query().unwrap_or_default(),
        };
        let Some(questions) = table::questions(action, &request)? else {
            return Err(not_implemented(action));
        };
        let header = |name: &str| headers.get(name).and_then(|it| it.to_str().ok());
        if let Some(bucket) = self
            .target
            .bucket
            .as_deref()
            .filter(|_| action != "CreateBucket")
        {
            self.reach(bucket, action)?;
            refuse_other_owner(header("x-amz-expected-bucket-owner"))?;
        }
        for question in questions {
            if let Question { source: true, .. } = question {
                refuse_other_owner(header("x-amz-source-expected-bucket-owner"))?;
            }
            self.judge(question)?;
        }
        Ok(())
    }

    /// What a person or a test wants to go wrong.
    async fn suffer(&self, action: &str) -> Result<(), ApiError> {
        self.lab.admit(Asked {
            region: &self.region,
            service: "s3",
            action,
            caller: self.caller.as_ref().map_or("nobody", |it| &it.arn),
        })?;
        let verdict = self.lab.faults.take("s3", action);
        if !verdict.delay.is_zero() {
            tokio::time::sleep(verdict.delay).await;
        }
        if verdict.lose_answer {
            self.lose_answer.store(true, Ordering::Relaxed);
        }
        match verdict.refuse {
            None => Ok(()),
            Some(error) => {
                // A fault names its code only; S3's codes have a status each.
                let status = S3ErrorCode::from_bytes(error.code.as_bytes())
                    .and_then(|code| code.status_code())
                    .map_or(error.status, |status| status.as_u16());
                Err(error.status(status))
            }
        }
    }

    /// The bucket is the account's, and in the region that was asked.
    fn reach(&self, bucket: &str, action: &str) -> Result<(), ApiError> {
        let region = {
            let state = self.lab.s3.lock();
            if state.foreign.contains(bucket) {
                return Err(ApiError::new("AccessDenied", "Access Denied").status(403));
            }
            match state.buckets.get(bucket) {
                Some(bucket) => bucket.region.clone(),
                None => return Err(no_such_bucket(bucket)),
            }
        };
        // us-east-1 knows where every bucket is (S3 user guide, "Making requests using the REST API").
        let anywhere = action == "GetBucketLocation" && self.region == "us-east-1";
        if region == self.region || anywhere || self.caller.is_none() {
            return Ok(());
        }
        self.say("Endpoint", format!("{bucket}.s3.{region}.amazonaws.com"));
        self.head("x-amz-bucket-region", region.clone());
        self.say("Region", region);
        self.say("Bucket", bucket.to_owned());
        Err(ApiError::new(
            "PermanentRedirect",
            "The bucket you are attempting to access must be addressed using the specified endpoint. Please send all future requests to this endpoint.",
        )
        .status(301))
    }

    /// Asks the policies of the caller and of the question's bucket.
    pub fn judge(&self, question: Question) -> Result<(), ApiError> {
        let (policy, plain) = {
            let state = self.lab.s3.lock();
            let bucket = question
                .bucket
                .as_ref()
                .and_then(|it| state.buckets.get(it));
            if question.source && bucket.is_none() {
                let name = question.bucket.as_deref().unwrap_or_default();
                if state.foreign.contains(name) {
                    return Err(ApiError::new("AccessDenied", "Access Denied").status(403));
                }
                return Err(no_such_bucket(name));
            }
            // "Amazon S3 ignores public policies" for who is nobody of the account, then.
            let ignored = self.caller.is_none()
                && bucket.is_some_and(|it| it.public_access_block.is_some_and(|it| it.restrict));
            let policy = bucket
                .and_then(|it| it.policy.as_ref())
                .filter(|_| !ignored);
            (policy.map(|it| Arc::clone(&it.document)), state.plain)
        };
        let mut ask = Ask::new(question.action, question.resource)
            .with("aws:RequestedRegion", &self.region)
            .with("aws:SecureTransport", (!plain).to_string())
            .with("s3:ResourceAccount", ACCOUNT);
        for (key, value) in question.context {
            ask = ask.with(&key, value);
        }
        let policy: Option<&Document> = policy.as_deref();
        authorize::judge(&self.lab, self.caller.as_ref(), &ask, Guard::Bucket(policy))
    }

    /// Whether the caller may list a key: who may not is not told that it is not there. The key counts as
    /// the prefix that a condition asks for (seen on AWS: ceph/ceph, pull request 68577).
    pub fn may_list(&self, bucket: &str, key: &str) -> bool {
        let question = Question::bucket("s3:ListBucket", bucket).with("s3:prefix", key);
        self.judge(question).is_ok()
    }
}

fn refuse_other_owner(expected: Option<&str>) -> Result<(), ApiError> {
    match expected {
        Some(account) if account != ACCOUNT => {
            Err(ApiError::new("AccessDenied", "Access Denied").status(403))
        }
        _ => Ok(()),
    }
}

/// The wire's crate asks here before it reads a request's body.
pub(super) struct Gate(pub Arc<Exchange>);

#[async_trait::async_trait]
impl S3Access for Gate {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let action = context.s3_op().name().to_owned();
        self.0
            .admit(&action, context.headers(), context.uri())
            .await
            .map_err(|error| {
                log::debug!("s3 {action}: {error}");
                refuse(error)
            })
    }
}
