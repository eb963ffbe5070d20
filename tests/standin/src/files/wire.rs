//! S3's requests before they are signed, and the little that is read of its answers.

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;

/// What stands in a path or a query as it is.
const PLAIN: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// The same, and the slashes of a key.
const PLAIN_KEY: AsciiSet = PLAIN.remove(b'/');

/// One request, before it is signed.
pub(super) struct Ask<'a> {
    pub(super) operation: &'static str,
    pub(super) method: Method,
    pub(super) key: &'a str,
    /// Sorted by name.
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
}

impl<'a> Ask<'a> {
    pub(super) fn new(operation: &'static str, method: Method, key: &'a str) -> Self {
        Self {
            operation,
            method,
            key,
            query: Vec::new(),
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    pub(super) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    pub(super) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Where it goes: below `base`, which has no slash at its end.
    pub(super) fn url(&self, base: &str) -> String {
        let mut url = format!("{base}/{}", utf8_percent_encode(self.key, &PLAIN_KEY));
        for (index, (name, value)) in self.query.iter().enumerate() {
            url.push(if index == 0 { '?' } else { '&' });
            url.push_str(name);
            url.push('=');
            url.extend(utf8_percent_encode(value, &PLAIN));
        }
        url
    }
}

/// The texts of all elements of a name, in order. S3's answers are flat enough for that.
pub(super) fn elements(xml: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    xml.split(&open)
        .skip(1)
        .filter_map(|rest| rest.split_once(&close))
        .map(|(text, _)| unescape(text))
        .collect()
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#34;", "\"")
        .replace("&#39;", "'")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_queries_are_escaped() {
        let ask = Ask::new("GetObject", Method::GET, "chat/a b+ü.txt").query("prefix", "x/y");
        assert_eq!(
            ask.url("https://h/b"),
            "https://h/b/chat/a%20b%2B%C3%BC.txt?prefix=x%2Fy"
        );
    }

    #[test]
    fn answers_are_read() {
        let page = "<R><Contents><Key>plugins/a&amp;b.tar.gz</Key></Contents><Contents><Key>c</Key></Contents></R>";
        assert_eq!(elements(page, "Key"), ["plugins/a&b.tar.gz", "c"]);
        assert!(elements(page, "NextContinuationToken").is_empty());
    }
}
