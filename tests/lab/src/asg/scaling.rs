//! What a scaling policy makes of the capacity: pure arithmetic.

use super::model::{AdjustmentType, Step};

/// The capacity after an adjustment, not yet held to minimum and maximum. Percentages round as AWS
/// documents: towards zero, except that a fraction below one becomes one.
pub fn adjusted(
    kind: AdjustmentType,
    current: i64,
    adjustment: i64,
    min_magnitude: Option<i64>,
) -> i64 {
    match kind {
        AdjustmentType::ExactCapacity => adjustment,
        AdjustmentType::ChangeInCapacity => current + adjustment,
        AdjustmentType::PercentChangeInCapacity => {
            let product = current * adjustment;
            let mut change = product / 100;
            if change == 0 {
                change = product.signum();
            }
            let least = min_magnitude.unwrap_or(0);
            if change != 0 && change.abs() < least {
                change = change.signum() * least;
            }
            current + change
        }
    }
}

/// The step that a metric `difference` (value minus threshold) falls into. At or above the
/// threshold a lower bound is inclusive and an upper bound exclusive; below, the other way round.
pub fn step_for(steps: &[Step], difference: f64) -> Option<Step> {
    steps.iter().copied().find(|step| {
        if difference >= 0.0 {
            step.lower.is_none_or(|lower| lower <= difference)
                && step.upper.is_none_or(|upper| difference < upper)
        } else {
            step.lower.is_none_or(|lower| lower < difference)
                && step.upper.is_none_or(|upper| difference <= upper)
        }
    })
}

/// The desired capacity that a step policy leaves behind, or none when it changes nothing.
///
/// Scaling out, instances that still warm up do not count as capacity, so that repeated breaches of
/// one step add once; scaling in waits until nothing warms up.
pub fn step_target(
    kind: AdjustmentType,
    step: Step,
    desired: i64,
    warming: i64,
    min_magnitude: Option<i64>,
    (min, max): (i64, i64),
) -> Option<i64> {
    let base = desired - warming;
    let wanted = adjusted(kind, base, step.adjustment, min_magnitude).clamp(min, max);
    let shrinking = adjusted(kind, desired, step.adjustment, min_magnitude).clamp(min, max);
    if shrinking < desired {
        return (warming == 0).then_some(shrinking);
    }
    (wanted > desired).then_some(wanted)
}

/// Why a list of steps is refused, in AWS's order of checks.
pub fn check_steps(steps: &[Step]) -> Result<(), String> {
    if steps.is_empty() {
        return Err("At least one StepAdjustment must be specified".to_owned());
    }
    if steps
        .iter()
        .any(|step| step.lower.is_none() && step.upper.is_none() && steps.len() > 1)
    {
        return Err("The upper and lower bound can't both be null in a StepAdjustment".to_owned());
    }
    let mut sorted = steps.to_vec();
    let low = |step: &Step| step.lower.unwrap_or(f64::NEG_INFINITY);
    let high = |step: &Step| step.upper.unwrap_or(f64::INFINITY);
    sorted.sort_by(|a, b| low(a).total_cmp(&low(b)));
    if let Some(bad) = sorted.iter().find(|step| low(step) >= high(step)) {
        return Err(format!(
            "MetricIntervalLowerBound must be below MetricIntervalUpperBound, adjustment {}",
            bad.adjustment
        ));
    }
    for pair in sorted.windows(2) {
        if high(&pair[0]).total_cmp(&low(&pair[1])).is_ne() {
            return Err(
                "StepAdjustment intervals can't overlap and can't have a gap between them"
                    .to_owned(),
            );
        }
    }
    let (first, last) = (sorted[0], sorted[sorted.len() - 1]);
    if first.lower.is_some_and(|lower| lower < 0.0) {
        return Err(
            "At least one StepAdjustment must have an unspecified lower bound if any has a negative lower bound"
                .to_owned(),
        );
    }
    if last.upper.is_some_and(|upper| upper > 0.0) {
        return Err(
            "At least one StepAdjustment must have an unspecified upper bound if any has a positive upper bound"
                .to_owned(),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use AdjustmentType::{ChangeInCapacity, ExactCapacity, PercentChangeInCapacity};
    use proptest::prelude::*;

    fn step(lower: Option<f64>, upper: Option<f64>, adjustment: i64) -> Step {
        Step {
            lower,
            upper,
            adjustment,
        }
    }

    #[test]
    fn adjustments_round_as_documented() {
        for (kind, current, adjustment, magnitude, expected) in [
            (ChangeInCapacity, 3, 5, None, 8),
            (ExactCapacity, 3, 5, None, 5),
            (PercentChangeInCapacity, 10, 10, None, 11),
            (PercentChangeInCapacity, 11, 30, None, 14),
            (PercentChangeInCapacity, 14, -10, None, 13),
            (PercentChangeInCapacity, 2, 25, None, 3),
            (PercentChangeInCapacity, 2, -25, None, 1),
            (PercentChangeInCapacity, 4, 25, Some(2), 6),
            (PercentChangeInCapacity, 4, 0, Some(2), 4),
            (PercentChangeInCapacity, 0, 50, None, 0),
        ] {
            assert_eq!(
                adjusted(kind, current, adjustment, magnitude),
                expected,
                "{kind:?} {current} {adjustment}"
            );
        }
    }

    /// The worked example of AWS's page on step scaling: ten instances, threshold 50.
    #[test]
    fn steps_follow_the_documented_example() {
        let out = [
            step(Some(0.0), Some(10.0), 0),
            step(Some(10.0), Some(20.0), 10),
            step(Some(20.0), None, 30),
        ];
        let into = [
            step(Some(-10.0), Some(0.0), 0),
            step(Some(-20.0), Some(-10.0), -10),
            step(None, Some(-20.0), -30),
        ];
        check_steps(&out).unwrap();
        check_steps(&into).unwrap();
        let target = |steps: &[Step], metric: f64, desired, warming| {
            let step = step_for(steps, metric - 50.0).unwrap();
            step_target(
                PercentChangeInCapacity,
                step,
                desired,
                warming,
                None,
                (1, 100),
            )
        };
        assert_eq!(target(&out, 59.0, 10, 0), None);
        assert_eq!(target(&out, 60.0, 10, 0), Some(11));
        assert_eq!(
            target(&out, 62.0, 11, 1),
            None,
            "one step adds once while it warms up"
        );
        assert_eq!(
            target(&out, 70.0, 11, 1),
            Some(13),
            "the next step adds the difference"
        );
        assert_eq!(target(&out, 70.0, 11, 0), Some(14));
        assert_eq!(target(&into, 40.0, 14, 0), Some(13));
        assert_eq!(target(&into, 30.0, 13, 0), Some(10));
        assert_eq!(
            target(&into, 30.0, 13, 1),
            None,
            "no scale-in while something warms up"
        );
    }

    #[test]
    fn gaps_overlaps_and_open_ends_are_refused() {
        for steps in [
            vec![],
            vec![step(Some(0.0), Some(5.0), 1), step(Some(6.0), None, 2)],
            vec![step(Some(0.0), Some(5.0), 1), step(Some(4.0), None, 2)],
            vec![step(Some(0.0), Some(5.0), 1)],
            vec![step(Some(-5.0), Some(0.0), -1)],
            vec![step(Some(5.0), Some(5.0), 1)],
        ] {
            assert!(check_steps(&steps).is_err(), "{steps:?}");
        }
    }

    proptest! {
        #[test]
        fn a_target_never_leaves_the_bounds(
            desired in 0_i64..50, warming in 0_i64..10, adjustment in -200_i64..200, min in 0_i64..20, span in 0_i64..40
        ) {
            for kind in [ChangeInCapacity, ExactCapacity, PercentChangeInCapacity] {
                let step = step(Some(0.0), None, adjustment);
                if let Some(target) = step_target(kind, step, desired, warming.min(desired), None, (min, min + span)) {
                    prop_assert!((min..=min + span).contains(&target) && target != desired);
                }
            }
        }
    }
}
