//! A bucket that was deleted under serving nodes: made anew, and said so until a person knows it.

use super::{BUCKET, of_bucket, text};
use crate::fixtures::{clustered, ready, turn, until};
use crate::intent::Phase;
use crate::observed::{FilesBucket, MADE_ANEW_TAG, Tags};
use crate::world::World;

fn seen(world: &World) -> &FilesBucket {
    world.observed.files_bucket.as_ref().expect("a bucket")
}

#[test]
fn a_bucket_that_is_gone_under_a_serving_stack_is_made_again_with_the_words() {
    let (mut world, mut intent) = ready(&clustered(2));
    world.observed.files_bucket = None;
    for _ in 0..10 {
        world.tick();
    }
    let decision = turn(&mut world, &mut intent);
    assert_eq!(of_bucket(&decision), [format!("ensure_bucket/{BUCKET}")]);
    assert!(
        text(&decision).contains("is made again, empty"),
        "{}",
        text(&decision)
    );
    let made = world.now;
    let decision = until(&mut world, &mut intent, 20, |phase| *phase == Phase::Ready);
    // Said until somebody has read it.
    let at = seen(&world)
        .tags
        .get(MADE_ANEW_TAG)
        .expect("the tag")
        .clone();
    let at: jiff::Timestamp = at.parse().expect("a moment");
    assert!((made - at).get_seconds().abs() < 60, "{made} {at}");
    let told = text(&decision);
    for says in [
        &*format!("bucket `{BUCKET}` was deleted and made anew at {at}"),
        "what users had uploaded before is gone",
        &*format!("`aws s3api put-bucket-tagging --bucket {BUCKET} "),
    ] {
        assert!(told.contains(says), "{says}: {told}");
    }
    let command = told.split("put-bucket-tagging").nth(1).expect("a command");
    assert!(
        command.contains("mattermost:stack") && !command.contains(MADE_ANEW_TAG),
        "{command}"
    );
    let plan = crate::forecast(&intent, &world.observed, world.now).to_string();
    assert!(plan.contains("was deleted and made anew"), "{plan}");
    let bucket = world.observed.files_bucket.as_mut().expect("a bucket");
    bucket.tags.remove(MADE_ANEW_TAG);
    let told = text(&turn(&mut world, &mut intent));
    assert!(!told.contains("made anew"), "{told}");
}

#[test]
fn a_first_bucket_is_not_made_anew() {
    let (world, _) = ready(&clustered(2));
    assert!(!seen(&world).tags.contains_key(MADE_ANEW_TAG));
}

/// An administrator made it by hand, empty: what lay in it is gone as well.
#[test]
fn an_empty_bucket_that_somebody_made_for_serving_nodes_is_made_anew() {
    let (mut world, mut intent) = ready(&clustered(2));
    let bucket = world.observed.files_bucket.as_mut().expect("a bucket");
    (bucket.tags, bucket.empty) = (Tags::new(), Some(true));
    turn(&mut world, &mut intent);
    assert!(seen(&world).tags.contains_key(MADE_ANEW_TAG));
}

/// While the store does not say what serves, nobody knows whether the bucket had a predecessor.
#[test]
fn a_bucket_is_made_when_it_is_known_what_serves() {
    let (mut world, mut intent) = ready(&clustered(2));
    world.observed.files_bucket = None;
    intent.record = crate::Record::default();
    for group in world.observed.groups.values_mut() {
        group.max = 0;
    }
    let decision = crate::plan(&intent, &world.observed, world.now);
    assert_eq!(of_bucket(&decision), [""; 0]);
    let told = text(&decision);
    assert!(
        told.contains("when the store has said what serves"),
        "{told}"
    );
}
