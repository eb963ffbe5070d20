//! Rate limits: in front of enrolment, before any AWS call, and per source, so that one loud machine does
//! not keep honest nodes out; and of each enrolled node, so that one that was taken over fills neither the
//! history nor the loop's time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Sources remembered; a VPC's node subnets rarely hold more.
const SOURCES: usize = 65_536;

/// Token buckets by source: an address, an instance id.
#[derive(Debug)]
pub struct Limit<K> {
    burst: f64,
    refill: Duration,
    buckets: Mutex<BTreeMap<K, (f64, Instant)>>,
}

impl<K: Ord + Clone> Limit<K> {
    /// So many at once, and one more every `refill`; every bucket is full.
    pub fn new(burst: u32, refill: Duration) -> Self {
        Self {
            burst: f64::from(burst),
            refill,
            buckets: Mutex::default(),
        }
    }

    /// Whether this source may now.
    pub fn admit(&self, source: &K, now: Instant) -> bool {
        self.take(source, now).is_ok()
    }

    /// Takes one for this source; without one left, how long it is until there is.
    pub fn take(&self, source: &K, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= SOURCES && !buckets.contains_key(source) {
            buckets.retain(|_, (tokens, at)| self.refilled(*tokens, *at, now) < self.burst);
            if buckets.len() >= SOURCES {
                return Err(self.refill);
            }
        }
        let (tokens, at) = buckets.entry(source.clone()).or_insert((self.burst, now));
        *tokens = self.refilled(*tokens, *at, now);
        *at = now;
        if *tokens >= 1.0 {
            *tokens -= 1.0;
            return Ok(());
        }
        Err(self.refill.mul_f64(1.0 - *tokens))
    }

    fn refilled(&self, tokens: f64, at: Instant, now: Instant) -> f64 {
        (tokens + now.duration_since(at).as_secs_f64() / self.refill.as_secs_f64()).min(self.burst)
    }
}

/// What a [`Quota`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granted {
    /// Go on.
    Yes,
    /// No, for the first time since the last yes: worth a word.
    NoMore,
    /// No.
    No,
}

/// Token buckets whose emptiness is told once.
#[derive(Debug)]
pub struct Quota {
    limit: Limit<String>,
    over: Mutex<BTreeSet<String>>,
}

impl Quota {
    /// As [`Limit::new`].
    pub fn new(burst: u32, refill: Duration) -> Self {
        Self {
            limit: Limit::new(burst, refill),
            over: Mutex::default(),
        }
    }

    /// Asks for one.
    pub fn ask(&self, source: &str, now: Instant) -> Granted {
        let admitted = self.limit.admit(&source.to_owned(), now);
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        if admitted {
            over.remove(source);
            Granted::Yes
        } else if over.insert(source.to_owned()) {
            Granted::NoMore
        } else {
            Granted::No
        }
    }
}

/// Lets something happen at most once in a while, whoever asks.
#[derive(Debug)]
pub struct Pace {
    every: Duration,
    last: Mutex<Option<Instant>>,
}

impl Pace {
    /// At most once in `every`.
    pub fn new(every: Duration) -> Self {
        Self {
            every,
            last: Mutex::new(None),
        }
    }

    /// Whether it may happen now; then not again for a while.
    pub fn due(&self, now: Instant) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| now.duration_since(last) >= self.every);
        if due {
            *last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::Granted::{No, NoMore, Yes};
    use super::*;

    const REFILL: Duration = Duration::from_secs(6);

    #[test]
    fn a_loud_address_is_held_back_and_a_quiet_one_is_not() {
        let limit = Limit::new(5, REFILL);
        let start = Instant::now();
        let loud: IpAddr = "127.0.0.1".parse().unwrap();
        let quiet: IpAddr = "127.0.0.2".parse().unwrap();
        let admitted = (0..1000).filter(|_| limit.admit(&loud, start)).count();
        assert_eq!(admitted, 5);
        assert!(limit.admit(&quiet, start));
        assert!(limit.admit(&loud, start + Duration::from_secs(7)));
        assert!(!limit.admit(&loud, start + Duration::from_secs(7)));
    }

    #[test]
    fn memory_is_bounded_and_quiet_addresses_are_forgotten() {
        let limit = Limit::new(5, REFILL);
        let start = Instant::now();
        let address = |number: u32| IpAddr::from((0x7f00_0000_u32 + number).to_be_bytes());
        let many = u32::try_from(SOURCES).unwrap();
        assert!((0..many).all(|number| limit.admit(&address(number), start)));
        assert!(!limit.admit(&address(many), start), "all are remembered");
        let later = start + Duration::from_secs(7);
        assert!(limit.admit(&address(many), later));
        assert_eq!(limit.buckets.lock().unwrap().len(), 1);
    }

    #[test]
    fn whoever_waits_as_long_as_it_was_told_is_admitted() {
        let limit = Limit::new(1, REFILL);
        let start = Instant::now();
        assert_eq!(limit.take(&1, start), Ok(()));
        let wait = limit.take(&1, start + Duration::from_secs(2)).unwrap_err();
        assert_eq!(wait, Duration::from_secs(4));
        assert_eq!(
            limit.take(&1, start + Duration::from_secs(2) + wait),
            Ok(())
        );
    }

    #[test]
    fn that_a_quota_is_used_up_is_told_once() {
        let quota = Quota::new(1, REFILL);
        let start = Instant::now();
        let asked =
            [0, 0, 0, 6, 6].map(|second| quota.ask("i-1", start + Duration::from_secs(second)));
        assert_eq!(asked, [Yes, NoMore, No, Yes, NoMore]);
        assert_eq!(quota.ask("i-2", start), Yes);
    }

    #[test]
    fn a_pace_is_kept() {
        let pace = Pace::new(Duration::from_secs(2));
        let start = Instant::now();
        assert!(pace.due(start));
        assert!(!pace.due(start + Duration::from_secs(1)));
        assert!(pace.due(start + Duration::from_secs(2)));
    }
}
