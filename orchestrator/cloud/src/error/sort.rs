//! How an answer of the SDK is sorted.

use std::error::Error as StdError;

use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::operation::RequestId;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::{Failure, Kind, bare};

/// Names the call that failed, and sorts the failure.
pub(crate) trait Called<T> {
    /// `call` as IAM names the permission: `ec2:DescribeVpcs`.
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

/// Nobody answered in time.
pub(super) const NO_ANSWER: &str = "no answer in time";
/// There was no connection: no such name, nobody there, no TLS.
pub(super) const NO_CONNECTION: &str = "the connection failed";

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
        SdkError::TimeoutError(_) => (Kind::Unknown, NO_ANSWER),
        SdkError::DispatchFailure(_) if credentials_missing(&error) => (
            Kind::Denied,
            "no AWS credentials were found, or they could not be loaded",
        ),
        SdkError::DispatchFailure(_) => (Kind::Unknown, NO_CONNECTION),
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
        | "InvalidSignature"
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
    use super::super::{Failure, Kind, bare};
    use super::kind;

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
            ..Failure::incomplete("ec2:DescribeVpcs", "z")
        };
        assert!(failure.is("TargetGroupNotFoundException"));
    }
}
