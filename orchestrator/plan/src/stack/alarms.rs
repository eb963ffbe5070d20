//! Scaling policies and the alarms that fire them: one more node when busy, one less when idle.

use crate::action::Action;
use crate::draft::Draft;
use crate::moving::unmoved;
use crate::observed::Group;
use crate::view::View;

/// Seconds until a new node counts in the average CPU: until its caches are warm.
const WARMUP_SECONDS: u32 = 120;

/// Policies and alarms of a group: one more node when busy, one less when idle.
pub(crate) fn ensure_alarms(view: &View<'_>, draft: &mut Draft, group: &Group) -> bool {
    if !draft.knows(view, "policies") || !draft.knows(view, "alarms") {
        return false;
    }
    let fleet = &view.spec().fleet;
    let names = &view.names;
    let mut wanted = vec![(
        names.scale_out_policy(&group.name),
        1,
        names.cpu_high_alarm(&group.name),
        (
            "GreaterThanThreshold",
            fleet.scale_out_cpu_percent,
            fleet.scale_out_minutes,
        ),
    )];
    let low = names.cpu_low_alarm(&group.name);
    // What people made would go with the node.
    let unmoved = unmoved(view.record(), view.spec()).is_some();
    if fleet.scale_in_cpu_percent > 0 && !unmoved {
        wanted.push((
            names.scale_in_policy(&group.name),
            -1,
            low,
            (
                "LessThanThreshold",
                fleet.scale_in_cpu_percent,
                fleet.scale_in_minutes,
            ),
        ));
    } else if view.observed.alarms.contains_key(&low) {
        draft.set(
            view,
            "drift",
            "scale in is switched off",
            Action::DeleteAlarm { name: low },
        );
    }
    let mut all = true;
    for (policy, adjustment, alarm, terms) in wanted {
        all &= ensure_alarm(view, draft, group, (policy, adjustment), &alarm, terms);
    }
    all
}

fn ensure_alarm(
    view: &View<'_>,
    draft: &mut Draft,
    group: &Group,
    (policy, adjustment): (String, i32),
    alarm: &str,
    (comparison, percent, minutes): (&str, u32, u32),
) -> bool {
    let what = format!("scaling policy `{policy}`");
    let seen = view
        .observed
        .policies
        .get(&group.name)
        .and_then(|policies| policies.get(&policy));
    let action = Action::EnsureScalingPolicy {
        group: group.name.clone(),
        name: policy,
        adjustment,
        warmup_seconds: WARMUP_SECONDS,
    };
    let Some(seen) = seen else {
        draft.create(view, "policy", &what, action);
        return false;
    };
    let mut right = true;
    if seen.adjustment != adjustment {
        draft.set(view, "drift", &format!("{what} differs"), action);
        right = false;
    }
    let wanted = Action::EnsureAlarm {
        name: alarm.to_owned(),
        group: group.name.clone(),
        threshold: f64::from(percent),
        comparison: comparison.to_owned(),
        periods: minutes,
        policy_arn: seen.arn.clone(),
    };
    let what = format!("alarm `{alarm}`");
    match view.observed.alarms.get(alarm) {
        None => draft.create(view, "alarm", &what, wanted),
        Some(alarm)
            if (alarm.threshold - f64::from(percent)).abs() > 0.01
                || alarm.comparison != comparison
                || alarm.period != 60
                || alarm.evaluation_periods != minutes
                || alarm.group != group.name
                || !alarm.actions.contains(&seen.arn) =>
        {
            draft.set(view, "drift", &format!("{what} differs"), wanted);
        }
        Some(_) => return right,
    }
    false
}
