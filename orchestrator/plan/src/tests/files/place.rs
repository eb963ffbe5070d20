//! The place that a rollout's nodes get is the target's, not whatever the file says meanwhile.

use super::text;
use crate::fixtures::{clustered, ready, turn};
use crate::intent::{Intent, Phase};
use crate::rollout::{Ask, request};
use crate::world::World;

fn roll_out(world: &World, intent: &mut Intent, ask: &Ask) {
    let rollout = request(intent, &world.observed, ask, world.now).expect("a rollout");
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
    roll_out(&world, &mut intent, &ask);
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
    roll_out(&world, &mut intent, &ask);
    intent.spec.files.prefix = Some("team".to_owned());
    for _ in 0..30 {
        let decision = turn(&mut world, &mut intent);
        assert_ne!(decision.next, Phase::Imaging);
        if decision.next == Phase::RolledBack {
            let told = text(&decision);
            for part in ["below `chat/`", "below `team/` now", "ask again"] {
                assert!(told.contains(part), "{told}");
            }
            return;
        }
    }
    panic!("{:?}", intent.rollout);
}

#[test]
fn a_mistyped_bucket_waits_and_what_serves_is_left_as_it_is() {
    let (mut world, mut intent) = ready(&clustered(2));
    let groups = world.observed.groups.len();
    intent.spec.files.bucket = Some("mistyped".to_owned());
    world.observed.files_bucket = None;
    let decision = turn(&mut world, &mut intent);
    assert_eq!(decision.next, Phase::Converging);
    let told = text(&decision);
    assert!(
        told.contains("bucket `mistyped` of `files.bucket` does not exist")
            && told.contains("What serves keeps users' files where they are"),
        "{told}"
    );
    // A group that is gone is made again: its nodes have the place of what serves.
    world.observed.groups.clear();
    for _ in 0..10 {
        turn(&mut world, &mut intent);
    }
    assert_eq!(world.observed.groups.len(), groups);
    // The one that nodes serve from is another matter.
    if let Some(proven) = &mut intent.record.proven {
        proven.files = crate::FilesHome::wanted(&intent.spec, None);
    }
    let decision = turn(&mut world, &mut intent);
    assert!(matches!(decision.next, Phase::Stuck { .. }), "{decision:?}");
}
