//! Target states, from real checks.

use std::sync::atomic::Ordering;

use crate::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_goes_through_its_states() {
    let world = World::start().await;
    let backend = Backend::start("a").await;
    let group = world.group("blue").await;
    world.register(&group, &backend).await;
    let at = backend.address;
    assert_eq!(
        world.health(&group, at).await,
        ("unused".to_owned(), "Target.NotInUse".to_owned()),
        "no listener names the group"
    );
    let (balancer, address) = world.balancer("chat").await;
    // Weight 0: named, so probed, though it gets no traffic.
    let other = world.group("other").await;
    let listener = world.listener(&balancer, &[(&other, 1), (&group, 0)]).await;
    world.until(&group, at, "healthy", "").await;
    assert_eq!(get(address, "/").await.status, 503);
    assert_eq!(backend.script.requests.load(Ordering::Relaxed), 0);

    backend.script.health.store(503, Ordering::Relaxed);
    world
        .until(&group, at, "unhealthy", "Target.ResponseCodeMismatch")
        .await;
    let xml = world
        .call("DescribeTargetHealth", &[("TargetGroupArn", &group)])
        .await;
    assert_eq!(
        text_of(&xml, "Description").unwrap(),
        "Health checks failed with these codes: [503]"
    );
    backend.script.health.store(200, Ordering::Relaxed);
    world.until(&group, at, "healthy", "").await;

    backend.script.health.store(0, Ordering::Relaxed);
    world.until(&group, at, "unhealthy", "Target.Timeout").await;
    drop(backend);
    world
        .until(&group, at, "unhealthy", "Target.FailedHealthChecks")
        .await;
    world.set_weights(&listener, &[(&other, 1)]).await;
    world.until(&group, at, "unused", "Target.NotInUse").await;
    world.lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unhealthy_targets_get_nothing_unless_all_are() {
    let world = World::start().await;
    let (good, bad) = (Backend::start("good").await, Backend::start("bad").await);
    bad.script.health.store(500, Ordering::Relaxed);
    let serving = world.serving(&[&good]).await;
    world.register(&serving.group, &bad).await;
    let mismatch = "Target.ResponseCodeMismatch";
    world
        .until(&serving.group, bad.address, "unhealthy", mismatch)
        .await;
    for _ in 0..10 {
        assert_eq!(get(serving.address, "/").await.text, "good");
    }
    good.script.health.store(500, Ordering::Relaxed);
    world
        .until(&serving.group, good.address, "unhealthy", mismatch)
        .await;
    let mut seen: Vec<String> = Vec::new();
    for _ in 0..4 {
        seen.push(get(serving.address, "/").await.text);
    }
    seen.sort();
    assert_eq!(seen, ["bad", "bad", "good", "good"], "fails open to all");
    world.lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_services_register_and_deregister() {
    let world = World::start().await;
    let backend = Backend::start("a").await;
    let serving = world.serving(&[]).await;
    let (lab, group) = (&world.lab, serving.group.as_str());
    let ip = backend.address.ip().to_string();
    assert!(lab::elbv2::target_group_exists(lab, REGION, group));
    assert!(!lab::elbv2::target_group_exists(lab, REGION, "no such"));
    assert_eq!(lab::elbv2::target_state(lab, REGION, group, &ip), None);
    lab::elbv2::register(lab, REGION, group, &ip, Some(backend.address.port())).await;
    world.until(group, backend.address, "healthy", "").await;
    lab::elbv2::deregister(lab, REGION, group, &ip).await;
    assert_eq!(
        lab::elbv2::target_state(lab, REGION, group, &ip).as_deref(),
        Some("draining")
    );
    eventually("it is gone", async || {
        lab::elbv2::target_state(lab, REGION, group, &ip).is_none()
    })
    .await;
    world.lab.stop().await;
}
