//! The launch template and its versions.

use std::collections::BTreeSet;

use plan::Action;
use plan::action::TemplateContent;
use plan::observed::Observed;

use crate::support::World;
use crate::values::map;

fn content(world: &World, seen: &Observed, user_data: &str) -> TemplateContent {
    TemplateContent {
        image_id: world.image.clone(),
        instance_type: "m7i.large".to_owned(),
        instance_profile: "mattermost-node".to_owned(),
        key_pair: None,
        security_groups: BTreeSet::from([seen.security_groups["fleet"].id.clone()]),
        user_data: user_data.to_owned(),
        tags: map([("mattermost:part", "node")]),
    }
}

pub async fn ensure(world: &World) {
    let seen = world.look().await;
    for (digest, user_data) in [("d-1", "a = 1\n"), ("d-2", "a = 2\n"), ("d-3", "a = 3\n")] {
        world
            .twice(Action::EnsureTemplateVersion {
                name: "demo-node".to_owned(),
                digest: digest.to_owned(),
                content: content(world, &seen, user_data),
            })
            .await;
    }
    let template = world.look().await.template.expect("a template");
    let numbers: Vec<u64> = template.versions.keys().copied().collect();
    assert_eq!(numbers, [1, 2, 3]);
    let second = &template.versions[&2];
    assert_eq!(
        (second.description.as_str(), second.user_data.as_str()),
        ("d-2", "a = 2\n")
    );
    assert!(second.monitoring && second.imdsv2);
    assert_eq!(second.image_id, world.image);
    assert_eq!(second.instance_profile, "mattermost-node");
    // The first one is the default: another becomes it.
    world
        .twice(Action::DeleteTemplateVersions {
            name: "demo-node".to_owned(),
            versions: BTreeSet::from([1]),
        })
        .await;
    let template = world.look().await.template.expect("a template");
    assert_eq!(
        template.versions.keys().copied().collect::<Vec<_>>(),
        [2, 3]
    );
}
