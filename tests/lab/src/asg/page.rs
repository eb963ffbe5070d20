//! What is shown of a list: filters and pages.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::parse::{invalid, required};
use crate::api::{ApiError, Params};

/// `Filters`, with names held to the known ones (a trailing `*` stands for a prefix).
pub fn filters(params: &Params, known: &[&str]) -> Result<Vec<(String, Vec<String>)>, ApiError> {
    params
        .structs("Filters")
        .into_iter()
        .map(|filter| {
            let name = required(&filter, "Name")?;
            let matches = known.iter().any(|known| match known.strip_suffix('*') {
                Some(prefix) => name.starts_with(prefix),
                None => *known == name,
            });
            if !matches {
                return Err(invalid(format!("Filter type {name} is not valid")));
            }
            Ok((name, filter.list("Values")))
        })
        .collect()
}

/// One page of a list: `MaxRecords` entries (`default` without it, at most `most`) from `NextToken`.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    from: usize,
    size: usize,
}

impl Page {
    /// From a call's parameters.
    pub fn parse(params: &Params, default: usize, most: usize) -> Result<Self, ApiError> {
        let size = match params.opt_int("MaxRecords")? {
            None => default,
            Some(number) if (1..=most as i64).contains(&number) => number as usize,
            Some(number) => {
                return Err(invalid(format!(
                    "MaxRecords must be between 1 and {most}, got {number}"
                )));
            }
        };
        let from = match params.opt("NextToken") {
            None => 0,
            Some(token) => URL_SAFE_NO_PAD
                .decode(&token)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .and_then(|text| text.strip_prefix("from:")?.parse().ok())
                .ok_or_else(|| {
                    ApiError::new(
                        "InvalidNextToken",
                        format!("The token '{token}' is invalid."),
                    )
                })?,
        };
        Ok(Self { from, size })
    }

    /// This page's entries, and the token of the next page.
    pub fn cut<T>(self, entries: Vec<T>) -> (Vec<T>, Option<String>) {
        let end = self.from.saturating_add(self.size);
        let more = entries.len() > end;
        let page = entries
            .into_iter()
            .skip(self.from)
            .take(self.size)
            .collect();
        let token = more.then(|| URL_SAFE_NO_PAD.encode(format!("from:{end}")));
        (page, token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        let pairs = pairs.iter();
        Params::from_form(
            pairs.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
            true,
        )
    }

    #[test]
    fn pages_join_up_to_the_whole() {
        let mut token: Option<String> = None;
        let mut all = Vec::new();
        loop {
            let sent = match &token {
                Some(token) => params(&[("MaxRecords", "2"), ("NextToken", token)]),
                None => params(&[("MaxRecords", "2")]),
            };
            let (page, next) = Page::parse(&sent, 50, 100)
                .unwrap()
                .cut(vec![1, 2, 3, 4, 5]);
            all.extend(page);
            token = next;
            if token.is_none() {
                break;
            }
        }
        assert_eq!(all, [1, 2, 3, 4, 5]);
        let bad = Page::parse(&params(&[("NextToken", "?")]), 50, 100).unwrap_err();
        assert_eq!(bad.code, "InvalidNextToken");
        assert!(Page::parse(&params(&[("MaxRecords", "101")]), 50, 100).is_err());
    }

    #[test]
    fn filters_that_are_not_known_are_refused() {
        let sent = params(&[
            ("Filters.member.1.Name", "tag:color"),
            ("Filters.member.1.Values.member.1", "blue"),
        ]);
        let parsed = filters(&sent, &["tag:*", "tag-key"]).unwrap();
        assert_eq!(parsed, [("tag:color".to_owned(), vec!["blue".to_owned()])]);
        let sent = params(&[("Filters.member.1.Name", "colour")]);
        assert!(filters(&sent, &["tag:*"]).is_err());
    }
}
