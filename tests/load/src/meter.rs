//! Counters of requests and connections, by phase.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::api::ApiError;
use crate::report::{FailureReport, Latency, PhaseReport, RequestReport};

/// The first so many failures are kept whole.
const KEPT: usize = 20;
/// The longest latency told apart, in microseconds: five minutes.
const LONGEST_US: u64 = 300_000_000;

/// Latencies of one kind.
#[derive(Clone, Debug)]
pub(crate) struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST_US, 2);
        Self(histogram.expect("the bounds are constants that fit"))
    }
}

impl Latencies {
    pub(crate) fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(micros.clamp(1, LONGEST_US));
    }

    pub(crate) fn report(&self) -> Latency {
        let millis = |micros: u64| micros as f64 / 1000.0;
        if self.0.is_empty() {
            return Latency::default();
        }
        Latency {
            count: self.0.len(),
            p50_ms: millis(self.0.value_at_quantile(0.5)),
            p95_ms: millis(self.0.value_at_quantile(0.95)),
            p99_ms: millis(self.0.value_at_quantile(0.99)),
            max_ms: millis(self.0.max()),
        }
    }
}

/// Request counts.
#[derive(Clone, Debug, Default)]
struct Requests {
    completed: u64,
    failed: u64,
    retried: u64,
    latency: Latencies,
}

impl Requests {
    fn report(&self) -> RequestReport {
        RequestReport {
            total: self.completed + self.failed,
            completed: self.completed,
            failed: self.failed,
            retried: self.retried,
            latency: self.latency.report(),
        }
    }
}

#[derive(Clone, Debug)]
struct Phase {
    name: String,
    started_ms: u64,
    requests: Requests,
    reconnects: Vec<u32>,
    /// When a lost connection was tried to be opened again, successful or not; in order.
    attempts: Vec<u64>,
    refused: u64,
}

impl Phase {
    fn new(name: &str, started_ms: u64, clients: usize) -> Self {
        Self {
            name: name.to_owned(),
            started_ms,
            requests: Requests::default(),
            reconnects: vec![0; clients],
            attempts: Vec::new(),
            refused: 0,
        }
    }
}

/// All counters of a run.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    phases: Vec<Phase>,
    requests: Requests,
    posts: Requests,
    uploads: Latencies,
    downloads: Latencies,
    delivery: Latencies,
    kept: Vec<FailureReport>,
    connected: Vec<bool>,
    pub(crate) sequence_gaps: u64,
    pub(crate) last_refusal: String,
}

/// What a request was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Post,
    Get,
    /// A file on its way in. How long it takes is its size's matter, and measured apart.
    Upload,
    /// A file on its way out; likewise.
    Download,
}

impl Meter {
    pub(crate) fn new(clients: usize) -> Self {
        Self {
            phases: vec![Phase::new("start", 0, clients)],
            requests: Requests::default(),
            posts: Requests::default(),
            uploads: Latencies::default(),
            downloads: Latencies::default(),
            delivery: Latencies::default(),
            kept: Vec::new(),
            connected: vec![false; clients],
            sequence_gaps: 0,
            last_refusal: String::new(),
        }
    }

    fn phase(&mut self) -> &mut Phase {
        self.phases
            .last_mut()
            .expect("the first phase is made with the meter")
    }

    /// A new phase begins.
    pub(crate) fn mark(&mut self, name: &str, now: u64) {
        let clients = self.connected.len();
        self.phases.push(Phase::new(name, now, clients));
    }

    fn each(&mut self, kind: Kind, change: impl Fn(&mut Requests)) {
        change(&mut self.requests);
        change(&mut self.phase().requests);
        if kind == Kind::Post {
            change(&mut self.posts);
        }
    }

    pub(crate) fn completed(&mut self, kind: Kind, latency: Duration) {
        let transfer = match kind {
            Kind::Post | Kind::Get => None,
            Kind::Upload => Some(&mut self.uploads),
            Kind::Download => Some(&mut self.downloads),
        };
        let is_transfer = transfer.is_some();
        if let Some(latencies) = transfer {
            latencies.record(latency);
        }
        self.each(kind, |requests| {
            requests.completed += 1;
            if !is_transfer {
                requests.latency.record(latency);
            }
        });
    }

    pub(crate) fn retried(&mut self, kind: Kind) {
        self.each(kind, |requests| requests.retried += 1);
    }

    pub(crate) fn failed(&mut self, kind: Kind, error: &ApiError, now: u64) {
        self.each(kind, |requests| requests.failed += 1);
        if self.kept.len() < KEPT {
            let phase = self.phase().name.clone();
            self.kept.push(FailureReport {
                at_s: now as f64 / 1000.0,
                phase,
                method: error.method.to_owned(),
                path: error.path.clone(),
                status: error.status,
                text: error.text.clone(),
            });
        }
    }

    pub(crate) fn delivered(&mut self, delay: Duration) {
        self.delivery.record(delay);
    }

    /// A client has its hello. Its first one is no reconnect.
    pub(crate) fn connected(&mut self, client: usize, again: bool) {
        self.connected[client] = true;
        if again {
            self.phase().reconnects[client] += 1;
        }
    }

    pub(crate) fn disconnected(&mut self, client: usize) {
        self.connected[client] = false;
    }

    /// A chat client that was connected before tries to be so again.
    pub(crate) fn attempted(&mut self, now: u64) {
        self.phase().attempts.push(now);
    }

    /// The most attempts to reconnect within any second of the run.
    pub(crate) fn most_attempts_in_a_second(&self) -> u64 {
        let all = self.phases.iter().flat_map(|phase| &phase.attempts);
        most_in_a_second(&all.copied().collect::<Vec<_>>())
    }

    /// A connection attempt of a chat client failed.
    pub(crate) fn refused(&mut self, why: String) {
        self.phase().refused += 1;
        self.last_refusal = why;
    }

    pub(crate) fn connected_clients(&self) -> usize {
        self.connected
            .iter()
            .filter(|connected| **connected)
            .count()
    }

    pub(crate) fn reconnects(&self) -> u64 {
        self.phases
            .iter()
            .flat_map(|phase| &phase.reconnects)
            .map(|count| u64::from(*count))
            .sum()
    }

    pub(crate) fn refusals(&self) -> u64 {
        self.phases.iter().map(|phase| phase.refused).sum()
    }

    /// Over the whole run, the most that one client reconnected.
    pub(crate) fn most_reconnects(&self) -> u32 {
        (0..self.connected.len())
            .map(|client| {
                self.phases
                    .iter()
                    .map(|phase| phase.reconnects[client])
                    .sum()
            })
            .max()
            .unwrap_or(0)
    }

    pub(crate) fn phase_name(&self) -> &str {
        self.phases.last().map_or("", |phase| &phase.name)
    }

    pub(crate) fn requests(&self) -> RequestReport {
        self.requests.report()
    }

    pub(crate) fn posts(&self) -> RequestReport {
        self.posts.report()
    }

    pub(crate) fn delivery(&self) -> Latency {
        self.delivery.report()
    }

    pub(crate) fn uploads(&self) -> Latency {
        self.uploads.report()
    }

    pub(crate) fn downloads(&self) -> Latency {
        self.downloads.report()
    }

    pub(crate) fn failures(&self) -> Vec<FailureReport> {
        self.kept.clone()
    }

    pub(crate) fn phase_reports(&self, now: u64) -> Vec<PhaseReport> {
        let ends = self.phases.iter().skip(1).map(|phase| phase.started_ms);
        let ends = ends.chain([now]);
        self.phases
            .iter()
            .zip(ends)
            .map(|(phase, end)| PhaseReport {
                name: phase.name.clone(),
                started_s: phase.started_ms as f64 / 1000.0,
                seconds: end.saturating_sub(phase.started_ms) as f64 / 1000.0,
                requests: phase.requests.report(),
                reconnects: phase.reconnects.iter().map(|count| u64::from(*count)).sum(),
                reconnects_per_client_max: phase.reconnects.iter().copied().max().unwrap_or(0),
                reconnects_per_second_max: most_in_a_second(&phase.attempts),
                refused_connects: phase.refused,
            })
            .collect()
    }
}

/// The most of these moments (milliseconds, in order) that lie within one second, wherever it begins.
fn most_in_a_second(moments: &[u64]) -> u64 {
    let mut first = 0;
    let mut most = 0;
    for (last, moment) in moments.iter().enumerate() {
        while moments[first] + 1000 <= *moment {
            first += 1;
        }
        most = most.max(last + 1 - first);
    }
    most as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reconnects_are_told_apart_by_client_and_phase() {
        let mut meter = Meter::new(3);
        for client in 0..3 {
            meter.connected(client, false);
        }
        meter.mark("rollout 1", 1000);
        meter.disconnected(0);
        assert_eq!(meter.connected_clients(), 2);
        meter.connected(0, true);
        meter.connected(1, true);
        meter.mark("rollout 2", 3000);
        meter.connected(0, true);
        let phases = meter.phase_reports(4000);
        let counts: Vec<_> = phases
            .iter()
            .map(|phase| (phase.reconnects, phase.reconnects_per_client_max))
            .collect();
        assert_eq!(counts, [(0, 0), (2, 1), (1, 1)]);
        assert_eq!((meter.reconnects(), meter.most_reconnects()), (3, 2));
        assert!((phases[1].seconds - 2.0).abs() < 1e-9);
    }

    #[test]
    fn the_fullest_second_is_found_wherever_it_begins() {
        let mut meter = Meter::new(2);
        for now in [0, 900, 1000, 1100, 1899, 2000] {
            meter.attempted(now);
        }
        meter.mark("rollout 1", 2050);
        meter.attempted(2080);
        let by_phase: Vec<u64> = meter
            .phase_reports(3000)
            .iter()
            .map(|phase| phase.reconnects_per_second_max)
            .collect();
        assert_eq!(by_phase, [4, 1], "900 to 1899 is one second");
        assert_eq!(meter.most_attempts_in_a_second(), 4);
        assert_eq!(most_in_a_second(&[]), 0);
    }

    #[test]
    fn only_the_first_failures_are_kept() {
        let mut meter = Meter::new(1);
        let error = ApiError {
            method: "GET",
            path: "/".to_owned(),
            status: Some(502),
            version: None,
            text: "bad gateway".to_owned(),
        };
        for _ in 0..30 {
            meter.failed(Kind::Get, &error, 1500);
        }
        meter.completed(Kind::Post, Duration::from_millis(4));
        assert_eq!(meter.failures().len(), KEPT);
        let requests = meter.requests();
        assert_eq!(
            (requests.total, requests.failed, requests.completed),
            (31, 30, 1)
        );
        assert_eq!(meter.posts().failed, 0);
        assert!((requests.latency.p50_ms - 4.0).abs() < 0.1);
    }
}
