//! The place that a rollout's nodes get is the target's, not whatever the file says meanwhile.

use super::text;
use crate::fixtures::{clustered, ready, turn};
use crate::intent::{Intent, Phase};
use crate::rollout::{Ask, request};
use crate::world::World;

fn roll_out(world: &World, intent: &mut Intent, ask: Ask) {
    let rollout = request(intent, &world.observed, &ask, world.now).expect("a rollout");
    intent.rollout = Some(rollout);
}

#[test]
fn a_rollout_is_not_held_by_a_place_that_its_nodes_do_not_get() {
    let (mut world, mut intent) = ready(&clustered(2));
    let ask = Ask {
        version: Some("11.11.0".to_owned()),
        sha256: Some("b".repeat(64)),
        ..Ask::default()
    };
    roll_out(&world, &mut intent, ask);
    // Edited after it was asked for; no account has such a bucket.
    intent.spec.files.bucket = Some("mistyped".to_owned());
    world.observed.files_bucket = None;
    for _ in 0..30 {
        let decision = turn(&mut world, &mut intent);
        if decision.next == Phase::Imaging {
            return;
        }
        let told = text(&decision);
        assert!(
            !told.contains("the place for users' files is not ready"),
            "{told}"
        );
    }
    panic!("{:?}", intent.rollout);
}

#[test]
fn a_rollout_to_a_place_that_the_file_says_no_more_is_not_begun() {
    let (mut world, mut intent) = ready(&clustered(2));
    intent.spec.files.prefix = Some("chat".to_owned());
    let ask = Ask {
        files_moved: true,
        ..Ask::default()
    };
    roll_out(&world, &mut intent, ask);
    intent.spec.files.prefix = Some("team".to_owned());
    for _ in 0..30 {
        let decision = turn(&mut world, &mut intent);
        let rollout = intent.rollout.as_ref().expect("a rollout");
        assert_ne!(decision.next, Phase::Imaging);
        if let Some(why) = &rollout.failure {
            assert!(
                why.contains("below `chat/`") && why.contains("below `team/` now") && why.contains("ask again"),
                "{why}"
            );
            return;
        }
    }
    panic!("{:?}", intent.rollout);
}
