//! Versions, labels and names, without the API around them.

use jiff::Timestamp;
use proptest::prelude::*;

use super::password;
use super::store::{CURRENT, Content, PREVIOUS, Region, Secret, check_name};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn secret() -> Secret {
    let arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:mattermost/db-AbCdEf";
    Secret::new("mattermost/db".to_owned(), arn.to_owned(), NOW)
}

fn put(secret: &mut Secret, id: &str, text: &str) -> Result<(), crate::api::ApiError> {
    secret.put(
        id,
        Content::text(text.to_owned())?,
        &[CURRENT.to_owned()],
        NOW,
    )
}

#[test]
fn labels_move_on_with_each_version() {
    let mut secret = secret();
    for id in ["one", "two", "three"] {
        put(&mut secret, id, id).unwrap();
    }
    assert_eq!(secret.stages("three"), [CURRENT]);
    assert_eq!(secret.stages("two"), [PREVIOUS]);
    assert!(secret.stages("one").is_empty());
    let (id, _) = secret.read(None, Some(PREVIOUS), NOW).unwrap();
    assert_eq!(id, "two");
}

#[test]
fn a_repeated_put_is_one_put_and_a_contradicting_one_is_refused() {
    let mut secret = secret();
    put(&mut secret, "one", "a").unwrap();
    put(&mut secret, "one", "a").unwrap();
    assert_eq!(secret.versions.len(), 1);
    let error = put(&mut secret, "one", "b").unwrap_err();
    assert_eq!(error.code, "ResourceExistsException");
    assert!(!error.message.contains("\"b\""));
}

#[test]
fn a_rollback_moves_the_label_to_the_older_version() {
    let mut secret = secret();
    put(&mut secret, "one", "a").unwrap();
    put(&mut secret, "two", "b").unwrap();
    let wrong = secret.move_stage(CURRENT, Some("one"), Some("one"), NOW);
    assert!(wrong.is_err(), "AWSCURRENT is on `two`");
    secret
        .move_stage(CURRENT, Some("two"), Some("one"), NOW)
        .unwrap();
    assert_eq!(secret.stages("one"), [CURRENT]);
    assert_eq!(secret.stages("two"), [PREVIOUS]);
    assert!(secret.move_stage(CURRENT, Some("one"), None, NOW).is_err());
}

#[test]
fn secrets_are_found_by_name_and_both_forms_of_arn() {
    let mut region = Region::default();
    let secret = secret();
    region.secrets.insert(secret.name.clone(), secret.clone());
    let partial = secret.arn.rsplit_once('-').unwrap().0.to_owned();
    for id in ["mattermost/db", secret.arn.as_str(), partial.as_str()] {
        assert!(region.find(id).is_ok(), "{id}");
    }
    assert_eq!(
        region.find("mattermost").unwrap_err().code,
        "ResourceNotFoundException"
    );
}

#[test]
fn old_unlabelled_versions_go() {
    let mut secret = secret();
    for number in 0..150 {
        put(&mut secret, &format!("{number:03}"), "x").unwrap();
    }
    assert_eq!(secret.versions.len(), 100);
    assert_eq!(secret.stages("149"), [CURRENT]);
}

#[test]
fn names_of_services_are_not_for_users() {
    for (name, good) in [
        ("a/b_c+d=e.f@g-h", true),
        ("rds!db-1", false),
        ("", false),
        ("ä", false),
    ] {
        assert_eq!(check_name(name).is_ok(), good, "{name}");
    }
}

proptest! {
    #[test]
    fn passwords_have_their_length_and_every_kind(length in 3usize..60) {
        let kinds: Vec<Vec<char>> = ["abc", "123", "!?"].iter().map(|kind| kind.chars().collect()).collect();
        let made = password::make(&kinds, length, true);
        prop_assert_eq!(made.chars().count(), length);
        for kind in &kinds {
            prop_assert!(made.chars().any(|letter| kind.contains(&letter)));
        }
    }
}
