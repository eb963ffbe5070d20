//! Secrets that the specification names: what they hold, and which version of it.

use cloud::{ReadError, ValueError};
use plan::spec::SecretRef;
use secrecy::ExposeSecret;

use crate::support::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_named_secret_is_read_with_its_version() {
    let world = World::start().await;
    let reference = SecretRef::parse("chat/smtp#password").expect("a reference");
    let value = || world.cloud.secret_value(reference.secret_id());
    let missing = value().await.expect_err("it does not exist");
    assert!(matches!(missing, ReadError::NotFound { .. }), "{missing:?}");
    assert_eq!(missing.to_string(), "secret `chat/smtp` does not exist");

    let made = r#"{"user":"chat","password":"first of all"}"#.to_owned();
    world
        .cloud
        .create_secret("chat/smtp", &made.into(), "1")
        .await
        .expect("it is made");
    let first = value().await.expect("it is there");
    let password = first.of(&reference).expect("a member");
    assert_eq!(password.expose_secret(), "first of all");
    let again = value().await.expect("it is there");
    assert_eq!(again.version_id, first.version_id);

    let rotated = r#"{"user":"chat"}"#.to_owned();
    world
        .cloud
        .replace_secret("chat/smtp", &rotated.into(), "2")
        .await
        .expect("it is replaced");
    let second = value().await.expect("it is there");
    assert_ne!(second.version_id, first.version_id);
    let error = second.of(&reference).expect_err("no such member");
    assert_eq!(error, ValueError::NoSuchKey);
    world.stop().await;
}
