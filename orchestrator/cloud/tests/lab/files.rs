//! The bucket of users' files against the lab's S3: made, mended, refused, emptied; each effect twice,
//! and again after a crash in its middle.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Builder, Credentials, Region};
use aws_sdk_s3::primitives::ByteStream;
use cloud::{EffectError, Outcome};
use lab::iam::{OPERATOR_KEY, OPERATOR_SECRET};
use plan::Action;
use plan::action::{BucketRef, BucketSetting};

use crate::support::{HOME, World, connect};

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
    Client::from_conf(
        Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(HOME))
            .endpoint_url(&world.endpoint)
            .credentials_provider(Credentials::new(
                OPERATOR_KEY,
                OPERATOR_SECRET,
                None,
                None,
                "test",
            ))
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

fn bucket_actions(world: &World, seen: &plan::Observed) -> Vec<Action> {
    let intent = plan::Intent {
        spec: world.scope.spec.clone(),
        want: plan::Want::Up,
        record: plan::Record::default(),
        rollout: None,
        journal: std::collections::BTreeMap::new(),
        ca_sha256: None,
    };
    plan::plan(&intent, seen, world.lab.clock.now())
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
    assert_eq!(made.len(), 7, "{made:?}");
    assert!(made[0].starts_with("ensure_bucket/"), "{made:?}");
    // Every effect once more makes no difference.
    for action in [
        Action::EnsureBucket {
            bucket: bucket.clone(),
        },
        set(&bucket, BucketSetting::PublicAccessBlock),
        set(&bucket, BucketSetting::Ownership),
        set(&bucket, BucketSetting::Encryption { kms_key: None }),
        set(&bucket, BucketSetting::Versioning),
        set(&bucket, BucketSetting::Lifecycle),
    ] {
        assert_eq!(world.once(&action).await, Outcome::Unchanged, "{action:?}");
    }
    // Somebody changes three settings.
    let client = client(&world);
    let suspended = aws_sdk_s3::types::VersioningConfiguration::builder()
        .status(aws_sdk_s3::types::BucketVersioningStatus::Suspended)
        .build();
    client
        .put_bucket_versioning()
        .bucket(&bucket.name)
        .versioning_configuration(suspended)
        .send()
        .await
        .expect("suspended");
    let name = &bucket.name;
    client
        .delete_bucket_policy()
        .bucket(name)
        .send()
        .await
        .expect("no policy");
    client
        .delete_bucket_lifecycle()
        .bucket(name)
        .send()
        .await
        .expect("no life-cycle");
    let word = |setting: &str| format!("set_bucket/{name}/{setting}");
    assert_eq!(
        settled(&world).await,
        [word("versioning"), word("lifecycle"), word("policy")]
    );
    world.stop().await;
}

fn set(bucket: &BucketRef, setting: BucketSetting) -> Action {
    Action::SetBucket {
        bucket: bucket.clone(),
        setting,
    }
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
    let ensure = Action::EnsureBucket {
        bucket: bucket.clone(),
    };
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
        .attempt(&Action::EnsureBucket { bucket: foreign })
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
