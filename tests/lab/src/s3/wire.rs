//! A request to S3 from HTTP to its answer: who signed, which bucket, and what every answer carries.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use s3s::auth::{S3Auth, SecretKey};
use s3s::host::{S3Host, VirtualHost};
use s3s::service::S3ServiceBuilder;
use s3s::{Body, S3Error, S3ErrorCode, S3Result};
use subtle::ConstantTimeEq as _;

use super::access::{Exchange, Gate, Target};
use super::route::Extra;
use super::service::Service;
use crate::Lab;
use crate::api::{ApiError, Xml};
use crate::iam::Caller;

/// The answer, or none when its connection is to be cut.
pub(crate) type Answer = Option<Response<Body>>;

/// Whether a request is S3's: its signature's scope says so, or it is unsigned and reads or writes a path.
pub(crate) fn is_addressed(request: &Request<Incoming>) -> bool {
    let path = request.uri().path();
    if path == "/lab" || path.starts_with("/lab/") {
        return false;
    }
    let header = |name: &str| {
        let value = request.headers().get(name);
        value.and_then(|value| value.to_str().ok())
    };
    if let Some(authorization) = header("authorization") {
        return authorization.contains("/s3/aws4_request") || authorization.starts_with("AWS ");
    }
    let query = request.uri().query().unwrap_or_default();
    query.contains("X-Amz-Signature=")
        || query.contains("AWSAccessKeyId=")
        || (request.method() != Method::POST && path.len() > 1)
}

/// Answers a request.
pub(crate) async fn answer(lab: &Arc<Lab>, request: Request<Incoming>) -> Answer {
    let request_id = lab.ids.hex(16).to_uppercase();
    let (parts, body) = request.into_parts();
    let is_head = parts.method == Method::HEAD;
    let target = Target::of(&parts);
    let resource = parts.uri.path().to_owned();
    let exchange = match Claimed::of(lab, &parts) {
        Ok(claimed) => Arc::new(Exchange::new(lab, claimed.caller, claimed.region, target)),
        Err(error) => {
            log::debug!("s3 {resource}: {error}");
            let exchange = Exchange::new(lab, None, String::new(), target);
            if error.code == "AuthorizationHeaderMalformed" {
                exchange.say("Region", first_region(lab));
            }
            let response = refuse(error).to_http_response();
            return finish(response.ok()?, &exchange, &resource, &request_id, is_head).await;
        }
    };
    let mut builder = S3ServiceBuilder::new(Service(Arc::clone(&exchange)));
    builder.set_auth(Keys(Arc::clone(lab)));
    builder.set_access(Gate(Arc::clone(&exchange)));
    builder.set_route(Extra(Arc::clone(&exchange)));
    builder.set_host(Hosts);
    let request = Request::from_parts(parts, Body::from(body));
    let response = match builder.build().call(request).await {
        Ok(response) => response,
        Err(error) => {
            log::error!("s3 {resource}: {error:?}");
            return None;
        }
    };
    if exchange.lose_answer.load(Ordering::Relaxed) {
        return None;
    }
    finish(response, &exchange, &resource, &request_id, is_head).await
}

/// Gives an answer the headers that all have, and an error the members that S3's errors have.
async fn finish(
    response: Response<Body>,
    exchange: &Exchange,
    resource: &str,
    request_id: &str,
    is_head: bool,
) -> Answer {
    let (mut parts, mut body) = response.into_parts();
    // Long and opaque on AWS; here it is the request's id again.
    let host_id = format!("lab/{request_id}");
    if parts.status.as_u16() >= 300 && parts.status.as_u16() != 304 && !is_head {
        let bytes = body.collect().await.ok()?.to_bytes();
        if parts.status == http::StatusCode::NOT_IMPLEMENTED {
            let text = String::from_utf8_lossy(&bytes);
            log::error!("s3 {resource}: not implemented in the lab: {text}");
        }
        let more = exchange.error_members(resource, request_id, &host_id);
        body = Body::from(extend_error(&bytes, &more));
    } else if is_head && parts.status.as_u16() >= 300 {
        body = Body::empty();
    } else if exchange.spelled.load(Ordering::Relaxed) {
        let bytes = body.collect().await.ok()?.to_bytes();
        let text = Exchange::with_references(std::str::from_utf8(&bytes).ok()?);
        parts.headers.remove("content-length");
        body = Body::from(Bytes::from(text));
    }
    let mut headers = exchange.headers();
    headers.extend([
        ("x-amz-request-id", request_id.to_owned()),
        ("x-amz-id-2", host_id),
        ("server", "AmazonS3".to_owned()),
    ]);
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            parts.headers.insert(name, value);
        }
    }
    Some(Response::from_parts(parts, body))
}

/// Puts members before the end of an `Error` document, and the message that the crate may leave out.
fn extend_error(body: &Bytes, more: &Xml) -> Bytes {
    const END: &str = "</Error>";
    let text = std::str::from_utf8(body).ok();
    let Some(start) = text.and_then(|text| text.strip_suffix(END)) else {
        return body.clone();
    };
    let message = if start.contains("<Message>") {
        Xml::new()
    } else {
        let code = start.split_once("<Code>").map_or("", |(_, rest)| rest);
        let code = code.split_once("</Code>").map_or("", |(code, _)| code);
        Xml::new().text("Message", format!("The request is refused: {code}"))
    };
    Bytes::from([start, message.render(), more.render(), END].concat())
}

/// An error as the wire's crate takes it.
pub(super) fn refuse(error: ApiError) -> S3Error {
    let code = S3ErrorCode::from_bytes(error.code.as_bytes())
        .unwrap_or_else(|| S3ErrorCode::Custom(error.code.into()));
    let mut refused = S3Error::with_message(code, error.message);
    if let Ok(status) = http::StatusCode::from_u16(error.status) {
        refused.set_status_code(status);
    }
    refused
}

fn first_region(lab: &Lab) -> String {
    let first = lab.config.regions.first();
    first.map(|region| region.name.clone()).unwrap_or_default()
}

/// Who a request says it comes from, before its signature is checked, with a session token that is right.
struct Claimed {
    /// None for nobody.
    caller: Option<Caller>,
    region: String,
}

impl Claimed {
    fn of(lab: &Lab, parts: &Parts) -> Result<Self, ApiError> {
        let denied = |code: &str, message: &str| ApiError::new(code, message).status(403);
        let header = |name: &str| parts.headers.get(name)?.to_str().ok().map(str::to_owned);
        let query = |wanted: &str| {
            let query = parts.uri.query().unwrap_or_default();
            form_urlencoded::parse(query.as_bytes())
                .find(|(name, _)| name == wanted)
                .map(|(_, value)| value.into_owned())
        };
        let authorization = header("authorization");
        let old = authorization
            .as_ref()
            .is_some_and(|it| it.starts_with("AWS "));
        if old || query("AWSAccessKeyId").is_some() {
            return Err(ApiError::new(
                "InvalidRequest",
                "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
            ));
        }
        let in_header = authorization.is_some();
        let credential = match authorization {
            Some(text) => text
                .split_once("Credential=")
                .and_then(|(_, rest)| rest.split([',', ' ']).next().map(str::to_owned)),
            None => query("X-Amz-Credential"),
        };
        if credential.is_some() && !in_header {
            refuse_term(query("X-Amz-Expires").as_deref())?;
        }
        let Some(credential) = credential else {
            let region = first_region(lab);
            return Ok(Self {
                caller: None,
                region,
            });
        };
        let scope: Vec<&str> = credential.split('/').collect();
        let [id, _, region, "s3", "aws4_request"] = scope.as_slice() else {
            return Err(ApiError::new(
                "AuthorizationHeaderMalformed",
                "The authorization header is malformed; the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/s3/aws4_request\".",
            ));
        };
        if !lab.has_region(region) {
            return Err(ApiError::new(
                "AuthorizationHeaderMalformed",
                format!(
                    "The authorization header is malformed; the region '{region}' is wrong; expecting '{}'",
                    first_region(lab)
                ),
            ));
        }
        let now = lab.clock.now();
        let Some(key) = lab.iam.key(id, now) else {
            if lab.iam.has_expired(id, now) {
                return Err(ApiError::new(
                    "ExpiredToken",
                    "The provided token has expired.",
                ));
            }
            return Err(denied(
                "InvalidAccessKeyId",
                "The AWS Access Key Id you provided does not exist in our records.",
            ));
        };
        let sent = if in_header {
            header("x-amz-security-token")
        } else {
            query("X-Amz-Security-Token")
        };
        let (sent, wanted) = (
            sent.unwrap_or_default(),
            key.session_token.unwrap_or_default(),
        );
        if !bool::from(sent.as_bytes().ct_eq(wanted.as_bytes())) {
            return Err(ApiError::new(
                "InvalidToken",
                "The provided token is malformed or otherwise invalid.",
            ));
        }
        Ok(Self {
            caller: Some(key.caller),
            region: (*region).to_owned(),
        })
    }
}

/// Refuses a presigned address whose term is none, or longer than a week; the words are S3's. A term of 0 is
/// one, and over.
fn refuse_term(seconds: Option<&str>) -> Result<(), ApiError> {
    const WEEK: i64 = 604_800;
    let wrong = match seconds.map(str::parse::<i64>) {
        None => {
            "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters."
        }
        Some(Err(_)) => "X-Amz-Expires should be a number",
        Some(Ok(..0)) => "X-Amz-Expires must be non-negative",
        Some(Ok(0..=WEEK)) => return Ok(()),
        Some(Ok(_)) => {
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds"
        }
    };
    Err(ApiError::new("AuthorizationQueryParametersError", wrong))
}

/// The keys that may sign.
struct Keys(Arc<Lab>);

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        match self.0.iam.key(access_key, self.0.clock.now()) {
            Some(key) => Ok(SecretKey::from(key.secret)),
            None => Err(S3Error::new(S3ErrorCode::InvalidAccessKeyId)),
        }
    }
}

/// Virtual-hosted style where a host name says so: `BUCKET.localhost`, `BUCKET.s3.REGION.…`.
struct Hosts;

impl S3Host for Hosts {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        Ok(match bucket_in_host(host) {
            Some(bucket) => VirtualHost::new(host).with_bucket(bucket),
            None => VirtualHost::new(host),
        })
    }
}

/// The bucket that a host name begins with. An address never names one.
pub(super) fn bucket_in_host(host: &str) -> Option<&str> {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|it| it.is_ascii_digit()) => name,
        _ => host,
    };
    if name.parse::<std::net::IpAddr>().is_ok() {
        return None;
    }
    for endpoint in ["s3.", "s3-"] {
        if name.starts_with(endpoint) {
            return None;
        }
        if let Some((bucket, _)) = name.split_once(&format!(".{endpoint}")) {
            return Some(bucket);
        }
    }
    name.strip_suffix(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_names_a_bucket_or_none() {
        for (host, bucket) in [
            ("127.0.0.1:4566", None),
            ("[::1]:4566", None),
            ("localhost:4566", None),
            ("a.b.localhost:4566", Some("a.b")),
            ("a.s3.us-west-2.amazonaws.com", Some("a")),
            ("a.s3.localhost", Some("a")),
            ("s3.us-west-2.amazonaws.com", None),
            ("lab:4566", None),
        ] {
            assert_eq!(bucket_in_host(host), bucket, "{host}");
        }
    }
}
