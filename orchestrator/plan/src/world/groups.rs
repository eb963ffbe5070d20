//! What an action does to the model's Auto Scaling groups.

use std::collections::BTreeMap;

use super::World;
use crate::action::{Action, GroupWanted, LAUNCH_HOOK, TERMINATE_HOOK};
use crate::observed::{Alarm, Group, ScalingPolicy};

impl World {
    pub(super) fn apply_group(&mut self, action: &Action) -> Result<Result<(), String>, ()> {
        match action {
            Action::EnsureGroup(wanted) => self.ensure_group(wanted),
            Action::SetGroupSize {
                group,
                min,
                max,
                desired,
            } => {
                if desired < min || desired > max {
                    return Ok(Err(
                        "ValidationError: desired outside min and max".to_owned()
                    ));
                }
                let Some(seen) = self.observed.groups.get_mut(group) else {
                    return Ok(Err("ValidationError: group not found".to_owned()));
                };
                (seen.min, seen.max, seen.desired) = (*min, *max, *desired);
            }
            Action::SetGroupTemplate { group, version, .. } => {
                if let Some(seen) = self.observed.groups.get_mut(group) {
                    seen.template_version = *version;
                }
            }
            Action::SetSuspended { group, processes } => {
                if let Some(seen) = self.observed.groups.get_mut(group) {
                    seen.suspended = processes.clone();
                }
            }
            Action::LiftScaleInProtection { group, instances } => {
                let seen = self.observed.groups.get_mut(group);
                for (id, member) in seen.into_iter().flat_map(|group| &mut group.members) {
                    member.protected &= !instances.contains(id);
                }
            }
            Action::SetGroupTags {
                group,
                tags,
                remove,
            } => {
                if let Some(seen) = self.observed.groups.get_mut(group) {
                    seen.tags.extend(tags.clone());
                    seen.tags.retain(|key, _| !remove.contains(key));
                }
            }
            Action::EnsureScalingPolicy {
                group,
                name,
                adjustment,
                ..
            } => {
                let policy = ScalingPolicy {
                    arn: format!("arn:policy/{name}"),
                    adjustment: *adjustment,
                };
                self.observed
                    .policies
                    .entry(group.clone())
                    .or_default()
                    .insert(name.clone(), policy);
            }
            Action::EnsureAlarm {
                name,
                group,
                threshold,
                comparison,
                periods,
                policy_arn,
            } => {
                let alarm = Alarm {
                    name: name.clone(),
                    arn: format!("arn:alarm/{name}"),
                    state: "OK".to_owned(),
                    threshold: *threshold,
                    comparison: comparison.clone(),
                    period: 60,
                    evaluation_periods: *periods,
                    group: group.clone(),
                    actions: [policy_arn.clone()].into(),
                };
                self.observed.alarms.insert(name.clone(), alarm);
            }
            _ => return Err(()),
        }
        Ok(Ok(()))
    }

    fn ensure_group(&mut self, wanted: &GroupWanted) {
        let seen = self
            .observed
            .groups
            .entry(wanted.name.clone())
            .or_insert_with(|| Group {
                name: wanted.name.clone(),
                min: wanted.min,
                max: wanted.max,
                desired: wanted.desired,
                template_version: wanted.version,
                tags: wanted.tags.clone(),
                ..Group::default()
            });
        seen.subnets = wanted.subnets.clone();
        seen.target_groups = wanted.target_groups.clone();
        seen.health_check = "ELB".to_owned();
        seen.hooks = BTreeMap::from([
            (
                LAUNCH_HOOK.to_owned(),
                (
                    "autoscaling:EC2_INSTANCE_LAUNCHING".to_owned(),
                    wanted.launch_heartbeat,
                ),
            ),
            (
                TERMINATE_HOOK.to_owned(),
                (
                    "autoscaling:EC2_INSTANCE_TERMINATING".to_owned(),
                    wanted.terminate_heartbeat,
                ),
            ),
        ]);
    }
}
