//! The least that orchestrator and node need from IAM, as policy documents.
//!
//! Three kinds of statement: reads, which AWS lets nobody narrow to a resource (the few that can be are);
//! creations, allowed only with our stack's tag in the request, or under the stack's name where the thing
//! has one that begins with it; changes and deletions, allowed only on what carries the tag. A service
//! that knows no tags for a call is narrowed by the resource's name instead.
//!
//! The end-to-end tests run the whole product with this policy on a lab that judges it.

mod data;
mod named;
mod files;

use plan::Spec;
use plan::observed::STACK_TAG;
use serde_json::{Value, json};

use crate::scope::region_of;

/// The documents.
#[derive(Clone, Debug, PartialEq)]
pub struct Policies {
    /// For the role that the orchestrator runs as: an inline policy, which may be longer (10 240
    /// characters) than a managed one (6 144).
    pub orchestrator: Value,
    /// For the role of the nodes' instance profile.
    pub node: Value,
    /// What `down --delete-files` needs besides the orchestrator's: for whoever runs it, as long as it
    /// runs. None: the stack has no bucket of its own.
    pub delete_files: Option<Value>,
}

/// The policies for this specification, in the account `account` (twelve digits).
pub fn iam_policies(spec: &Spec, account: &str) -> Policies {
    let home = spec.zones.first().map(|zone| region_of(zone));
    let place = Place {
        stack: &spec.stack,
        home: home.unwrap_or_default(),
        account,
    };
    let mut statements = reads(spec);
    statements.extend(security_groups(spec, &place));
    statements.extend(templates(&place));
    statements.extend(images(&place));
    statements.push(tag_at_creation(&place));
    statements.extend(fleet(&place));
    statements.extend(load_balancing(&place));
    statements.extend(data::database(&place));
    statements.extend(data::secrets(&place));
    statements.extend(named::secrets(spec, &place));
    statements.extend(data::licence(spec, &place));
    statements.extend(files::orchestrator(spec, &place));
    statements.push(pass_role(spec, &place));
    Policies {
        orchestrator: document(&statements),
        // A node proves who it is by a signed `sts:GetCallerIdentity`, which needs no permission, and
        // gets its configuration from the orchestrator: of AWS it needs the bucket alone.
        node: files::node(spec, &place),
        delete_files: files::deletion(spec, &place),
    }
}

struct Place<'a> {
    stack: &'a str,
    home: String,
    account: &'a str,
}

impl Place<'_> {
    fn arn(&self, service: &str, resource: &str) -> String {
        format!(
            "arn:aws:{service}:{}:{}:{resource}",
            self.home, self.account
        )
    }

    /// The resource carries our tag.
    fn ours(&self, key: &str) -> Value {
        json!({ "StringEquals": { format!("{key}/{STACK_TAG}"): self.stack } })
    }

    /// The request tags what it makes as ours.
    fn tagged(&self) -> Value {
        self.ours("aws:RequestTag")
    }
}

fn document(statements: &[Value]) -> Value {
    json!({ "Version": "2012-10-17", "Statement": statements })
}

fn allow(sid: &str, actions: &[&str], resource: &Value, condition: Option<Value>) -> Value {
    let mut statement = json!({
        "Sid": sid,
        "Effect": "Allow",
        "Action": actions,
        "Resource": resource,
    });
    if let Some(condition) = condition {
        statement["Condition"] = condition;
    }
    statement
}

fn reads(spec: &Spec) -> Vec<Value> {
    let mut regions: Vec<String> = spec.zones.iter().map(|zone| region_of(zone)).collect();
    regions.sort();
    regions.dedup();
    let mut statements = vec![allow(
        "Look",
        &[
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
            "ec2:DescribeInstances",
            "ec2:DescribeLaunchTemplateVersions",
            "ec2:DescribeLaunchTemplates",
            "ec2:DescribeSecurityGroupRules",
            "ec2:DescribeSecurityGroups",
            "ec2:DescribeSubnets",
            "ec2:DescribeVpcs",
            "elasticloadbalancing:DescribeAccountLimits",
            "elasticloadbalancing:DescribeListeners",
            "elasticloadbalancing:DescribeLoadBalancerAttributes",
            "elasticloadbalancing:DescribeLoadBalancers",
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
            "rds:ListTagsForResource",
            "secretsmanager:ListSecrets",
        ],
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

fn security_groups(spec: &Spec, place: &Place<'_>) -> Vec<Value> {
    vec![
        allow(
            "CreateSecurityGroups",
            &["ec2:CreateSecurityGroup"],
            &json!(place.arn("ec2", "security-group/*")),
            Some(place.tagged()),
        ),
        allow(
            "CreateSecurityGroupsInVpc",
            &["ec2:CreateSecurityGroup"],
            &json!(place.arn(
                "ec2",
                &format!("vpc/{}", spec.network.vpc.as_deref().unwrap_or("*"))
            )),
            None,
        ),
        allow(
            "ChangeSecurityGroups",
            &[
                "ec2:AuthorizeSecurityGroupIngress",
                "ec2:DeleteSecurityGroup",
                "ec2:RevokeSecurityGroupIngress",
            ],
            &json!(place.arn("ec2", "security-group/*")),
            Some(place.ours("aws:ResourceTag")),
        ),
    ]
}

fn templates(place: &Place<'_>) -> Vec<Value> {
    vec![
        allow(
            "CreateTemplate",
            &["ec2:CreateLaunchTemplate"],
            &json!(place.arn("ec2", "launch-template/*")),
            Some(place.tagged()),
        ),
        allow(
            "ChangeTemplate",
            &[
                "ec2:CreateLaunchTemplateVersion",
                "ec2:DeleteLaunchTemplate",
                "ec2:DeleteLaunchTemplateVersions",
                "ec2:ModifyLaunchTemplate",
            ],
            &json!(place.arn("ec2", "launch-template/*")),
            Some(place.ours("aws:ResourceTag")),
        ),
        // Auto Scaling checks, when a group is made or gets another version, that whoever asks could launch
        // from the template: the stack's template, and with it whatever it names.
        allow(
            "LaunchFromTemplate",
            &["ec2:RunInstances"],
            &json!(place.arn("ec2", "launch-template/*")),
            Some(place.ours("aws:ResourceTag")),
        ),
        allow(
            "LaunchWhatItNames",
            &["ec2:RunInstances"],
            &json!([
                format!("arn:aws:ec2:{}::image/*", place.home),
                place.arn("ec2", "instance/*"),
                place.arn("ec2", "network-interface/*"),
                place.arn("ec2", "security-group/*"),
                place.arn("ec2", "subnet/*"),
                place.arn("ec2", "volume/*"),
            ]),
            Some(json!({ "ArnLike": {
                "ec2:LaunchTemplate": place.arn("ec2", "launch-template/*")
            } })),
        ),
    ]
}

fn images(place: &Place<'_>) -> Vec<Value> {
    vec![
        allow(
            "CopyImages",
            &["ec2:CopyImage"],
            &json!(["arn:aws:ec2:*::image/*", "arn:aws:ec2:*::snapshot/*"]),
            None,
        ),
        allow(
            "DeleteImages",
            &["ec2:DeregisterImage"],
            &json!("arn:aws:ec2:*::image/*"),
            Some(place.ours("aws:ResourceTag")),
        ),
        allow(
            "DeleteSnapshotsOfImages",
            &["ec2:DeleteSnapshot"],
            &json!("arn:aws:ec2:*::snapshot/*"),
            Some(place.ours("aws:ResourceTag")),
        ),
    ]
}

fn tag_at_creation(place: &Place<'_>) -> Value {
    let account = place.account;
    allow(
        "TagAtCreation",
        &["ec2:CreateTags"],
        &json!([
            format!("arn:aws:ec2:*:{account}:*/*"),
            "arn:aws:ec2:*::image/*",
            "arn:aws:ec2:*::snapshot/*"
        ]),
        Some(json!({ "StringEquals": {
            "ec2:CreateAction": [
                "CopyImage", "CreateLaunchTemplate", "CreateSecurityGroup", "RunInstances"
            ]
        } })),
    )
}

fn fleet(place: &Place<'_>) -> Vec<Value> {
    let groups = json!(place.arn(
        "autoscaling",
        &format!("autoScalingGroup:*:autoScalingGroupName/{}-g*", place.stack)
    ));
    let alarms = json!(place.arn("cloudwatch", &format!("alarm:{}-g*", place.stack)));
    vec![
        allow(
            "CreateGroups",
            &[
                "autoscaling:CreateAutoScalingGroup",
                "autoscaling:CreateOrUpdateTags",
            ],
            &groups,
            None,
        ),
        allow(
            "ChangeGroups",
            &[
                "autoscaling:AttachLoadBalancerTargetGroups",
                "autoscaling:CompleteLifecycleAction",
                "autoscaling:DeleteAutoScalingGroup",
                "autoscaling:DeleteTags",
                "autoscaling:DetachLoadBalancerTargetGroups",
                "autoscaling:EnableMetricsCollection",
                "autoscaling:PutLifecycleHook",
                "autoscaling:PutScalingPolicy",
                "autoscaling:RecordLifecycleActionHeartbeat",
                "autoscaling:ResumeProcesses",
                "autoscaling:SuspendProcesses",
                "autoscaling:TerminateInstanceInAutoScalingGroup",
                "autoscaling:UpdateAutoScalingGroup",
            ],
            &groups,
            Some(place.ours("aws:ResourceTag")),
        ),
        allow(
            "Alarms",
            &[
                "cloudwatch:DeleteAlarms",
                "cloudwatch:PutMetricAlarm",
                "cloudwatch:TagResource",
            ],
            &alarms,
            None,
        ),
    ]
}

fn load_balancing(place: &Place<'_>) -> Vec<Value> {
    let stack = place.stack;
    let balancer = place.arn(
        "elasticloadbalancing",
        &format!("loadbalancer/app/{stack}/*"),
    );
    let listener = place.arn("elasticloadbalancing", &format!("listener/app/{stack}/*"));
    let targets = place.arn("elasticloadbalancing", &format!("targetgroup/{stack}-*/*"));
    vec![
        allow(
            "CreateLoadBalancing",
            &[
                "elasticloadbalancing:CreateListener",
                "elasticloadbalancing:CreateLoadBalancer",
                "elasticloadbalancing:CreateTargetGroup",
            ],
            &json!([balancer, targets]),
            Some(place.tagged()),
        ),
        allow(
            "TagLoadBalancingAtCreation",
            &["elasticloadbalancing:AddTags"],
            &json!([balancer, listener, targets]),
            Some(json!({ "StringEquals": {
                "elasticloadbalancing:CreateAction": [
                    "CreateListener", "CreateLoadBalancer", "CreateTargetGroup"
                ]
            } })),
        ),
        allow(
            "ChangeLoadBalancing",
            &[
                "elasticloadbalancing:DeleteListener",
                "elasticloadbalancing:DeleteLoadBalancer",
                "elasticloadbalancing:DeleteTargetGroup",
                "elasticloadbalancing:ModifyListener",
                "elasticloadbalancing:ModifyLoadBalancerAttributes",
                "elasticloadbalancing:ModifyTargetGroup",
                "elasticloadbalancing:ModifyTargetGroupAttributes",
                "elasticloadbalancing:SetSecurityGroups",
                "elasticloadbalancing:SetSubnets",
            ],
            &json!([balancer, listener, targets]),
            Some(place.ours("aws:ResourceTag")),
        ),
    ]
}

fn pass_role(spec: &Spec, place: &Place<'_>) -> Value {
    allow(
        "GiveNodesTheirRole",
        &["iam:PassRole"],
        &json!(format!(
            "arn:aws:iam::{}:role/{}",
            place.account, spec.fleet.instance_profile
        )),
        Some(json!({ "StringEquals": { "iam:PassedToService": "ec2.amazonaws.com" } })),
    )
}

#[cfg(test)]
mod tests;
