//! What a load balancer counts, and its one-minute metrics in `AWS/ApplicationELB`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::health::Health;
use super::state::{LoadBalancer, RegionState, suffix};
use crate::Lab;
use crate::cloudwatch::{MetricKey, Sample, bucket_of, record, sleep_to_phase, start_of};

const NAMESPACE: &str = "AWS/ApplicationELB";
/// Response times kept per minute and target group: enough for a p99, bounded under any load.
const MAX_TIMES: usize = 256;

/// The counts of one load balancer since the last minute ended.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    counts: Mutex<Counts>,
    /// Open connections, from clients and to targets.
    open: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Counts {
    all: Tally,
    groups: BTreeMap<String, Tally>,
    new_connections: u64,
    /// Answers by the load balancer itself, by status.
    own: BTreeMap<u16, u64>,
}

#[derive(Debug, Default)]
struct Tally {
    requests: u64,
    /// Answers by targets, by status class.
    classes: BTreeMap<u16, u64>,
    refused: u64,
    times: Times,
}

/// An evenly thinned sample: when full, every second one goes and half as many are taken from then on.
#[derive(Debug)]
struct Times {
    kept: Vec<f64>,
    seen: usize,
    stride: usize,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            kept: Vec::new(),
            seen: 0,
            stride: 1,
        }
    }
}

impl Times {
    fn add(&mut self, seconds: f64) {
        if self.seen.is_multiple_of(self.stride) {
            if self.kept.len() == MAX_TIMES {
                let mut index = 0;
                self.kept.retain(|_| {
                    index += 1;
                    index % 2 == 1
                });
                self.stride *= 2;
            }
            self.kept.push(seconds);
        }
        self.seen += 1;
    }
}

/// Counts one connection until it is dropped.
#[derive(Debug)]
pub(super) struct Open(Arc<AtomicU64>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Recorder {
    /// A connection begins.
    pub fn connection(&self, from_client: bool) -> Open {
        if from_client {
            self.with(|counts| counts.new_connections += 1);
        }
        self.open.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(&self.open))
    }

    /// A target answered, this long after the request left the load balancer.
    pub fn answered(&self, group: &str, status: u16, took: Duration) {
        self.both(group, |tally| {
            tally.requests += 1;
            *tally.classes.entry(status / 100).or_default() += 1;
            tally.times.add(took.as_secs_f64());
        });
    }

    /// A target could not be connected to.
    pub fn refused(&self, group: &str) {
        self.both(group, |tally| tally.refused += 1);
    }

    /// The load balancer answered by itself; `RequestCount` counts only where a target was chosen.
    pub fn own_answer(&self, group: Option<&str>, status: u16) {
        if let Some(group) = group {
            self.both(group, |tally| tally.requests += 1);
        }
        self.with(|counts| *counts.own.entry(status).or_default() += 1);
    }

    fn both(&self, group: &str, count: impl Fn(&mut Tally)) {
        self.with(|counts| {
            count(&mut counts.all);
            count(counts.groups.entry(suffix(group).to_owned()).or_default());
        });
    }

    fn with<T>(&self, count: impl FnOnce(&mut Counts) -> T) -> T {
        count(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How long after a minute's end what the load balancer counted in its first half is there, and what it counted
/// in the second: a minute is absent at first, then incomplete, and whole two minutes after its end
/// (docs/lab/elbv2.md).
const FIRST_HALF: Duration = Duration::from_secs(30);
const SECOND_HALF: Duration = Duration::from_secs(100);
const HALF_A_MINUTE: Duration = Duration::from_secs(30);

/// Publishes every lab minute, late as AWS does, until the lab ends.
pub(super) async fn publish_every_minute(lab: Arc<Lab>) {
    loop {
        sleep_to_phase(&lab, 0.5).await;
        let minute = minute_of(&lab);
        publish_late(&lab, counts(&lab), minute, HALF_A_MINUTE + FIRST_HALF);
        sleep_to_phase(&lab, 0.0).await;
        let mut rest = counts(&lab);
        rest.extend(gauges(&lab));
        publish_late(&lab, rest, minute, SECOND_HALF);
    }
}

/// When the present minute began.
fn minute_of(lab: &Lab) -> Timestamp {
    let seconds = 60.0 / lab.clock.speed();
    start_of(bucket_of(lab.clock.now(), seconds), seconds)
}

fn publish_late(lab: &Arc<Lab>, data: Vec<Datum>, minute: Timestamp, delay: Duration) {
    let publishing = Arc::clone(lab);
    lab.spawn(async move {
        publishing.clock.sleep(delay).await;
        for datum in data {
            let sample = Sample::of(minute, datum.value);
            record(&publishing, &datum.region, datum.key, sample, datum.unit);
        }
    });
}

/// One value that is to be published.
struct Datum {
    region: String,
    key: MetricKey,
    value: f64,
    unit: &'static str,
}

/// One value of a load balancer: metric, target group if it is about one, value, unit.
type Counted = (&'static str, Option<String>, f64, &'static str);

/// What every load balancer counted since it was asked last.
fn counts(lab: &Lab) -> Vec<Datum> {
    of_each(lab, |_, balancer| {
        from_counts(balancer.shared.recorder.with(std::mem::take))
    })
}

/// How things are now.
fn gauges(lab: &Lab) -> Vec<Datum> {
    of_each(lab, |state, balancer| {
        let open = balancer.shared.recorder.open.load(Ordering::Relaxed);
        let mut data = vec![("ActiveConnectionCount", None, open as f64, "Count")];
        for group in state.target_groups.values() {
            if !state.load_balancers_of(&group.arn).contains(&balancer.arn) {
                continue;
            }
            let count = |test: fn(&Health) -> bool| {
                group.targets.iter().filter(|it| test(&it.health)).count() as f64
            };
            let name = Some(suffix(&group.arn).to_owned());
            let healthy = count(Health::is_healthy);
            let unhealthy = count(|health| matches!(health, Health::Unhealthy { .. }));
            data.push(("HealthyHostCount", name.clone(), healthy, "Count"));
            data.push(("UnHealthyHostCount", name, unhealthy, "Count"));
        }
        data
    })
}

fn of_each(lab: &Lab, values: impl Fn(&RegionState, &LoadBalancer) -> Vec<Counted>) -> Vec<Datum> {
    let mut data = Vec::new();
    for region in &lab.config.regions {
        lab.elbv2.with(&region.name, |state| {
            for balancer in state.load_balancers.values().filter(|it| it.active) {
                let name = suffix(&balancer.arn);
                for (metric, group, value, unit) in values(state, balancer) {
                    let mut dimensions = vec![("LoadBalancer", name)];
                    dimensions.extend(group.as_deref().map(|group| ("TargetGroup", group)));
                    data.push(Datum {
                        region: region.name.clone(),
                        key: MetricKey::new(NAMESPACE, metric, &dimensions),
                        value,
                        unit,
                    });
                }
            }
        });
    }
    data
}

fn from_counts(counts: Counts) -> Vec<Counted> {
    let mut data: Vec<Counted> = Vec::new();
    data.push((
        "NewConnectionCount",
        None,
        counts.new_connections as f64,
        "Count",
    ));
    let tallies = std::iter::once((None, counts.all)).chain(
        counts
            .groups
            .into_iter()
            .map(|(group, tally)| (Some(group), tally)),
    );
    for (group, tally) in tallies {
        data.push((
            "RequestCount",
            group.clone(),
            tally.requests as f64,
            "Count",
        ));
        for (class, count) in tally.classes {
            let name = match class {
                2 => "HTTPCode_Target_2XX_Count",
                3 => "HTTPCode_Target_3XX_Count",
                4 => "HTTPCode_Target_4XX_Count",
                5 => "HTTPCode_Target_5XX_Count",
                _ => continue,
            };
            data.push((name, group.clone(), count as f64, "Count"));
        }
        if tally.refused > 0 {
            let refused = tally.refused as f64;
            data.push((
                "TargetConnectionErrorCount",
                group.clone(),
                refused,
                "Count",
            ));
        }
        for seconds in tally.times.kept {
            data.push(("TargetResponseTime", group.clone(), seconds, "Seconds"));
        }
    }
    let (mut client_errors, mut server_errors) = (0, 0);
    for (status, count) in counts.own {
        match status {
            400..=499 => client_errors += count,
            500..=599 => server_errors += count,
            _ => {}
        }
        let name = match status {
            300..=399 => "HTTPCode_ELB_3XX_Count",
            502 => "HTTPCode_ELB_502_Count",
            503 => "HTTPCode_ELB_503_Count",
            504 => "HTTPCode_ELB_504_Count",
            _ => continue,
        };
        data.push((name, None, count as f64, "Count"));
    }
    for (name, count) in [
        ("HTTPCode_ELB_4XX_Count", client_errors),
        ("HTTPCode_ELB_5XX_Count", server_errors),
    ] {
        if count > 0 {
            data.push((name, None, count as f64, "Count"));
        }
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn response_times_stay_bounded_and_spread_over_the_minute() {
        let mut times = Times::default();
        for index in 0..10_000 {
            times.add(f64::from(index));
        }
        assert!(times.kept.len() <= MAX_TIMES && times.kept.len() >= MAX_TIMES / 2);
        let mean = times.kept.iter().sum::<f64>() / times.kept.len() as f64;
        assert!((4000.0..6000.0).contains(&mean), "{mean}");
    }

    #[test]
    fn counts_become_metrics_with_and_without_the_target_group() {
        let recorder = Recorder::default();
        let group = "arn:aws:elasticloadbalancing:us-east-1:1:targetgroup/blue/73e2d6bc24d8a067";
        recorder.answered(group, 200, Duration::from_millis(20));
        recorder.answered(group, 503, Duration::from_millis(30));
        recorder.own_answer(Some(group), 502);
        let data = from_counts(recorder.with(std::mem::take));
        let value = |name: &str, group: Option<&str>| {
            data.iter()
                .find(|(it, of, ..)| *it == name && of.as_deref() == group)
                .map(|(_, _, value, _)| *value)
        };
        let group = Some("targetgroup/blue/73e2d6bc24d8a067");
        assert_eq!(value("RequestCount", None), Some(3.0));
        assert_eq!(value("RequestCount", group), Some(3.0));
        assert_eq!(value("HTTPCode_Target_5XX_Count", group), Some(1.0));
        assert_eq!(value("HTTPCode_ELB_5XX_Count", None), Some(1.0));
        assert_eq!(value("HTTPCode_ELB_502_Count", None), Some(1.0));
    }
}
