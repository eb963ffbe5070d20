//! Elastic Load Balancing: an ARN ends with an id that is known only once the thing exists.

use super::Asking;
use crate::authorize::evaluate::Ask;

pub(super) fn asks(it: &Asking<'_>) -> Option<Vec<Ask>> {
    Some(match it.call.action.as_str() {
        "DescribeAccountLimits"
        | "DescribeListeners"
        | "DescribeLoadBalancerAttributes"
        | "DescribeLoadBalancers"
        | "DescribeRules"
        | "DescribeTags"
        | "DescribeTargetGroupAttributes"
        | "DescribeTargetGroups"
        | "DescribeTargetHealth" => it.anything(),
        "CreateLoadBalancer" => {
            let arn = it.arn(&format!("loadbalancer/app/{}/*", it.text("Name")));
            it.creation(it.ask(&arn), &arn)
        }
        "CreateTargetGroup" => {
            let arn = it.arn(&format!("targetgroup/{}/*", it.text("Name")));
            it.creation(it.ask(&arn), &arn)
        }
        // A listener is made in its load balancer, and tagged as itself.
        "CreateListener" => {
            let balancer = it.text("LoadBalancerArn");
            let listener = balancer.replacen(":loadbalancer/", ":listener/", 1) + "/*";
            it.creation(it.on_arn(&balancer), &listener)
        }
        "DeleteListener" | "ModifyListener" => vec![it.on_arn(&it.text("ListenerArn"))],
        "DeleteLoadBalancer"
        | "ModifyLoadBalancerAttributes"
        | "SetSecurityGroups"
        | "SetSubnets" => vec![it.on_arn(&it.text("LoadBalancerArn"))],
        "DeleteTargetGroup"
        | "DeregisterTargets"
        | "ModifyTargetGroup"
        | "ModifyTargetGroupAttributes"
        | "RegisterTargets" => vec![it.on_arn(&it.text("TargetGroupArn"))],
        "AddTags" | "RemoveTags" => {
            let tags = it.tags();
            let arns = it.texts("ResourceArns");
            arns.iter()
                .map(|arn| it.on_arn(arn).requesting(&tags))
                .collect()
        }
        _ => return None,
    })
}

impl Asking<'_> {
    fn on_arn(&self, arn: &str) -> Ask {
        let tags = crate::elbv2::tags_by_arn(self.lab, &self.call.region, arn);
        self.ask(arn).tagged(&tags)
    }

    /// With the tags of the request, and `AddTags` for them (ELB user guide, "Grant permission to tag
    /// resources during creation").
    fn creation(&self, ask: Ask, made: &str) -> Vec<Ask> {
        let tags = self.tags();
        let mut asks = vec![ask.requesting(&tags)];
        let by = "elasticloadbalancing:CreateAction";
        let tagging = self.tagging("elasticloadbalancing:AddTags", made, &tags);
        asks.extend(tagging.map(|ask| ask.with(by, &self.call.action)));
        asks
    }
}
