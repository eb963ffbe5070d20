//! Ten thousand nodes whose certificates came in the same second: when do they renew?

use std::collections::BTreeMap;
use std::io::Write as _;

use super::*;

const NODES: usize = 10_000;
const LIFE: i64 = 3600;
const DAY: i64 = 24 * 3600;

fn held(number: usize, received: i64) -> Held {
    Held {
        instance: format!("i-{number:017x}").parse().unwrap(),
        chain_pem: String::new(),
        trust_pem: String::new(),
        received,
        not_after: received + LIFE,
    }
}

fn worst(seconds: &BTreeMap<i64, u32>, from: i64) -> u32 {
    seconds
        .range(from..)
        .map(|(_, count)| *count)
        .max()
        .unwrap_or(0)
}

#[test]
fn ten_thousand_renewals_never_come_together() {
    let mut seconds: BTreeMap<i64, u32> = BTreeMap::new();
    for number in 0..NODES {
        let mut now = 0;
        loop {
            now = held(number, now).renew_at(now);
            if now >= DAY {
                break;
            }
            *seconds.entry(now).or_default() += 1;
        }
    }
    let (all, last) = (worst(&seconds, 0), worst(&seconds, DAY - LIFE));
    // Past the test harness, which keeps what tests print that pass.
    let _ = writeln!(
        std::io::stderr(),
        "{NODES} nodes enrolled in one second: at most {all} renewals in any second of the day, {last} in its last hour; \
         {:.1} on average",
        f64::from(seconds.values().sum::<u32>()) / DAY as f64
    );
    // The first wave lies in twelve minutes, fourteen a second; chance adds to that.
    assert!(all <= 40, "{all} in one second");
    let first = seconds.first_key_value().map(|(second, _)| *second);
    assert!(
        first.is_some_and(|second| (1440..1500).contains(&second)),
        "{first:?}"
    );
}

#[test]
fn a_fleet_that_could_not_renew_does_so_within_a_minute_and_not_at_once() {
    // No orchestrator for fifty minutes: every node is overdue when one is back.
    let now = 3000;
    let mut seconds: BTreeMap<i64, u32> = BTreeMap::new();
    for number in 0..NODES {
        let at = held(number, 0).renew_at(now);
        assert!((now..=now + 60).contains(&at));
        *seconds.entry(at).or_default() += 1;
    }
    let worst = worst(&seconds, now);
    let _ = writeln!(
        std::io::stderr(),
        "{NODES} overdue nodes: at most {worst} renewals in a second"
    );
    assert!(worst <= 250, "{worst} in one second");
}
