//! Types and classes that AWS does not have: said before anything is made that takes minutes or money.

use std::collections::{BTreeMap, BTreeSet};

use super::begin;
use crate::fixtures::{clustered, empty_account, epoch, ready, turn, unlicensed, until, wanting};
use crate::intent::Phase;
use crate::observed::{ClassOffer, Observed, Offers, TypeOffer};
use crate::plan;
use crate::world::World;

fn zones() -> BTreeSet<String> {
    ["us-east-1a", "us-east-1b"].map(str::to_owned).into()
}

/// What the specification names is offered, for `x86_64`, in every zone.
fn all_offered() -> Offers {
    let spec = unlicensed();
    let versions = empty_account().engine_versions.into_iter();
    Offers {
        instance_type: Some(TypeOffer {
            name: spec.fleet.instance_type,
            architectures: ["x86_64".to_owned()].into(),
            zones: zones(),
        }),
        db_class: Some(ClassOffer {
            name: spec.database.class,
            zones: versions.map(|version| (version, zones())).collect(),
        }),
    }
}

fn edited(change: fn(&mut Offers)) -> Observed {
    let mut observed = empty_account();
    observed.offers = all_offered();
    for image in observed.images.values_mut().flat_map(BTreeMap::values_mut) {
        image.architecture = "x86_64".to_owned();
    }
    change(&mut observed.offers);
    observed
}

#[test]
fn what_is_not_offered_stops_up_before_the_database() {
    let spec = unlicensed();
    for (change, words) in [
        (
            (|offers: &mut Offers| offers.instance_type.as_mut().unwrap().architectures.clear())
                as fn(&mut Offers),
            "no instance type",
        ),
        (
            |offers| {
                let kind = offers.instance_type.as_mut().unwrap();
                kind.architectures = ["arm64".to_owned()].into();
            },
            "is for x86_64",
        ),
        (
            |offers| {
                let kind = offers.instance_type.as_mut().unwrap();
                kind.zones.remove("us-east-1b");
            },
            "not offered in us-east-1b",
        ),
        (
            |offers| offers.db_class.as_mut().unwrap().zones.clear(),
            "RDS has no class",
        ),
    ] {
        let mut world = World::new(&spec, &edited(change), epoch());
        let mut intent = wanting(&spec);
        for _ in 0..30 {
            turn(&mut world, &mut intent);
        }
        let decision = turn(&mut world, &mut intent);
        let Phase::Stuck { reason } = &decision.next else {
            panic!("{words}: {:?}", decision.next);
        };
        assert!(reason.contains(words), "{reason}");
        assert!(world.observed.db_instances.is_empty(), "{words}");
        assert!(world.observed.load_balancer.is_none(), "{words}");
        // Mended, it goes on.
        world.observed.offers = all_offered();
        until(&mut world, &mut intent, 100, |phase| *phase == Phase::Ready);
    }
}

#[test]
fn an_offer_that_was_not_read_is_waited_for() {
    let spec = unlicensed();
    let mut observed = edited(|offers| offers.instance_type = None);
    let why = "no permission for ec2:DescribeInstanceTypes";
    let unread = ("offers/instance_type".to_owned(), why.to_owned());
    observed.unknown.extend([unread]);
    let mut world = World::new(&spec, &observed, epoch());
    let mut intent = wanting(&spec);
    for _ in 0..20 {
        turn(&mut world, &mut intent);
    }
    let decision = turn(&mut world, &mut intent);
    assert_eq!(decision.next, Phase::Converging);
    assert!(decision.reasons.iter().any(|it| it.text.contains(why)));
    assert!(world.observed.db_instances.is_empty());
    // What serves is not asked about again.
    let (mut world, mut intent) = ready(&spec);
    world.observed.unknown = observed.unknown;
    let decision = turn(&mut world, &mut intent);
    assert_eq!(decision.next, Phase::Ready, "{:#?}", decision.reasons);
}

#[test]
fn a_rollout_to_a_type_that_is_not_offered_is_refused_and_touches_nothing() {
    let (mut world, mut intent) = ready(&clustered(1));
    world.observed.offers = all_offered();
    let kind = world.observed.offers.instance_type.as_mut().unwrap();
    kind.zones.remove("us-east-1a");
    // What serves stays as it is.
    let decision = plan(&intent, &world.observed, world.now);
    assert_eq!(decision.next, Phase::Ready, "{:#?}", decision.reasons);
    begin(&mut intent, &world, "11.11.0");
    until(&mut world, &mut intent, 20, |phase| {
        *phase == Phase::RolledBack
    });
    let failure = intent.rollout.unwrap().failure;
    assert!(
        failure
            .iter()
            .any(|line| line.contains("not offered in us-east-1a")),
        "{failure:?}"
    );
    assert_eq!(world.observed.groups.len(), 1);
}
