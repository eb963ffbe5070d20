//! Reads: our own, and those that a service makes for us with our rights.

use plan::Spec;
use serde_json::{Value, json};

use super::allow;
use crate::scope::region_of;

/// What this crate reads.
const OURS: [&str; 42] = [
    "autoscaling:DescribeAccountLimits",
    "autoscaling:DescribeAutoScalingGroups",
    "autoscaling:DescribeAutoScalingInstances",
    "autoscaling:DescribeLifecycleHooks",
    "autoscaling:DescribePolicies",
    "autoscaling:DescribeScalingActivities",
    "cloudwatch:DescribeAlarms",
    "cloudwatch:GetMetricData",
    "cloudwatch:ListTagsForResource",
    "ec2:DescribeImages",
    "ec2:DescribeInstanceTypeOfferings",
    "ec2:DescribeInstanceTypes",
    "ec2:DescribeInstances",
    "ec2:DescribeKeyPairs",
    "ec2:DescribeLaunchTemplateVersions",
    "ec2:DescribeLaunchTemplates",
    "ec2:DescribeRouteTables",
    "ec2:DescribeSecurityGroupRules",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
    "ec2:GetEbsDefaultKmsKeyId",
    "ec2:GetEbsEncryptionByDefault",
    "elasticloadbalancing:DescribeAccountLimits",
    "elasticloadbalancing:DescribeListeners",
    "elasticloadbalancing:DescribeLoadBalancerAttributes",
    "elasticloadbalancing:DescribeLoadBalancers",
    "elasticloadbalancing:DescribeRules",
    "elasticloadbalancing:DescribeTags",
    "elasticloadbalancing:DescribeTargetGroupAttributes",
    "elasticloadbalancing:DescribeTargetGroups",
    "elasticloadbalancing:DescribeTargetHealth",
    "rds:DescribeAccountAttributes",
    "rds:DescribeDBEngineVersions",
    "rds:DescribeDBInstances",
    "rds:DescribeDBParameterGroups",
    "rds:DescribeDBParameters",
    "rds:DescribeDBSnapshots",
    "rds:DescribeDBSubnetGroups",
    "rds:DescribeOrderableDBInstanceOptions",
    "rds:ListTagsForResource",
    "secretsmanager:ListSecrets",
];

/// What Elastic Load Balancing and RDS read in EC2 with the rights of who has a load balancer, a target group
/// or an instance made, and this crate does not (ELB user guide, "Elastic Load Balancing API permissions";
/// schema of `AWS::RDS::DBInstance`, the permissions of its handlers). `doctor` asks for each by a dry run.
const OF_SERVICES: [&str; 5] = [
    "ec2:DescribeAccountAttributes",
    "ec2:DescribeAddresses",
    "ec2:DescribeAvailabilityZones",
    "ec2:DescribeInternetGateways",
    "ec2:DescribeVpcAttribute",
];

/// The statements.
pub(super) fn reads(spec: &Spec) -> Vec<Value> {
    let mut regions: Vec<String> = spec.zones.iter().map(|zone| region_of(zone)).collect();
    regions.sort();
    regions.dedup();
    let mut actions = [&OURS[..], &OF_SERVICES].concat();
    actions.sort_unstable();
    let mut statements = vec![allow(
        "Look",
        &actions,
        &json!("*"),
        Some(json!({ "StringEquals": { "aws:RequestedRegion": regions } })),
    )];
    if let Some(certificate) = &spec.load_balancer.certificate_arn {
        statements.push(allow(
            "LookAtCertificate",
            &["acm:DescribeCertificate"],
            &json!(certificate),
            None,
        ));
    }
    statements
}
