//! What can go wrong between us and AWS, by the decision that the caller takes.
//!
//! ```text
//!   SdkError --called("ec2:CreateVpc")--> Failure --> EffectError   an effect: did anything change?
//!                                            `-----> ReadError     a read: is it there?
//! ```

use std::error::Error as StdError;
use std::fmt;

use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::operation::RequestId;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

/// Why an effect was not made, or may not have been.
#[derive(Debug, thiserror::Error)]
pub enum EffectError {
    /// AWS answered no: nothing changed.
    #[error("{call} was refused: {code}: {message}{}", Request(.request_id.as_deref()))]
    Refused {
        /// The call, as IAM names it.
        call: &'static str,
        /// AWS's error code.
        code: String,
        /// AWS's words.
        message: String,
        /// AWS's id of the request.
        request_id: Option<String>,
    },
    /// Something with the wanted name is there and does not carry our stack's tag. Nothing changed.
    #[error(
        "`{name}` exists but does not belong to stack `{stack}`: it has no tag `mattermost:stack={stack}`"
    )]
    NotOurs {
        /// Its name, id or ARN.
        name: String,
        /// Our stack.
        stack: String,
    },
    /// Too many calls: nothing changed, later it may.
    #[error("{call} was throttled{}", Request(.request_id.as_deref()))]
    Throttled {
        /// The call.
        call: &'static str,
        /// AWS's id of the request.
        request_id: Option<String>,
    },
    /// The answer was lost: it may have been made. Look again.
    #[error("the outcome of {call} is not known: {reason}{}", Request(.request_id.as_deref()))]
    Unknown {
        /// The call.
        call: &'static str,
        /// What happened to the answer.
        reason: String,
        /// AWS's id of the request, when there was an answer.
        request_id: Option<String>,
        /// The transport's or the SDK's error.
        #[source]
        source: Option<Box<dyn StdError + Send + Sync>>,
    },
    /// The caller may not do it, or AWS does not know the caller. Nothing changed.
    #[error("no permission for {call}: {code}: {message}{}", Request(.request_id.as_deref()))]
    Denied {
        /// The permission that is missing, as IAM names it.
        call: &'static str,
        /// AWS's error code.
        code: String,
        /// AWS's words.
        message: String,
        /// AWS's id of the request.
        request_id: Option<String>,
    },
}

/// Why a read showed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// AWS answered that it is not there.
    #[error("{what} does not exist")]
    NotFound {
        /// What was looked for.
        what: String,
    },
    /// The caller may not look.
    #[error("no permission for {call}: {code}: {message}{}", Request(.request_id.as_deref()))]
    Denied {
        /// The permission that is missing, as IAM names it.
        call: &'static str,
        /// AWS's error code.
        code: String,
        /// AWS's words.
        message: String,
        /// AWS's id of the request.
        request_id: Option<String>,
    },
    /// No usable answer: nothing is known.
    #[error("{call} gave no answer: {reason}{}", Request(.request_id.as_deref()))]
    Failed {
        /// The call.
        call: &'static str,
        /// AWS's code and words, or what happened to the answer.
        reason: String,
        /// AWS's id of the request, when there was an answer.
        request_id: Option<String>,
        /// The transport's or the SDK's error.
        #[source]
        source: Option<Box<dyn StdError + Send + Sync>>,
    },
}

/// ` (request …)`, when AWS said which.
struct Request<'a>(Option<&'a str>);

impl fmt::Display for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |id| write!(f, " (request {id})"))
    }
}

/// What kind of failure a call met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Refused,
    Throttled,
    Denied,
    Unknown,
}

/// A failed call, before it is known whether it was a read or an effect.
#[derive(Debug)]
pub(crate) struct Failure {
    call: &'static str,
    kind: Kind,
    code: String,
    message: String,
    request_id: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Failure {
    /// Whether AWS answered with this code. `Fault` and `Exception` at the end are spelled by some
    /// services and not by others, so they do not count.
    pub(crate) fn is(&self, code: &str) -> bool {
        bare(&self.code) == bare(code)
    }

    /// AWS's words.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// AWS's code.
    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    /// Whether the permission is missing.
    pub(crate) fn is_denied(&self) -> bool {
        self.kind == Kind::Denied
    }

    /// An answer that lacks what it must have.
    pub(crate) fn incomplete(call: &'static str, missing: &str) -> Self {
        Self {
            call,
            kind: Kind::Unknown,
            code: String::new(),
            message: format!("the answer has no {missing}"),
            request_id: None,
            source: None,
        }
    }
}

fn bare(code: &str) -> &str {
    let code = code.strip_suffix("Exception").unwrap_or(code);
    code.strip_suffix("Fault").unwrap_or(code)
}

impl EffectError {
    /// Refused by ourselves, before anything was sent.
    pub(crate) fn refused(call: &'static str, code: &str, message: impl Into<String>) -> Self {
        Self::Refused {
            call,
            code: code.to_owned(),
            message: message.into(),
            request_id: None,
        }
    }

    /// Made, it seems, but not to be seen yet.
    pub(crate) fn invisible(call: &'static str, what: &str) -> Self {
        Self::Unknown {
            call,
            reason: format!("{what} is said to exist but is not visible yet"),
            request_id: None,
            source: None,
        }
    }
}

impl From<Failure> for EffectError {
    fn from(failure: Failure) -> Self {
        let Failure {
            call,
            kind,
            code,
            message,
            request_id,
            source,
        } = failure;
        match kind {
            Kind::Refused => Self::Refused {
                call,
                code,
                message,
                request_id,
            },
            Kind::Throttled => Self::Throttled { call, request_id },
            Kind::Denied => Self::Denied {
                call,
                code,
                message,
                request_id,
            },
            Kind::Unknown => Self::Unknown {
                call,
                reason: reason(&code, message),
                request_id,
                source,
            },
        }
    }
}

impl From<Failure> for ReadError {
    fn from(failure: Failure) -> Self {
        let Failure {
            call,
            kind,
            code,
            message,
            request_id,
            source,
        } = failure;
        if kind == Kind::Denied {
            return Self::Denied {
                call,
                code,
                message,
                request_id,
            };
        }
        Self::Failed {
            call,
            reason: reason(&code, message),
            request_id,
            source,
        }
    }
}

fn reason(code: &str, message: String) -> String {
    if code.is_empty() {
        message
    } else {
        format!("{code}: {message}")
    }
}

/// Names the call that failed, and sorts the failure.
pub(crate) trait Called<T> {
    /// `call` as IAM names the permission: `ec2:CreateVpc`.
    fn called(self, call: &'static str) -> Result<T, Failure>;
}

impl<T, E> Called<T> for Result<T, SdkError<E, HttpResponse>>
where
    E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
{
    fn called(self, call: &'static str) -> Result<T, Failure> {
        self.map_err(|error| sort(call, error))
    }
}

fn sort<E>(call: &'static str, error: SdkError<E, HttpResponse>) -> Failure
where
    E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
{
    if let SdkError::ServiceError(answer) = &error {
        let meta = answer.err().meta();
        let request_id = meta
            .request_id()
            .or_else(|| error.request_id())
            .map(str::to_owned);
        let status = answer.raw().status().as_u16();
        let code = meta.code().unwrap_or("").to_owned();
        return Failure {
            call,
            kind: kind(&code, status),
            message: meta.message().unwrap_or("no message").to_owned(),
            code: if code.is_empty() {
                format!("HTTP {status}")
            } else {
                code
            },
            request_id,
            source: None,
        };
    }
    let request_id = error.request_id().map(str::to_owned);
    let (kind, message) = match &error {
        SdkError::ConstructionFailure(_) => (Kind::Refused, "the request could not be built"),
        SdkError::TimeoutError(_) => (Kind::Unknown, "no answer in time"),
        SdkError::DispatchFailure(_) if credentials_missing(&error) => (
            Kind::Denied,
            "no AWS credentials were found, or they could not be loaded",
        ),
        SdkError::DispatchFailure(_) => (Kind::Unknown, "the connection failed"),
        _ => (Kind::Unknown, "the answer could not be read"),
    };
    Failure {
        call,
        kind,
        code: match kind {
            Kind::Refused => "RequestNotBuilt".to_owned(),
            Kind::Denied => "NoCredentials".to_owned(),
            _ => String::new(),
        },
        message: message.to_owned(),
        request_id,
        source: Some(Box::new(error)),
    }
}

/// Whether the chain of causes ends in the credentials provider.
fn credentials_missing(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.is::<aws_credential_types::provider::error::CredentialsError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Sorts an answer by AWS's code, then by HTTP status.
fn kind(code: &str, status: u16) -> Kind {
    match bare(code) {
        "Throttling"
        | "Throttled"
        | "ThrottledException"
        | "RequestThrottled"
        | "SlowDown"
        | "RequestLimitExceeded"
        | "TooManyRequests"
        | "EC2ThrottledException"
        | "BandwidthLimitExceeded"
        | "PriorRequestNotComplete"
        | "TransactionInProgress" => Kind::Throttled,
        "UnauthorizedOperation"
        | "AccessDenied"
        | "AuthFailure"
        | "InvalidClientTokenId"
        | "SignatureDoesNotMatch"
        | "ExpiredToken"
        | "UnrecognizedClient"
        | "InvalidAccessKeyId"
        | "MissingAuthenticationToken"
        | "IncompleteSignature"
        | "OptInRequired"
        | "RequestExpired"
        | "NotAuthorized"
        | "Blocked"
        | "PendingVerification" => Kind::Denied,
        _ if status == 429 => Kind::Throttled,
        _ if status >= 500 => Kind::Unknown,
        _ if (400..500).contains(&status) => Kind::Refused,
        _ => Kind::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::{Failure, Kind, bare, kind};

    #[test]
    fn answers_are_sorted_by_code_then_by_status() {
        for (code, status, expected) in [
            ("RequestLimitExceeded", 503, Kind::Throttled),
            ("ThrottlingException", 400, Kind::Throttled),
            ("UnauthorizedOperation", 403, Kind::Denied),
            ("AccessDeniedException", 400, Kind::Denied),
            ("InvalidGroup.Duplicate", 400, Kind::Refused),
            ("DBInstanceNotFoundFault", 404, Kind::Refused),
            ("InternalError", 500, Kind::Unknown),
            ("", 502, Kind::Unknown),
            ("SomethingNew", 200, Kind::Unknown),
        ] {
            assert_eq!(kind(code, status), expected, "{code} {status}");
        }
    }

    #[test]
    fn suffixes_of_codes_do_not_count() {
        assert_eq!(bare("DBInstanceNotFoundFault"), "DBInstanceNotFound");
        assert_eq!(
            bare("InvalidLaunchTemplateName.NotFoundException"),
            "InvalidLaunchTemplateName.NotFound"
        );
        let failure = Failure {
            code: "TargetGroupNotFound".to_owned(),
            ..Failure::incomplete("x:Y", "z")
        };
        assert!(failure.is("TargetGroupNotFoundException"));
    }
}
