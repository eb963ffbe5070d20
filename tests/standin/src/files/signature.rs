//! Signatures of version 4, the way S3 wants them: the path as it is sent, the body's digest in a header.

use std::time::{Duration, SystemTime};

use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign as sign_request,
};
use aws_sigv4::sign::v4;

use super::FileError;
use super::credentials::Credentials;
use crate::clock;

/// The headers that a request must carry beside those given, which are signed with it.
pub(super) fn sign(
    method: &str,
    url: &str,
    headers: &[(&'static str, String)],
    body: &[u8],
    region: &str,
    credentials: &Credentials,
) -> Result<Vec<(String, String)>, FileError> {
    let refused = |error: &dyn std::fmt::Display| FileError::Sign(error.to_string());
    let identity = aws_credential_types::Credentials::new(
        &credentials.id,
        &credentials.key,
        credentials.token.clone(),
        None,
        "standin",
    )
    .into();
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(clock::now_ms() as u64);
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("s3")
        .time(now)
        .settings(settings)
        .build()
        .map_err(|error| refused(&error))?
        .into();
    let request = SignableRequest::new(
        method,
        url,
        headers.iter().map(|(name, value)| (*name, value.as_str())),
        SignableBody::Bytes(body),
    )
    .map_err(|error| refused(&error))?;
    let (instructions, _) = sign_request(request, &params)
        .map_err(|error| refused(&error))?
        .into_parts();
    Ok(instructions
        .headers()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}
