//! Certificates of instances whose end nobody saw.

use std::time::Duration;

use plan::Observed;

use super::corpus::region::Region;
use super::*;
use crate::reconcile::upkeep::Upkeep;

async fn is_revoked(world: &World, id: &str) -> bool {
    let row = world.core.store.node(id).await.unwrap();
    row.unwrap().revoked
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_ended_unseen_is_revoked_and_one_without_its_tag_is_not() {
    let region = Region::start(2).await;
    let world = World::with(region.spec.clone(), region.cloud.clone(), Bounds::default()).await;
    let ids: Vec<String> = region.look().await.instances.into_keys().collect();
    let [untagged, ended] = ids.as_slice() else {
        panic!("two nodes: {ids:?}");
    };
    let forgotten = "i-00000000000000a99";
    for id in [untagged.as_str(), ended.as_str(), forgotten] {
        world.core.store.enrol(id, "key").await.unwrap();
        let tag = [("ResourceId.1", id), ("Tag.1.Key", "mattermost:stack")];
        if id != forgotten {
            region.call("ec2", "DeleteTags", &tag).await;
        }
    }
    let end = [("InstanceId.1", ended.as_str())];
    region.call("ec2", "TerminateInstances", &end).await;

    let seen = region.look().await;
    let shown = |id: &String| seen.instances.contains_key(id);
    assert!(!shown(untagged) && !shown(ended), "they have no tag");
    let snapshot = world.core.store.snapshot().await.unwrap();
    let mut upkeep = Upkeep::asking_every(Duration::ZERO);
    // Nothing is concluded from a look that failed.
    let mut unread = Observed::default();
    unread
        .unknown
        .insert("instances".to_owned(), "throttled".to_owned());
    for _ in 0..3 {
        upkeep.turn(&world.core, &unread, &snapshot).await;
    }
    assert!(!is_revoked(&world, ended).await);
    upkeep.turn(&world.core, &seen, &snapshot).await;
    assert!(is_revoked(&world, ended).await);
    assert!(!is_revoked(&world, forgotten).await, "EC2 may show it late");
    upkeep.turn(&world.core, &seen, &snapshot).await;
    assert!(is_revoked(&world, forgotten).await);
    assert!(
        !is_revoked(&world, untagged).await,
        "it may get its tag back"
    );
    region.lab.stop().await;
}
