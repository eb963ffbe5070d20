//! SigV4, verified on every call: header signatures (`Authorization`) as the SDKs send them.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use http::request::Parts;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{ApiError, Service};
use crate::iam::{Caller, Iam};

/// AWS refuses signatures further away from its clock than this
/// (docs: "Signature Version 4 … valid for up to five minutes before and after").
const MAX_SKEW_SECONDS: i64 = 300;

/// What a valid signature proves.
#[derive(Clone, Debug)]
pub struct Signed {
    /// Who signed.
    pub caller: Caller,
    /// The region of the credential scope.
    pub region: String,
    /// The service of the credential scope.
    pub service: Service,
}

struct Authorization<'a> {
    access_key: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
    signed_headers: Vec<&'a str>,
    signature: &'a str,
}

fn parse(header: &str) -> Option<Authorization<'_>> {
    let rest = header.strip_prefix("AWS4-HMAC-SHA256")?.trim_start();
    let (mut credential, mut signed, mut signature) = (None, None, None);
    for part in rest.split(',') {
        match part.trim().split_once('=')? {
            ("Credential", value) => credential = Some(value),
            ("SignedHeaders", value) => signed = Some(value),
            ("Signature", value) => signature = Some(value),
            _ => return None,
        }
    }
    let mut scope = credential?.split('/');
    let parsed = Authorization {
        access_key: scope.next()?,
        date: scope.next()?,
        region: scope.next()?,
        service: scope.next()?,
        signed_headers: signed?.split(';').collect(),
        signature: signature?,
    };
    (scope.next()? == "aws4_request" && scope.next().is_none()).then_some(parsed)
}

/// Checks the signature of a request over `body` at time `now`.
pub fn verify(iam: &Iam, parts: &Parts, body: &[u8], now: Timestamp) -> Result<Signed, ApiError> {
    let denied = |code: &str, message: &str| ApiError::new(code, message).status(403);
    let header = |name: &str| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let authorization = header("authorization").ok_or_else(|| {
        denied(
            "MissingAuthenticationToken",
            "Request is missing Authentication Token",
        )
    })?;
    let auth = parse(authorization).ok_or_else(|| {
        denied(
            "IncompleteSignature",
            "The Authorization header is not of the form of AWS4-HMAC-SHA256",
        )
    })?;
    let service = Service::from_scope(auth.service).ok_or_else(|| {
        denied(
            "SignatureDoesNotMatch",
            &format!(
                "Credential should be scoped to a valid service, not `{}`",
                auth.service
            ),
        )
    })?;
    let key = iam.key(auth.access_key, now).ok_or_else(|| {
        let code = if service == Service::Ec2 {
            "AuthFailure"
        } else {
            "InvalidClientTokenId"
        };
        denied(
            code,
            "The security token included in the request is invalid.",
        )
    })?;
    if let Some(token) = &key.session_token {
        let sent = header("x-amz-security-token").unwrap_or_default();
        if !bool::from(sent.as_bytes().ct_eq(token.as_bytes())) {
            return Err(denied(
                "InvalidClientTokenId",
                "The security token included in the request is invalid.",
            ));
        }
    }
    let date = header("x-amz-date")
        .ok_or_else(|| denied("IncompleteSignature", "X-Amz-Date is missing"))?;
    let at = DateTime::strptime("%Y%m%dT%H%M%SZ", date)
        .ok()
        .and_then(|civil| civil.to_zoned(TimeZone::UTC).ok())
        .ok_or_else(|| {
            denied(
                "IncompleteSignature",
                "X-Amz-Date is not of the form YYYYMMDDTHHMMSSZ",
            )
        })?
        .timestamp();
    if (now.as_second() - at.as_second()).abs() > MAX_SKEW_SECONDS {
        return Err(denied(
            "RequestExpired",
            &format!("Signature expired: {date} is not within 5 minutes of now"),
        ));
    }
    if !auth.signed_headers.contains(&"host") || !date.starts_with(auth.date) {
        return Err(denied(
            "SignatureDoesNotMatch",
            "`host` must be signed, and the scope's date must be X-Amz-Date's",
        ));
    }
    let payload = header("x-amz-content-sha256")
        .map_or_else(|| hex::encode(Sha256::digest(body)), str::to_owned);
    if payload != "UNSIGNED-PAYLOAD" && payload != hex::encode(Sha256::digest(body)) {
        return Err(denied(
            "SignatureDoesNotMatch",
            "The body does not match x-amz-content-sha256",
        ));
    }
    let mut canonical = format!(
        "{}\n{}\n{}\n",
        parts.method,
        if parts.uri.path().is_empty() {
            "/"
        } else {
            parts.uri.path()
        },
        canonical_query(parts.uri.query().unwrap_or_default())
    );
    for name in &auth.signed_headers {
        let values: Vec<String> = parts
            .headers
            .get_all(*name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .map(|value| value.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        let _ = writeln!(canonical, "{name}:{}", values.join(","));
    }
    let _ = write!(canonical, "\n{}\n{payload}", auth.signed_headers.join(";"));
    let expected = signature(
        &key.secret,
        auth.date,
        auth.region,
        auth.service,
        date,
        &canonical,
    );
    if !bool::from(expected.as_bytes().ct_eq(auth.signature.as_bytes())) {
        return Err(denied(
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.",
        ));
    }
    Ok(Signed {
        caller: key.caller,
        region: auth.region.to_owned(),
        service,
    })
}

/// The query string in canonical order.
pub fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty()).collect();
    pairs.sort_unstable();
    pairs
        .iter()
        .map(|pair| {
            if pair.contains('=') {
                (*pair).to_owned()
            } else {
                format!("{pair}=")
            }
        })
        .collect::<Vec<_>>()
        .join("&")
}

fn hmac(key: &[u8], data: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(data.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn signature(
    secret: &str,
    day: &str,
    region: &str,
    service: &str,
    date: &str,
    canonical: &str,
) -> String {
    let scope = format!("{day}/{region}/{service}/aws4_request");
    let digest = hex::encode(Sha256::digest(canonical.as_bytes()));
    let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{digest}");
    let mut key = hmac(format!("AWS4{secret}").as_bytes(), day);
    for part in [region, service, "aws4_request"] {
        key = hmac(&key, part);
    }
    hex::encode(hmac(&key, &to_sign))
}

/// Signs a form-encoded POST to `/` the way the SDKs do; for tests of the lab itself.
pub fn sign_for_tests(
    (access_key, secret): (&str, &str),
    (region, service): (&str, &str),
    host: &str,
    body: &str,
    now: Timestamp,
) -> Vec<(&'static str, String)> {
    let date = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let day = &date[..8];
    let payload = hex::encode(Sha256::digest(body.as_bytes()));
    let canonical =
        format!("POST\n/\n\nhost:{host}\nx-amz-date:{date}\n\nhost;x-amz-date\n{payload}");
    let signature = signature(secret, day, region, service, &date, &canonical);
    vec![
        ("host", host.to_owned()),
        (
            "authorization",
            format!(
                "AWS4-HMAC-SHA256 Credential={access_key}/{day}/{region}/{service}/aws4_request, SignedHeaders=host;x-amz-date, Signature={signature}"
            ),
        ),
        ("x-amz-date", date),
    ]
}
