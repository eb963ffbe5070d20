//! Weights that somebody changed in a rollout.

use super::begin;
use crate::fixtures::{clustered, ready, turn, until};
use crate::intent::Phase;
use crate::observed::ListenerAction;

/// What the veto refuses is not asked for: blue lost a node meanwhile. With blue whole the weights come back.
#[test]
fn nobody_is_moved_onto_a_blue_that_lost_a_node() {
    for phase in [Phase::Canary, Phase::Full, Phase::Shifting { weight: 10 }] {
        let (mut world, mut intent) = ready(&clustered(2));
        begin(&mut intent, &world, "11.11.0");
        until(&mut world, &mut intent, 500, |next| *next == phase);
        let by_hand = ListenerAction::Forward(
            [
                ("arn:tg/demo-a".to_owned(), 0),
                ("arn:tg/demo-b".to_owned(), 100),
            ]
            .into(),
        );
        world.observed.listeners.get_mut(&80).expect("it").action = by_hand.clone();
        let blue = world.observed.target_groups.get_mut("demo-a").expect("it");
        let target = blue.targets.values_mut().next().expect("a target");
        *target = "unhealthy".to_owned();
        // This fails where the veto refuses the planner.
        let decision = turn(&mut world, &mut intent);
        let texts: Vec<&str> = decision.reasons.iter().map(|it| it.text.as_str()).collect();
        let said = texts
            .iter()
            .any(|text| text.contains("`demo-a` has 1 of 2"));
        assert!(said, "{phase:?}: {texts:#?}");
        assert_eq!(world.observed.listeners[&80].action, by_hand, "{phase:?}");
        // The node is replaced, and with blue whole the weights come back.
        let came_back = (0..100).any(|_| {
            turn(&mut world, &mut intent);
            world.observed.listeners[&80].action != by_hand
        });
        assert!(came_back, "{phase:?}");
    }
}
