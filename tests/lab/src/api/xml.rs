//! XML replies, built member by member in the order given.

use std::fmt::{self, Display, Write as _};

use jiff::Timestamp;
use quick_xml::escape::escape;

/// The content of an element: what stands between its tags.
///
/// ```
/// # use lab::api::Xml;
/// let xml = Xml::new().text("instanceId", "i-1").list("tagSet", "item", [Xml::new().text("key", "a<b")]);
/// assert_eq!(xml.render(), "<instanceId>i-1</instanceId><tagSet><item><key>a&lt;b</key></item></tagSet>");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Xml(String);

impl Xml {
    /// Nothing yet.
    pub fn new() -> Self {
        // A describe answer has thousands of these: most never grow.
        Self(String::with_capacity(256))
    }

    /// Bare text, for lists of strings: `.list("Zones", "member", zones.map(Xml::value))`.
    pub fn value(text: impl Display) -> Self {
        let mut xml = Self::new();
        xml.push_escaped(text);
        xml
    }

    /// `<name>text</name>`, escaped. Booleans and numbers go by their `Display`.
    #[must_use]
    pub fn text(mut self, name: &str, text: impl Display) -> Self {
        self.open(name);
        self.push_escaped(text);
        self.close(name);
        self
    }

    /// As [`Xml::text`], when there is a value; a member without one is left out.
    #[must_use]
    pub fn opt(self, name: &str, text: Option<impl Display>) -> Self {
        match text {
            Some(text) => self.text(name, text),
            None => self,
        }
    }

    /// A time-stamp as ISO 8601 with milliseconds, as AWS writes it.
    #[must_use]
    pub fn time(self, name: &str, at: Timestamp) -> Self {
        self.text(name, iso(at))
    }

    /// A structure.
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a builder: what is put in is not used again"
    )]
    pub fn child(mut self, name: &str, content: Self) -> Self {
        self.push(name, &content.0);
        self
    }

    /// A list: `item` is the name of each entry (`item` for EC2, `member` or the model's
    /// `locationName` elsewhere). An empty list is an empty element.
    #[must_use]
    pub fn list(mut self, name: &str, item: &str, entries: impl IntoIterator<Item = Self>) -> Self {
        self.open(name);
        for entry in entries {
            self.push(item, &entry.0);
        }
        self.close(name);
        self
    }

    /// The members of `other` after these.
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a builder: what is put in is not used again"
    )]
    pub fn then(mut self, other: Self) -> Self {
        self.0.push_str(&other.0);
        self
    }

    /// The text.
    pub fn render(&self) -> &str {
        &self.0
    }

    fn push(&mut self, name: &str, content: &str) {
        self.0.reserve(content.len() + 2 * name.len() + 5);
        self.open(name);
        self.0.push_str(content);
        self.close(name);
    }

    fn open(&mut self, name: &str) {
        self.0.push('<');
        self.0.push_str(name);
        self.0.push('>');
    }

    fn close(&mut self, name: &str) {
        self.0.push_str("</");
        self.0.push_str(name);
        self.0.push('>');
    }

    fn push_escaped(&mut self, text: impl Display) {
        write!(Escaping(&mut self.0), "{text}").expect("writing to memory cannot fail");
    }
}

/// Escapes what is written through it: no member's text is built twice.
struct Escaping<'a>(&'a mut String);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.push_str(&escape(text));
        Ok(())
    }
}

/// ISO 8601 in UTC with three decimals, as AWS writes time-stamps in XML.
pub fn iso(at: Timestamp) -> String {
    format!("{at:.3}")
}
