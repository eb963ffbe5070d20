//! Soft state: which nodes have a session here, and what each session should send next.
//!
//! Nothing in it survives a restart, and nothing has to: nodes come back, goals are in the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use secrecy::SecretString;
use tokio::sync::watch;

use crate::licence::Licences;
use crate::store::Access;

/// What every node's configuration is made of, beyond its goal. Learnt by the loop, as a whole: a part that
/// cannot be read for a while changes nothing.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The primary, as Mattermost's role reaches it.
    pub database: Access,
    /// Endpoints of the replicas that are available.
    pub replicas: Vec<(String, u16)>,
    /// `SiteURL`.
    pub site_url: String,
    /// Settings whose values are secrets that the specification names.
    pub secret_settings: BTreeMap<String, SecretString>,
    /// The licence's texts, where the specification has one. Which of them a node gets its goal says.
    pub licences: Licences,
    /// Version ids of the other secrets that go into the configuration: its digest changes with them.
    pub secrets_revision: String,
}

#[derive(Debug, Default)]
struct State {
    /// By instance, each with its sessions: a node may begin one before its last one is seen to end.
    sessions: BTreeMap<String, BTreeSet<u64>>,
    next: u64,
}

/// The sessions of this process.
#[derive(Debug)]
pub struct Fleet {
    state: Mutex<State>,
    /// Rung when goals or facts may have changed; every session looks at its own row again.
    pub goals: watch::Sender<u64>,
    facts: watch::Sender<Option<Arc<Facts>>>,
}

impl Default for Fleet {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            goals: watch::Sender::new(0),
            facts: watch::Sender::new(None),
        }
    }
}

impl Fleet {
    /// A session begins; the number tells it from another one of the same node.
    pub fn join(&self, instance: &str) -> u64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.next += 1;
        let number = state.next;
        let sessions = state.sessions.entry(instance.to_owned()).or_default();
        sessions.insert(number);
        number
    }

    /// A session ends. True when it was the node's last: the node is gone from here.
    pub fn leave(&self, instance: &str, number: u64) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sessions) = state.sessions.get_mut(instance) else {
            return false;
        };
        let is_last = sessions.remove(&number) && sessions.is_empty();
        if is_last {
            state.sessions.remove(instance);
        }
        is_last
    }

    /// Whether the node has a session here.
    pub fn is_connected(&self, instance: &str) -> bool {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .sessions
            .contains_key(instance)
    }

    /// The nodes with a session here.
    pub fn connected(&self) -> Vec<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.sessions.keys().cloned().collect()
    }

    /// How many nodes have a session here.
    pub fn sessions(&self) -> usize {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .sessions
            .len()
    }

    /// Tells every session to look at its goal again.
    pub fn ring(&self) {
        self.goals
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The newest facts; none before all of them were seen.
    pub fn facts(&self) -> Option<Arc<Facts>> {
        self.facts.borrow().clone()
    }

    /// New facts.
    pub fn set_facts(&self, facts: Facts) {
        self.facts.send_replace(Some(Arc::new(facts)));
        self.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::Fleet;

    #[test]
    fn a_node_is_gone_with_its_last_session_whichever_that_is() {
        for first_ends_first in [true, false] {
            let fleet = Fleet::default();
            let sessions = (fleet.join("i-1"), fleet.join("i-1"));
            assert_eq!(fleet.sessions(), 1, "it is one node");
            let (earlier, later) = if first_ends_first {
                sessions
            } else {
                (sessions.1, sessions.0)
            };
            assert!(!fleet.leave("i-1", earlier), "the other one goes on");
            assert!(!fleet.leave("i-1", earlier), "it left before");
            assert!(fleet.is_connected("i-1"));
            assert!(fleet.leave("i-1", later));
            assert!(!fleet.is_connected("i-1"));
            assert!(!fleet.leave("i-1", later));
        }
    }
}
