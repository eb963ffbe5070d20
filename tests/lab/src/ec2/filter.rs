//! `Filter.N` and paging, the same for every describe call.
//!
//! A describe call gives its resources a [`Fields`]: filter name to the values the resource has. A
//! filter name that the call does not list is refused, as AWS does.

use crate::api::{ApiError, Params};

use super::state::Tags;
use crate::wildcard::matches_escaped;

/// What a resource offers to filters: name and value; a name may come several times.
pub(crate) type Fields = Vec<(&'static str, String)>;

/// The filters of one call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filters(Vec<(String, Vec<String>)>);

impl Filters {
    /// Reads `Filter.N`; `known` are the names besides `tag:KEY`, `tag-key` and `tag-value`.
    pub fn parse(p: &Params, known: &[&str]) -> Result<Self, ApiError> {
        let mut filters = Vec::new();
        for filter in p.structs("Filter") {
            let name = filter.str("Name")?;
            let values = filter.list("Value");
            let is_tag = name.starts_with("tag:") || name == "tag-key" || name == "tag-value";
            if !is_tag && !known.contains(&name.as_str()) {
                return Err(ApiError::new(
                    "InvalidParameterValue",
                    format!("The filter '{name}' is invalid"),
                ));
            }
            if values.is_empty() {
                return Err(ApiError::new(
                    "InvalidParameterValue",
                    format!("The filter '{name}' has no value"),
                ));
            }
            filters.push((name, values));
        }
        Ok(Self(filters))
    }

    /// Whether everything passes: then nobody needs to ask what the resource offers.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a resource passes: every filter, by any of its values.
    pub fn pass(&self, fields: &Fields, tags: &Tags) -> bool {
        self.0.iter().all(|(name, patterns)| {
            let any = |value: &str| {
                patterns
                    .iter()
                    .any(|pattern| matches_escaped(pattern, value))
            };
            if let Some(key) = name.strip_prefix("tag:") {
                tags.get(key).is_some_and(|value| any(value))
            } else if name == "tag-key" {
                tags.keys().any(|key| any(key))
            } else if name == "tag-value" {
                tags.values().any(|value| any(value))
            } else {
                fields
                    .iter()
                    .any(|(field, value)| field == name && any(value))
            }
        })
    }
}

/// `MaxResults` and `NextToken` of one call. The token is the key of the last entry shown, so a page
/// stays right when entries come and go between two calls.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    max: Option<usize>,
    after: Option<String>,
}

impl Page {
    /// Reads the two parameters; `smallest..=largest` are the call's documented bounds.
    pub fn parse(p: &Params, smallest: i64, largest: i64) -> Result<Self, ApiError> {
        let max = p.opt_int("MaxResults")?;
        if let Some(max) = max.filter(|max| !(smallest..=largest).contains(max)) {
            return Err(ApiError::new(
                "InvalidParameterValue",
                format!(
                    "Value ( {max} ) for parameter maxResults is invalid. Expecting a value greater than or equal to {smallest} and less than or equal to {largest}."
                ),
            ));
        }
        let after = match p.opt("NextToken") {
            None => None,
            Some(token) if token.is_empty() => None,
            Some(token) => Some(
                hex::decode(&token)
                    .ok()
                    .and_then(|bytes| String::from_utf8(bytes).ok())
                    .ok_or_else(|| {
                        ApiError::new(
                            "InvalidNextToken",
                            format!("The token '{token}' is invalid"),
                        )
                    })?,
            ),
        };
        Ok(Self {
            max: max.map(|max| max as usize),
            after,
        })
    }

    /// As [`Page::parse`], for a call that takes ids or a size of page and not both. `set` is the name
    /// by which AWS's error calls the ids.
    pub fn without_ids(
        p: &Params,
        (smallest, largest): (i64, i64),
        set: &str,
        ids: &[String],
    ) -> Result<Self, ApiError> {
        let page = Self::parse(p, smallest, largest)?;
        if page.max.is_some() && !ids.is_empty() {
            let most = if set.starts_with(char::is_uppercase) {
                "MaxResults"
            } else {
                "maxResults"
            };
            return Err(ApiError::new(
                "InvalidParameterCombination",
                format!("The parameter {set} cannot be used with the parameter {most}"),
            ));
        }
        Ok(page)
    }

    /// The entries of this page and the token of the next. `entries` are sorted by their key.
    pub fn cut<T>(&self, mut entries: Vec<(String, T)>) -> (Vec<T>, Option<String>) {
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        if let Some(after) = &self.after {
            entries.retain(|(key, _)| key > after);
        }
        let mut token = None;
        if let Some(max) = self.max.filter(|max| entries.len() > *max) {
            entries.truncate(max);
            token = entries.last().map(|(key, _)| hex::encode(key));
        }
        (entries.into_iter().map(|(_, entry)| entry).collect(), token)
    }
}

/// Refuses ids that do not exist, with the call's own code.
pub(crate) fn all_exist(
    ids: &[String],
    exists: impl Fn(&str) -> bool,
    error: impl Fn(&str) -> ApiError,
) -> Result<(), ApiError> {
    match ids.iter().find(|id| !exists(id)) {
        Some(id) => Err(error(id)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_without_gap_or_repetition() {
        let entries: Vec<(String, u32)> = (0..10)
            .map(|number| (format!("k{number}"), number))
            .collect();
        let mut page = Page {
            max: Some(3),
            after: None,
        };
        let mut seen = Vec::new();
        loop {
            let (part, token) = page.cut(entries.clone());
            seen.extend(part);
            let Some(token) = token else { break };
            page.after = Some(String::from_utf8(hex::decode(token).unwrap()).unwrap());
        }
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
    }
}
