//! What can go wrong between us and AWS, by the decision that the caller takes.
//!
//! ```text
//!   SdkError --called("ec2:DescribeVpcs")--> Failure --> EffectError   an effect: did anything change?
//!                                            `-----> ReadError     a read: is it there?
//! ```

mod sort;

use std::error::Error as StdError;
use std::fmt;

pub(crate) use sort::Called;

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

    /// Why the service could not be reached at all, with the last cause that is known: a name that does not
    /// resolve, for example. None: it answered, whatever it said.
    pub(crate) fn unreachable(&self) -> Option<String> {
        let silent = [sort::NO_ANSWER, sort::NO_CONNECTION].contains(&self.message.as_str());
        let source = self.source.as_deref().filter(|_| silent)?;
        let mut cause: &dyn StdError = source;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        Some(format!("{}: {cause}", self.message))
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
