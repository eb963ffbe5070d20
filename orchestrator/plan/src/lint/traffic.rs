//! Who may carry traffic, and how small a group that does may become.

use super::{Judge, Verdict};
use crate::intent::Phase;
use crate::nodes::serves_without_files;
use crate::observed::{ListenerAction, Node};

impl Judge<'_> {
    /// Percent (or parts) of the traffic that a target group gets now.
    pub(super) fn weight(&self, arn: &str) -> u32 {
        self.observed
            .listeners
            .values()
            .filter_map(|listener| match &listener.action {
                ListenerAction::Forward(forward) => forward.weights.get(arn).copied(),
                _ => None,
            })
            .max()
            .unwrap_or(0)
    }

    /// Traffic goes only where enough targets are healthy; out of a maintenance page, where nobody is
    /// probed, where enough nodes report that they serve. On the way back a server that cannot use the
    /// bucket counts as well: users get chat without files, not the page.
    pub(super) fn can_carry(&self, arn: &str) -> Verdict {
        let floor = self.intent.spec.fleet.min;
        let Some(group) = self
            .observed
            .target_groups
            .values()
            .find(|group| group.arn == arn)
        else {
            return Err(("unhealthy", "the target group is not visible".to_owned()));
        };
        let healthy = group
            .targets
            .values()
            .filter(|state| *state == "healthy")
            .count() as u32;
        if healthy >= floor {
            return Ok(());
        }
        let closed = self
            .observed
            .listeners
            .values()
            .any(|listener| matches!(listener.action, ListenerAction::Fixed(..)));
        let live = self.intent.rollout.as_ref();
        let returns = live.is_some_and(|rollout| rollout.phase == Phase::ReturningTraffic);
        let answers = |node: &Node| serves(node) || (returns && serves_without_files(node));
        let serving = self
            .observed
            .groups
            .values()
            .filter(|seen| seen.target_groups.contains(arn))
            .flat_map(|seen| seen.members.iter())
            .filter(|(id, member)| {
                member.lifecycle == "InService" && self.observed.nodes.get(*id).is_some_and(answers)
            })
            .count() as u32;
        if closed && serving >= floor {
            return Ok(());
        }
        // Nobody serves at all: a listener that is being named its groups takes nothing away.
        let nobody = self
            .observed
            .target_groups
            .values()
            .all(|group| group.targets.is_empty());
        if nobody
            && !self
                .observed
                .groups
                .values()
                .any(|seen| !seen.members.is_empty())
        {
            return Ok(());
        }
        Err((
            "unhealthy",
            format!(
                "`{}` has {healthy} healthy targets, the floor is {floor}",
                group.name
            ),
        ))
    }

    pub(super) fn not_serving(&self, group: &str) -> Verdict {
        if !self.is_up() {
            return Ok(());
        }
        let owner = self
            .decision
            .record
            .as_ref()
            .unwrap_or(&self.intent.record)
            .group
            .as_deref();
        if owner == Some(group) {
            return Err((
                "last_serving_group",
                "this group owns the traffic".to_owned(),
            ));
        }
        let weighs = self.observed.groups.get(group).is_some_and(|seen| {
            // A group without nodes carries nothing, even if it is attached to a slot that does.
            !seen.members.is_empty() && seen.target_groups.iter().any(|arn| self.weight(arn) > 0)
        });
        if weighs {
            return Err(("has_weight", "this group still gets traffic".to_owned()));
        }
        Ok(())
    }

    pub(super) fn size(&self, group: &str, min: u32, desired: u32) -> Verdict {
        if !self.is_up() {
            return Ok(());
        }
        let Some(seen) = self.observed.groups.get(group) else {
            return Ok(());
        };
        let floor = self.intent.spec.fleet.min;
        let owner = self
            .decision
            .record
            .as_ref()
            .unwrap_or(&self.intent.record)
            .group
            .as_deref();
        if owner == Some(group)
            && (min.min(desired) < floor.min(seen.min.max(1)) || desired < floor)
        {
            return Err((
                "under_floor",
                format!("the owner would have {desired} nodes, the floor is {floor}"),
            ));
        }
        let shrinks = desired < seen.desired;
        if shrinks
            && desired < floor
            && seen.target_groups.iter().any(|arn| self.weight(arn) > 0)
            && !seen.members.is_empty()
        {
            return Err((
                "has_weight",
                format!("the group still gets traffic and would have {desired} nodes"),
            ));
        }
        Ok(())
    }
}

/// A node that vouches for itself.
fn serves(node: &Node) -> bool {
    node.phase == "serving" && node.current && node.connected
}
