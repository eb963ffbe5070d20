//! The KMS key of the bucket: given when KMS showed it as usable, and not before.

use super::{BUCKET, Change, of_bucket, text};
use crate::Action;
use crate::fixtures::{clustered, empty_account, epoch, ready, turn, until, wanting};
use crate::intent::Phase;
use crate::observed::{KmsAnswer, KmsKey};
use crate::world::World;

const KEY: &str = "arn:aws:kms:us-east-1:123456789012:key/1-2";

#[test]
fn a_key_of_kms_is_the_buckets_default_with_a_bucket_key() {
    let (mut world, mut intent) = ready(&clustered(2));
    intent.spec.files.kms_key = Some(KEY.to_owned());
    world.observed.files_key = key_in_state(KEY, "Enabled");
    let wanted = Action::SetBucket {
        bucket: crate::action::BucketRef {
            name: BUCKET.to_owned(),
            region: "us-east-1".to_owned(),
            owner: "123456789012".to_owned(),
        },
        setting: crate::action::BucketSetting::Encryption {
            kms_key: Some(KEY.to_owned()),
        },
    };
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
