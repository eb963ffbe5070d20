//! Whether memory may be believed where the store is in memory: whoever asks on behalf of others waits for it.

use std::time::Duration;

use super::{Store, StoreError};

/// A look takes two or three seconds, and the database's answer as long again at worst.
pub const KNOWN_WITHIN: Duration = Duration::from_secs(10);

impl Store {
    /// It was seen that no database holds more than memory: what is not in memory is not at all.
    /// A store that is attached says so by itself.
    pub fn believe_memory(&self) {
        self.known
            .send_if_modified(|known| std::mem::replace(known, Ok(())).is_err());
    }

    /// Why it is not known yet where the history lies. What was known once stays known: this process
    /// then saw all of it.
    pub fn doubt_memory(&self, why: &str) {
        self.known.send_if_modified(|known| match known {
            Err(before) if before != why => {
                *known = Err(why.to_owned());
                true
            }
            _ => false,
        });
    }

    /// Why what memory lacks may yet be in the database; none when nothing is in doubt.
    pub fn doubt(&self) -> Option<String> {
        self.known.borrow().clone().err()
    }

    /// Waits until it is known where the history lies, so that an absence in it is one.
    pub async fn known(&self, within: Duration) -> Result<&Self, StoreError> {
        let mut known = self.known.subscribe();
        let settled = tokio::time::timeout(within, known.wait_for(Result::is_ok)).await;
        match settled {
            Ok(_) => Ok(self),
            Err(_) => Err(StoreError::NotKnown(self.doubt().unwrap_or_default())),
        }
    }
}
