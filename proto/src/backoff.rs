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

    /// For a node's session: 1 s doubling to 15 s. Whatever an orchestrator's absence was, every node
    /// has tried again within 15 s of its end, and a large fleet knocks evenly: an eighth of it a second.
    pub fn session() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(15))
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

    /// Ten thousand nodes lose every orchestrator at once, for a minute.
    #[test]
    fn a_fleet_comes_back_within_seconds_and_not_as_one_wave() {
        const NODES: usize = 10_000;
        const BACK: f64 = 60.0;
        let mut attempts = [0_usize; 90];
        let mut last: f64 = 0.0;
        for _ in 0..NODES {
            let mut backoff = Backoff::session();
            let mut at = 0.0;
            while at < BACK {
                at += backoff.next_wait().as_secs_f64();
                attempts[at as usize] += 1;
            }
            last = last.max(at);
        }
        assert!(last <= BACK + 15.0, "the last one came at {last} s");
        // Early on waits are short, and there is nobody to be stormed.
        let busiest = attempts.iter().skip(30).max();
        assert!(
            busiest.is_some_and(|busiest| *busiest < NODES / 7),
            "attempts by second: {attempts:?}"
        );
    }

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
