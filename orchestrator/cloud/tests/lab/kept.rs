//! What is asked again, and what is not: counted by the lab, not by the product.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cloud::{Ages, Answers, Reading, Seen};
use lab::fault::{Effect, Fault};
use plan::Action;
use plan::action::SecretKind;

use crate::support::{World, connect};

/// Long enough that nothing in this test gets too old.
const AGES: Ages = Ages {
    state: Duration::from_secs(3600),
    settings: Duration::from_secs(3600),
};

/// Calls by service since the last time.
fn calls(world: &World) -> BTreeMap<String, u64> {
    let counts = world.lab.throttle.counts();
    world.lab.throttle.clear();
    let mut services: BTreeMap<String, u64> = BTreeMap::new();
    for call in counts["calls"].as_array().expect("a list") {
        let service = call["service"].as_str().expect("a name").to_owned();
        *services.entry(service).or_default() += call["count"].as_u64().expect("a number");
    }
    services
}

async fn look(world: &World, kept: &Answers, reading: Reading) -> Seen {
    Box::pin(world.cloud.observe_with(&world.scope, kept, reading)).await
}

fn security_group(vpc_id: &str, name: &str) -> Action {
    Action::EnsureSecurityGroup {
        part: name.to_owned(),
        name: format!("demo-{name}"),
        vpc_id: vpc_id.to_owned(),
        ingress: BTreeSet::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_pass_asks_for_nothing_and_sees_the_same() {
    let world = World::start().await;
    let kept = Answers::default();
    let quiet = Reading::quiet(AGES);
    let first = look(&world, &kept, quiet).await;
    assert_eq!(first.observed.unknown, BTreeMap::new());
    assert!(!first.stale && first.counts && first.state.is_none());
    let asked = calls(&world);
    for service in ["ec2", "rds", "elasticloadbalancing", "autoscaling", "s3"] {
        assert!(asked.contains_key(service), "{service}: {asked:?}");
    }
    let second = look(&world, &kept, quiet).await;
    assert_eq!(calls(&world), BTreeMap::new());
    assert_eq!(second.observed, first.observed);
    assert!(second.state.is_some() && second.settings.is_some() && !second.counts);
    // Whatever changes by itself is asked while something is under way, settings of a moment ago are not.
    let busy = look(&world, &kept, Reading::BUSY).await;
    let asked = calls(&world);
    assert!(busy.counts && busy.state.is_none() && !asked.contains_key("s3"));
    look(&world, &kept, Reading::ANEW).await;
    assert!(calls(&world).contains_key("s3"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_change_is_read_back_and_a_strangers_when_all_is_read() {
    let world = World::start().await;
    let kept = Answers::default();
    let quiet = Reading::quiet(AGES);
    let vpc_id = look(&world, &kept, quiet).await.observed.network;
    let vpc_id = vpc_id.expect("a network").vpc_id;
    // Somebody else, here another process of the stack.
    let other = connect("demo", &world.endpoint);
    let now = world.lab.clock.now();
    let action = security_group(&vpc_id, "fleet");
    other.apply(&action, now).await.expect("made");
    let seen = look(&world, &kept, quiet).await;
    assert!(!seen.observed.security_groups.contains_key("fleet"));
    let seen = look(&world, &kept, Reading::ANEW).await;
    assert!(seen.observed.security_groups.contains_key("fleet"));

    world.once(&security_group(&vpc_id, "database")).await;
    calls(&world);
    let seen = look(&world, &kept, quiet).await;
    assert!(seen.observed.security_groups.contains_key("database"));
    let asked = calls(&world);
    assert_eq!(
        asked.keys().collect::<Vec<_>>(),
        ["ec2"],
        "no other service's"
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_read_is_unknown_and_asked_again() {
    let world = World::start().await;
    let kept = Answers::default();
    let quiet = Reading::quiet(AGES);
    let action = Action::EnsureSecret {
        name: "demo/database/master".to_owned(),
        kind: SecretKind::Password,
    };
    // Another process's, or what was changed by this one would be asked for anyway.
    let other = connect("demo", &world.endpoint);
    other
        .apply(&action, world.lab.clock.now())
        .await
        .expect("made");
    look(&world, &kept, quiet).await;
    world.lab.faults.add(Fault {
        service: Some("secretsmanager".to_owned()),
        action: Some("ListSecrets".to_owned()),
        effect: Effect::Error {
            code: "AccessDeniedException".to_owned(),
            message: "no".to_owned(),
        },
        times: 1,
    });
    let failed = look(&world, &kept, Reading::ANEW).await;
    assert!(failed.observed.unknown.contains_key("secrets"));
    assert_eq!(failed.observed.secrets, BTreeMap::new());
    calls(&world);
    let seen = look(&world, &kept, quiet).await;
    assert_eq!(seen.observed.unknown, BTreeMap::new());
    assert_eq!(seen.observed.secrets.len(), 1);
    assert_eq!(calls(&world), [("secretsmanager".to_owned(), 1)].into());
    world.stop().await;
}
