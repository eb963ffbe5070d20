//! The KMS key of the bucket: given when KMS showed it as usable, and not before.

use super::{BUCKET, Change, of_bucket, text};
use crate::fixtures::{clustered, empty_account, epoch, ready, turn, until, wanting};
use crate::intent::Phase;
use crate::observed::{KmsAnswer, KmsKey};
use crate::world::World;
use crate::{Action, lint};

const KEY: &str = "arn:aws:kms:us-east-1:123456789012:key/1-2";

#[test]
fn a_key_of_kms_is_the_buckets_default_with_a_bucket_key() {
    let (mut world, mut intent) = ready(&clustered(2));
    intent.spec.files.kms_key = Some(KEY.to_owned());
    world.observed.files_key = key_in_state(KEY, "Enabled");
    let wanted = encryption(Some(KEY));
    // Another algorithm, another key, none for the bucket: each is set anew, and nothing else.
    let changes: [Change; 3] = [
        |_| (),
        |seen| {
            let encryption = seen.encryption.as_mut().expect("encryption");
            encryption.kms_key = Some("arn:aws:kms:us-east-1:123456789012:key/3-4".to_owned());
        },
        |seen| seen.encryption.as_mut().expect("encryption").bucket_key = false,
    ];
    for change in changes {
        change(world.observed.files_bucket.as_mut().expect("a bucket"));
        let decision = turn(&mut world, &mut intent);
        assert_eq!(decision.actions, std::slice::from_ref(&wanted));
        assert_eq!(of_bucket(&turn(&mut world, &mut intent)), [""; 0]);
    }
}

fn key_in_state(arn: &str, state: &str) -> KmsAnswer {
    KmsAnswer::Described(KmsKey {
        arn: arn.to_owned(),
        state: state.to_owned(),
        usage: "ENCRYPT_DECRYPT".to_owned(),
        spec: "SYMMETRIC_DEFAULT".to_owned(),
    })
}

#[test]
fn a_bucket_gets_no_key_that_was_not_read_as_usable() {
    let wrong = |why: &str| KmsAnswer::None {
        why: why.to_owned(),
    };
    let absent = KmsAnswer::NoSuchKey {
        arn: KEY.to_owned(),
    };
    for (answer, says) in [
        (KmsAnswer::NotAsked, "was not read yet"),
        (wrong("AccessDenied"), "could not be read: AccessDenied"),
        (absent, "does not exist in `us-east-1`"),
        (key_in_state(KEY, "Disabled"), "is `Disabled`"),
        (key_in_state("other", "Enabled"), "KMS answered for `other`"),
    ] {
        // One that serves keeps what it has, and goes on.
        let (mut world, mut intent) = ready(&clustered(2));
        intent.spec.files.kms_key = Some(KEY.to_owned());
        world.observed.files_key = answer.clone();
        let decision = turn(&mut world, &mut intent);
        assert_eq!(of_bucket(&decision), [""; 0], "{says}");
        assert_eq!(decision.next, Phase::Converging);
        let told = text(&decision);
        assert!(
            told.contains(says) && told.contains("keeps its encryption as it is"),
            "{told}"
        );
        assert!(
            crate::forecast(&intent, &world.observed, world.now)
                .to_string()
                .contains(says)
        );
        // A new one is made and closed, and no node comes.
        let mut spec = clustered(2);
        spec.files.kms_key = Some(KEY.to_owned());
        let mut world = World::new(&spec, &empty_account(), epoch());
        world.observed.files_key = answer;
        let mut intent = wanting(&spec);
        for _ in 0..60 {
            turn(&mut world, &mut intent);
        }
        let seen = world.observed.files_bucket.as_ref().expect("a bucket");
        assert!(seen.public_access_blocked && seen.encryption.is_none());
        assert!(world.observed.groups.is_empty(), "{says}");
        world.observed.files_key = key_in_state(KEY, "Enabled");
        until(&mut world, &mut intent, 100, |phase| *phase == Phase::Ready);
        // Disabled later: said, and nothing waits.
        world.observed.files_key = key_in_state(KEY, "Disabled");
        let decision = turn(&mut world, &mut intent);
        assert_eq!(decision.next, Phase::Ready);
        assert!(text(&decision).contains("`aws kms enable-key"));
    }
}

const OTHER: &str = "arn:aws:kms:us-east-1:123456789012:key/3-4";

/// Older files lie under a key that the stack gave: it is not taken away, nor another one set, while the file does
/// not name it, for the nodes' policy would deny it.
#[test]
fn a_key_that_the_bucket_was_given_stays_until_the_file_names_it_as_former() {
    for wanted in [None, Some(OTHER)] {
        for remembered in [true, false] {
            let (mut world, mut intent) = ready(&clustered(2));
            intent.spec.files.kms_key = Some(KEY.to_owned());
            world.observed.files_key = key_in_state(KEY, "Enabled");
            turn(&mut world, &mut intent);
            if !remembered {
                // Given by a version that left no tag.
                let seen = world.observed.files_bucket.as_mut().expect("a bucket");
                seen.tags
                    .remove(crate::observed::KMS_KEY_TAG)
                    .expect("a tag");
            }
            intent.spec.files.kms_key = wanted.map(str::to_owned);
            world.observed.files_key = key_in_state(OTHER, "Enabled");
            let decision = turn(&mut world, &mut intent);
            assert_eq!(of_bucket(&decision), [""; 0]);
            assert_eq!(decision.next, Phase::Converging);
            let told = text(&decision);
            for part in [KEY, "former_kms_keys", "orchestrator iam-policy"] {
                assert!(told.contains(part), "{told}");
            }
            // Nor may a planner that forgets it.
            let mut forgetful = decision.clone();
            forgetful.actions.push(encryption(wanted));
            let refused = lint(&forgetful, &world.observed, &intent).unwrap_err();
            assert!(format!("{refused:?}").contains("keeps_key"), "{refused:?}");

            intent.spec.files.former_kms_keys = vec![KEY.to_owned()];
            let words = wanted.map_or("AES256".to_owned(), |key| format!("KMS key `{key}`"));
            let forecast = crate::forecast(&intent, &world.observed, world.now).to_string();
            assert!(
                forecast.contains(&format!("KMS key `{KEY}` → {words}")),
                "{forecast}"
            );
            let decision = turn(&mut world, &mut intent);
            assert_eq!(decision.actions, [encryption(wanted)]);
            assert_eq!(of_bucket(&turn(&mut world, &mut intent)), [""; 0]);
        }
    }
}

/// A key that somebody set by hand is no key that the stack gave.
#[test]
fn a_key_that_was_set_by_hand_is_mended_at_once() {
    let (mut world, mut intent) = ready(&clustered(2));
    let seen = world.observed.files_bucket.as_mut().expect("a bucket");
    let by_hand = seen.encryption.as_mut().expect("encryption");
    by_hand.algorithm = "aws:kms".to_owned();
    by_hand.kms_key = Some(OTHER.to_owned());
    let decision = turn(&mut world, &mut intent);
    assert_eq!(decision.actions, [encryption(None)]);
}

fn encryption(kms_key: Option<&str>) -> Action {
    Action::SetBucket {
        bucket: crate::action::BucketRef {
            name: BUCKET.to_owned(),
            region: "us-east-1".to_owned(),
            owner: "123456789012".to_owned(),
        },
        setting: crate::action::BucketSetting::Encryption {
            kms_key: kms_key.map(str::to_owned),
        },
    }
}
