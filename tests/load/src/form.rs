//! Forms with a file in them, as a browser sends them (`multipart/form-data`).

use bytes::Bytes;

/// A form, ready to be sent any number of times.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    boundary: String,
    body: Bytes,
}

impl Form {
    /// Fields come first: the server reads the form once, and a file wants its channel known.
    ///
    /// The boundary is random, and 122 bits of it do not occur in a file by chance.
    pub(crate) fn new(fields: &[(&str, &str)], file: (&str, &str), content: &[u8]) -> Self {
        let boundary = format!("load-{}", uuid::Uuid::new_v4().simple());
        let mut body = Vec::with_capacity(content.len() + 512);
        for (name, value) in fields {
            let head = format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            );
            body.extend_from_slice(head.as_bytes());
        }
        let (field, name) = file;
        let name = name.replace(['"', '\\', '\r', '\n'], "_");
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{name}\"\r\nContent-Type: application/octet-stream\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        Self {
            boundary,
            body: body.into(),
        }
    }

    /// The header `Content-Type`.
    pub(crate) fn content_type(&self) -> String {
        format!("multipart/form-data; boundary={}", self.boundary)
    }

    /// The bytes; a copy costs nothing.
    pub(crate) fn body(&self) -> Bytes {
        self.body.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_before_the_file_and_names_break_nothing() {
        let form = Form::new(&[("channel_id", "c1")], ("files", "a\"b\r\n"), b"\r\n--x");
        let (text, boundary) = (String::from_utf8(form.body().to_vec()), &form.boundary);
        let wanted = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"channel_id\"\r\n\r\nc1\r\n\
             --{boundary}\r\nContent-Disposition: form-data; name=\"files\"; filename=\"a_b__\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n\r\n--x\r\n--{boundary}--\r\n"
        );
        assert_eq!(text.unwrap(), wanted);
        assert!(form.content_type().ends_with(boundary));
    }
}
