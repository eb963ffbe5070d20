//! What the second opinion refuses.

use super::begin;
use crate::fixtures::{clustered, ready};
use crate::intent::Want;
use crate::observed::{DbSnapshot, Forward};
use crate::{Action, lint, plan};

#[test]
fn lint_refuses_what_no_planner_should_ask() {
    let (world, intent) = ready(&clustered(2));
    let listener = "arn:listener/80".to_owned();
    let cases = [
        (
            Action::DeleteGroup {
                group: "demo-g1".to_owned(),
                force: true,
            },
            "last_serving_group",
        ),
        (
            Action::SetGroupSize {
                group: "demo-g1".to_owned(),
                min: 0,
                max: 0,
                desired: 0,
            },
            "under_floor",
        ),
        (
            Action::SetWeights {
                listener: listener.clone(),
                weights: [("arn:tg/demo-b".to_owned(), 100)].into(),
            },
            "unhealthy",
        ),
        (
            Action::SetWeights {
                listener: listener.clone(),
                weights: [("arn:tg/demo-a".to_owned(), 0)].into(),
            },
            "no_owner",
        ),
        (
            Action::SetWeights {
                listener: listener.clone(),
                weights: [
                    ("arn:tg/demo-a".to_owned(), 50),
                    ("arn:tg/demo-b".to_owned(), 50),
                ]
                .into(),
            },
            "two_owners",
        ),
        (
            Action::SetWeights {
                listener: listener.clone(),
                weights: Forward {
                    sticky_seconds: Some(300),
                    ..[
                        ("arn:tg/demo-a".to_owned(), 100),
                        ("arn:tg/demo-b".to_owned(), 0),
                    ]
                    .into()
                },
            },
            "sticky",
        ),
        (
            Action::SetFixedResponse {
                listener,
                status: 503,
                body: String::new(),
            },
            "no_owner",
        ),
        (
            Action::DeleteDbInstance {
                id: "demo-db".to_owned(),
                final_snapshot: Some("x".to_owned()),
            },
            "keeps_database",
        ),
        (
            Action::DeleteTargetGroup {
                arn: "arn:tg/demo-a".to_owned(),
            },
            "has_weight",
        ),
        (
            Action::DeleteTemplateVersions {
                name: "demo-node".to_owned(),
                versions: [1].into(),
            },
            "proven",
        ),
        (
            Action::DeleteImage {
                region: "us-east-1".to_owned(),
                image: "ami-0new".to_owned(),
            },
            "not_ours",
        ),
        (
            Action::DeleteLoadBalancer {
                arn: "arn:lb/demo".to_owned(),
            },
            "not_going_down",
        ),
    ];
    let mut decision = plan(&intent, &world.observed, world.now);
    for (action, rule) in cases {
        decision.actions = vec![action.clone()];
        let refusals = lint(&decision, &world.observed, &intent).unwrap_err();
        assert_eq!(refusals[0].rule, rule, "{action:?}: {refusals:?}");
    }
}

#[test]
fn lint_keeps_the_snapshots_that_are_a_way_back() {
    let (mut world, mut intent) = ready(&clustered(2));
    let tags = world.observed.groups["demo-g1"].tags.clone();
    for (id, status) in [
        ("demo-before-g2", "available"),
        ("demo-before-g3", "available"),
        ("demo-before-g4", "creating"),
        ("demo-final-g1", "available"),
    ] {
        let snapshot = DbSnapshot {
            id: id.to_owned(),
            status: status.to_owned(),
            tags: tags.clone(),
            ..DbSnapshot::default()
        };
        world.observed.db_snapshots.insert(id.to_owned(), snapshot);
    }
    let decision = plan(&intent, &world.observed, world.now);
    let allows = |intent: &crate::Intent, id: &str| {
        let mut decision = decision.clone();
        decision.actions = vec![Action::DeleteDbSnapshot { id: id.to_owned() }];
        match lint(&decision, &world.observed, intent) {
            Ok(()) => true,
            Err(refusals) => {
                assert_eq!(refusals[0].rule, "way_back", "{id}: {refusals:?}");
                false
            }
        }
    };
    assert!(allows(&intent, "demo-before-g2"));
    assert!(
        !allows(&intent, "demo-before-g3"),
        "the newest that is whole"
    );
    assert!(!allows(&intent, "demo-final-g1"), "not a rollout's");
    begin(&mut intent, &world, "11.11.0");
    assert!(!allows(&intent, "demo-before-g2"), "in a rollout");
    intent.rollout = None;
    intent.want = Want::Down {
        delete_database: true,
        delete_files: false,
    };
    assert!(allows(&intent, "demo-before-g3"));
}
