//! Versions of the licence's secret.

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::{self, BehaviorVersion, Region};
use aws_sdk_secretsmanager::primitives::Blob;
use cloud::{EffectError, Outcome};
use lab::fault::{Effect, Fault};
use plan::Action;
use plan::observed::NoText;
use secrecy::{ExposeSecret, SecretString};

use crate::support::{HOME, World, operator};

const SECRET: &str = "demo/licence";

/// Puts a text into the secret, as its operator would; gives the id of its version.
async fn put(world: &World, text: &str) -> String {
    let value = SecretString::from(text.to_owned());
    let made = world.cloud.create_secret(SECRET, &value, text).await;
    if made.expect("a secret") == Outcome::Unchanged {
        let put = world.cloud.replace_secret(SECRET, &value, text).await;
        put.expect("another version");
    }
    let (id, current) = read(world, None).await.expect("the version in force");
    assert_eq!(current, text);
    id
}

async fn read(world: &World, id: Option<&str>) -> Result<(String, String), NoText> {
    let version = world.cloud.read_secret_version(SECRET, id).await?;
    Ok((version.id, version.text.expose_secret().to_owned()))
}

fn restore(from: &str, to: &str) -> Action {
    Action::RestoreSecretVersion {
        secret: SECRET.to_owned(),
        from: from.to_owned(),
        to: to.to_owned(),
    }
}

fn fault(effect: Effect) -> Fault {
    Fault {
        service: None,
        action: Some("UpdateSecretVersionStage".to_owned()),
        effect,
        times: 1,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_version_comes_back_once() {
    let world = World::start().await;
    let first = put(&world, "first").await;
    let second = put(&world, "second").await;
    assert_ne!(first, second);
    let text = read(&world, Some(&first)).await.expect("it is there still");
    assert_eq!(text, (first.clone(), "first".to_owned()));

    world.twice(restore(&second, &first)).await;
    let current = read(&world, None).await.expect("the version in force");
    assert_eq!(current, (first.clone(), "first".to_owned()));
    let text = read(&world, Some(&second)).await.expect("it is kept");
    assert_eq!(text.1, "second");

    // A third one that came in between stays in force.
    let third = put(&world, "third").await;
    let refused = world.attempt(&restore(&second, &first)).await;
    assert!(
        matches!(refused, Err(EffectError::Refused { .. })),
        "{refused:?}"
    );
    assert_eq!(read(&world, None).await.expect("it is in force").0, third);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_comes_back_over_a_lost_answer() {
    let world = World::start().await;
    let first = put(&world, "first").await;
    let second = put(&world, "second").await;
    let action = restore(&second, &first);
    world.lab.faults.add(fault(Effect::LoseAnswer));
    let lost = world.attempt(&action).await;
    assert!(matches!(lost, Err(EffectError::Unknown { .. })), "{lost:?}");
    assert_eq!(world.once(&action).await, Outcome::Unchanged);
    assert_eq!(read(&world, None).await.expect("it is in force").0, first);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_or_not_allowed_is_said() {
    let world = World::start().await;
    let first = put(&world, "first").await;
    let none = "00000000-0000-0000-0000-000000000000";
    let missing = read(&world, Some(none)).await;
    assert_eq!(missing, Err(NoText::Missing));
    let gone = world.attempt(&restore(&first, none)).await;
    assert!(
        matches!(&gone, Err(EffectError::Refused { code, .. }) if code.starts_with("ResourceNotFound")),
        "{gone:?}"
    );
    let second = put(&world, "second").await;
    world.lab.faults.add(fault(Effect::Error {
        code: "AccessDeniedException".to_owned(),
        message: "User is not authorized to perform: secretsmanager:UpdateSecretVersionStage"
            .to_owned(),
    }));
    let denied = world.attempt(&restore(&second, &first)).await;
    let error = denied.expect_err("it is denied").to_string();
    assert!(
        error.starts_with("no permission for secretsmanager:UpdateSecretVersionStage"),
        "{error}"
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn why_a_secret_gives_no_text_is_known() {
    let world = World::start().await;
    assert_eq!(read(&world, None).await, Err(NoText::Missing));
    let first = put(&world, "first").await;
    world.lab.faults.add(Fault {
        service: None,
        action: Some("GetSecretValue".to_owned()),
        effect: Effect::Error {
            code: "AccessDeniedException".to_owned(),
            message: "User is not authorized to perform: secretsmanager:GetSecretValue".to_owned(),
        },
        times: 1,
    });
    let denied = read(&world, None).await;
    assert!(
        matches!(&denied, Err(NoText::Denied(why)) if why.contains("AccessDeniedException")),
        "{denied:?}"
    );
    put_bytes(&world).await;
    assert_eq!(read(&world, None).await, Err(NoText::Bytes));
    let text = read(&world, Some(&first)).await.expect("it is there still");
    assert_eq!(text.1, "first");
    let name = SECRET.to_owned();
    assert_eq!(
        world.once(&Action::DeleteSecret { name }).await,
        Outcome::Changed
    );
    for id in [None, Some(first.as_str())] {
        assert_eq!(read(&world, id).await, Err(NoText::Deleting));
    }
    world.stop().await;
}

/// As `put-secret-value --secret-binary` does.
async fn put_bytes(world: &World) {
    let secrets = Client::from_conf(
        config::Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(HOME))
            .endpoint_url(&world.endpoint)
            .credentials_provider(operator())
            .build(),
    );
    let put = secrets.put_secret_value().secret_id(SECRET);
    let answer = put.secret_binary(Blob::new([1, 2, 3])).send().await;
    answer.expect("a version of bytes");
}
