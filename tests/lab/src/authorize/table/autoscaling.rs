//! Auto Scaling: a group's ARN has an id that is known only once it exists.

use super::{Asking, launch};
use crate::authorize::evaluate::Ask;

pub(super) fn asks(it: &Asking<'_>) -> Option<Vec<Ask>> {
    Some(match it.call.action.as_str() {
        "DescribeAccountLimits"
        | "DescribeAutoScalingGroups"
        | "DescribeAutoScalingInstances"
        | "DescribeLifecycleHooks"
        | "DescribePolicies"
        | "DescribeScalingActivities"
        | "DescribeTags" => it.anything(),
        "CreateAutoScalingGroup" => it.new_group(),
        "UpdateAutoScalingGroup" => {
            let name = it.text("AutoScalingGroupName");
            let mut asks = vec![it.on_group(&name)];
            asks.extend(launch::asks(it, &it.subnets(Some(&name))));
            asks
        }
        "AttachLoadBalancerTargetGroups"
        | "CompleteLifecycleAction"
        | "DeleteAutoScalingGroup"
        | "DeleteLifecycleHook"
        | "DeletePolicy"
        | "DetachLoadBalancerTargetGroups"
        | "DisableMetricsCollection"
        | "EnableMetricsCollection"
        | "PutLifecycleHook"
        | "PutScalingPolicy"
        | "RecordLifecycleActionHeartbeat"
        | "ResumeProcesses"
        | "SetDesiredCapacity"
        | "SetInstanceProtection"
        | "SuspendProcesses" => vec![it.on_group(&it.text("AutoScalingGroupName"))],
        "SetInstanceHealth" | "TerminateInstanceInAutoScalingGroup" => {
            let instance = it.text("InstanceId");
            let group = crate::asg::group_of(it.lab, &it.call.region, &instance);
            vec![it.on_group(group.as_deref().unwrap_or("*"))]
        }
        "CreateOrUpdateTags" | "DeleteTags" => {
            let entries = it.params.structs("Tags");
            let asks = entries.iter().map(|entry| {
                let group = entry.opt("ResourceId").unwrap_or_else(|| "*".to_owned());
                let key = entry.opt("Key").unwrap_or_default();
                let value = entry.opt("Value").unwrap_or_default();
                it.on_group(&group).requesting(&[(key, value)])
            });
            asks.collect()
        }
        _ => return None,
    })
}

impl Asking<'_> {
    fn new_group(&self) -> Vec<Ask> {
        let name = self.text("AutoScalingGroupName");
        let arn = self.arn(&format!("autoScalingGroup:*:autoScalingGroupName/{name}"));
        let tags = self.tags();
        let mut asks = vec![self.ask(&arn).requesting(&tags)];
        // Not in the reference's column of dependent actions. It is asked for all the same, so that a
        // policy which passes here has it.
        asks.extend(self.tagging("autoscaling:CreateOrUpdateTags", arn, &tags));
        asks.extend(launch::asks(self, &self.subnets(None)));
        asks.extend(self.service_linked_role());
        asks
    }

    fn on_group(&self, name: &str) -> Ask {
        match crate::asg::group_facts(self.lab, &self.call.region, name) {
            Some(group) => self.ask(group.arn).tagged(&group.tags),
            None => self.ask(self.arn(&format!("autoScalingGroup:*:autoScalingGroupName/{name}"))),
        }
    }

    /// Where a group will launch: as the call says, else as the group is.
    fn subnets(&self, group: Option<&str>) -> Vec<String> {
        match self.params.given("VPCZoneIdentifier") {
            Some(listed) => listed.split(',').map(|id| id.trim().to_owned()).collect(),
            None => group
                .and_then(|name| crate::asg::group_facts(self.lab, &self.call.region, name))
                .map(|group| group.subnets)
                .unwrap_or_default(),
        }
    }
}
