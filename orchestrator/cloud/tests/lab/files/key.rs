//! The KMS key of the bucket: read before the bucket gets it.

use aws_sdk_kms::Client;
use aws_sdk_kms::config::{BehaviorVersion, Builder, Region};
use cloud::Outcome;
use plan::action::BucketSetting;
use plan::observed::KmsAnswer;

use super::{bucket, client, decided, set, settings, settled};
use crate::support::{HOME, World, operator};

/// A client of an operator's, not the product's.
fn kms(world: &World) -> Client {
    Client::from_conf(
        Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(HOME))
            .endpoint_url(&world.endpoint)
            .credentials_provider(operator())
            .build(),
    )
}

async fn create(kms: &Client) -> String {
    let made = kms.create_key().send().await.expect("a key");
    made.key_metadata.and_then(|key| key.arn).expect("its ARN")
}

fn told(world: &World, seen: &plan::Observed) -> String {
    let reasons = decided(world, seen).reasons;
    let texts: Vec<String> = reasons.into_iter().map(|reason| reason.text).collect();
    texts.join("\n")
}

/// A key of KMS is the bucket's default, with a bucket key, and so is S3's own when it is taken away again.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_encrypts_with_the_key_that_the_specification_names() {
    let mut world = World::start().await;
    let key = create(&kms(&world)).await;
    world.scope.spec.files.kms_key = Some(key.clone());
    settled(&world).await;
    let bucket = bucket(&world);
    let encryption = BucketSetting::Encryption {
        kms_key: Some(key.clone()),
    };
    assert_eq!(
        world.once(&set(&bucket, encryption)).await,
        Outcome::Unchanged
    );
    // As a client that is not ours reads it.
    let (algorithm, named, bucket_key) = settings::encryption(&client(&world), &bucket.name).await;
    assert_eq!(
        (&*algorithm, named, bucket_key),
        ("aws:kms", Some(key.clone()), Some(true))
    );
    // The bucket remembers the key, which stays until the file names it as a former one.
    let given = |seen: &plan::Observed| {
        let tags = &seen.files_bucket.as_ref().expect("a bucket").tags;
        (tags.len(), tags.get(plan::observed::KMS_KEY_TAG).cloned())
    };
    let seen = world.look().await;
    let (tags, remembered) = given(&seen);
    assert_eq!(remembered.as_ref(), Some(&key));
    world.scope.spec.files.kms_key = None;
    let seen = world.look().await;
    let told = told(&world, &seen);
    assert!(
        told.contains(&key) && told.contains("former_kms_keys"),
        "{told}"
    );
    assert_eq!(settled(&world).await, [""; 0]);
    world.scope.spec.files.former_kms_keys = vec![key];
    assert_eq!(
        settled(&world).await,
        [format!("set_bucket/{}/encryption", bucket.name)]
    );
    let (algorithm, named, _) = settings::encryption(&client(&world), &bucket.name).await;
    assert_eq!((&*algorithm, named), ("AES256", None));
    let seen = world.look().await;
    assert_eq!(given(&seen), (tags, Some("AES256".to_owned())));
    world.stop().await;
}

/// A mistyped key, a disabled one, one that the role may not look at: the bucket keeps what it has.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_kms_does_not_show_as_usable_is_not_put() {
    let mut world = World::start().await;
    settled(&world).await;
    let bucket = bucket(&world);
    let kms = kms(&world);
    let key = create(&kms).await;
    let disable = kms.disable_key().key_id(&key).send();
    disable.await.expect("disabled");
    let mistyped = "arn:aws:kms:us-east-1:123456789012:key/12345678-1234-1234-1234-123456789012";
    for (named, says) in [
        (mistyped, "does not exist in `us-east-1`"),
        (&*key, "is `Disabled`"),
    ] {
        world.scope.spec.files.kms_key = Some(named.to_owned());
        let seen = world.look().await;
        let told = told(&world, &seen);
        assert!(told.contains(says) && told.contains(named), "{told}");
        assert_eq!(settled(&world).await, [""; 0]);
    }
    let enable = kms.enable_key().key_id(&key).send();
    enable.await.expect("enabled");
    let denied = lab::fault::Effect::Error {
        code: "AccessDeniedException".to_owned(),
        message: "no".to_owned(),
    };
    world.lab.faults.add(lab::fault::Fault {
        service: Some("kms".to_owned()),
        action: Some("DescribeKey".to_owned()),
        effect: denied,
        times: 1,
    });
    let seen = world.look().await;
    assert!(matches!(seen.files_key, KmsAnswer::None { .. }), "{seen:?}");
    let told = told(&world, &seen);
    assert!(told.contains("must allow `kms:DescribeKey`"), "{told}");
    let encryption = format!("set_bucket/{}/encryption", bucket.name);
    assert_eq!(settled(&world).await, [encryption]);
    world.stop().await;
}
