//! Samples and what is computed from them: pure, in real time.
//!
//! A period of `p` lab seconds is `p / speed` real seconds; samples carry the real moment at which
//! they arrived and fall into real-time buckets of that length, counted from 1970.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;

/// Samples kept of one metric: at one sample a minute, more than ten days; at a hundred requests a
/// second, ten minutes.
const MAX_SAMPLES: usize = 1 << 16;

/// What identifies a metric.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetricKey {
    /// For example `AWS/EC2`.
    pub namespace: String,
    /// For example `CPUUtilization`.
    pub name: String,
    /// Sorted by name.
    pub dimensions: BTreeMap<String, String>,
}

impl MetricKey {
    /// From borrowed parts.
    pub fn new(namespace: &str, name: &str, dimensions: &[(&str, &str)]) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            dimensions: dimensions
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }
}

/// One sample, or a set of them already summed up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// When, in real time.
    pub at: Timestamp,
    /// How many values.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Sample {
    /// One value.
    pub fn of(at: Timestamp, value: f64) -> Self {
        Self {
            at,
            count: 1.0,
            sum: value,
            min: value,
            max: value,
        }
    }
}

/// The samples of one metric, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Series {
    samples: VecDeque<Sample>,
    /// The unit of the last sample.
    pub unit: String,
}

impl Series {
    /// Adds a sample in its place by time.
    pub fn push(&mut self, sample: Sample, unit: &str) {
        if self.samples.len() == MAX_SAMPLES {
            self.samples.pop_front();
        }
        let place = self
            .samples
            .iter()
            .rposition(|other| other.at <= sample.at)
            .map_or(0, |index| index + 1);
        self.samples.insert(place, sample);
        if self.unit != unit {
            unit.clone_into(&mut self.unit);
        }
    }

    /// When the last sample came.
    pub fn latest(&self) -> Option<Timestamp> {
        self.samples.back().map(|sample| sample.at)
    }

    /// The samples of buckets `from..to` in buckets of `bucket` real seconds, by bucket number.
    pub fn buckets(&self, bucket: f64, from: i64, to: i64) -> BTreeMap<i64, Vec<Sample>> {
        let mut found: BTreeMap<i64, Vec<Sample>> = BTreeMap::new();
        for sample in self.samples.iter().rev() {
            let index = bucket_of(sample.at, bucket);
            if index < from {
                break;
            }
            if index < to {
                found.entry(index).or_default().push(*sample);
            }
        }
        found
    }
}

/// The number of the bucket that a moment falls into.
pub fn bucket_of(at: Timestamp, bucket: f64) -> i64 {
    (at.as_microsecond() as f64 / (bucket * 1e6)).floor() as i64
}

/// When a bucket begins.
pub fn start_of(index: i64, bucket: f64) -> Timestamp {
    Timestamp::from_microsecond((index as f64 * bucket * 1e6).round() as i64)
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

/// What is computed of a period's samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Statistic {
    /// How many.
    SampleCount,
    /// Sum divided by count.
    Average,
    /// All together.
    Sum,
    /// The least.
    Minimum,
    /// The greatest.
    Maximum,
    /// `p95`: the value below which 95 % lie.
    Percentile(f64),
}

impl Statistic {
    /// From AWS's spelling; none when the lab does not know it (trimmed means and their like).
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "SampleCount" => Self::SampleCount,
            "Average" => Self::Average,
            "Sum" => Self::Sum,
            "Minimum" => Self::Minimum,
            "Maximum" => Self::Maximum,
            other => {
                let percent: f64 = other.strip_prefix('p')?.parse().ok()?;
                if !(0.0..=100.0).contains(&percent) {
                    return None;
                }
                Self::Percentile(percent)
            }
        })
    }

    /// The value for a period; none without samples.
    pub fn of(self, samples: &[Sample]) -> Option<f64> {
        let count: f64 = samples.iter().map(|sample| sample.count).sum();
        let sum: f64 = samples.iter().map(|sample| sample.sum).sum();
        if count <= 0.0 {
            return None;
        }
        Some(match self {
            Self::SampleCount => count,
            Self::Average => sum / count,
            Self::Sum => sum,
            Self::Minimum => samples.iter().map(|s| s.min).fold(f64::INFINITY, f64::min),
            Self::Maximum => samples
                .iter()
                .map(|s| s.max)
                .fold(f64::NEG_INFINITY, f64::max),
            Self::Percentile(percent) => return percentile(samples, percent),
        })
    }
}

/// Linear between the nearest values. Sets of samples that were summed up before they arrived have
/// no percentiles, unless all their values are the same (as in CloudWatch).
fn percentile(samples: &[Sample], percent: f64) -> Option<f64> {
    let mut values: Vec<(f64, f64)> = Vec::new();
    for sample in samples {
        if sample.min.total_cmp(&sample.max).is_ne() {
            return None;
        }
        values.push((sample.min, sample.count));
    }
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let total: f64 = values.iter().map(|(_, count)| count).sum();
    let rank = percent / 100.0 * (total - 1.0).max(0.0);
    let at = |wanted: f64| {
        let mut passed = 0.0;
        for (value, count) in &values {
            passed += count;
            if wanted < passed {
                return *value;
            }
        }
        values.last().map_or(0.0, |(value, _)| *value)
    };
    let (low, high) = (at(rank.floor()), at(rank.ceil()));
    Some(low + (high - low) * rank.fract())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn second(at: f64) -> Timestamp {
        Timestamp::from_microsecond((at * 1e6) as i64).unwrap()
    }

    #[test]
    fn samples_fall_into_the_bucket_of_their_moment() {
        let mut series = Series::default();
        for (at, value) in [
            (59.9, 1.0),
            (60.0, 2.0),
            (61.0, 4.0),
            (119.9, 6.0),
            (120.0, 9.0),
        ] {
            series.push(Sample::of(second(at), value), "None");
        }
        let found = series.buckets(60.0, 1, 2);
        assert_eq!(found.len(), 1);
        assert_eq!(Statistic::Average.of(&found[&1]), Some(4.0));
        assert_eq!(start_of(1, 60.0), second(60.0));
        // At speed 60 the same minute is a second long.
        assert_eq!(series.buckets(1.0, 60, 61).len(), 1);
    }

    #[test]
    fn statistics_of_a_period() {
        let values: Vec<Sample> = (1..=100)
            .map(|value| Sample::of(second(0.0), f64::from(value)))
            .collect();
        for (text, expected) in [
            ("SampleCount", 100.0),
            ("Average", 50.5),
            ("Sum", 5050.0),
            ("Minimum", 1.0),
            ("Maximum", 100.0),
            ("p0", 1.0),
            ("p50", 50.5),
            ("p99", 99.01),
            ("p100", 100.0),
        ] {
            let value = Statistic::parse(text).unwrap().of(&values).unwrap();
            assert!((value - expected).abs() < 1e-9, "{text} is {value}");
        }
        for bad in ["tm90", "p101", "p", "average"] {
            assert_eq!(Statistic::parse(bad), None, "{bad}");
        }
        assert_eq!(Statistic::Average.of(&[]), None);
    }

    proptest! {
        #[test]
        fn late_samples_are_put_in_their_place(mut times in prop::collection::vec(0_u32..10_000, 1..60)) {
            let mut series = Series::default();
            for time in &times {
                series.push(Sample::of(second(f64::from(*time)), f64::from(*time)), "None");
            }
            times.sort_unstable();
            let kept: Vec<u32> = series.samples.iter().map(|sample| sample.sum as u32).collect();
            prop_assert_eq!(kept, times);
        }
    }
}
