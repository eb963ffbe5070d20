//! Pages of a list, and names.

use crate::api::{ApiError, Params, Reply, Xml};

/// AWS's largest, and default, page.
const MAX_PAGE: i64 = 400;

/// Which page a call asks for. The marker is the key of the last entry given.
#[derive(Debug)]
pub(super) struct Page {
    after: Option<String>,
    size: usize,
}

impl Page {
    /// `Marker` and `PageSize`.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let size = params.opt_int("PageSize")?.unwrap_or(MAX_PAGE);
        if !(1..=MAX_PAGE).contains(&size) {
            return Err(ApiError::new(
                "ValidationError",
                format!("Page size '{size}' must be between 1 and {MAX_PAGE}"),
            ));
        }
        Ok(Self {
            after: params.opt("Marker").filter(|marker| !marker.is_empty()),
            size: size as usize,
        })
    }

    /// Whether the page is the first and holds all of that many entries.
    pub fn is_whole(&self, entries: usize) -> bool {
        self.after.is_none() && entries <= self.size
    }

    /// The reply with this page of `all`, which must come in the order of `key`.
    pub fn reply<'a, T: 'a>(
        &self,
        name: &str,
        all: impl Iterator<Item = &'a T>,
        key: impl Fn(&T) -> &str,
        render: impl Fn(&T) -> Xml,
    ) -> Reply {
        let mut rest = all.skip_while(|item| {
            self.after
                .as_ref()
                .is_some_and(|after| key(item) <= after.as_str())
        });
        let mut entries = Vec::new();
        let mut last = None;
        for item in rest.by_ref().take(self.size) {
            entries.push(render(item));
            last = Some(key(item).to_owned());
        }
        let next = last.filter(|_| rest.next().is_some());
        Xml::new()
            .list(name, "member", entries)
            .opt("NextMarker", next)
            .into()
    }
}

/// A name as load balancers and target groups have it: at most 32 letters, digits and hyphens, no
/// hyphen at the ends.
pub(super) fn valid_name(what: &str, name: String) -> Result<String, ApiError> {
    let why = if name.is_empty() || name.len() > 32 {
        "must have between 1 and 32 characters"
    } else if !name
        .bytes()
        .all(|it| it.is_ascii_alphanumeric() || it == b'-')
    {
        "can only contain characters that are alphanumeric characters and hyphens(-)"
    } else if name.starts_with('-') || name.ends_with('-') {
        "cannot begin or end with '-'"
    } else {
        return Ok(name);
    };
    Err(ApiError::new(
        "ValidationError",
        format!("{what} name '{name}' {why}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(marker: Option<&str>, size: &str) -> Page {
        let mut fields = vec![("PageSize".to_owned(), size.to_owned())];
        fields.extend(marker.map(|it| ("Marker".to_owned(), it.to_owned())));
        Page::parse(&Params::from_form(fields, true)).unwrap()
    }

    #[test]
    fn pages_follow_each_other_without_gap() {
        let all = ["a", "b", "c"].map(str::to_owned);
        let text = |page: &Page| {
            let reply = page.reply("L", all.iter(), |it| it, |it| Xml::value(it));
            match reply {
                Reply::Xml(xml) => xml.render().to_owned(),
                _ => String::new(),
            }
        };
        assert_eq!(
            text(&page(None, "2")),
            "<L><member>a</member><member>b</member></L><NextMarker>b</NextMarker>"
        );
        assert_eq!(text(&page(Some("b"), "2")), "<L><member>c</member></L>");
        assert!(!text(&page(None, "3")).contains("NextMarker"));
    }

    #[test]
    fn names() {
        assert!(valid_name("x", "blue-1".to_owned()).is_ok());
        for bad in ["", "-a", "a-", "a_b", &"a".repeat(33)] {
            assert!(valid_name("x", bad.to_owned()).is_err(), "{bad}");
        }
    }
}
