//! Named beginnings for tests: specifications, an empty account, a stack that serves.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::intent::{Intent, Phase, Record, Want};
use crate::observed::{Image, Network, Observed, Subnet};
use crate::spec::{Answers, Spec, template};
use crate::world::World;
use crate::{Decision, lint, plan};

/// The moment at which every test begins.
pub(crate) fn epoch() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

/// A specification, with lines of the template changed.
pub(crate) fn spec(changes: &[(&str, &str)]) -> Spec {
    let answers = Answers {
        stack: "demo".to_owned(),
        zones: vec![
            "us-east-1a".to_owned(),
            "us-east-1b".to_owned(),
            "us-west-2a".to_owned(),
        ],
        image: "mattermost-base-11.10.0".to_owned(),
        ..Answers::default()
    };
    let mut text = template(&answers);
    for (from, to) in changes {
        assert!(text.contains(from), "the template has no `{from}`");
        text = text.replace(from, to);
    }
    Spec::parse(&text, "test.toml").unwrap()
}

/// Up to three nodes, with a cluster licence.
pub(crate) fn clustered(min: u32) -> Spec {
    spec(&[
        ("cluster = false", "cluster = true"),
        ("# licence_secret", "licence_secret"),
        ("\nmin = 1", &format!("\nmin = {min}")),
        ("\nmax = 1", "\nmax = 3"),
    ])
}

/// One node, without a licence.
pub(crate) fn unlicensed() -> Spec {
    spec(&[])
}

/// One node that keeps users' files on its disk.
pub(crate) fn local() -> Spec {
    spec(&[
        ("store = \"s3\"", "store = \"local\""),
        ("accept_losing_files = false", "accept_losing_files = true"),
    ])
}

/// Of a rollout's header.
pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Nothing but a network, engine versions and an image.
pub(crate) fn empty_account() -> Observed {
    let subnet = |number: u32, zone: &str| Subnet {
        id: format!("subnet-{number}"),
        zone: zone.to_owned(),
        free_addresses: 200,
    };
    let subnets = vec![subnet(1, "us-east-1a"), subnet(2, "us-east-1b")];
    let image = |id: &str, seconds: i64| Image {
        id: id.to_owned(),
        name: "mattermost-base-11.10.0".to_owned(),
        state: "available".to_owned(),
        created: Timestamp::from_second(1_700_000_000 + seconds).ok(),
        ..Image::default()
    };
    let images = [image("ami-0old", 0), image("ami-0new", 60)]
        .into_iter()
        .map(|image| (image.id.clone(), image))
        .collect();
    Observed {
        account: Some("123456789012".to_owned()),
        network: Some(Network {
            vpc_id: "vpc-1".to_owned(),
            public_subnets: subnets.clone(),
            subnets,
        }),
        engine_versions: ["15.8", "16.4", "17.2", "18.0"].map(str::to_owned).to_vec(),
        images: BTreeMap::from([("us-east-1".to_owned(), images)]),
        ..Observed::default()
    }
}

pub(crate) fn wanting(spec: &Spec) -> Intent {
    Intent {
        spec: spec.clone(),
        want: Want::Up,
        record: Record::default(),
        rollout: None,
        journal: BTreeMap::new(),
        ca_sha256: None,
    }
}

/// One look, decision and its effects; then time passes.
pub(crate) fn turn(world: &mut World, intent: &mut Intent) -> Decision {
    world.look();
    let decision = plan(intent, &world.observed, world.now);
    if let Err(refusals) = lint(&decision, &world.observed, intent) {
        panic!("lint refuses the planner: {refusals:#?}\n{decision:#?}");
    }
    world.commit(intent, &decision);
    world.perform(intent, &decision);
    world.tick();
    decision
}

/// Turns until a phase, or fails with the last reasons.
pub(crate) fn until(
    world: &mut World,
    intent: &mut Intent,
    most: usize,
    wanted: impl Fn(&Phase) -> bool,
) -> Decision {
    let mut last = None;
    for _ in 0..most {
        let decision = turn(world, intent);
        if wanted(&decision.next) {
            return decision;
        }
        last = Some(decision);
    }
    let last = last.map(|last| (last.next, last.reasons, last.actions));
    panic!("not reached in {most} turns; last: {last:#?}");
}

/// A stack whose automated backups are stuck: no second of the log can be restored to.
pub(crate) fn without_log(spec: &Spec) -> (World, Intent) {
    let (mut world, intent) = ready(spec);
    world.backups_are_stuck = true;
    for primary in world.observed.db_instances.values_mut() {
        primary.latest_restorable = None;
    }
    (world, intent)
}

/// A stack that `up` has made, ready.
pub(crate) fn ready(spec: &Spec) -> (World, Intent) {
    let mut world = World::new(spec, &empty_account(), epoch());
    let mut intent = wanting(spec);
    until(&mut world, &mut intent, 100, |phase| *phase == Phase::Ready);
    // Enough looks that every fact is settled.
    for _ in 0..4 {
        turn(&mut world, &mut intent);
    }
    (world, intent)
}
