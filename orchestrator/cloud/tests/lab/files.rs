//! The bucket of users' files against the lab's S3: made, mended, refused, emptied; each effect twice,
//! and again after a crash in its middle.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Builder, Region};
use aws_sdk_s3::primitives::ByteStream;
use cloud::{EffectError, Outcome};
use plan::Action;
use plan::action::{BucketRef, BucketSetting};

use crate::support::{AWAY, HOME, World, cloud_of, connect, operator};

mod count;
mod key;
mod settings;

const ACCOUNT: &str = "123456789012";

fn bucket(world: &World) -> BucketRef {
    BucketRef {
        name: world.scope.spec.files_bucket(ACCOUNT).expect("a bucket"),
        region: HOME.to_owned(),
        owner: ACCOUNT.to_owned(),
    }
}

/// A client of a user's, not the product's.
fn client(world: &World) -> Client {
    client_in(world, HOME)
}

fn client_in(world: &World, region: &'static str) -> Client {
    Client::from_conf(
        Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region))
            .force_path_style(true)
            .endpoint_url(&world.endpoint)
            .credentials_provider(operator())
            .build(),
    )
}

/// What the planner asks for, until it asks for nothing more of the bucket.
async fn settled(world: &World) -> Vec<String> {
    let mut made = Vec::new();
    for _ in 0..10 {
        let seen = world.look().await;
        let actions = bucket_actions(world, &seen);
        if actions.is_empty() {
            return made;
        }
        for action in actions {
            assert_eq!(world.once(&action).await, Outcome::Changed, "{action:?}");
            made.push(action.key());
        }
    }
    panic!("the bucket does not settle: {made:?}");
}

fn decided(world: &World, seen: &plan::Observed) -> plan::Decision {
    let intent = plan::Intent {
        spec: world.scope.spec.clone(),
        want: plan::Want::Up,
        record: plan::Record::default(),
        rollout: None,
        journal: std::collections::BTreeMap::new(),
        ca_sha256: None,
    };
    plan::plan(&intent, seen, world.lab.clock.now())
}

fn bucket_actions(world: &World, seen: &plan::Observed) -> Vec<Action> {
    decided(world, seen)
        .actions
        .into_iter()
        .filter(|action| {
            matches!(
                action,
                Action::EnsureBucket { .. } | Action::SetBucket { .. }
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_made_mended_and_kept() {
    let world = World::start().await;
    let bucket = bucket(&world);
    let made = settled(&world).await;
    // New buckets come closed, owner enforced and encrypted: nothing of that is put once more.
    assert!(made[0].starts_with("ensure_bucket/"), "{made:?}");
    for word in ["versioning", "lifecycle", "policy"] {
        assert!(
            made.contains(&format!("set_bucket/{}/{word}", bucket.name)),
            "{made:?}"
        );
    }
    // Every effect once more makes no difference.
    for action in [
        ensure(&bucket),
        set(&bucket, BucketSetting::PublicAccessBlock),
        set(&bucket, BucketSetting::Ownership),
        set(&bucket, BucketSetting::Encryption { kms_key: None }),
        set(&bucket, BucketSetting::Versioning),
        set(&bucket, BucketSetting::Lifecycle),
    ] {
        assert_eq!(world.once(&action).await, Outcome::Unchanged, "{action:?}");
    }
    // Somebody changes every setting.
    let client = client(&world);
    let name = &bucket.name;
    settings::undo_all(&client, name).await;
    let word = |setting: &str| format!("set_bucket/{name}/{setting}");
    let all = [
        "public_access_blocked",
        "ownership",
        "encryption",
        "versioning",
        "lifecycle",
        "policy",
    ];
    assert_eq!(settled(&world).await, all.map(word));
    world.stop().await;
}

/// The tag alone says that it is ours: without it nothing of a bucket with files is touched.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_lost_its_tags_is_adopted_only_while_it_is_empty() {
    let world = World::start().await;
    let bucket = bucket(&world);
    settled(&world).await;
    let client = client(&world);
    settings::delete_tags(&client, &bucket.name).await;
    // Adopted, and it remembers its encryption again.
    assert_eq!(
        settled(&world).await,
        [
            format!("ensure_bucket/{}", bucket.name),
            format!("set_bucket/{}/encryption", bucket.name)
        ]
    );
    put(&client, &bucket.name, "20260101/a.txt").await;
    settings::delete_tags(&client, &bucket.name).await;
    let seen = world.look().await;
    let found = seen.files_bucket.as_ref().expect("the bucket");
    assert_eq!((found.tags.len(), found.empty), (0, Some(false)));
    assert_eq!(bucket_actions(&world, &seen), []);
    assert!(stuck(&world, &seen).contains("does not carry the tag"));
    let versioning = set(&bucket, BucketSetting::Versioning);
    assert!(matches!(
        world.attempt(&versioning).await,
        Err(EffectError::NotOurs { .. })
    ));
    world.stop().await;
}

/// Another account took the name: seen before it is made, or only when it is made.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_another_account_took_is_said() {
    let world = World::start().await;
    let bucket = bucket(&world);
    settings::give_away(&world, &bucket.name).await;
    let seen = world.look().await;
    assert!(seen.files_bucket.as_ref().is_some_and(|seen| seen.denied));
    assert_eq!(bucket_actions(&world, &seen), []);
    let said = stuck(&world, &seen);
    assert!(
        said.contains(&bucket.name) && said.contains("another account has taken the name"),
        "{said}"
    );
    // It was free a moment before.
    world.lab.faults.add(lab::fault::Fault {
        service: Some("s3".to_owned()),
        action: Some("HeadBucket".to_owned()),
        effect: settings::no_such_bucket(),
        times: 1,
    });
    let ensure = ensure(&bucket);
    let refused = world.attempt(&ensure).await.expect_err("taken");
    assert!(
        matches!(&refused, EffectError::Refused { code, .. } if code == "BucketAlreadyExists"),
        "{refused:?}"
    );
    let said = refused.to_string();
    assert!(said.contains("choose another stack name"), "{said}");
    world.stop().await;
}

/// Its region is none of the stack's, and need not be: everything is read there.
#[tokio::test(flavor = "multi_thread")]
async fn a_named_bucket_is_read_in_its_own_region() {
    let world = World::start().await;
    settings::create_in(&client_in(&world, AWAY), "theirs", AWAY).await;
    let at_home = cloud_of(&world.endpoint, &[HOME]);
    let seen = at_home.look_at_bucket("theirs", AWAY).await;
    assert_eq!(seen.unknown, std::collections::BTreeMap::new());
    let found = seen.bucket.expect("the bucket");
    assert_eq!(found.region, AWAY);
    assert!(found.public_access_blocked && found.versioning.is_none());
    let owned = |account| at_home.bucket_is_owned_by("theirs", AWAY, account);
    assert!(owned(ACCOUNT).await.expect("an answer"));
    assert!(!owned("999999999999").await.expect("an answer"));
    // Another region than the file says: that is seen, whoever is asked.
    // Its settings are not asked for where S3 tells none.
    let seen = at_home.look_at_bucket("theirs", HOME).await;
    assert_eq!(seen.bucket.expect("the bucket").region, AWAY);
    assert_eq!(seen.unknown, std::collections::BTreeMap::new());
    world.stop().await;
}

/// Why the planner stops.
fn stuck(world: &World, seen: &plan::Observed) -> String {
    match decided(world, seen).next {
        plan::intent::Phase::Stuck { reason } => reason,
        other => panic!("{other:?}"),
    }
}

fn ensure(bucket: &BucketRef) -> Action {
    Action::EnsureBucket {
        bucket: bucket.clone(),
        made_anew: None,
    }
}

fn set(bucket: &BucketRef, setting: BucketSetting) -> Action {
    Action::SetBucket {
        bucket: bucket.clone(),
        setting,
    }
}

/// Deleted while nodes served from it: the tag is there from the first moment, and stays until a person removes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_made_anew_keeps_the_moment_in_a_tag() {
    let world = World::start().await;
    let bucket = bucket(&world);
    let at = world.lab.clock.now();
    let anew = Action::EnsureBucket {
        bucket: bucket.clone(),
        made_anew: Some(at),
    };
    assert_eq!(world.once(&anew).await, Outcome::Changed);
    // Another executor, later: the tag says when it was made.
    let later = Action::EnsureBucket {
        bucket: bucket.clone(),
        made_anew: at.checked_add(jiff::SignedDuration::from_secs(60)).ok(),
    };
    assert_eq!(world.once(&later).await, Outcome::Unchanged);
    let tag = |seen: &plan::Observed| {
        let found = seen.files_bucket.as_ref().expect("the bucket");
        found.tags.get(plan::observed::MADE_ANEW_TAG).cloned()
    };
    assert_eq!(tag(&world.look().await), Some(at.to_string()));
    settled(&world).await;
    assert_eq!(tag(&world.look().await), Some(at.to_string()));
    // Whoever emptied it took its tags as well.
    settings::delete_tags(&client(&world), &bucket.name).await;
    assert_eq!(world.once(&anew).await, Outcome::Changed);
    assert_eq!(tag(&world.look().await), Some(at.to_string()));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ours_is_not_touched() {
    let world = World::start().await;
    let bucket = bucket(&world);
    let client = client(&world);
    // An empty one without tags, as a crash may leave it, becomes ours; with an object in it, it does not.
    let name = &bucket.name;
    client
        .create_bucket()
        .bucket(name)
        .send()
        .await
        .expect("made");
    let key = "mine.txt";
    put(&client, name, key).await;
    let ensure = ensure(&bucket);
    assert!(matches!(
        world.attempt(&ensure).await,
        Err(EffectError::NotOurs { .. })
    ));
    assert!(
        world
            .attempt(&set(&bucket, BucketSetting::Versioning))
            .await
            .is_err()
    );
    assert_eq!(bucket_actions(&world, &world.look().await), []);
    client
        .delete_object()
        .bucket(name)
        .key(key)
        .send()
        .await
        .expect("deleted");
    assert_eq!(world.once(&ensure).await, Outcome::Changed);
    assert_eq!(world.once(&ensure).await, Outcome::Unchanged);
    // Another stack's orchestrator sees that it is not its own.
    let other = connect("other", &world.endpoint);
    let answer = other.apply(&ensure, world.lab.clock.now()).await;
    assert!(matches!(answer, Err(EffectError::NotOurs { .. })));
    // Another account's: nothing is asked of it, and it is said.
    let foreign = BucketRef {
        owner: "999999999999".to_owned(),
        ..bucket.clone()
    };
    let answer = world
        .attempt(&Action::EnsureBucket {
            bucket: foreign,
            made_anew: None,
        })
        .await;
    let text = answer.expect_err("another account's").to_string();
    assert!(text.contains("403"), "{text}");
    world.stop().await;
}

async fn put(client: &Client, bucket: &str, key: &str) {
    client
        .put_object()
        .bucket(bucket)
        .key(key)
        .body(ByteStream::from_static(b"content"))
        .send()
        .await
        .expect("put");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_goes_with_every_version_and_goes_on_after_a_crash() {
    let mut world = World::start().await;
    let bucket = bucket(&world);
    settled(&world).await;
    let client = client(&world);
    let name = &bucket.name;
    for round in 0..3 {
        for file in 0..4 {
            put(&client, name, &format!("20260101/{file}.txt")).await;
        }
        // What a user named it: no XML carries it.
        put(&client, name, "20260101/a\u{1}b & c+d é\r.txt").await;
        if round == 1 {
            let key = "20260101/0.txt";
            client
                .delete_object()
                .bucket(name)
                .key(key)
                .send()
                .await
                .expect("a marker");
        }
    }
    client
        .create_multipart_upload()
        .bucket(name)
        .key("unfinished")
        .send()
        .await
        .expect("an upload");
    world.scope.deletes_files = true;
    let seen = world.look().await.files_bucket.expect("the bucket");
    assert_eq!(seen.empty, Some(false));
    let delete = Action::DeleteBucket {
        bucket: bucket.clone(),
    };
    assert!(world.attempt(&delete).await.is_err(), "it is not empty");
    // An executor that dies between the list and the deletion leaves what a second one finds.
    let contents = Action::DeleteBucketContents {
        bucket: bucket.clone(),
    };
    let attempt = tokio::time::timeout(
        std::time::Duration::from_millis(5),
        world.attempt(&contents),
    )
    .await;
    drop(attempt);
    world.once(&contents).await;
    assert_eq!(world.once(&contents).await, Outcome::Unchanged);
    let seen = world.look().await.files_bucket.expect("the bucket");
    assert_eq!(seen.empty, Some(true));
    world.twice(delete).await;
    assert_eq!(world.look().await.files_bucket, None);
    world.stop().await;
}
