//! What S3 says no with: a status, and an XML document that names a code.

use std::fmt;

use reqwest::StatusCode;

/// Of a message from elsewhere, as much as an error shows.
const SHOWN: usize = 300;

/// S3's answer, as far as it is shown to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Of HTTP.
    pub status: u16,
    /// S3's word, such as `AccessDenied`; empty where the document names none.
    pub code: String,
    /// S3's sentence; may be empty.
    pub message: String,
    /// Where the bucket is, when S3 says so.
    pub region: Option<String>,
}

/// What a refusal means for whoever reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The caller may not.
    Denied,
    /// The bucket's encryption key is disabled, or the caller may not use it.
    Key,
    /// There is no such bucket.
    NoBucket,
    /// The bucket is in another region: this one, when S3 says so.
    Region(Option<String>),
    /// Too much at once, or S3 itself failed: it passes.
    Busy,
    /// The signer is unknown, or its secret is another.
    Signer,
    /// The node's clock is wrong.
    Clock,
    /// Anything else.
    Other,
}

impl Refusal {
    /// From the status, S3's header for the bucket's region, and the document.
    pub fn read(status: StatusCode, region: Option<String>, document: &[u8]) -> Self {
        let text = String::from_utf8_lossy(document);
        let region = region.or_else(|| element(&text, "Region"));
        Self {
            status: status.as_u16(),
            code: element(&text, "Code").unwrap_or_default(),
            message: element(&text, "Message").unwrap_or_default(),
            region: region.filter(|name| !name.is_empty()),
        }
    }

    /// What it means.
    pub fn kind(&self) -> Kind {
        let names_key = self.message.contains("kms:") || self.message.contains("KMS");
        match (self.code.as_str(), self.status) {
            ("AuthorizationHeaderMalformed", _) if self.region.is_none() => Kind::Other,
            (
                "PermanentRedirect"
                | "AuthorizationHeaderMalformed"
                | "IllegalLocationConstraintException",
                _,
            )
            | ("", 301) => Kind::Region(self.region.clone()),
            (
                "SlowDown"
                | "TemporaryRedirect"
                | "RequestTimeout"
                | "OperationAborted"
                | "RequestLimitExceeded",
                _,
            )
            | (_, 307 | 429 | 500..) => Kind::Busy,
            ("NoSuchBucket", _) => Kind::NoBucket,
            (
                "InvalidAccessKeyId"
                | "SignatureDoesNotMatch"
                | "ExpiredToken"
                | "InvalidToken"
                | "TokenRefreshRequired",
                _,
            ) => Kind::Signer,
            ("RequestTimeTooSkewed", _) => Kind::Clock,
            ("AccessDenied" | "AllAccessDisabled" | "", 403) if names_key => Kind::Key,
            (code, _) if code.starts_with("KMS.") => Kind::Key,
            ("AccessDenied" | "AllAccessDisabled" | "", 403) => Kind::Denied,
            _ => Kind::Other,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        for part in [&self.code, &self.message] {
            if !part.is_empty() {
                write!(f, " {part}")?;
            }
        }
        Ok(())
    }
}

/// The text of the first element of this name, on one line and of bounded length. The documents are flat,
/// and what they say decides only what people are told.
fn element(text: &str, name: &str) -> Option<String> {
    let start = format!("<{name}>");
    let (_, rest) = text.split_once(start.as_str())?;
    let (inner, _) = rest.split_once("</")?;
    let plain = inner
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&");
    let shown = plain.trim().chars().take(SHOWN);
    Some(
        shown
            .map(|one| if one.is_control() { ' ' } else { one })
            .collect(),
    )
}
