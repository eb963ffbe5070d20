//! The chapters, in the order in which a stranger watches them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::stage::BAD;
use e2e::{Stage, Timeline, report};

use crate::Arguments;
use crate::files::end_files;
use crate::look::{
    follow, group_of, in_service, is_empty_plan, kept, left_in_aws, nodes_line, phase, start_load,
};
use crate::loss::lose_a_node;

/// The load generator's name for the time in which a node dies and is replaced.
const LOSS: &str = "node lost";

/// Everything from `doctor` to `down`; what was promised and not kept comes back.
pub async fn show(
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
    timeline.note(&format!("{}{}", doctor.stdout, doctor.stderr));
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
    timeline.note(
        "they upload files and read them back; the administrator sets `SiteName`, installs a plugin, makes a public link",
    );
    kept(timeline, &running, "the first node").await;

    timeline.step(
        "5. CPU at 97 % for more than two minutes (lab time): the group grows to three nodes",
    );
    if stage.is_cluster() {
        grow(timeline, stage, &group_of(&status)?).await?;
    } else {
        timeline.note("left out: without a cluster licence nodes share no messages, so there is one node (LICENCE=file gives one)");
    }
    kept(timeline, &running, "the scale-out").await;

    timeline.step("6. A node is killed by hand: whatever it held is gone, what users made is not");
    running.mark(LOSS);
    lose_a_node(timeline, stage).await?;
    // Who comes back later would do so within the rollout, and count there.
    running.all_connected().await?;
    running.mark("between");
    kept(timeline, &running, "a node's death").await;

    // One tarball alone has nothing to be upgraded to: then the image is what changes.
    let (flag, to) = if second == first {
        ("--image", stage.second_image().await?)
    } else {
        ("--mattermost", second.clone())
    };
    timeline.step(&format!(
        "7. `orchestrator rollout {flag} {to}` under that load; the orchestrator is killed in the middle"
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
                let midway: &[&str] = if stage.is_cluster() {
                    &["Full", "Joined", "Baking", "Shifting"]
                } else {
                    &["Prepared", "Closed", "Canary", "Baking"]
                };
                midway.iter().any(|name| phase(status).starts_with(name))
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
    kept(timeline, &running, "the rollout").await;

    let mut rollouts = vec!["rollout 1"];
    if arguments.tarball.is_none() {
        timeline.step(&format!(
            "8. `orchestrator rollout --mattermost {BAD}`: a release that crashes at start"
        ));
        running.mark("rollout 2");
        rollouts.push("rollout 2");
        let ended = orchestrator
            .run(
                &["rollout", "--mattermost", BAD, "--yes"],
                Duration::from_secs(300),
            )
            .await?
            .expect(4)?;
        timeline.note(&ended.stdout);
        timeline.proof("rolled back by itself, exit code 4; traffic was never on it");
        kept(timeline, &running, "the rollout that was rolled back").await;
    }

    timeline.step("9. The image in the second region");
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

    timeline.step("10. Report");
    running.mark("after");
    let load = running.finish().await;
    timeline.note(&load.to_string());
    for (title, seconds) in timeline.durations() {
        timeline.note(&format!("{seconds:>6.1} s  {title}"));
    }
    // Whoever is connected to a node that dies notices it; a cutover's pause is announced.
    let paused: &[&str] = if stage.is_cluster() {
        &[LOSS]
    } else {
        &[LOSS, "rollout 1"]
    };
    let mut violations = report::violations(&load, &rollouts, paused);
    for phase in load
        .phases
        .iter()
        .filter(|phase| paused.contains(&phase.name.as_str()))
    {
        timeline.note(&format!(
            "{}: {} requests failed, which this chapter allows",
            phase.name, phase.requests.failed
        ));
    }
    if arguments.keep {
        std::mem::forget(serve);
        return Ok(violations);
    }

    timeline.step("11. `orchestrator down`: and proof that nothing is left");
    serve.stop(Duration::from_secs(20)).await?;
    let down = orchestrator
        .run(
            &["down", "--delete-database", "--yes"],
            Duration::from_secs(300),
        )
        .await?
        .expect(0)?;
    timeline.note(&down.stderr);
    timeline.proof(down.stdout.trim());
    end_files(timeline, stage).await?;
    let left = left_in_aws(stage).await?;
    for thing in &left.behind {
        timeline.note(thing);
    }
    violations.extend(
        left.behind
            .iter()
            .map(|thing| format!("left in the account: {thing}")),
    );
    match &left.snapshots[..] {
        [snapshot] if snapshot.starts_with("chat-final-") => {
            if left.behind.is_empty() {
                timeline.proof(&format!(
                    "the account holds nothing of the stack but DB snapshot {snapshot}, and {} secrets until \
                     their recovery window is over",
                    left.secrets.len()
                ));
            }
        }
        others => violations.push(format!("not the final DB snapshot alone: {others:?}")),
    }
    Ok(violations)
}

/// The alarm fires, the policy adds nodes, they come into service; then the load is over again.
async fn grow(timeline: &Timeline, stage: &Stage, group: &str) -> anyhow::Result<()> {
    stage.set_cpu(group, Some(97.0)).await?;
    let grown = stage
        .orchestrator
        .until(
            "three nodes in service",
            Duration::from_secs(90),
            |status| in_service(status) == 3,
        )
        .await?;
    stage.set_cpu(group, None).await?;
    stage
        .orchestrator
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
    Ok(())
}
