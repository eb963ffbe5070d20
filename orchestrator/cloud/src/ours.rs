//! Whose a resource is: ours if and only if it carries the tag `mattermost:stack` with our stack's name.

use plan::observed::{STACK_TAG, Tags};

use crate::connect::Cloud;
use crate::error::EffectError;

impl Cloud {
    /// Whether these are the tags of a resource of ours.
    pub(crate) fn owns(&self, tags: &Tags) -> bool {
        tags.get(STACK_TAG)
            .is_some_and(|stack| stack == self.stack())
    }

    /// Refuses what is not ours.
    pub(crate) fn check_ours(&self, name: &str, tags: &Tags) -> Result<(), EffectError> {
        if self.owns(tags) {
            return Ok(());
        }
        Err(EffectError::NotOurs {
            name: name.to_owned(),
            stack: self.stack().to_owned(),
        })
    }

    /// The tags that every resource of ours gets, with what else is wanted.
    pub(crate) fn our_tags<'a>(&self, more: impl IntoIterator<Item = (&'a str, &'a str)>) -> Tags {
        more.into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .chain([(STACK_TAG.to_owned(), self.stack().to_owned())])
            .collect()
    }
}
