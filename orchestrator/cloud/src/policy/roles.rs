//! Roles that are given to others, or that AWS's services make for themselves.

use plan::Spec;
use serde_json::{Value, json};

use super::{Place, allow};

/// The role of a service by its name, and which service takes it. Of the first stack of an account, Auto
/// Scaling, the load balancer's service and RDS each make theirs, with the rights of who asked for a group, a
/// load balancer, a target group or a database; nobody can change such a role or take it.
const SERVICES: [(&str, &str); 3] = [
    ("autoscaling.amazonaws.com", "AWSServiceRoleForAutoScaling"),
    (
        "elasticloadbalancing.amazonaws.com",
        "AWSServiceRoleForElasticLoadBalancing",
    ),
    ("rds.amazonaws.com", "AWSServiceRoleForRDS"),
];

/// The nodes' role, for instances alone.
pub(super) fn of_nodes(spec: &Spec, place: &Place<'_>) -> Value {
    let role = format!("role/{}", spec.fleet.instance_profile);
    let instances = match place.partition {
        "aws-cn" => "ec2.amazonaws.com.cn",
        _ => "ec2.amazonaws.com",
    };
    allow(
        "GiveNodesTheirRole",
        &["iam:PassRole"],
        &json!(place.arn_in("iam", "", place.account, &role)),
        Some(json!({ "StringEquals": { "iam:PassedToService": instances } })),
    )
}

/// Service-linked roles.
pub(super) fn of_services(place: &Place<'_>) -> Value {
    let arn = |(service, name): (&str, &str)| {
        let role = format!("role/aws-service-role/{service}/{name}");
        place.arn_in("iam", "", place.account, &role)
    };
    allow(
        "LetServicesMakeTheirRoles",
        &["iam:CreateServiceLinkedRole"],
        &json!(SERVICES.map(arn)),
        Some(json!({ "StringEquals": {
            "iam:AWSServiceName": SERVICES.map(|(service, _)| service)
        } })),
    )
}
