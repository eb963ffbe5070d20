//! The listener's rule for probes: made before what is there, found again, led elsewhere, deleted.

use cloud::EffectError;
use plan::Action;
use plan::observed::{ListenerAction, ListenerRule, PART_TAG, PROBE_PART, STACK_TAG};

use crate::support::World;

fn token(letter: char) -> String {
    letter.to_string().repeat(64)
}

async fn rule(world: &World, token: &str) -> ListenerRule {
    let rules = world.look().await.rules;
    let mut ours = rules.into_values().filter(|rule| rule.is_for(token));
    let rule = ours.next().expect("a rule");
    assert_eq!(ours.next(), None, "one rule for a token");
    rule
}

/// The listener is there, and forwards.
pub async fn ensure(world: &World) {
    let seen = world.look().await;
    let listener = seen.listeners[&80].arn.clone();
    let ensure = |token: &str, slot: &str| Action::EnsureProbeRule {
        listener: listener.clone(),
        token: token.to_owned(),
        target_group: seen.target_groups[&format!("demo-{slot}")].arn.clone(),
    };
    let forwards_to = |rule: &ListenerRule, slot: &str| {
        let arn = &seen.target_groups[&format!("demo-{slot}")].arn;
        matches!(&rule.action, ListenerAction::Forward(forward) if forward.weights.keys().eq([arn]))
    };
    let (one, other) = (token('a'), token('b'));
    world.twice(ensure(&one, "b")).await;
    let made = rule(world, &one).await;
    assert_eq!((made.priority, &made.listener), (1, &listener));
    assert!(forwards_to(&made, "b"), "{made:?}");
    assert_eq!(made.tags[STACK_TAG], "demo");
    assert_eq!(made.tags[PART_TAG], PROBE_PART);
    // The same rule, led elsewhere.
    world.twice(ensure(&one, "a")).await;
    let led = rule(world, &one).await;
    assert!(led.arn == made.arn && forwards_to(&led, "a"), "{led:?}");
    // Another rollout's comes after it.
    world.twice(ensure(&other, "b")).await;
    let second = rule(world, &other).await;
    assert_eq!(second.priority, 2);
    for gone in [made.arn, second.arn] {
        world.twice(Action::DeleteProbeRule { arn: gone }).await;
    }
    assert!(world.look().await.rules.is_empty());
    let nowhere = Action::EnsureProbeRule {
        listener: format!("{listener}0"),
        token: one,
        target_group: seen.target_groups["demo-b"].arn.clone(),
    };
    let refused: EffectError = world.attempt(&nowhere).await.expect_err("no such listener");
    assert!(refused.to_string().contains("does not exist"), "{refused}");
}
