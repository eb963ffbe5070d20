//! When to try again: exponential with full jitter, so that a fleet that lost its orchestrator does
//! not come back as one wave.

use std::time::Duration;

use rand::RngExt;

/// The reconnect policy of nodes and operators.
#[derive(Clone, Debug)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    attempt: u32,
}

impl Backoff {
    /// The first wait is at most `base`; no wait is longer than `cap`.
    pub fn new(base: Duration, cap: Duration) -> Self {
        Self {
            base,
            cap,
            attempt: 0,
        }
    }

    /// For a node's session: 250 ms doubling to 15 s, so that ten thousand nodes are back within
    /// half a minute at under a thousand hand-shakes a second.
    pub fn session() -> Self {
        Self::new(Duration::from_millis(250), Duration::from_secs(15))
    }

    /// The next wait: uniform in `0..=min(cap, base·2ⁿ)`, but never under a tenth of it.
    pub fn next_wait(&mut self) -> Duration {
        let ceiling = self
            .base
            .saturating_mul(2_u32.saturating_pow(self.attempt.min(16)))
            .min(self.cap);
        self.attempt = self.attempt.saturating_add(1);
        ceiling.mul_f64(rand::rng().random_range(0.1..=1.0))
    }

    /// After success.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_start_over() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for _ in 0..50 {
            assert!(backoff.next_wait() <= Duration::from_secs(1));
        }
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_millis(100));
    }
}
