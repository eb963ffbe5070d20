//! Rate limits in front of enrolment: before any AWS call, and per source, so that one loud machine
//! does not keep honest nodes out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Attempts of one address at once; a node needs one, and a few after failures.
const BURST: f64 = 5.0;
/// And one more every so often.
const REFILL: Duration = Duration::from_secs(6);
/// Addresses remembered; a VPC's node subnets rarely hold more.
const ADDRESSES: usize = 65_536;

/// Token buckets by address.
#[derive(Debug, Default)]
pub struct Limit {
    buckets: Mutex<BTreeMap<IpAddr, (f64, Instant)>>,
}

impl Limit {
    /// Whether this address may try now.
    pub fn admit(&self, address: IpAddr, now: Instant) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= ADDRESSES && !buckets.contains_key(&address) {
            buckets.retain(|_, (tokens, at)| refilled(*tokens, *at, now) < BURST);
            if buckets.len() >= ADDRESSES {
                return false;
            }
        }
        let (tokens, at) = buckets.entry(address).or_insert((BURST, now));
        *tokens = refilled(*tokens, *at, now);
        *at = now;
        let admitted = *tokens >= 1.0;
        if admitted {
            *tokens -= 1.0;
        }
        admitted
    }
}

fn refilled(tokens: f64, at: Instant, now: Instant) -> f64 {
    (tokens + now.duration_since(at).as_secs_f64() / REFILL.as_secs_f64()).min(BURST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loud_address_is_held_back_and_a_quiet_one_is_not() {
        let limit = Limit::default();
        let start = Instant::now();
        let loud: IpAddr = "127.0.0.1".parse().unwrap();
        let quiet: IpAddr = "127.0.0.2".parse().unwrap();
        let admitted = (0..1000).filter(|_| limit.admit(loud, start)).count();
        assert_eq!(admitted, 5);
        assert!(limit.admit(quiet, start));
        assert!(limit.admit(loud, start + Duration::from_secs(7)));
        assert!(!limit.admit(loud, start + Duration::from_secs(7)));
    }
}
