//! Lifecycle hooks: answered, kept up, timed out.

use crate::support::{HOOK, Instance, REGION, SPEED, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_launch_hook_holds_until_it_is_answered() {
    let world = World::start(63, SPEED).await;
    world.create_group((0, 3, 0), &[]).await;
    world.asg("PutLifecycleHook", &HOOK).await;
    let size = [("AutoScalingGroupName", "web"), ("DesiredCapacity", "2")];
    world.asg("SetDesiredCapacity", &size).await;
    let waiting = world
        .until("two waiting", |members| {
            members.len() == 2 && members.iter().all(|one| one.state == "Pending:Wait")
        })
        .await;
    let target = lab::asg::target_lifecycle_state(&world.lab, REGION, &waiting[0].id);
    assert_eq!(target.as_deref(), Some("InService"));
    assert!(
        world
            .activities()
            .await
            .iter()
            .all(|one| one.status == "MidLifecycleAction")
    );
    // A minute of lab time and ten passes of the loop change nothing.
    world.lab_sleep(150).await;
    assert_eq!(world.members().await, waiting);

    let answer = |id: &str, result: &str| {
        [
            ("AutoScalingGroupName", "web".to_owned()),
            ("LifecycleHookName", "ready".to_owned()),
            ("InstanceId", id.to_owned()),
            ("LifecycleActionResult", result.to_owned()),
        ]
    };
    let send = async |id: &str, result: &str| {
        let pairs = answer(id, result);
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(k, v)| (*k, v.as_str())).collect();
        world.try_asg("CompleteLifecycleAction", &pairs).await
    };
    send(&waiting[0].id, "CONTINUE").await.unwrap();
    send(&waiting[1].id, "ABANDON").await.unwrap();
    let good = waiting[0].id.clone();
    let after = world
        .until("one in service, the other replaced", |members| {
            members.len() == 2
                && members
                    .iter()
                    .any(|one| one.id == good && one.state == "InService")
                && members
                    .iter()
                    .any(|one| one.id != good && one.state == "Pending:Wait")
                && members.iter().all(|one| one.id != waiting[1].id)
        })
        .await;
    assert_eq!(after.len(), 2);
    let again = send(&good, "CONTINUE").await.unwrap_err();
    assert!(
        again
            .message
            .contains("No active Lifecycle Action found with instance ID"),
        "{again}"
    );
    let cancelled: Vec<_> = world
        .activities()
        .await
        .into_iter()
        .filter(|one| one.status == "Cancelled")
        .collect();
    assert_eq!(cancelled.len(), 1);
    assert!(
        cancelled[0]
            .message
            .contains("Lifecycle Action Completed with ABANDON Result"),
        "{cancelled:?}"
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_that_stops_abandons_and_one_that_goes_on_holds() {
    let world = World::start(64, SPEED).await;
    let mut hook = HOOK;
    hook[3].1 = "600";
    world.create_group((0, 3, 0), &[]).await;
    world.asg("PutLifecycleHook", &hook).await;
    let size = [("AutoScalingGroupName", "web"), ("DesiredCapacity", "1")];
    world.asg("SetDesiredCapacity", &size).await;
    let held = world
        .until("one waiting", |members| {
            members.len() == 1 && members[0].state == "Pending:Wait"
        })
        .await[0]
        .id
        .clone();
    let beat = [
        ("AutoScalingGroupName", "web"),
        ("LifecycleHookName", "ready"),
        ("InstanceId", held.as_str()),
    ];
    for _ in 0..8 {
        world.lab_sleep(100).await;
        world.asg("RecordLifecycleActionHeartbeat", &beat).await;
    }
    assert_eq!(world.members().await[0].state, "Pending:Wait");
    world
        .until("replaced after the heartbeat", |members| {
            members.iter().any(|one| one.id != held)
        })
        .await;
    let timed_out = world
        .activities()
        .await
        .into_iter()
        .any(|one| one.status == "Cancelled" && one.message.contains("Heartbeat Timeout"));
    assert!(timed_out);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_termination_hook_holds_the_instance() {
    let world = World::start(65, SPEED).await;
    world.create_group((0, 3, 1), &[]).await;
    let mut hook = HOOK;
    hook[2].1 = "autoscaling:EC2_INSTANCE_TERMINATING";
    world.asg("PutLifecycleHook", &hook).await;
    let id = world.until_in_service(1).await[0].id.clone();
    let size = [("AutoScalingGroupName", "web"), ("DesiredCapacity", "0")];
    world.asg("SetDesiredCapacity", &size).await;
    world
        .until("held", |members| {
            members.len() == 1 && members[0].state == "Terminating:Wait"
        })
        .await;
    let target = lab::asg::target_lifecycle_state(&world.lab, REGION, &id);
    assert_eq!(target.as_deref(), Some("Terminated"));
    world.lab_sleep(120).await;
    assert_eq!(
        lab::ec2::instance(&world.lab, REGION, &id).unwrap().state,
        "running"
    );
    world
        .asg(
            "CompleteLifecycleAction",
            &[
                ("AutoScalingGroupName", "web"),
                ("LifecycleHookName", "ready"),
                ("InstanceId", &id),
                ("LifecycleActionResult", "CONTINUE"),
            ],
        )
        .await;
    world.until("gone", <[Instance]>::is_empty).await;
    assert_eq!(
        lab::ec2::instance(&world.lab, REGION, &id).unwrap().state,
        "terminated"
    );
    world
        .asg("DeleteAutoScalingGroup", &[("AutoScalingGroupName", "web")])
        .await;
    let gone = world
        .asg(
            "DescribeScalingActivities",
            &[
                ("AutoScalingGroupName", "web"),
                ("IncludeDeletedGroups", "true"),
            ],
        )
        .await;
    assert!(gone.contains("<AutoScalingGroupState>Deleted</AutoScalingGroupState>"));
    world.stop().await;
}
