//! When to try again: exponential with full jitter, so that a fleet that lost its orchestrator does
//! not come back as one wave.

use std::time::Duration;

use rand::RngExt;
use sha2::{Digest, Sha256};

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

/// Where among its equals a name stands, in -1..=1: the same for ever, and even over many names. What
/// a fleet does once an hour is spread by it, without a dice that may fall badly twice.
pub fn spread(name: &str) -> f64 {
    let digest = Sha256::digest(name.as_bytes());
    let mut first = [0; 4];
    first.copy_from_slice(&digest[..4]);
    f64::from(u32::from_be_bytes(first)) / f64::from(u32::MAX) * 2.0 - 1.0
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
    fn names_spread_evenly_and_stay_where_they_are() {
        assert!(
            (spread("i-0123456789abcdef0") - spread("i-0123456789abcdef0")).abs() < f64::EPSILON
        );
        let mut tenths = [0_u32; 10];
        for number in 0..10_000 {
            let place = spread(&format!("i-{number:017x}"));
            assert!((-1.0..=1.0).contains(&place));
            tenths[((place + 1.0) * 4.999) as usize] += 1;
        }
        assert!(
            tenths.iter().all(|count| (880..1120).contains(count)),
            "{tenths:?}"
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
