//! `multipart/form-data`, read from a whole body.

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use bytes::Bytes;

/// One field of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The field's name.
    pub(super) name: String,
    /// The file's name; none for a plain value.
    pub(super) file: Option<String>,
    /// The content.
    pub(super) bytes: Bytes,
}

impl Part {
    /// The content as text.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// The boundary that a request's headers name; none when its body is no form.
pub(super) fn boundary(headers: &HeaderMap) -> Option<String> {
    let kind = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let (kind, parameters) = kind.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    parameter(parameters, "boundary")
}

/// The parts of a body, in order; none when it is not framed by the boundary to its end.
pub(super) fn parts(body: &Bytes, boundary: &str) -> Option<Vec<Part>> {
    let delimiter = format!("--{boundary}");
    let mut at = find(body, delimiter.as_bytes(), 0)? + delimiter.len();
    let between = format!("\r\n{delimiter}");
    let mut parts = Vec::new();
    loop {
        if body[at..].starts_with(b"--") {
            return Some(parts);
        }
        let head = at + body[at..].starts_with(b"\r\n").then_some(2)?;
        let head_end = find(body, b"\r\n\r\n", head)?;
        let end = find(body, between.as_bytes(), head_end + 2)?;
        let content = (head_end + 4).min(end);
        let headers = std::str::from_utf8(&body[head..head_end]).ok()?;
        if let Some((name, file)) = disposition(headers) {
            parts.push(Part {
                name,
                file,
                bytes: body.slice(content..end),
            });
        }
        at = end + between.len();
    }
}

fn disposition(headers: &str) -> Option<(String, Option<String>)> {
    let line = headers.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim()
            .eq_ignore_ascii_case("content-disposition")
            .then_some(value)
    })?;
    let (_, parameters) = line.split_once(';')?;
    let file = parameter(parameters, "filename").filter(|name| !name.is_empty());
    Some((parameter(parameters, "name")?, file))
}

/// A parameter of a header's value, quoted or not.
fn parameter(parameters: &str, wanted: &str) -> Option<String> {
    let mut rest = parameters;
    loop {
        let (name, after) = rest.split_once('=')?;
        let name = name.trim_matches([' ', ';', '\t']);
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted_text(quoted)?,
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = after;
    }
}

/// Up to the closing quote; a backslash takes the next character as it is.
fn quoted_text(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

fn find(body: &[u8], wanted: &[u8], from: usize) -> Option<usize> {
    memchr::memmem::find(body.get(from..)?, wanted).map(|at| from + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Option<Vec<Part>> {
        parts(&Bytes::from(text.to_owned()), "B")
    }

    #[test]
    fn values_and_files_are_read() {
        let parts = form(
            "--B\r\nContent-Disposition: form-data; name=\"channel_id\"\r\n\r\nabc\r\n\
             --B\r\ncontent-disposition: form-data; name=files; filename=\"a \\\"b\\\".txt\"\r\nContent-Type: text/plain\r\n\r\nline\r\n--not\r\n\r\n--B--\r\n",
        )
        .unwrap();
        assert_eq!(parts.len(), 2);
        assert_eq!(
            (parts[0].name.as_str(), parts[0].text().as_str()),
            ("channel_id", "abc")
        );
        assert_eq!(parts[0].file, None);
        assert_eq!(parts[1].file.as_deref(), Some("a \"b\".txt"));
        assert_eq!(parts[1].text(), "line\r\n--not\r\n");
    }

    #[test]
    fn an_empty_file_is_a_file() {
        let parts = form(
            "--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"e\"\r\n\r\n\r\n--B--",
        )
        .unwrap();
        assert!(parts[0].bytes.is_empty());
    }

    #[test]
    fn what_is_cut_is_refused() {
        for text in [
            "",
            "--B",
            "--B\r\n",
            "--B\r\nContent-Disposition: form-data; name=\"f\"\r\n\r\nhalf",
            "nothing",
        ] {
            assert_eq!(form(text), None, "{text}");
        }
        assert_eq!(form("--B--").unwrap(), []);
    }

    #[test]
    fn the_boundary_is_the_header_s() {
        let boundary = |kind: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, kind.parse().unwrap());
            super::boundary(&headers)
        };
        assert_eq!(
            boundary("multipart/form-data; boundary=xyz").as_deref(),
            Some("xyz")
        );
        assert_eq!(
            boundary("Multipart/Form-Data; charset=utf-8; boundary=\"x y\"").as_deref(),
            Some("x y")
        );
        for kind in [
            "text/plain",
            "multipart/mixed; boundary=x",
            "multipart/form-data",
        ] {
            assert_eq!(boundary(kind), None, "{kind}");
        }
    }
}
