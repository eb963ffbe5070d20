//! AWS's token buckets: how many calls an account may make at once in a region, and how fast that fills again.
//!
//! Buckets fill by the lab's clock: at speed 60 a bucket that AWS fills by ten a second gets six hundred. Every
//! caller of the lab is one account, so that all of them take from the same ones. Sizes are documented where
//! [`Bucket::documented`] says so (docs/lab/calls.md has the pages); the others are ours.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::api::ApiError;

/// What a call takes a token from.
#[derive(Clone, Debug, PartialEq)]
pub struct Bucket {
    /// For example `elasticloadbalancing Describe*`.
    pub name: String,
    /// Calls that it holds.
    pub size: f64,
    /// Calls that it gets back in a second.
    pub refill: f64,
    /// AWS publishes the two numbers.
    pub documented: bool,
}

/// The bucket of a call; `service` is the credential scope's name.
pub fn bucket(service: &str, action: &str) -> Bucket {
    let reads = ["Describe", "Get", "List", "Search"]
        .iter()
        .any(|verb| action.starts_with(verb));
    let of = |name: &str, size: f64, refill: f64, documented: bool| Bucket {
        name: format!("{service} {name}"),
        size,
        refill,
        documented,
    };
    match (service, action) {
        ("ec2", _) if reads => of(action, 100.0, 20.0, true),
        ("ec2", _) => of(action, 50.0, 5.0, true),
        ("elasticloadbalancing", _) if reads => of("Describe*", 40.0, 10.0, true),
        ("elasticloadbalancing", _) => of("changes", 20.0, 3.0, false),
        ("rds", _) => of("all calls", 300.0, 12.0, true),
        ("autoscaling", _) => of("all calls", 40.0, 10.0, false),
        ("monitoring", "DescribeAlarms") => of(action, 9.0, 9.0, true),
        ("monitoring", "GetMetricData") => of(action, 50.0, 50.0, true),
        ("monitoring", "PutMetricAlarm" | "DeleteAlarms") => of(action, 3.0, 3.0, true),
        ("monitoring", "PutMetricData") => of(action, 500.0, 500.0, true),
        ("monitoring", _) => of(action, 10.0, 10.0, true),
        ("secretsmanager", "DescribeSecret" | "GetSecretValue") => {
            of("DescribeSecret, GetSecretValue", 10_000.0, 10_000.0, true)
        }
        ("secretsmanager", "ListSecrets") => of(action, 100.0, 100.0, true),
        ("secretsmanager", _) => of("changes", 50.0, 50.0, true),
        ("kms", _) => of("all calls", 2000.0, 2000.0, true),
        ("sts", _) => of("all calls", 600.0, 600.0, true),
        ("s3", _) if action.contains("Object") || action.contains("Part") => {
            of("objects", 3500.0, 3500.0, true)
        }
        ("s3", _) => of("buckets", 100.0, 20.0, false),
        _ => of("all calls", 100.0, 20.0, false),
    }
}

/// What AWS answers when a bucket is empty, in the service's own words.
pub fn refusal(service: &str) -> ApiError {
    let (code, status, message) = match service {
        "ec2" => ("RequestLimitExceeded", 503, "Request limit exceeded."),
        "s3" => ("SlowDown", 503, "Please reduce your request rate."),
        "elasticloadbalancing" | "rds" | "secretsmanager" | "kms" | "acm" => {
            ("ThrottlingException", 400, "Rate exceeded")
        }
        _ => ("Throttling", 400, "Rate exceeded"),
    };
    ApiError::new(code, message).status(status)
}

/// One bucket as it is.
#[derive(Clone, Debug)]
struct Level {
    bucket: Bucket,
    /// By the lab's clock: what decides.
    lab: Tokens,
    /// By the wall's, by which the caller paces itself: below zero where AWS would have refused.
    wall: Tokens,
    /// The fewest of `wall` since the counts were cleared.
    least: f64,
    calls: u64,
    refused: u64,
}

/// How full a bucket is, by one clock.
#[derive(Clone, Copy, Debug)]
struct Tokens {
    left: f64,
    at: Duration,
}

impl Tokens {
    fn fill(&mut self, bucket: &Bucket, now: Duration) {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.left = (self.left + passed * bucket.refill).min(bucket.size);
        self.at = now.max(self.at);
    }
}

/// A moment by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Lab time.
    pub lab: Duration,
    /// Real time since some beginning.
    pub wall: Duration,
}

impl Level {
    fn full(bucket: Bucket, now: Moment) -> Self {
        let full = |at| Tokens {
            left: bucket.size,
            at,
        };
        Self {
            lab: full(now.lab),
            wall: full(now.wall),
            least: bucket.size,
            bucket,
            calls: 0,
            refused: 0,
        }
    }

    fn take(&mut self, now: Moment) -> bool {
        self.lab.fill(&self.bucket, now.lab);
        self.wall.fill(&self.bucket, now.wall);
        self.calls += 1;
        self.wall.left -= 1.0;
        self.least = self.least.min(self.wall.left);
        if self.lab.left < 1.0 {
            self.refused += 1;
            return false;
        }
        self.lab.left -= 1.0;
        true
    }
}

/// Who called what: the caller's ARN, the service, the action.
type Called = (String, String, String);

#[derive(Debug, Default)]
struct State {
    /// By region and bucket.
    levels: BTreeMap<(String, String), Level>,
    calls: BTreeMap<Called, u64>,
}

/// Every bucket, and how often what was called by whom.
#[derive(Debug, Default)]
pub struct Throttle {
    state: Mutex<State>,
}

/// One call.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Region of the signature.
    pub region: &'a str,
    /// Credential scope's name.
    pub service: &'a str,
    /// For example `DescribeVpcs`.
    pub action: &'a str,
    /// The caller's ARN.
    pub caller: &'a str,
}

impl Throttle {
    /// Counts a call, and takes its token; the refusal when there is none and `enforced`.
    pub fn take(&self, asked: Asked<'_>, now: Moment, enforced: bool) -> Result<(), ApiError> {
        let bucket = bucket(asked.service, asked.action);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let called = [asked.caller, asked.service, asked.action].map(str::to_owned);
        *state.calls.entry(called.into()).or_default() += 1;
        let key = (asked.region.to_owned(), bucket.name.clone());
        let level = state
            .levels
            .entry(key)
            .or_insert_with(|| Level::full(bucket, now));
        if level.take(now) || !enforced {
            Ok(())
        } else {
            Err(refusal(asked.service))
        }
    }

    /// Forgets the counts; the buckets stay as full as they are.
    pub fn clear(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.calls.clear();
        for level in state.levels.values_mut() {
            level.least = level.wall.left;
            level.calls = 0;
            level.refused = 0;
        }
    }

    /// Calls by caller, service and action, and every bucket with the most that was missing in it at once
    /// (`deepest`, by real time, whatever the lab's speed), since the counts were cleared.
    pub fn counts(&self) -> Value {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let calls: Vec<Value> = state
            .calls
            .iter()
            .map(|((caller, service, action), count)| {
                json!({ "caller": caller, "service": service, "action": action, "count": count })
            })
            .collect();
        let buckets: Vec<Value> = state
            .levels
            .iter()
            .filter(|(_, level)| level.calls > 0)
            .map(|((region, name), level)| {
                json!({
                    "region": region,
                    "name": name,
                    "size": level.bucket.size,
                    "refill": level.bucket.refill,
                    "documented": level.bucket.documented,
                    "calls": level.calls,
                    "refused": level.refused,
                    "deepest": (level.bucket.size - level.least).ceil(),
                })
            })
            .collect();
        json!({ "calls": calls, "buckets": buckets })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(throttle: &Throttle, action: &str, at: f64) -> bool {
        let asked = Asked {
            region: "us-east-1",
            service: "elasticloadbalancing",
            action,
            caller: "arn:aws:iam::123456789012:user/operator",
        };
        let now = Duration::from_secs_f64(at);
        let now = Moment {
            lab: now,
            wall: now,
        };
        throttle.take(asked, now, true).is_ok()
    }

    #[test]
    fn forty_describes_at_once_and_ten_a_second_after() {
        let throttle = Throttle::default();
        let passed = (0..50)
            .filter(|_| ask(&throttle, "DescribeTags", 0.0))
            .count();
        assert_eq!(passed, 40);
        // Another call of the kind takes from the same bucket, a change from another.
        assert!(!ask(&throttle, "DescribeListeners", 0.0));
        assert!(ask(&throttle, "ModifyListener", 0.0));
        let passed = (0..50)
            .filter(|_| ask(&throttle, "DescribeTags", 1.0))
            .count();
        assert_eq!(passed, 10);
        let passed = (0..50)
            .filter(|_| ask(&throttle, "DescribeTags", 1000.0))
            .count();
        assert_eq!(passed, 40, "never more than the bucket holds");
    }

    #[test]
    fn regions_do_not_share_and_nothing_is_refused_unless_enforced() {
        let throttle = Throttle::default();
        let take = |region, enforced| {
            let asked = Asked {
                region,
                service: "monitoring",
                action: "DescribeAlarms",
                caller: "operator",
            };
            let now = Moment {
                lab: Duration::ZERO,
                wall: Duration::ZERO,
            };
            throttle.take(asked, now, enforced).is_ok()
        };
        assert_eq!((0..20).filter(|_| take("us-east-1", true)).count(), 9);
        assert!(take("us-west-2", true));
        assert!(take("us-east-1", false));
    }

    #[test]
    fn the_deepest_draw_is_the_burst_and_not_the_sum() {
        let throttle = Throttle::default();
        for second in 0..30 {
            for _ in 0..4 {
                assert!(ask(&throttle, "DescribeTags", f64::from(second)));
            }
        }
        let counts = throttle.counts();
        assert_eq!(counts["buckets"][0]["deepest"], 4.0);
        assert_eq!(counts["buckets"][0]["calls"], 120);
        assert_eq!(counts["calls"][0]["count"], 120);
        throttle.clear();
        assert_eq!(throttle.counts(), json!({ "calls": [], "buckets": [] }));
    }
}
