//! What a rollout watches.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// A stretch of time in a rollout's watch, judged as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// From when on.
    pub began: Timestamp,
    /// Green's percent of the traffic in it.
    pub weight: u8,
    /// Until when, where the weights were changed since: it is the rest of an earlier step, whose numbers come
    /// while the next one has begun.
    pub ended: Option<Timestamp>,
}

impl Window {
    /// Until when its numbers are whole at this moment.
    #[must_use]
    pub fn whole_until(&self, now: Timestamp, delay_seconds: u32) -> Timestamp {
        let whole = now
            .checked_sub(SignedDuration::from_secs(i64::from(delay_seconds)))
            .unwrap_or(Timestamp::MIN);
        self.ended.map_or(whole, |ended| ended.min(whole))
    }
}
