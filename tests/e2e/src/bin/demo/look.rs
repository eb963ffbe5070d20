//! Looking at what the product did: by its JSON, by the AWS CLI, by its logs.

use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::{Stage, Timeline};
use load::Running;
use serde_json::Value;

use crate::Arguments;

/// Starts the load generator; in the end it compares what it sent with what the database holds.
pub async fn start_load(
    arguments: &Arguments,
    stage: &Stage,
    url: &str,
) -> anyhow::Result<Running> {
    let mut options = load::Options::new(url);
    options.clients = arguments.clients;
    options.users = arguments.clients.div_ceil(2);
    options.database_url = Some(stage.database("mattermost").await?.url());
    options.files = Some(load::FileOptions::default());
    // The plugin is one that the release itself carries, a real one's as the stand-in's.
    let release = stage.releases.get(&stage.versions[0])?;
    options.lasting = Some(load::LastingOptions {
        plugin: load::Plugin::Release(release.file.clone()),
        ..load::LastingOptions::default()
    });
    Ok(load::start(options).await?)
}

/// Asks for everything that users and the administrator made, and tells what is there.
pub async fn kept(timeline: &Timeline, running: &Running, after: &str) {
    let checked = running.verify_kept().await;
    timeline.note(&format!("after {after}: {checked}"));
}

/// Follows the newest rollout by its JSON, printing each phase once.
pub async fn follow(timeline: &Timeline, stage: &Stage, which: &str) -> anyhow::Result<Value> {
    let until = tokio::time::Instant::now() + Duration::from_secs(180);
    let mut last = String::new();
    loop {
        let ended = stage
            .orchestrator
            .run(
                &["rollout", "status", "--output", "json"],
                Duration::from_secs(20),
            )
            .await?;
        if let Ok(rollout) = ended.json() {
            let phase = rollout["phase"].as_str().unwrap_or_default().to_owned();
            if phase != last {
                timeline.note(&format!("rollout {which} is {phase}"));
                last = phase;
            }
            if rollout["outcome"] != "live" {
                return Ok(rollout);
            }
        }
        ensure!(
            tokio::time::Instant::now() < until,
            "the rollout is still {last} after three minutes: {}",
            ended.stdout
        );
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
}

/// What is left of the stack.
#[derive(Default)]
pub struct Left {
    /// What nobody promised to leave.
    pub behind: Vec<String>,
    /// DB snapshots, by name.
    pub snapshots: Vec<String>,
    /// Secrets that are gone once their recovery window is over, by name.
    pub secrets: Vec<String>,
}

/// A question to AWS: a command, what its answer is called, and what that is.
type Question = (&'static [&'static str], &'static str, &'static str);

/// In the home region nothing but this is like them, or the stack's tag or name tells them apart.
const QUESTIONS: [Question; 13] = [
    (
        &[
            "ec2",
            "describe-instances",
            "--filters",
            "Name=instance-state-name,Values=pending,running,stopping,stopped",
        ],
        "Reservations",
        "instance",
    ),
    (
        &["ec2", "describe-launch-templates"],
        "LaunchTemplates",
        "launch template",
    ),
    (
        &[
            "ec2",
            "describe-security-groups",
            "--filters",
            "Name=tag:mattermost:stack,Values=chat",
        ],
        "SecurityGroups",
        "security group",
    ),
    (
        &[
            "ec2",
            "describe-snapshots",
            "--filters",
            "Name=tag:mattermost:stack,Values=chat",
        ],
        "Snapshots",
        "EBS snapshot",
    ),
    (
        &["autoscaling", "describe-auto-scaling-groups"],
        "AutoScalingGroups",
        "Auto Scaling group",
    ),
    (
        &["elbv2", "describe-load-balancers"],
        "LoadBalancers",
        "load balancer",
    ),
    (
        &["elbv2", "describe-target-groups"],
        "TargetGroups",
        "target group",
    ),
    (
        &["rds", "describe-db-instances"],
        "DBInstances",
        "DB instance",
    ),
    (
        &["rds", "describe-db-subnet-groups"],
        "DBSubnetGroups",
        "DB subnet group",
    ),
    (
        &[
            "rds",
            "describe-db-parameter-groups",
            "--query",
            "{DBParameterGroups: DBParameterGroups[?!starts_with(DBParameterGroupName, 'default.')]}",
        ],
        "DBParameterGroups",
        "DB parameter group",
    ),
    (&["cloudwatch", "describe-alarms"], "MetricAlarms", "alarm"),
    (&["s3api", "list-buckets"], "Buckets", "bucket"),
    (
        &[
            "secretsmanager",
            "list-secrets",
            "--filters",
            "Key=name,Values=chat/",
        ],
        "SecretList",
        "secret",
    ),
];

/// In the other region nodes have an image, which is a copy, and no more.
const QUESTIONS_ELSEWHERE: [Question; 2] = [
    (
        &["ec2", "describe-images", "--owners", "self"],
        "Images",
        "image copy",
    ),
    (
        &["ec2", "describe-snapshots", "--owner-ids", "self"],
        "Snapshots",
        "image copy's EBS snapshot",
    ),
];

/// Asks AWS for all that the stack ever had, in either region.
pub async fn left_in_aws(stage: &Stage) -> anyhow::Result<Left> {
    let mut left = Left::default();
    let here = QUESTIONS.map(|question| ("us-east-1", question));
    let elsewhere = QUESTIONS_ELSEWHERE.map(|question| ("us-west-2", question));
    for (region, (command, key, what)) in here.into_iter().chain(elsewhere) {
        let answer = stage.aws_in(region, command).await?;
        let things = answer[key].as_array().into_iter().flatten();
        left.behind
            .extend(things.map(|thing| format!("{what}: {thing}")));
    }
    let names = |answer: &Value, key: &str, name: &str| -> Vec<String> {
        let things = answer[key].as_array().into_iter().flatten();
        things.map(|thing| text(thing, name).to_owned()).collect()
    };
    let snapshots = stage.aws(&["rds", "describe-db-snapshots"]).await?;
    left.snapshots = names(&snapshots, "DBSnapshots", "DBSnapshotIdentifier");
    // Those that are not on their way out were asked for above.
    let ours = "Key=name,Values=chat/";
    let deleted = [
        "secretsmanager",
        "list-secrets",
        "--include-planned-deletion",
    ];
    let secrets = stage
        .aws(&[&deleted[..], &["--filters", ours]].concat())
        .await?;
    left.secrets = names(&secrets, "SecretList", "Name");
    Ok(left)
}

/// The newest rollout's phase.
pub fn phase(status: &Value) -> &str {
    status["rollout"]["phase"].as_str().unwrap_or_default()
}

/// Nodes that serve, as group, load balancer and node itself say.
pub fn in_service(status: &Value) -> usize {
    let nodes = status["nodes"].as_array();
    nodes
        .into_iter()
        .flatten()
        .filter(|node| {
            node["lifecycle"] == "InService"
                && node["phase"] == "serving"
                && node["connected"] == true
                && node["target_health"] == "healthy"
        })
        .count()
}

/// The group of the first node.
pub fn group_of(status: &Value) -> anyhow::Result<String> {
    status["nodes"][0]["group"]
        .as_str()
        .map(str::to_owned)
        .context("no group")
}

/// One line a node.
pub fn nodes_line(status: &Value) -> String {
    let nodes = status["nodes"].as_array();
    let lines: Vec<String> = nodes
        .into_iter()
        .flatten()
        .map(|node| {
            format!(
                "{} in {} at {}: {} {}",
                text(node, "instance_id"),
                text(node, "zone"),
                text(node, "address"),
                text(node, "phase"),
                text(node, "mattermost_version")
            )
        })
        .collect();
    lines.join("\n")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// Whether a plan changes nothing.
pub fn is_empty_plan(plan: &Value) -> bool {
    ["changes", "actions"]
        .iter()
        .any(|key| plan[key].as_array().is_some_and(Vec::is_empty))
}

/// The last lines of the logs, when the demo failed.
pub fn tell_logs(timeline: &Timeline, stage: &Stage) {
    for name in ["orchestrator.log", "lab.log"] {
        let path = stage.directory.path().join(name);
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(25).collect();
        timeline.note(&format!("last lines of {name}:"));
        for line in lines.iter().rev() {
            timeline.note(line);
        }
    }
}

/// What somebody may type while everything is left running.
pub fn what_to_try(timeline: &Timeline, stage: &Stage) {
    timeline.step("Still running. Try:");
    for (key, value) in &stage.orchestrator.environment {
        timeline.note(&format!("export {key}={value}"));
    }
    let spec = stage.orchestrator.spec.display();
    let runtime = stage.orchestrator.runtime.display();
    timeline.note(&format!(
        "export MATTERMOST_SPEC={spec} RUNTIME_DIRECTORY={runtime}"
    ));
    timeline.note(&format!("{} status", stage.orchestrator.binary.display()));
    timeline.note("aws ec2 describe-instances");
    timeline.note(&format!("console: http://{}/", stage.orchestrator.console));
}
