//! What lies in the old and in the new place of users' files, before a rollout that says that they were copied.

use serde::{Deserialize, Serialize};

use super::FilesHome;

/// A place, as far as it was listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "listed", rename_all = "snake_case")]
pub enum Counted {
    /// This lies there.
    Objects {
        /// How many.
        objects: u64,
        /// Their size together, bytes.
        bytes: u64,
        /// It was not listed to its end: there may be more.
        more: bool,
    },
    /// It was not, or could not be listed.
    Unlisted {
        /// Why.
        why: String,
    },
}

/// Both places of a rollout that moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountedPlaces {
    /// Where what serves keeps files.
    pub old: Counted,
    /// Where the specification wants them.
    pub new: Counted,
}

impl Counted {
    /// Whether nothing lies there; what was not listed, or not to its end, is not known to be empty.
    fn is_empty(&self) -> bool {
        matches!(
            self,
            Self::Objects {
                objects: 0,
                more: false,
                ..
            }
        )
    }

    fn words(&self, place: &FilesHome) -> String {
        let place = place.words();
        match self {
            Self::Objects {
                objects,
                bytes,
                more,
            } => format!(
                "{}{} object(s), {}, in {place}",
                if *more { "more than " } else { "" },
                grouped(*objects),
                size(*bytes)
            ),
            Self::Unlisted { why } => format!("{place}: not counted ({why})"),
        }
    }
}

impl CountedPlaces {
    /// For the plan of the rollout; `from` and `to` are the places.
    pub fn words(&self, from: &FilesHome, to: &FilesHome) -> String {
        let hint = self
            .refusal(from, to, false)
            .map_or("", |_| "; `rollout` wants --lose-files besides");
        format!("{}; {}{hint}", self.old.words(from), self.new.words(to))
    }

    /// Why a rollout to a place with nothing in it is not begun, though it was said that files were copied there.
    /// `lose`: the operator said that what is not there may be lost.
    pub fn refusal(&self, from: &FilesHome, to: &FilesHome, lose: bool) -> Option<String> {
        if lose || !self.new.is_empty() || self.old.is_empty() {
            return None;
        }
        Some(format!(
            "`--files-moved` says that users' files were copied, but there are 0 objects in {}; {}. Copy them, and ask again\nhint: `orchestrator rollout --files-moved --lose-files` goes on without them",
            to.words(),
            self.old.words(from)
        ))
    }
}

/// `12,345`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1.2 GB`: powers of a thousand, as S3's console shows them.
fn size(bytes: u64) -> String {
    let mut rest = bytes;
    let mut tenths = 0;
    for unit in ["B", "kB", "MB", "GB", "TB"] {
        if rest < 1000 {
            return if unit == "B" {
                format!("{rest} B")
            } else {
                format!("{rest}.{tenths} {unit}")
            };
        }
        tenths = rest % 1000 / 100;
        rest /= 1000;
    }
    format!("{rest}.{tenths} PB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::BucketHome;

    fn home(prefix: &str) -> FilesHome {
        FilesHome::S3(BucketHome {
            bucket: "theirs".to_owned(),
            prefix: prefix.to_owned(),
            ..BucketHome::default()
        })
    }

    fn places(old: Counted, new: Counted) -> CountedPlaces {
        CountedPlaces { old, new }
    }

    fn some(objects: u64, bytes: u64, more: bool) -> Counted {
        Counted::Objects {
            objects,
            bytes,
            more,
        }
    }

    #[test]
    fn a_place_with_nothing_in_it_is_refused_unless_there_was_nothing_to_copy() {
        let unlisted = || Counted::Unlisted {
            why: "AccessDenied".to_owned(),
        };
        let (from, to) = (home(""), home("chat/"));
        for (old, new, refused) in [
            (some(3, 9, false), some(0, 0, false), true),
            (some(100_000, 9, true), some(0, 0, false), true),
            (unlisted(), some(0, 0, false), true),
            (some(0, 0, false), some(0, 0, false), false),
            (some(3, 9, false), some(1, 9, false), false),
            // Nothing is concluded from what was not read.
            (some(3, 9, false), unlisted(), false),
            (some(3, 9, false), some(0, 0, true), false),
        ] {
            let counted = places(old, new);
            let why = counted.refusal(&from, &to, false);
            assert_eq!(why.is_some(), refused, "{counted:?}");
            let told = counted.words(&from, &to);
            assert_eq!(told.contains("--lose-files"), refused, "{told}");
            assert_eq!(counted.refusal(&from, &to, true), None);
            if let Some(why) = why {
                assert!(why.contains("there are 0 objects in bucket `theirs` below `chat/`"));
                assert!(why.contains("\nhint: `orchestrator rollout --files-moved --lose-files`"));
            }
        }
    }

    #[test]
    fn what_was_counted_is_said_and_what_was_not_is_not_nothing() {
        let told = |old, new| places(old, new).words(&home(""), &home("chat/"));
        assert_eq!(
            told(
                some(1_234_567, 1_240_000_000, false),
                some(100_000, 999, true)
            ),
            "1,234,567 object(s), 1.2 GB, in bucket `theirs`; more than 100,000 object(s), 999 B, in bucket `theirs` below `chat/`"
        );
        let why = "AccessDenied".to_owned();
        let told = told(Counted::Unlisted { why }, some(1, 1, false));
        assert!(
            told.starts_with("bucket `theirs`: not counted (AccessDenied); 1 object(s)"),
            "{told}"
        );
    }
}
