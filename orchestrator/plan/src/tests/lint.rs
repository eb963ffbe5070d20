//! What the second opinion refuses.

use crate::fixtures::{clustered, ready};
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
