//! A whole stack, effect by effect, each made twice and seen again; then its end.

use std::collections::BTreeMap;

use crate::support::{HOME, World};
use crate::{database, end, fleet, front, images, network, rules, template};

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_comes_and_goes() {
    let world = World::start().await;
    let nothing = world.look().await;
    assert_eq!(nothing.groups, BTreeMap::new());
    assert_eq!(nothing.load_balancer, None);
    assert_eq!(nothing.template, None);
    assert_eq!(nothing.db_instances, BTreeMap::new());
    assert!(!nothing.engine_versions.is_empty());
    assert!(nothing.images[HOME].contains_key(&world.image));

    network::ensure(&world).await;
    Box::pin(database::ensure(&world)).await;
    front::ensure(&world).await;
    rules::ensure(&world).await;
    template::ensure(&world).await;
    fleet::ensure(&world).await;
    images::ensure(&world).await;
    end::delete(&world).await;
    world.stop().await;
}
