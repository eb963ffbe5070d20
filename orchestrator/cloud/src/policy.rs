//! The least that orchestrator and node need from IAM, as policy documents.
//!
//! Three kinds of statement: reads, which AWS lets nobody narrow to a resource (the few that can be are);
//! creations, allowed only with our stack's tag in the request, or under the stack's name where the thing
//! has one that begins with it; changes and deletions, allowed only on what carries the tag. A service
//! that knows no tags for a call is narrowed by the resource's name instead.
//!
//! The end-to-end tests run the whole product with these policies on a lab that judges it.

mod data;
mod files;
mod named;
mod reads;
mod roles;

use std::collections::BTreeMap;

use plan::Spec;
use plan::observed::STACK_TAG;
use plan::spec::partition_of;
use serde_json::{Value, json};

use crate::scope::region_of;

/// The documents.
#[derive(Clone, Debug, PartialEq)]
pub struct Policies {
    /// For the role that the orchestrator runs as: managed policies by name, all of them together. One
    /// would be too long: IAM allows a managed policy 6,144 characters, a role's inline ones 10,240
    /// together ("IAM and AWS STS quotas").
    pub orchestrator: BTreeMap<&'static str, Value>,
    /// For the role of the nodes' instance profile.
    pub node: Value,
    /// What `down --delete-files` needs besides the orchestrator's: for whoever runs it, as long as it
    /// runs. None: the stack has no bucket of its own.
    pub delete_files: Option<Value>,
}

/// The policies for this specification, in the account `account` (twelve digits).
pub fn iam_policies(spec: &Spec, account: &str) -> Policies {
    let home = spec.zones.first().map(|zone| region_of(zone));
    let home = home.unwrap_or_default();
    let place = Place {
        stack: &spec.stack,
        partition: partition_of(&home),
        home,
        account,
    };
    let mut fleet_policy = reads::reads(spec);
    fleet_policy.extend(fleet(&place));
    fleet_policy.push(roles::of_nodes(spec, &place));
    fleet_policy.push(roles::of_services(&place));
    let mut network = security_groups(spec, &place);
    network.extend(templates(spec, &place));
    network.extend(images(&place));
    network.push(tag_at_creation(&place));
    network.extend(load_balancing(&place));
    let mut lasting = data::database(&place);
    lasting.extend(data::secrets(&place));
    lasting.extend(named::secrets(spec, &place));
    lasting.extend(data::licence(spec, &place));
    lasting.extend(files::orchestrator(spec, &place));
    Policies {
        orchestrator: BTreeMap::from([
            ("data", document(&lasting)),
            ("fleet", document(&fleet_policy)),
            ("network", document(&network)),
        ]),
        // A node proves who it is by a signed `sts:GetCallerIdentity`, which needs no permission, and
        // gets its configuration from the orchestrator: of AWS it needs the bucket alone.
        node: files::node(spec, &place),
        delete_files: files::deletion(spec, &place),
    }
}

struct Place<'a> {
    stack: &'a str,
    partition: &'static str,
    home: String,
    account: &'a str,
}

impl Place<'_> {
    /// A resource of the home region and the account.
    fn arn(&self, service: &str, resource: &str) -> String {
        let (home, account) = (&self.home, self.account);
        self.arn_in(service, home, account, resource)
    }

    /// A resource of another region or account, or of none (empty) or of all (`*`).
    fn arn_in(&self, service: &str, region: &str, account: &str, resource: &str) -> String {
        let partition = self.partition;
        format!("arn:{partition}:{service}:{region}:{account}:{resource}")
    }

    /// Images and snapshots are of no account. Both are made in every region of the stack.
    fn images(&self) -> [String; 2] {
        ["image/*", "snapshot/*"].map(|kind| self.arn_in("ec2", "*", "", kind))
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

fn templates(spec: &Spec, place: &Place<'_>) -> Vec<Value> {
    let mut named = vec![
        place.arn_in("ec2", &place.home, "", "image/*"),
        place.arn("ec2", "instance/*"),
        place.arn("ec2", "network-interface/*"),
        place.arn("ec2", "security-group/*"),
        place.arn("ec2", "subnet/*"),
        place.arn("ec2", "volume/*"),
    ];
    let key = spec.fleet.key_pair.as_ref();
    named.extend(key.map(|name| place.arn("ec2", &format!("key-pair/{name}"))));
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
            &json!(named),
            Some(json!({ "ArnLike": {
                "ec2:LaunchTemplate": place.arn("ec2", "launch-template/*")
            } })),
        ),
    ]
}

fn images(place: &Place<'_>) -> Vec<Value> {
    let both = place.images();
    let [images, snapshots] = &both;
    vec![
        allow("CopyImages", &["ec2:CopyImage"], &json!(both), None),
        allow(
            "DeleteImages",
            &["ec2:DeregisterImage"],
            &json!(images),
            Some(place.ours("aws:ResourceTag")),
        ),
        allow(
            "DeleteSnapshotsOfImages",
            &["ec2:DeleteSnapshot"],
            &json!(snapshots),
            Some(place.ours("aws:ResourceTag")),
        ),
    ]
}

fn tag_at_creation(place: &Place<'_>) -> Value {
    let [images, snapshots] = place.images();
    let others = place.arn_in("ec2", "*", place.account, "*/*");
    allow(
        "TagAtCreation",
        &["ec2:CreateTags"],
        &json!([others, images, snapshots]),
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
                "autoscaling:SetInstanceProtection",
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
    let rule = place.arn(
        "elasticloadbalancing",
        &format!("listener-rule/app/{stack}/*"),
    );
    vec![
        allow(
            "CreateRules",
            &["elasticloadbalancing:CreateRule"],
            &json!(listener),
            Some(place.tagged()),
        ),
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
            &json!([balancer, listener, rule, targets]),
            Some(json!({ "StringEquals": {
                "elasticloadbalancing:CreateAction": [
                    "CreateListener", "CreateLoadBalancer", "CreateRule", "CreateTargetGroup"
                ]
            } })),
        ),
        allow(
            "ChangeLoadBalancing",
            &[
                "elasticloadbalancing:DeleteListener",
                "elasticloadbalancing:DeleteLoadBalancer",
                "elasticloadbalancing:DeleteRule",
                "elasticloadbalancing:DeleteTargetGroup",
                "elasticloadbalancing:ModifyListener",
                "elasticloadbalancing:ModifyLoadBalancerAttributes",
                "elasticloadbalancing:ModifyRule",
                "elasticloadbalancing:ModifyTargetGroup",
                "elasticloadbalancing:ModifyTargetGroupAttributes",
                "elasticloadbalancing:SetSecurityGroups",
                "elasticloadbalancing:SetSubnets",
            ],
            &json!([balancer, listener, rule, targets]),
            Some(place.ours("aws:ResourceTag")),
        ),
    ]
}

#[cfg(test)]
mod tests;
