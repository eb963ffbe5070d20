//! Elastic Load Balancing: an ARN ends with an id that is known only once the thing exists.
//!
//! What a call names in EC2 the service reads with the caller's rights (ELB user guide, "Elastic Load
//! Balancing API permissions"). Reports of who lacked one: kubernetes-sigs/cluster-api-provider-aws#629,
//! eksctl-io/eksctl#2570, kubernetes-sigs/aws-load-balancer-controller#748.

use super::Asking;
use crate::authorize::evaluate::Ask;

/// For a load balancer.
const READS_OF_BALANCER: [&str; 6] = [
    "DescribeAccountAttributes",
    "DescribeAddresses",
    "DescribeInternetGateways",
    "DescribeSecurityGroups",
    "DescribeSubnets",
    "DescribeVpcs",
];
/// For a target group.
const READS_OF_TARGET_GROUP: [&str; 2] = ["DescribeInternetGateways", "DescribeVpcs"];
/// For the targets of one.
const READS_OF_TARGETS: [&str; 4] = [
    "DescribeInstances",
    "DescribeInternetGateways",
    "DescribeSubnets",
    "DescribeVpcs",
];

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
            let mut asks = it.creation(it.ask(&arn), &arn);
            asks.extend(it.reads_of_ec2(&READS_OF_BALANCER));
            asks.extend(it.service_linked_role());
            asks
        }
        "CreateTargetGroup" => {
            let arn = it.arn(&format!("targetgroup/{}/*", it.text("Name")));
            let mut asks = it.creation(it.ask(&arn), &arn);
            asks.extend(it.reads_of_ec2(&READS_OF_TARGET_GROUP));
            asks.extend(it.service_linked_role());
            asks
        }
        // A listener is made in its load balancer, and tagged as itself.
        "CreateListener" => {
            let balancer = it.text("LoadBalancerArn");
            let listener = balancer.replacen(":loadbalancer/", ":listener/", 1) + "/*";
            it.creation(it.on_arn(&balancer), &listener)
        }
        // A rule is made in its listener, and tagged as itself (Service Authorization Reference, `CreateRule`).
        "CreateRule" => {
            let listener = it.text("ListenerArn");
            let rule = listener.replacen(":listener/", ":listener-rule/", 1) + "/*";
            it.creation(it.on_arn(&listener), &rule)
        }
        "DeleteRule" | "ModifyRule" => vec![it.on_arn(&it.text("RuleArn"))],
        "DeleteListener" | "ModifyListener" => vec![it.on_arn(&it.text("ListenerArn"))],
        "DeleteLoadBalancer" | "ModifyLoadBalancerAttributes" => {
            vec![it.on_arn(&it.text("LoadBalancerArn"))]
        }
        "SetSubnets" => it.reading("LoadBalancerArn", &["DescribeSubnets"]),
        // Not in the guide's list, which has its counterpart of classic load balancers.
        "SetSecurityGroups" => it.reading("LoadBalancerArn", &["DescribeSecurityGroups"]),
        "DeleteTargetGroup"
        | "DeregisterTargets"
        | "ModifyTargetGroup"
        | "ModifyTargetGroupAttributes" => vec![it.on_arn(&it.text("TargetGroupArn"))],
        "RegisterTargets" => it.reading("TargetGroupArn", &READS_OF_TARGETS),
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

    /// The call on what a parameter names, and reads of EC2.
    fn reading(&self, named_by: &str, reads: &[&str]) -> Vec<Ask> {
        let mut asks = vec![self.on_arn(&self.text(named_by))];
        asks.extend(self.reads_of_ec2(reads));
        asks
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
