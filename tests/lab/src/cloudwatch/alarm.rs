//! An alarm, and the pure decision of its state.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

use super::metrics::{MetricKey, Statistic};

/// An alarm's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlarmState {
    /// Within the threshold.
    Ok,
    /// Outside.
    Alarm,
    /// Not enough known.
    InsufficientData,
}

impl AlarmState {
    /// AWS's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Alarm => "ALARM",
            Self::InsufficientData => "INSUFFICIENT_DATA",
        }
    }
}

impl FromStr for AlarmState {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Ok, Self::Alarm, Self::InsufficientData]
            .into_iter()
            .find(|state| state.name() == text)
            .ok_or(())
    }
}

impl fmt::Display for AlarmState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How values are held against the threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `>=`
    GreaterOrEqual,
    /// `>`
    Greater,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
}

impl Comparison {
    const ALL: [Self; 4] = [
        Self::GreaterOrEqual,
        Self::Greater,
        Self::Less,
        Self::LessOrEqual,
    ];

    /// AWS's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::GreaterOrEqual => "GreaterThanOrEqualToThreshold",
            Self::Greater => "GreaterThanThreshold",
            Self::Less => "LessThanThreshold",
            Self::LessOrEqual => "LessThanOrEqualToThreshold",
        }
    }

    /// As a reason says it.
    pub fn words(self) -> &'static str {
        match self {
            Self::GreaterOrEqual => "greater than or equal to the threshold",
            Self::Greater => "greater than the threshold",
            Self::Less => "less than the threshold",
            Self::LessOrEqual => "less than or equal to the threshold",
        }
    }

    /// Whether a value breaches.
    pub fn breaches(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::GreaterOrEqual => value >= threshold,
            Self::Greater => value > threshold,
            Self::Less => value < threshold,
            Self::LessOrEqual => value <= threshold,
        }
    }
}

impl FromStr for Comparison {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|comparison| comparison.name() == text)
            .ok_or(())
    }
}

/// What missing data counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreatMissing {
    /// As nothing; no data at all is `INSUFFICIENT_DATA`.
    Missing,
    /// The state stays.
    Ignore,
    /// As bad.
    Breaching,
    /// As good.
    NotBreaching,
}

impl TreatMissing {
    const ALL: [Self; 4] = [
        Self::Missing,
        Self::Ignore,
        Self::Breaching,
        Self::NotBreaching,
    ];

    /// AWS's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Ignore => "ignore",
            Self::Breaching => "breaching",
            Self::NotBreaching => "notBreaching",
        }
    }
}

impl FromStr for TreatMissing {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|treat| treat.name() == text)
            .ok_or(())
    }
}

/// A metric alarm.
#[derive(Clone, Debug)]
pub struct Alarm {
    /// Its ARN.
    pub arn: String,
    /// For people.
    pub description: Option<String>,
    /// Actions are carried out.
    pub actions_enabled: bool,
    /// ARNs by state.
    pub ok_actions: Vec<String>,
    /// ARNs by state.
    pub alarm_actions: Vec<String>,
    /// ARNs by state.
    pub insufficient_actions: Vec<String>,
    /// What it watches.
    pub metric: MetricKey,
    /// How it sums a period up.
    pub statistic: Statistic,
    /// The statistic's name as sent.
    pub statistic_name: String,
    /// Lab seconds.
    pub period: i64,
    /// As sent.
    pub unit: Option<String>,
    /// N.
    pub evaluation_periods: i64,
    /// M, when sent.
    pub datapoints_to_alarm: Option<i64>,
    /// The line.
    pub threshold: f64,
    /// Which side of it is bad.
    pub comparison: Comparison,
    /// What silence means.
    pub treat_missing: TreatMissing,
    /// Shown again.
    pub low_sample: Option<String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// When it was last changed by a person.
    pub configured: Timestamp,
    /// Now.
    pub state: AlarmState,
    /// Why.
    pub reason: String,
    /// Why, for machines.
    pub reason_data: Option<String>,
    /// When the reason changed.
    pub updated: Timestamp,
    /// When the state changed.
    pub transitioned: Timestamp,
    /// The period for which scaling actions last ran, so that they run once a period.
    pub acted_in: Option<i64>,
}

impl Alarm {
    /// How many breaching periods make an alarm (M).
    pub fn needed(&self) -> usize {
        self.datapoints_to_alarm.unwrap_or(self.evaluation_periods) as usize
    }

    /// How many periods are looked at. CloudWatch looks at some more than N and does not say how
    /// many; its own tables show five for three.
    pub fn range(&self) -> usize {
        self.evaluation_periods as usize + 2
    }

    /// The actions of a state.
    pub fn actions(&self, state: AlarmState) -> &[String] {
        match state {
            AlarmState::Ok => &self.ok_actions,
            AlarmState::Alarm => &self.alarm_actions,
            AlarmState::InsufficientData => &self.insufficient_actions,
        }
    }
}

/// The state that an evaluation range (oldest first; true is breaching, none is missing) gives, or
/// none when the state stays.
///
/// CloudWatch evaluates N points and takes missing ones only as far as real ones in the range do not
/// suffice ("How alarm state is evaluated when data is missing").
pub fn evaluate(
    range: &[Option<bool>],
    periods: usize,
    needed: usize,
    treat: TreatMissing,
) -> Option<AlarmState> {
    let real: Vec<bool> = range.iter().rev().copied().flatten().collect();
    let breaching = |points: &[bool]| points.iter().filter(|bad| **bad).count();
    let verdict = |bad: usize| {
        if bad >= needed {
            AlarmState::Alarm
        } else {
            AlarmState::Ok
        }
    };
    if real.len() >= periods {
        return Some(verdict(breaching(&real[..periods])));
    }
    let bad = breaching(&real);
    match treat {
        TreatMissing::Breaching => Some(verdict(bad + periods - real.len())),
        TreatMissing::NotBreaching => Some(verdict(bad)),
        TreatMissing::Missing | TreatMissing::Ignore => {
            let good = real.len() > bad;
            // Bad since long enough with nothing good after it: an alarm although points lack.
            let oldest = range.iter().position(|point| *point == Some(true));
            let old_enough = oldest.is_some_and(|index| range.len() - index >= needed);
            if bad >= needed {
                Some(AlarmState::Alarm)
            } else if good {
                Some(AlarmState::Ok)
            } else if treat == TreatMissing::Ignore {
                None
            } else if old_enough {
                Some(AlarmState::Alarm)
            } else {
                Some(AlarmState::InsufficientData)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(text: &str) -> Vec<Option<bool>> {
        text.split_whitespace()
            .map(|point| match point {
                "X" => Some(true),
                "0" => Some(false),
                _ => None,
            })
            .collect()
    }

    /// The two tables of CloudWatch's page on missing data.
    #[test]
    fn missing_data_is_treated_as_documented() {
        const RETAIN: Option<AlarmState> = None;
        const OK: Option<AlarmState> = Some(AlarmState::Ok);
        const ALARM: Option<AlarmState> = Some(AlarmState::Alarm);
        const INSUFFICIENT: Option<AlarmState> = Some(AlarmState::InsufficientData);
        // (points, M of 3, [missing, ignore, breaching, notBreaching])
        for (points, needed, expected) in [
            ("0 - X - X", 3, [OK, OK, OK, OK]),
            ("0 - - - -", 3, [OK, OK, OK, OK]),
            ("- - - - -", 3, [INSUFFICIENT, RETAIN, ALARM, OK]),
            ("0 X X - X", 3, [ALARM, ALARM, ALARM, ALARM]),
            ("- - - - X", 3, [INSUFFICIENT, RETAIN, ALARM, OK]),
            ("X - - - -", 3, [ALARM, RETAIN, ALARM, OK]),
            ("0 - X - X", 2, [ALARM, ALARM, ALARM, ALARM]),
            ("0 0 X 0 X", 2, [ALARM, ALARM, ALARM, ALARM]),
            ("0 - X - -", 2, [OK, OK, ALARM, OK]),
            ("- - - - 0", 2, [OK, OK, ALARM, OK]),
            ("- - - - X", 2, [INSUFFICIENT, RETAIN, ALARM, OK]),
        ] {
            for (treat, expected) in TreatMissing::ALL.into_iter().zip(expected) {
                assert_eq!(
                    evaluate(&range(points), 3, needed, treat),
                    expected,
                    "{points}, {needed} of 3, {}",
                    treat.name()
                );
            }
        }
    }

    #[test]
    fn comparisons_at_the_threshold() {
        for (comparison, at, above, below) in [
            (Comparison::GreaterOrEqual, true, true, false),
            (Comparison::Greater, false, true, false),
            (Comparison::Less, false, false, true),
            (Comparison::LessOrEqual, true, false, true),
        ] {
            let held = [5.0, 6.0, 4.0].map(|value| comparison.breaches(value, 5.0));
            assert_eq!(held, [at, above, below], "{}", comparison.name());
        }
    }

    proptest! {
        #[test]
        fn with_all_points_there_missing_data_settings_do_not_matter(
            points in prop::collection::vec(any::<bool>(), 5..12), needed in 1_usize..5
        ) {
            let range: Vec<Option<bool>> = points.iter().copied().map(Some).collect();
            let states: Vec<_> = TreatMissing::ALL.into_iter().map(|treat| evaluate(&range, 5, needed, treat)).collect();
            let bad = points.iter().rev().take(5).filter(|bad| **bad).count();
            let expected = if bad >= needed { AlarmState::Alarm } else { AlarmState::Ok };
            prop_assert!(states.iter().all(|state| *state == Some(expected)));
        }
    }
}
