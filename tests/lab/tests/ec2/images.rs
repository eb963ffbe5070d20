//! Images: copies that take time, fail, share their content.

use http::Method;
use serde_json::json;

use crate::support::{EAST, WEST, World, until};

#[tokio::test]
async fn a_copy_takes_time_and_shares_the_tree() {
    let world = World::start(111, 1.0).await;
    let image = world.image_with_agent("exec sleep 1000").await;
    let copy = [
        ("SourceRegion", EAST),
        ("SourceImageId", image.as_str()),
        ("Name", "copy"),
        ("ClientToken", "once"),
    ];
    let made = world.call(WEST, "ec2", "CopyImage", &copy).await;
    let id = made.text("imageId");
    let again = world.call(WEST, "ec2", "CopyImage", &copy).await;
    assert_eq!(again.text("imageId"), id);
    let mut other = copy;
    other[2].1 = "other";
    let refused = world.call(WEST, "ec2", "CopyImage", &other).await;
    assert_eq!(refused.text("Code"), "IdempotentParameterMismatch");
    let shown = world
        .call(WEST, "ec2", "DescribeImages", &[("ImageId.1", &id)])
        .await;
    assert_eq!(shown.text("imageState"), "pending");
    assert_eq!(shown.text("sourceImageId"), image);
    assert_eq!(shown.text("sourceImageRegion"), EAST);
    let run = [
        ("ImageId", id.as_str()),
        ("MinCount", "1"),
        ("MaxCount", "1"),
    ];
    let early = world.call(WEST, "ec2", "RunInstances", &run).await;
    assert_eq!(early.text("Code"), "InvalidAMIID.Unavailable");

    world.lab.clock.set_speed(600.0);
    // The source may go: what a copy needs of it stays.
    world
        .ok(
            "DeregisterImage",
            &[("ImageId", &image), ("DeleteAssociatedSnapshots", "true")],
        )
        .await;
    let began = tokio::time::Instant::now();
    let instance = loop {
        assert!(
            began.elapsed().as_secs() < 60,
            "the copy is never available"
        );
        let answer = world.call(WEST, "ec2", "RunInstances", &run).await;
        if answer.status == 200 {
            break answer.text("instanceId");
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    world.until_state(WEST, &instance, "running").await;
    assert!(
        world
            .root(&instance)
            .join("usr/bin/mattermost-agent")
            .exists()
    );
    world.lab.stop().await;
}

#[tokio::test]
async fn trees_go_when_nobody_uses_them() {
    let world = World::start(113, 600.0).await;
    let image = world.image_with_agent("exec sleep 1000").await;
    let tree = world.lab.config.directory.join("images").join(&image);
    assert!(tree.join("usr/bin/mattermost-agent").exists());
    let shown = world.ok("DescribeImages", &[("ImageId.1", &image)]).await;
    let snapshot = shown.text("snapshotId");
    let id = [("SnapshotId", snapshot.as_str())];
    world
        .refused(400, "InvalidSnapshot.InUse", "DeleteSnapshot", &id)
        .await;
    world.ok("DeregisterImage", &[("ImageId", &image)]).await;
    assert!(tree.exists(), "the snapshot still has it");
    world.ok("DeleteSnapshot", &id).await;
    assert!(!tree.exists());
    world.lab.stop().await;
}

#[tokio::test]
async fn a_failed_copy_says_why() {
    let world = World::start(115, 6000.0).await;
    let image = world.empty_image().await;
    world
        .control(
            Method::POST,
            "ec2/faults",
            json!({ "kind": "copy_failure", "region": WEST, "reason": "no luck" }),
        )
        .await;
    let copy = [
        ("SourceRegion", EAST),
        ("SourceImageId", image.as_str()),
        ("Name", "copy"),
    ];
    let made = world.call(WEST, "ec2", "CopyImage", &copy).await;
    let id = made.text("imageId");
    let began = tokio::time::Instant::now();
    let shown = loop {
        let shown = world
            .call(WEST, "ec2", "DescribeImages", &[("ImageId.1", &id)])
            .await;
        if shown.text("imageState") != "pending" || began.elapsed().as_secs() > 30 {
            break shown;
        }
    };
    assert_eq!(shown.text("imageState"), "failed");
    assert_eq!(shown.text("message"), "no luck");
    world.lab.stop().await;
}

#[tokio::test]
async fn an_image_of_an_instance_holds_what_it_wrote() {
    let world = World::start(117, 600.0).await;
    let image = world
        .image_with_agent("echo baked >state; exec sleep 1000")
        .await;
    let instance = world.run(&image, &[]).await;
    let state = world.root(&instance).join("state");
    until("the agent wrote its state", || state.exists()).await;
    let made = world
        .ok(
            "CreateImage",
            &[("InstanceId", &instance), ("Name", "baked")],
        )
        .await
        .text("imageId");
    let tree = world.lab.config.directory.join("images").join(&made);
    until("the tree is taken", || tree.join("state").exists()).await;
    world.lab.stop().await;
    assert!(!world.root(&instance).join("../root.partial").exists());
}

#[tokio::test]
async fn a_deregistered_image_lingers_and_then_its_instances_remember_it() {
    let world = World::start(119, 60.0).await;
    let image = world.empty_image().await;
    let instance = world.run(&image, &[]).await;
    // From here on nothing happens by itself within the test.
    world.lab.clock.set_speed(0.001);
    let id = [("ImageId", image.as_str())];
    let by_id = [("ImageId.1", image.as_str())];
    world.ok("DeregisterImage", &id).await;
    let shown = world.ok("DescribeImages", &by_id).await;
    assert_eq!(shown.text("imageState"), "deregistered");
    let code = "InvalidAMIID.Unavailable";
    world.refused(400, code, "DeregisterImage", &id).await;
    let run = [id[0], ("MinCount", "1"), ("MaxCount", "1")];
    world.refused(400, code, "RunInstances", &run).await;
    let change = [id[0], ("Description.Value", "gone")];
    world
        .refused(400, code, "ModifyImageAttribute", &change)
        .await;
    // Its name is in use as long as it shows.
    let copy = [
        ("InstanceId", instance.as_str()),
        ("Name", "empty"),
        ("NoReboot", "true"),
    ];
    let code = "InvalidAMIName.Duplicate";
    world.refused(400, code, "CreateImage", &copy).await;

    world.lab.clock.set_speed(600.0);
    let began = tokio::time::Instant::now();
    while !world
        .ok("DescribeImages", &by_id)
        .await
        .text("imageState")
        .is_empty()
    {
        assert!(began.elapsed().as_secs() < 60, "it shows for ever");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let code = "InvalidAMIID.NotFound";
    world.refused(400, code, "RunInstances", &run).await;
    // An instance remembers it for an hour after its end; then nobody does.
    world.lab.clock.set_speed(60_000.0);
    let ended = [("InstanceId.1", instance.as_str())];
    world.ok("TerminateInstances", &ended).await;
    let began = tokio::time::Instant::now();
    loop {
        let answer = world.ec2("DescribeImages", &by_id).await;
        if answer.status == 400 {
            assert_eq!(answer.text("Code"), code);
            break;
        }
        assert!(began.elapsed().as_secs() < 60, "it is remembered for ever");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    world.lab.stop().await;
}
