//! Rate limits in front of enrolment: before any AWS call, and per source, so that one loud machine
//! does not keep honest nodes out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::bounds::Bounds;

/// Addresses remembered; a VPC's node subnets rarely hold more.
const ADDRESSES: usize = 65_536;

/// Token buckets by address.
#[derive(Debug)]
pub struct Limit {
    burst: f64,
    refill: Duration,
    buckets: Mutex<BTreeMap<IpAddr, (f64, Instant)>>,
}

impl Limit {
    /// With these bounds, every bucket full.
    pub fn new(bounds: &Bounds) -> Self {
        Self {
            burst: f64::from(bounds.burst),
            refill: bounds.refill,
            buckets: Mutex::default(),
        }
    }

    /// Whether this address may try now.
    pub fn admit(&self, address: IpAddr, now: Instant) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= ADDRESSES && !buckets.contains_key(&address) {
            buckets.retain(|_, (tokens, at)| self.refilled(*tokens, *at, now) < self.burst);
            if buckets.len() >= ADDRESSES {
                return false;
            }
        }
        let (tokens, at) = buckets.entry(address).or_insert((self.burst, now));
        *tokens = self.refilled(*tokens, *at, now);
        *at = now;
        let admitted = *tokens >= 1.0;
        if admitted {
            *tokens -= 1.0;
        }
        admitted
    }

    fn refilled(&self, tokens: f64, at: Instant, now: Instant) -> f64 {
        (tokens + now.duration_since(at).as_secs_f64() / self.refill.as_secs_f64()).min(self.burst)
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
    use super::*;

    #[test]
    fn a_loud_address_is_held_back_and_a_quiet_one_is_not() {
        let limit = Limit::new(&Bounds::default());
        let start = Instant::now();
        let loud: IpAddr = "127.0.0.1".parse().unwrap();
        let quiet: IpAddr = "127.0.0.2".parse().unwrap();
        let admitted = (0..1000).filter(|_| limit.admit(loud, start)).count();
        assert_eq!(admitted, 5);
        assert!(limit.admit(quiet, start));
        assert!(limit.admit(loud, start + Duration::from_secs(7)));
        assert!(!limit.admit(loud, start + Duration::from_secs(7)));
    }

    #[test]
    fn memory_is_bounded_and_quiet_addresses_are_forgotten() {
        let limit = Limit::new(&Bounds::default());
        let start = Instant::now();
        let address = |number: u32| IpAddr::from((0x7f00_0000_u32 + number).to_be_bytes());
        let many = u32::try_from(ADDRESSES).unwrap();
        assert!((0..many).all(|number| limit.admit(address(number), start)));
        assert!(!limit.admit(address(many), start), "all are remembered");
        let later = start + Duration::from_secs(7);
        assert!(limit.admit(address(many), later));
        assert_eq!(limit.buckets.lock().unwrap().len(), 1);
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
