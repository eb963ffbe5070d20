//! Copies of the image in the other region.

use plan::Action;

use crate::support::{AWAY, HOME, World};

pub async fn ensure(world: &World) {
    world
        .twice(Action::EnsureImageCopy {
            region: AWAY.to_owned(),
            source_region: HOME.to_owned(),
            source_image: world.image.clone(),
            name: format!("demo-{}", world.image),
        })
        .await;
    let seen = world
        .until("the copy is available", |seen| {
            seen.images[AWAY]
                .values()
                .any(|copy| copy.state == "available")
        })
        .await;
    let copy = seen.images[AWAY].values().next().expect("a copy");
    assert_eq!(copy.source, Some((HOME.to_owned(), world.image.clone())));
    world
        .twice(Action::DeleteImage {
            region: AWAY.to_owned(),
            image: copy.id.clone(),
        })
        .await;
    assert!(world.look().await.images[AWAY].is_empty());
    let found = world.cloud.resolve_image("base").await.expect("by name");
    assert_eq!(found.id, world.image);
}
