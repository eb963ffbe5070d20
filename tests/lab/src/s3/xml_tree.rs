//! Request bodies that the crate's model does not know in full, read as a tree.

use quick_xml::Reader;
use quick_xml::events::Event;

use crate::api::ApiError;

/// An element without its namespace and attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    pub name: String,
    pub text: String,
    pub children: Vec<Self>,
}

impl Element {
    /// Reads a document whose root is `root`.
    pub fn parse(body: &[u8], root: &str) -> Result<Self, ApiError> {
        let read = read(body).map_err(|what| malformed(&what))?;
        if read.name == root {
            Ok(read)
        } else {
            Err(malformed(&format!(
                "`{}` where `{root}` is expected",
                read.name
            )))
        }
    }

    /// The text of a child, when there is one.
    pub fn child_text(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.as_str())
    }

    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// Refuses children that the lab does not know.
    pub fn only(&self, known: &[&str]) -> Result<(), ApiError> {
        let stranger = self
            .children
            .iter()
            .find(|child| !known.contains(&child.name.as_str()));
        match stranger {
            Some(child) => Err(malformed(&format!("`{}` in `{}`", child.name, self.name))),
            None => Ok(()),
        }
    }
}

/// What is no XML that S3 knows.
pub(super) fn malformed(what: &str) -> ApiError {
    ApiError::new(
        "MalformedXML",
        format!(
            "The XML you provided was not well-formed or did not validate against our published schema: {what}"
        ),
    )
}

fn read(body: &[u8]) -> Result<Element, String> {
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    let mut reader = Reader::from_str(text);
    let mut open: Vec<Element> = Vec::new();
    loop {
        let event = reader.read_event().map_err(|error| error.to_string())?;
        let closed = match event {
            Event::Start(start) => {
                open.push(named(start.local_name().as_ref()));
                None
            }
            Event::Empty(start) => Some(named(start.local_name().as_ref())),
            Event::End(_) => open.pop(),
            Event::Text(text) => {
                if let Some(element) = open.last_mut() {
                    element.text.push_str(&text);
                }
                None
            }
            Event::GeneralRef(reference) => {
                if let Some(element) = open.last_mut() {
                    let whole = format!("&{};", &*reference);
                    let text = quick_xml::escape::unescape(&whole).map_err(|it| it.to_string())?;
                    element.text.push_str(&text);
                }
                None
            }
            Event::Eof => return Err("it ends too early".to_owned()),
            _ => None,
        };
        if let Some(element) = closed {
            match open.last_mut() {
                Some(parent) => parent.children.push(element),
                None => return Ok(element),
            }
        }
    }
}

fn named(name: &str) -> Element {
    Element {
        name: name.to_owned(),
        ..Element::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_read() {
        let body =
            b"<?xml version=\"1.0\"?><A xmlns=\"x\"> <B>one &amp; two</B><C/><B>three</B></A>";
        let read = Element::parse(body, "A").expect("a tree");
        assert_eq!(read.child_text("B"), Some("one & two"));
        assert_eq!(read.children.len(), 3);
        assert!(read.only(&["B"]).is_err(), "`C` is not known");
        for body in [&b"<A><B></A>"[..], b"", b"<B/>", b"text"] {
            let error = Element::parse(body, "A").expect_err("no such tree");
            assert_eq!(error.code, "MalformedXML");
        }
    }
}
