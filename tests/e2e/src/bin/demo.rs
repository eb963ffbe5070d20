//! `make demo`: from nothing to a served, upgraded Mattermost, and back to nothing.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;
use e2e::stage::BAD;
use e2e::{Options, Stage, Timeline, report};
use load::Running;
use serde_json::Value;

/// From nothing to a served, upgraded Mattermost on a local AWS region, and back to nothing
#[derive(Debug, Parser)]
struct Arguments {
    /// Folder of the built binaries
    #[arg(long)]
    bin: PathBuf,
    /// A real Mattermost tarball instead of the stand-in
    #[arg(long)]
    tarball: Option<PathBuf>,
    /// The tarball to upgrade to; default: the same again
    #[arg(long, requires = "tarball")]
    tarball2: Option<PathBuf>,
    /// Lab seconds per real second
    #[arg(long, default_value_t = 60.0)]
    speed: f64,
    /// Chat clients that the load generator holds
    #[arg(long, default_value_t = 20)]
    clients: usize,
    /// Leave everything running at the end, and say what to try
    #[arg(long)]
    keep: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let timeline = Arc::new(Timeline::default());
    let interrupted = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    let result = tokio::select! {
        result = demo(&arguments, &timeline) => result,
        () = interrupted => Err(anyhow::anyhow!("interrupted")),
    };
    match result {
        Ok(violations) if violations.is_empty() => {
            timeline.note(&format!("done in {:.0} s", timeline.seconds()));
            ExitCode::SUCCESS
        }
        Ok(violations) => {
            for violation in violations {
                timeline.note(&format!("BROKEN PROMISE  {violation}"));
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            timeline.note(&format!("FAILED  {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn demo(arguments: &Arguments, timeline: &Arc<Timeline>) -> anyhow::Result<Vec<String>> {
    timeline.step(
        "1. A local AWS region: two regions of three zones, real Postgres, a real load balancer",
    );
    let mut options = Options::new(&arguments.bin);
    options.speed = arguments.speed;
    if let Some(first) = &arguments.tarball {
        options.tarballs = vec![first.clone()];
        options.tarballs.extend(arguments.tarball2.clone());
    }
    let stage = Stage::set(options).await?;
    timeline.note(&format!(
        "lab at {} (its clock runs {} times as fast as AWS)",
        stage.endpoint, arguments.speed
    ));
    timeline.note(&format!(
        "image {} with the agent in it; releases {} over HTTPS",
        stage.image,
        stage.versions.join(", ")
    ));
    timeline.note(&format!(
        "everything lies in {}",
        stage.directory.path().display()
    ));
    let result = show(arguments, timeline, &stage).await;
    if result.is_err() {
        tell_logs(timeline, &stage);
    }
    let violations = result?;
    if arguments.keep {
        what_to_try(timeline, &stage);
        let (directory, lab, releases) = stage.keep();
        timeline.note("press Ctrl-C to end it all");
        let _ = tokio::signal::ctrl_c().await;
        drop((lab, releases));
        std::fs::remove_dir_all(directory)?;
        return Ok(violations);
    }
    timeline.step("End of the lab");
    let left = stage.strike().await?;
    ensure!(
        left.is_empty(),
        "processes were left behind:\n{}",
        left.join("\n")
    );
    timeline.proof("no process is left");
    Ok(violations)
}

async fn show(
    arguments: &Arguments,
    timeline: &Arc<Timeline>,
    stage: &Stage,
) -> anyhow::Result<Vec<String>> {
    let orchestrator = &stage.orchestrator;
    let first = stage.versions[0].clone();
    let second = stage.versions.get(1).unwrap_or(&first).clone();

    timeline.step(
        "2. `orchestrator doctor` and `orchestrator plan`: what is there, what would be made",
    );
    let doctor = orchestrator
        .run(&["doctor"], Duration::from_secs(60))
        .await?
        .expect(0)?;
    timeline.note(&summary_of_doctor(&doctor.stdout));
    let plan = orchestrator
        .run(&["plan"], Duration::from_secs(60))
        .await?
        .expect(0)?;
    timeline.note(&plan.stdout);

    timeline.step("3. `orchestrator up`: primary, replica, load balancer, first node");
    let up = orchestrator
        .run(&["up"], Duration::from_secs(180))
        .await?
        .expect(0)?;
    timeline.note(&up.stderr);
    timeline.proof(up.stdout.trim());
    let again = orchestrator
        .run(&["plan", "--output", "json"], Duration::from_secs(60))
        .await?
        .expect(0)?
        .json()?;
    ensure!(
        is_empty_plan(&again),
        "a second plan is not empty: {again:#}"
    );
    timeline.proof("`orchestrator plan` again: nothing to do");
    let mut serve = orchestrator.serve().await?;
    let status = orchestrator
        .until(
            "the node is back after the orchestrator changed",
            Duration::from_secs(60),
            |status| in_service(status) == 1,
        )
        .await?;
    let url = status["url"].as_str().context("no address")?.to_owned();

    timeline.step(
        "4. Users arrive: chat clients on WebSockets, posts and requests through the load balancer",
    );
    let running = start_load(arguments, stage, &url).await?;
    timeline.note(&format!("{} chat clients at {url}", arguments.clients));

    timeline.step(
        "5. CPU at 97 % for more than two minutes (lab time): the group grows to three nodes",
    );
    let group = group_of(&status)?;
    stage.set_cpu(&group, Some(97.0)).await?;
    let grown = orchestrator
        .until(
            "three nodes in service",
            Duration::from_secs(90),
            |status| in_service(status) == 3,
        )
        .await?;
    stage.set_cpu(&group, None).await?;
    orchestrator
        .until("the alarm is over", Duration::from_secs(60), |status| {
            let alarms = status["resources"].as_array();
            let mut alarms = alarms
                .into_iter()
                .flatten()
                .filter(|row| row["kind"] == "alarm");
            alarms.all(|alarm| alarm["state"] != "ALARM")
        })
        .await?;
    timeline.note(&nodes_line(&grown));
    timeline.proof("the second and third node configured themselves");

    // One tarball alone has nothing to be upgraded to: then the image is what changes.
    let (flag, to) = if second == first {
        ("--image", stage.second_image().await?)
    } else {
        ("--mattermost", second.clone())
    };
    timeline.step(&format!(
        "6. `orchestrator rollout {flag} {to}` under that load; the orchestrator is killed in the middle"
    ));
    let plan = orchestrator
        .run(&["rollout", flag, &to, "--plan"], Duration::from_secs(60))
        .await?
        .expect(0)?;
    timeline.note(&plan.stdout);
    running.mark("rollout 1");
    let detached = ["rollout", flag, &to, "--yes", "--detach"];
    orchestrator
        .run(&detached, Duration::from_secs(60))
        .await?
        .expect(0)?;
    orchestrator
        .until(
            "the rollout has green nodes",
            Duration::from_secs(120),
            |status| {
                matches!(
                    status["rollout"]["phase"].as_str(),
                    Some("Full" | "Joined" | "Baking")
                ) || phase(status).starts_with("Shifting")
            },
        )
        .await?;
    serve.kill().await?;
    timeline.note("orchestrator killed with -9; nodes and load balancer go on without it");
    serve = orchestrator.serve().await?;
    timeline.note("orchestrator started again; it takes the rollout up where it was");
    let done = follow(timeline, stage, "1").await?;
    ensure!(
        done["outcome"] == "done",
        "the rollout ended as {}: {:#}",
        done["outcome"],
        done["failure"]
    );
    timeline.note(&report::phases(&done));
    timeline.proof(&format!("all traffic is on {to}"));

    let mut rollouts = vec!["rollout 1"];
    if arguments.tarball.is_none() {
        timeline.step(&format!(
            "7. `orchestrator rollout --mattermost {BAD}`: a release that crashes at start"
        ));
        running.mark("rollout 2");
        rollouts.push("rollout 2");
        let ended = orchestrator
            .run(
                &["rollout", "--mattermost", BAD, "--yes"],
                Duration::from_secs(180),
            )
            .await?
            .expect(4)?;
        timeline.note(&ended.stdout);
        timeline.proof("rolled back by itself, exit code 4; traffic was never on it");
    }

    timeline.step("8. The image in the second region");
    let images = stage
        .aws_in("us-west-2", &["ec2", "describe-images", "--owners", "self"])
        .await?;
    for image in images["Images"].as_array().into_iter().flatten() {
        timeline.note(&format!(
            "us-west-2: {} {} ({})",
            image["ImageId"], image["Name"], image["State"]
        ));
    }
    ensure!(
        images["Images"]
            .as_array()
            .is_some_and(|images| images.iter().any(|image| image["State"] == "available")),
        "no image in us-west-2"
    );

    timeline.step("9. Report");
    running.mark("after");
    let load = running.finish().await;
    timeline.note(&load.to_string());
    for (title, seconds) in timeline.durations() {
        timeline.note(&format!("{seconds:>6.1} s  {title}"));
    }
    let mut violations = report::violations(&load, &rollouts);
    if arguments.keep {
        std::mem::forget(serve);
        return Ok(violations);
    }

    timeline.step("10. `orchestrator down`: and proof that nothing is left");
    serve.stop(Duration::from_secs(20)).await?;
    let down = orchestrator
        .run(
            &["down", "--delete-database", "--yes"],
            Duration::from_secs(180),
        )
        .await?
        .expect(0)?;
    timeline.note(&down.stderr);
    timeline.proof(down.stdout.trim());
    let left = left_in_aws(stage).await?;
    for thing in &left {
        timeline.note(thing);
    }
    violations.extend(
        left.iter()
            .map(|thing| format!("left in the account: {thing}")),
    );
    if left.is_empty() {
        timeline.proof("the account holds nothing of the stack but the final DB snapshot");
    }
    Ok(violations)
}

async fn start_load(arguments: &Arguments, stage: &Stage, url: &str) -> anyhow::Result<Running> {
    let secret = stage
        .aws(&[
            "secretsmanager",
            "get-secret-value",
            "--secret-id",
            "chat/database/mattermost",
        ])
        .await?;
    let secret: Value =
        serde_json::from_str(secret["SecretString"].as_str().context("no SecretString")?)?;
    let database = stage
        .aws(&[
            "rds",
            "describe-db-instances",
            "--db-instance-identifier",
            "chat-db",
        ])
        .await?;
    let endpoint = &database["DBInstances"][0]["Endpoint"];
    let mut options = load::Options::new(url);
    options.clients = arguments.clients;
    options.users = arguments.clients.div_ceil(2);
    options.database_url = Some(format!(
        "postgres://{}:{}@{}:{}/mattermost?sslmode=verify-full&sslrootcert={}",
        secret["username"].as_str().unwrap_or_default(),
        secret["password"].as_str().unwrap_or_default(),
        endpoint["Address"].as_str().unwrap_or_default(),
        endpoint["Port"],
        stage.directory.path().join("lab/ca.pem").display(),
    ));
    Ok(load::start(options).await?)
}

/// Follows the newest rollout by its JSON, printing each phase once.
async fn follow(timeline: &Timeline, stage: &Stage, which: &str) -> anyhow::Result<Value> {
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

/// What carries the stack's tag, or its name, in either region.
async fn left_in_aws(stage: &Stage) -> anyhow::Result<Vec<String>> {
    let mut left = Vec::new();
    let questions: [(&[&str], &str, &str); 9] = [
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
        (&["cloudwatch", "describe-alarms"], "MetricAlarms", "alarm"),
    ];
    for (command, key, what) in questions {
        let answer = stage.aws(command).await?;
        left.extend(
            answer[key]
                .as_array()
                .into_iter()
                .flatten()
                .map(|thing| format!("{what}: {thing}")),
        );
    }
    let images = stage
        .aws_in("us-west-2", &["ec2", "describe-images", "--owners", "self"])
        .await?;
    left.extend(
        images["Images"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|image| format!("image copy: {image}")),
    );
    Ok(left)
}

fn phase(status: &Value) -> &str {
    status["rollout"]["phase"].as_str().unwrap_or_default()
}

fn in_service(status: &Value) -> usize {
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

fn group_of(status: &Value) -> anyhow::Result<String> {
    status["nodes"][0]["group"]
        .as_str()
        .map(str::to_owned)
        .context("no group")
}

fn nodes_line(status: &Value) -> String {
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

fn summary_of_doctor(text: &str) -> String {
    let count = |word: &str| {
        text.lines()
            .filter(|line| line.trim_start().starts_with(word))
            .count()
    };
    format!(
        "{} checks are fine, {} deserve a look, {} failed",
        count("ok"),
        count("warn"),
        count("fail")
    )
}

fn is_empty_plan(plan: &Value) -> bool {
    ["changes", "actions"]
        .iter()
        .any(|key| plan[key].as_array().is_some_and(Vec::is_empty))
}

fn tell_logs(timeline: &Timeline, stage: &Stage) {
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

fn what_to_try(timeline: &Timeline, stage: &Stage) {
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
