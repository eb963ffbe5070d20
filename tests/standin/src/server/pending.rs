//! `pending_post_id`: a retried post is answered with the first one's result, on this node and for
//! [`LIFETIME_MS`] only. Another node knows nothing of it unless both are in one cluster.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::clock;

/// How long a retry is recognised.
const LIFETIME_MS: i64 = 30_000;

#[derive(Clone, Debug)]
struct Seen {
    at: i64,
    /// Empty while the first request is still at work.
    post_id: String,
    /// The cluster member that works on it; none for this node.
    peer: Option<String>,
}

/// What is known of a `pending_post_id`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing: the caller makes the post, then calls `settle` or `forget`.
    New,
    /// Another request is making it at this moment.
    InProgress,
    /// It was made.
    Made(String),
}

/// The recent `pending_post_id`s.
#[derive(Debug, Default)]
pub(super) struct Pending(Mutex<HashMap<String, Seen>>);

impl Pending {
    /// Looks an id up and, when it is new, marks it as in progress.
    pub(super) fn begin(&self, id: &str) -> Known {
        let now = clock::now_ms();
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.get(id) {
            Some(known) if now - known.at < LIFETIME_MS => {
                return if known.post_id.is_empty() {
                    Known::InProgress
                } else {
                    Known::Made(known.post_id.clone())
                };
            }
            _ => {}
        }
        if seen.len() % 1024 == 1023 {
            seen.retain(|_, known| now - known.at < LIFETIME_MS);
        }
        seen.insert(
            id.to_owned(),
            Seen {
                at: now,
                post_id: String::new(),
                peer: None,
            },
        );
        Known::New
    }

    /// Records the result of this node's work.
    pub(super) fn settle(&self, id: &str, post_id: &str) {
        self.record(id, post_id, None);
    }

    /// Records what a cluster member tells: at work (an empty `post_id`), or done.
    pub(super) fn told(&self, id: &str, post_id: &str, peer: &str) {
        self.record(id, post_id, Some(peer.to_owned()));
    }

    fn record(&self, id: &str, post_id: &str, peer: Option<String>) {
        let seen = Seen {
            at: clock::now_ms(),
            post_id: post_id.to_owned(),
            peer,
        };
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.to_owned(), seen);
    }

    /// A cluster member is gone: what it was at work on will never be told.
    pub(super) fn abandon(&self, peer: &str) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|_, seen| !seen.post_id.is_empty() || seen.peer.as_deref() != Some(peer));
    }

    /// The post was not made: the next retry is a new one.
    pub(super) fn forget(&self, id: &str) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_finds_the_first_result() {
        let pending = Pending::default();
        assert_eq!(pending.begin("a"), Known::New);
        assert_eq!(pending.begin("a"), Known::InProgress);
        pending.settle("a", "post");
        assert_eq!(pending.begin("a"), Known::Made("post".to_owned()));
        assert_eq!(pending.begin("b"), Known::New);
        pending.forget("b");
        assert_eq!(pending.begin("b"), Known::New);
    }

    #[test]
    fn a_member_that_is_gone_holds_nothing_up() {
        let pending = Pending::default();
        pending.told("working", "", "peer");
        pending.told("done", "post", "peer");
        assert_eq!(pending.begin("working"), Known::InProgress);
        pending.abandon("other");
        assert_eq!(pending.begin("working"), Known::InProgress);
        pending.abandon("peer");
        assert_eq!(pending.begin("working"), Known::New);
        assert_eq!(pending.begin("done"), Known::Made("post".to_owned()));
    }
}
