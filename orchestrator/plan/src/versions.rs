//! Which versions of Mattermost may follow each other, and how: tables that age, and what is read from
//! them. A specification adds what came out after this build (`[mattermost.versions]`).

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A minor release: major, minor.
pub type Minor = (u32, u32);

/// Extended support releases (Mattermost's release policy; newest known: 11.7, of May 2026).
const EXTENDED_SUPPORT: [Minor; 8] = [
    (7, 1),
    (7, 8),
    (8, 1),
    (9, 5),
    (9, 11),
    (10, 5),
    (10, 11),
    (11, 7),
];
/// Last minor release of a major version: the next major's first is its neighbour.
const LAST_MINOR: [Minor; 4] = [(7, 10), (8, 1), (9, 11), (10, 12)];
/// Oldest PostgreSQL, from a major version of Mattermost on (its software requirements).
const OLDEST_POSTGRESQL: [(u32, u32); 2] = [(10, 13), (11, 14)];

/// What a specification adds to the tables of this build.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VersionTables {
    /// Extended support releases that this build does not know, for example `["12.4"]`.
    pub extended_support: BTreeSet<String>,
    /// Last minor releases of major versions that this build does not know, for example `["11.12"]`.
    pub last_minor: BTreeSet<String>,
    /// Oldest major version of PostgreSQL by major version of Mattermost, for example `{ "12" = 15 }`.
    pub oldest_postgresql: BTreeMap<String, u32>,
}

/// How far two versions are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skew {
    /// One minor release at most: both may share a cluster and a schema for the time of an upgrade.
    Neighbours,
    /// Further, and of one extended support release's window: never at once, so a cutover only. The older
    /// one runs on the newer one's schema.
    SameWindow,
    /// To the next extended support release: a cutover only, and the older one does not run on the schema
    /// of the newer one.
    NextExtendedSupport,
}

impl VersionTables {
    fn extended_support(&self) -> BTreeSet<Minor> {
        let added = self
            .extended_support
            .iter()
            .filter_map(|text| parse_minor(text));
        EXTENDED_SUPPORT.into_iter().chain(added).collect()
    }

    fn last_minor(&self, major: u32) -> Option<Minor> {
        let added = self.last_minor.iter().filter_map(|text| parse_minor(text));
        added
            .chain(LAST_MINOR)
            .find(|(of_major, _)| *of_major == major)
    }

    /// Whether `other` is the minor release after `one`.
    fn is_next(&self, one: Minor, other: Minor) -> bool {
        other == (one.0, one.1 + 1)
            || (self.last_minor(one.0) == Some(one) && other == (one.0 + 1, 0))
    }

    /// Oldest PostgreSQL that this major version of Mattermost runs on; that of the newest version before
    /// it that is known.
    pub fn oldest_postgresql(&self, mattermost: u32) -> Option<u32> {
        let added = self
            .oldest_postgresql
            .iter()
            .filter_map(|(major, oldest)| Some((major.parse().ok()?, *oldest)));
        let all: BTreeMap<u32, u32> = OLDEST_POSTGRESQL.into_iter().chain(added).collect();
        all.range(..=mattermost)
            .next_back()
            .map(|(_, oldest)| *oldest)
    }

    /// Whether one may go from one version to the other, or why not.
    pub fn skew(&self, from: &str, to: &str) -> Result<Skew, String> {
        let (Some(one), Some(other)) = (minor_of(from), minor_of(to)) else {
            return Err(format!("`{from}` or `{to}` is not a version"));
        };
        if one == other || self.is_next(one, other) || self.is_next(other, one) {
            return Ok(Skew::Neighbours);
        }
        if other < one {
            return Err(format!(
                "{to} is more than one minor release older than {from}: the schema does not go back; the way back is the snapshot"
            ));
        }
        let supported = self.extended_support();
        let next = supported.iter().find(|esr| **esr > one);
        match next {
            Some(next) if other < *next && supported.first().is_some_and(|first| *first <= one) => {
                Ok(Skew::SameWindow)
            }
            Some(next) if other == *next => Ok(Skew::NextExtendedSupport),
            Some((major, minor)) => Err(format!(
                "{to} is further than the next extended support release from {from}: go by {major}.{minor}"
            )),
            // Whether an extended support release lies between is not known: taken for one.
            None if other.0 == one.0 => Ok(Skew::NextExtendedSupport),
            None => Err(format!(
                "{to} is of another major version than {from}, and which extended support release lies between is not known here: list it in `mattermost.versions.extended_support`, or the last minor of {} in `mattermost.versions.last_minor`",
                one.0
            )),
        }
    }

    /// The releases after `from`, up to `to`, whose notes are to be read before an upgrade: minors where
    /// they can be counted, majors else.
    pub fn notes_between(&self, from: &str, to: &str) -> Vec<String> {
        let (Some(one), Some(other)) = (minor_of(from), minor_of(to)) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        let mut at = one;
        while at < other {
            at = match self.last_minor(at.0) {
                Some(last) if at.0 < other.0 && at >= last => (at.0 + 1, 0),
                None if at.0 < other.0 => {
                    found.push(format!("every later {}.x", at.0));
                    (at.0 + 1, 0)
                }
                _ => (at.0, at.1 + 1),
            };
            found.push(format!("{}.{}", at.0, at.1));
        }
        found
    }
}

/// Whether a release came before another. Versions that are none: no.
pub(crate) fn is_older(version: &str, than: &str) -> bool {
    let parts = |text: &str| -> Option<Vec<u32>> {
        text.split('.').map(|part| part.parse().ok()).collect()
    };
    matches!((parts(version), parts(than)), (Some(one), Some(other)) if one < other)
}

/// `11.7`.
pub(crate) fn parse_minor(text: &str) -> Option<Minor> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Of `11.7.9`.
fn minor_of(version: &str) -> Option<Minor> {
    let (minor, patch) = version.rsplit_once('.')?;
    patch.parse::<u32>().ok()?;
    parse_minor(minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_ordered_by_number() {
        assert!(is_older("11.9.0", "11.10.0"));
        assert!(is_older("9.11.18", "10.11.0"));
        assert!(!is_older("11.10.0", "11.10.0"));
        assert!(!is_older("11.10.0", "11.9.0"));
        assert!(!is_older("nightly", "11.9.0"));
    }

    fn added(esr: &[&str], last: &[&str]) -> VersionTables {
        VersionTables {
            extended_support: esr.iter().map(|text| (*text).to_owned()).collect(),
            last_minor: last.iter().map(|text| (*text).to_owned()).collect(),
            oldest_postgresql: BTreeMap::from([("12".to_owned(), 15)]),
        }
    }

    #[test]
    fn versions_are_neighbours_of_one_window_or_one_extended_support_release_apart() {
        let plain = VersionTables::default();
        for (from, to, expected) in [
            ("11.10.0", "11.10.3", Some(Skew::Neighbours)),
            ("11.10.0", "11.11.0", Some(Skew::Neighbours)),
            ("11.11.0", "11.10.0", Some(Skew::Neighbours)),
            ("10.12.1", "11.0.0", Some(Skew::Neighbours)),
            ("10.11.4", "11.7.9", Some(Skew::NextExtendedSupport)),
            ("11.3.0", "11.7.9", Some(Skew::NextExtendedSupport)),
            ("11.1.0", "11.4.0", Some(Skew::SameWindow)),
            ("10.12.0", "11.4.0", Some(Skew::SameWindow)),
            ("11.7.0", "11.12.0", Some(Skew::NextExtendedSupport)),
            // Past an extended support release.
            ("11.3.0", "11.8.0", None),
            ("10.5.0", "11.7.9", None),
            ("11.11.0", "12.0.0", None),
            ("11.7.9", "10.11.4", None),
            ("11.7", "11.8.0", None),
            ("6.6.0", "7.0.0", None),
        ] {
            assert_eq!(plain.skew(from, to).ok(), expected, "{from} -> {to}");
        }
        assert_eq!(
            plain.skew("10.11.0", "11.9.0").unwrap_err(),
            "11.9.0 is further than the next extended support release from 10.11.0: go by 11.7"
        );
    }

    #[test]
    fn a_specification_knows_what_came_later() {
        let plain = VersionTables::default();
        let later = added(&["12.4"], &["11.12"]);
        for (from, to, expected) in [
            ("11.12.0", "12.0.0", Some(Skew::Neighbours)),
            ("11.11.0", "12.0.0", Some(Skew::SameWindow)),
            ("11.7.0", "12.4.1", Some(Skew::NextExtendedSupport)),
            ("11.7.0", "12.5.0", None),
        ] {
            assert_eq!(plain.skew(from, to).ok(), None, "{from} -> {to}");
            assert_eq!(later.skew(from, to).ok(), expected, "{from} -> {to}");
        }
        assert_eq!(
            [9, 10, 11, 12, 13].map(|major| later.oldest_postgresql(major)),
            [None, Some(13), Some(14), Some(15), Some(15)]
        );
    }

    #[test]
    fn notes_are_those_of_every_release_between() {
        let tables = added(&[], &["11.12"]);
        for (from, to, expected) in [
            ("11.10.0", "11.10.3", vec![]),
            ("11.10.0", "11.11.0", vec!["11.11"]),
            ("10.11.0", "11.1.0", vec!["10.12", "11.0", "11.1"]),
            ("11.11.0", "12.1.0", vec!["11.12", "12.0", "12.1"]),
            ("12.1.0", "13.0.0", vec!["every later 12.x", "13.0"]),
            ("11.11.0", "11.10.0", vec![]),
        ] {
            assert_eq!(tables.notes_between(from, to), expected, "{from} -> {to}");
        }
    }
}
