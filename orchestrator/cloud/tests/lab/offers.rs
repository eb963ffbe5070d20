//! What the region offers: types by zone and architecture, classes by engine version and zone.

use std::collections::BTreeSet;

use plan::observed::Observed;
use plan::{class_problem, launch_problems};

use crate::support::{HOME, World, connect};

/// A look of a new process: nothing of what was asked before is held.
async fn look(world: &mut World, kind: &str, class: &str) -> Observed {
    world.cloud = connect("demo", &world.endpoint);
    kind.clone_into(&mut world.scope.spec.fleet.instance_type);
    class.clone_into(&mut world.scope.spec.database.class);
    world.look().await
}

async fn offered(world: &World, zone: &str, kind: &str, offered: bool) {
    let body = serde_json::json!({ "instance_type": kind, "offered": offered });
    let answer = reqwest::Client::new()
        .post(format!("{}/lab/ec2/zones/{zone}/types", world.endpoint))
        .header("content-type", "application/json")
        .body(body.to_string())
        .send()
        .await
        .expect("an answer");
    assert!(answer.status().is_success(), "{answer:?}");
}

fn problems(world: &World, seen: &Observed) -> Vec<String> {
    let network = seen.network.as_ref().expect("a network");
    let kind = seen.offers.instance_type.as_ref().expect("an answer");
    let class = seen.offers.db_class.as_ref().expect("an answer");
    let spec = &world.scope.spec;
    let mut found = launch_problems(spec, network, kind, seen.images[HOME].get(&world.image));
    found.extend(class_problem(spec, network, class, &seen.engine_versions));
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_tells_what_it_offers() {
    let mut world = World::start().await;
    let seen = look(&mut world, "m7i.large", "db.t3.micro").await;
    assert_eq!(problems(&world, &seen), Vec::<String>::new());
    let kind = seen.offers.instance_type.expect("an answer");
    assert_eq!(kind.architectures, BTreeSet::from(["x86_64".to_owned()]));
    assert!(kind.zones.contains("us-east-1a") && kind.zones.contains("us-east-1c"));
    assert_eq!(seen.images[HOME][&world.image].architecture, "x86_64");

    // The image is for another architecture; nobody knows the type; RDS has no such class.
    for (kind, class, words) in [
        (
            "m7g.large",
            "db.t3.micro",
            "is for x86_64, instance type `m7g.large` for arm64",
        ),
        (
            "m9z.enormous",
            "db.t3.micro",
            "no instance type `m9z.enormous`",
        ),
        ("m7i.large", "db.m9z.enormous", "no class `db.m9z.enormous`"),
    ] {
        let seen = look(&mut world, kind, class).await;
        let found = problems(&world, &seen);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(words), "{found:?}");
    }

    // One zone of ours does not offer it.
    look(&mut world, "m7i.large", "db.t3.micro").await;
    offered(&world, "us-east-1a", "m7i.large", false).await;
    let seen = look(&mut world, "m7i.large", "db.t3.micro").await;
    let found = problems(&world, &seen);
    assert!(found[0].contains("not offered in us-east-1a"), "{found:?}");
    world.stop().await;
}
