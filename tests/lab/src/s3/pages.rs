//! Pages of keys: prefix, delimiter, where to go on, how many.

use crate::api::ApiError;

/// Keys of one page at most.
const MOST: i32 = 1000;

/// Which keys are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filter<'a> {
    pub prefix: &'a str,
    /// Keys with this behind the prefix are shown as one common prefix.
    pub delimiter: Option<&'a str>,
    /// Go on behind this key or common prefix.
    pub after: Option<&'a str>,
    pub most: usize,
}

/// What a page has.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page<T> {
    pub entries: Vec<T>,
    pub prefixes: Vec<String>,
    /// Where the next page goes on, if there is one.
    pub next: Option<String>,
}

/// `max-keys` and its like.
pub(super) fn most(asked: Option<i32>) -> Result<i32, ApiError> {
    match asked {
        None => Ok(MOST),
        Some(number) if number < 0 => Err(ApiError::new(
            "InvalidArgument",
            "Argument maxKeys must be an integer between 0 and 2147483647",
        )),
        Some(number) => Ok(number.min(MOST)),
    }
}

/// What is no delimiter counts as none.
pub(super) fn delimiter(sent: Option<&String>) -> Option<&str> {
    sent.map(String::as_str).filter(|it| !it.is_empty())
}

/// The page of keys that are given in order.
pub(super) fn page<'a, T>(
    keys: impl Iterator<Item = (&'a String, T)>,
    filter: Filter<'_>,
) -> Page<T> {
    let mut page = Page {
        entries: Vec::new(),
        prefixes: Vec::new(),
        next: None,
    };
    let mut last: Option<String> = None;
    for (key, value) in keys {
        let Some(rest) = key.strip_prefix(filter.prefix) else {
            continue;
        };
        let common = filter.delimiter.and_then(|delimiter| {
            let at = rest.find(delimiter)? + delimiter.len();
            Some(key[..filter.prefix.len() + at].to_owned())
        });
        let place = common.as_ref().unwrap_or(key);
        let passed =
            |after: &str| place.as_str() <= after || (common.is_none() && key.as_str() <= after);
        if filter.after.is_some_and(passed) || common.is_some() && common == last {
            continue;
        }
        if page.entries.len() + page.prefixes.len() >= filter.most {
            page.next = last;
            return page;
        }
        last = Some(place.clone());
        match common {
            Some(common) => page.prefixes.push(common),
            None => page.entries.push(value),
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(keys: &[&str], prefix: &str, delimiter: Option<&str>, most: usize) -> Vec<String> {
        let keys: Vec<String> = keys.iter().map(|it| (*it).to_owned()).collect();
        let (mut seen, mut after): (Vec<String>, Option<String>) = (Vec::new(), None);
        loop {
            let filter = Filter {
                prefix,
                delimiter,
                after: after.as_deref(),
                most,
            };
            let page = page(keys.iter().map(|key| (key, key.clone())), filter);
            assert!(page.entries.len() + page.prefixes.len() <= most);
            seen.extend(page.entries);
            seen.extend(page.prefixes);
            match page.next {
                Some(next) => after = Some(next),
                None => return seen,
            }
        }
    }

    #[test]
    fn every_key_is_on_one_page() {
        let keys = ["a", "b/1", "b/2", "b0", "c/1/x", "c/2"];
        for most in 1..8 {
            assert_eq!(run(&keys, "", None, most), keys);
            let mut rolled = run(&keys, "", Some("/"), most);
            rolled.sort();
            assert_eq!(rolled, ["a", "b/", "b0", "c/"], "{most} at a time");
            assert_eq!(run(&keys, "c/", Some("/"), most).len(), 2);
        }
        assert!(run(&keys, "d", Some("/"), 3).is_empty());
    }
}
