//! What people made and what lies on nodes alone outlives every decision of ours.

use super::{Judge, Verdict};
use crate::moving::unmoved;

impl Judge<'_> {
    /// The group that serves keeps its nodes while something lies on them alone. `desired`: its new size;
    /// none: one of its nodes is ended.
    pub(super) fn keeps_what_is_not_moved(&self, group: &str, desired: Option<u32>) -> Verdict {
        let record = &self.intent.record;
        if !self.is_up() || record.group.as_deref() != Some(group) {
            return Ok(());
        }
        let (Some(unmoved), Some(seen)) = (
            unmoved(record, &self.intent.spec),
            self.observed.groups.get(group),
        ) else {
            return Ok(());
        };
        let shrinks = desired.is_none_or(|desired| desired < seen.desired);
        if !shrinks || seen.members.is_empty() {
            return Ok(());
        }
        Err(("not_moved", unmoved.words()))
    }
}
