//! `If-…` headers: of reads (RFC 9110, 13) and of writes (S3 user guide, "Conditional requests").

use http::HeaderMap;
use jiff::Timestamp;
use s3s::dto::ETagCondition;

use super::no_such_key;
use super::state::Bucket;
use crate::api::ApiError;

fn failed(condition: &str) -> ApiError {
    let message =
        format!("At least one of the pre-conditions you specified did not hold: {condition}");
    ApiError::new("PreconditionFailed", message).status(412)
}

/// The conditions of a read; those of a copy's source have other names.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    matches: Option<String>,
    none_matches: Option<String>,
    modified_since: Option<Timestamp>,
    unmodified_since: Option<Timestamp>,
}

impl Conditions {
    pub fn of(headers: &HeaderMap) -> Self {
        Self::named(headers, "")
    }

    /// Of `x-amz-copy-source-if-…`.
    pub fn of_source(headers: &HeaderMap) -> Self {
        Self::named(headers, "x-amz-copy-source-")
    }

    fn named(headers: &HeaderMap, prefix: &str) -> Self {
        let header = |name: &str| {
            let value = headers.get(format!("{prefix}{name}").as_str())?;
            value.to_str().ok().map(str::to_owned)
        };
        let time = |name: &str| header(name).and_then(|text| http_date(&text));
        Self {
            matches: header("if-match"),
            none_matches: header("if-none-match"),
            modified_since: time("if-modified-since"),
            unmodified_since: time("if-unmodified-since"),
        }
    }

    /// For `GET` and `HEAD`: 304 where the client has it already.
    pub fn check_read(&self, etag: &str, modified: Timestamp) -> Result<(), ApiError> {
        if let Some(condition) = self.fails(etag, modified) {
            return Err(failed(condition));
        }
        if self.is_known(etag, modified) {
            return Err(ApiError::new("NotModified", "Not Modified").status(304));
        }
        Ok(())
    }

    /// For copies: 412 in either case.
    pub fn check_source(&self, etag: &str, modified: Timestamp) -> Result<(), ApiError> {
        match self.fails(etag, modified) {
            Some(condition) => Err(failed(condition)),
            None if self.is_known(etag, modified) => Err(failed("If-None-Match")),
            None => Ok(()),
        }
    }

    fn fails(&self, etag: &str, modified: Timestamp) -> Option<&'static str> {
        match (&self.matches, self.unmodified_since) {
            (Some(wanted), _) => (!lists(wanted, etag)).then_some("If-Match"),
            (None, Some(since)) => {
                (modified.as_second() > since.as_second()).then_some("If-Unmodified-Since")
            }
            (None, None) => None,
        }
    }

    fn is_known(&self, etag: &str, modified: Timestamp) -> bool {
        match (&self.none_matches, self.modified_since) {
            (Some(known), _) => lists(known, etag),
            (None, Some(since)) => modified.as_second() <= since.as_second(),
            (None, None) => false,
        }
    }
}

/// Whether a list of ETags has this one, or is `*`.
fn lists(header: &str, etag: &str) -> bool {
    header.split(',').any(|entry| {
        let entry = entry.trim();
        let entry = entry.strip_prefix("W/").unwrap_or(entry);
        entry == "*" || entry.trim_matches('"') == etag
    })
}

fn http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(text)
        .ok()
        .map(|zoned| zoned.timestamp())
}

/// The conditions of a write.
pub(super) fn check_write(
    bucket: &Bucket,
    key: &str,
    matches: Option<&ETagCondition>,
    none_matches: Option<&ETagCondition>,
) -> Result<(), ApiError> {
    let present = bucket.objects.get(key).and_then(|versions| versions.last());
    let present = present.and_then(|version| version.content.as_ref());
    match (matches, present) {
        (None, _) | (Some(ETagCondition::Any), Some(_)) => {}
        (Some(_), None) => return Err(no_such_key(key)),
        (Some(ETagCondition::ETag(wanted)), Some(there)) => {
            if wanted.value() != there.etag {
                return Err(failed("If-Match"));
            }
        }
    }
    match (none_matches, present) {
        (Some(ETagCondition::Any), Some(_)) => Err(failed("If-None-Match")),
        (Some(ETagCondition::ETag(known)), Some(there)) if known.value() == there.etag => {
            Err(failed("If-None-Match"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(pairs: &[(&'static str, &str)]) -> Conditions {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().expect("a header's value"));
        }
        Conditions::of(&headers)
    }

    #[test]
    fn what_is_known_is_not_sent_again() {
        let at: Timestamp = "2026-11-29T12:00:00.7Z".parse().expect("a time");
        let status = |pairs: &[(&'static str, &str)]| match conditions(pairs).check_read("e", at) {
            Ok(()) => 200,
            Err(error) => error.status,
        };
        assert_eq!(status(&[]), 200);
        assert_eq!(status(&[("if-none-match", "\"e\"")]), 304);
        assert_eq!(status(&[("if-none-match", "\"f\", \"e\"")]), 304);
        assert_eq!(status(&[("if-none-match", "\"f\"")]), 200);
        assert_eq!(status(&[("if-match", "\"f\"")]), 412);
        assert_eq!(status(&[("if-match", "\"e\"")]), 200);
        let same = "Sun, 29 Nov 2026 12:00:00 GMT";
        let before = "Sun, 29 Nov 2026 11:59:59 GMT";
        assert_eq!(status(&[("if-modified-since", same)]), 304);
        assert_eq!(status(&[("if-modified-since", before)]), 200);
        assert_eq!(status(&[("if-unmodified-since", before)]), 412);
        assert_eq!(status(&[("if-unmodified-since", same)]), 200);
    }
}
