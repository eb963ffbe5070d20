//! What lies in a place of files, counted before a move is believed.

use cloud::StoreKeys;
use plan::files::{BucketHome, Counted};
use secrecy::SecretString;

use super::{client, put};
use crate::support::{HOME, World};

/// Bytes of what [`put`] puts.
const SIZE: u64 = 7;

fn home(prefix: &str) -> BucketHome {
    BucketHome {
        bucket: "theirs".to_owned(),
        region: HOME.to_owned(),
        prefix: prefix.to_owned(),
        ..BucketHome::default()
    }
}

fn some(objects: u64, more: bool) -> Counted {
    Counted::Objects {
        objects,
        bytes: objects * SIZE,
        more,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_counted_below_a_prefix_and_what_cannot_be_listed_is_an_error() {
    let world = World::start().await;
    let client = client(&world);
    let create = client.create_bucket().bucket("theirs").send();
    create.await.expect("made");
    for key in [
        "20260101/a",
        "20260101/b \u{1}",
        ".verified/i-1",
        "chat/20260101/c",
        "chat/.verified/i-1",
        "chats/d",
    ] {
        put(&client, "theirs", key).await;
    }
    let count = async |prefix: &str, without: Option<&str>| {
        let counted = world
            .cloud
            .count_objects(&home(prefix), None, without, 100_000)
            .await;
        counted.expect("a count")
    };
    // Tries of agents are nobody's files, and what lies in the other place does not count here.
    assert_eq!(count("", Some("chat/")).await, some(3, false));
    assert_eq!(count("chat/", None).await, some(1, false));
    assert_eq!(count("new/", None).await, some(0, false));
    // With keys of its own, at an endpoint.
    let keys = StoreKeys {
        access_key: SecretString::from(lab::iam::OPERATOR_KEY),
        secret_key: SecretString::from(lab::iam::OPERATOR_SECRET),
    };
    let there = BucketHome {
        endpoint: Some(world.endpoint.clone()),
        own_keys: true,
        ..home("chats/")
    };
    let counted = world.cloud.count_objects(&there, Some(&keys), None, 1);
    assert_eq!(counted.await.expect("a count"), some(1, false));
    // A page is the least; more is said.
    for number in 0..1000 {
        put(&client, "theirs", &format!("many/{number}")).await;
    }
    let many = home("many/");
    let counted = world.cloud.count_objects(&many, None, None, 1).await;
    assert_eq!(counted.expect("a count"), some(1000, false));
    put(&client, "theirs", "many/x").await;
    let counted = world.cloud.count_objects(&many, None, None, 1).await;
    assert_eq!(counted.expect("a count"), some(1000, true));
    let counted = world.cloud.count_objects(&many, None, None, 1001).await;
    assert_eq!(counted.expect("a count"), some(1001, false));
    // More than a page of what does not count, and nothing else: not "more", which could be anything.
    let (inner, whole) = (home("all/many/"), home("all/"));
    for number in 0..=1000 {
        put(&client, "theirs", &format!("all/many/{number}")).await;
    }
    let counted = async |home: &BucketHome, without: Option<&str>| {
        let counted = world.cloud.count_objects(home, None, without, 1).await;
        counted.expect("a count")
    };
    assert_eq!(counted(&whole, Some(&inner.prefix)).await, some(0, false));
    put(&client, "theirs", "all/many0").await;
    put(&client, "theirs", "all/a").await;
    assert_eq!(counted(&whole, Some(&inner.prefix)).await, some(1, true));
    let all = world
        .cloud
        .count_objects(&whole, None, Some(&inner.prefix), 2);
    assert_eq!(all.await.expect("a count"), some(2, false));
    let gone = BucketHome {
        bucket: "nobodys".to_owned(),
        ..home("")
    };
    let counted = world.cloud.count_objects(&gone, None, None, 1).await;
    let error = counted.expect_err("no bucket").to_string();
    assert!(error.contains("NoSuchBucket"), "{error}");
    world.stop().await;
}
