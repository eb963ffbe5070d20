//! Addresses and signatures, as S3 wants them: every byte of a key that is not plain is encoded once, and
//! the digest of the body is signed.

use std::fmt::Write;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use reqwest::Url;

use super::error::FileStoreError;
use crate::wanted::FileStore;

/// What is signed.
pub(super) struct Outline<'a> {
    pub(super) method: &'a str,
    pub(super) url: &'a Url,
    pub(super) region: &'a str,
    /// Besides host, date, digest and session token.
    pub(super) headers: &'a [(&'static str, String)],
    pub(super) body: SignableBody<'a>,
    pub(super) time: SystemTime,
    pub(super) credentials: &'a Credentials,
}

/// Of one key in the store's bucket.
pub(super) fn address(store: &FileStore, key: &str) -> Result<Url, FileStoreError> {
    let text = format!("{}{}", store.url, encoded(key));
    Url::parse(&text).map_err(|error| FileStoreError::Address(store.bucket.clone(), error))
}

/// As it stands in the header: without the scheme's own port.
pub(super) fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Everything but letters, digits, `-._~` and the slash between a key's parts.
fn encoded(key: &str) -> String {
    let mut text = String::with_capacity(key.len());
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// All headers of the request but `host`, which the client sends by itself.
pub(super) fn signed(outline: Outline<'_>) -> Result<Vec<(String, String)>, String> {
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    let identity = outline.credentials.clone().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(outline.region)
        .name("s3")
        .time(outline.time)
        .settings(settings)
        .build()
        .map_err(|error| error.to_string())?
        .into();
    let host = host(outline.url);
    let plain: Vec<(&str, &str)> = outline
        .headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let request = SignableRequest::new(
        outline.method,
        outline.url.as_str(),
        plain.iter().copied().chain([("host", host.as_str())]),
        outline.body,
    )
    .map_err(|error| error.to_string())?;
    let (instructions, _) = sign(request, &params)
        .map_err(|error| error.to_string())?
        .into_parts();
    Ok(plain
        .into_iter()
        .chain(instructions.headers())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}
