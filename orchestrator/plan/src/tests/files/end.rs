//! The end of a stack, and of its bucket: kept, emptied page by page, or none of ours.

use super::{BUCKET, of_bucket};
use crate::fixtures::{
    clustered, empty_account, epoch, ready, spec, turn, unlicensed, until, wanting,
};
use crate::intent::{Intent, Phase, Want};
use crate::observed::FilesBucket;
use crate::world::World;
use crate::{Action, lint, plan};

#[test]
fn down_keeps_the_bucket_unless_its_deletion_was_asked_for() {
    let (mut world, mut intent) = ready(&clustered(2));
    let down = |delete_files| Want::Down {
        delete_database: false,
        delete_files,
    };
    intent.want = down(false);
    until(&mut world, &mut intent, 200, |phase| *phase == Phase::Gone);
    assert!(world.observed.files_bucket.is_some());
    intent.want = down(true);
    until(&mut world, &mut intent, 200, |phase| *phase == Phase::Gone);
    assert!(world.observed.files_bucket.is_none());
}

#[test]
fn an_end_says_how_far_it_is_and_goes_on_where_it_was() {
    let (mut world, mut intent) = ready(&unlicensed());
    world.bucket_pages = 3;
    intent.want = Want::Down {
        delete_database: false,
        delete_files: true,
    };
    let mut told = Vec::new();
    for _ in 0..200 {
        let decision = turn(&mut world, &mut intent);
        told.extend(
            decision
                .reasons
                .iter()
                .filter(|reason| reason.gate == "files")
                .map(|reason| reason.text.clone()),
        );
        if told.len() == 2 {
            // Whoever emptied it is killed: nothing is remembered but what is left in the bucket.
            intent.journal.clear();
        }
        if decision.next == Phase::Gone {
            break;
        }
    }
    told.dedup();
    let being = |n| {
        format!("bucket `{BUCKET}` is being emptied: {n} version(s) and marker(s) deleted so far")
    };
    let empty = format!("bucket `{BUCKET}` is empty and is deleted");
    assert_eq!(told, [being(0), being(1), being(2), empty]);
    assert_eq!(world.observed.files_bucket, None);
}

#[test]
fn an_end_without_the_rights_says_where_they_are_printed() {
    let (mut world, mut intent) = ready(&unlicensed());
    world.bucket_pages = 3;
    intent.want = Want::Down {
        delete_database: false,
        delete_files: true,
    };
    let is_emptied = |action: &Action| matches!(action, Action::DeleteBucketContents { .. });
    let action = loop {
        let decision = turn(&mut world, &mut intent);
        if let Some(action) = decision.actions.into_iter().find(is_emptied) {
            break action;
        }
    };
    let rights = "`orchestrator iam-policy --delete-files`";
    let refused = "s3:DeleteObjects: AccessDenied";
    let mut denied = intent.clone();
    denied.journal.insert(
        action.key(),
        crate::intent::Entry {
            intended: world.now,
            attempted: None,
            done: None,
            error: Some(refused.to_owned()),
            failures: 1,
        },
    );
    let decision = plan(&denied, &world.observed, world.now);
    let told = super::text(&decision);
    assert!(told.contains(rights) && told.contains(refused), "{told}");
    // However often it was refused: soon after the policy was attached it is tried again.
    let entry = denied.journal.get_mut(&action.key()).expect("an entry");
    entry.failures = 30;
    let tried = |error: &str, seconds: i64| {
        let mut denied = denied.clone();
        let entry = denied.journal.get_mut(&action.key()).expect("an entry");
        entry.error = Some(error.to_owned());
        let now = world.now + jiff::SignedDuration::from_secs(seconds);
        let actions = plan(&denied, &world.observed, now).actions;
        actions.iter().any(is_emptied)
    };
    assert!(!tried(refused, 14) && tried(refused, 15));
    assert!(!tried("s3:DeleteObjects: SlowDown", 119));
    assert!(tried("s3:DeleteObjects: SlowDown", 120));
    let unknown = &mut world.observed.unknown;
    unknown.insert("files_bucket/empty".to_owned(), refused.to_owned());
    let decision = plan(&intent, &world.observed, world.now);
    let Phase::Stuck { reason } = decision.next else {
        panic!("{decision:?}");
    };
    assert!(reason.contains(rights), "{reason}");
}

#[test]
fn a_bucket_that_the_file_names_outlives_every_end() {
    let named = spec(&[("# bucket = \"example-chat-files\"", "bucket = \"theirs\"")]);
    let mut observed = empty_account();
    let theirs = FilesBucket {
        name: "theirs".to_owned(),
        region: "us-east-1".to_owned(),
        ..FilesBucket::default()
    };
    observed.files_bucket = Some(theirs.clone());
    let mut world = World::new(&named, &observed, epoch());
    let mut intent = wanting(&named);
    until(&mut world, &mut intent, 300, |phase| *phase == Phase::Ready);
    intent.want = Want::Down {
        delete_database: true,
        delete_files: true,
    };
    for _ in 0..300 {
        let decision = turn(&mut world, &mut intent);
        assert_eq!(of_bucket(&decision), [""; 0]);
        if decision.next == Phase::Gone {
            break;
        }
    }
    assert_eq!(plan(&intent, &world.observed, world.now).next, Phase::Gone);
    assert_eq!(world.observed.files_bucket, Some(theirs));
}

#[test]
fn lint_keeps_the_files_and_every_bucket_that_is_not_the_stacks_own() {
    let (world, mut intent) = ready(&clustered(2));
    let bucket = |name: &str| crate::action::BucketRef {
        name: name.to_owned(),
        region: "us-east-1".to_owned(),
        owner: "123456789012".to_owned(),
    };
    let mut decision = plan(&intent, &world.observed, world.now);
    let mut rule = |intent: &Intent, action: Action| {
        decision.actions = vec![action];
        let refusals = lint(&decision, &world.observed, intent).unwrap_err();
        refusals[0].rule.clone()
    };
    let contents = |name| Action::DeleteBucketContents {
        bucket: bucket(name),
    };
    assert_eq!(rule(&intent, contents(BUCKET)), "keeps_files");
    assert_eq!(
        rule(
            &intent,
            Action::DeleteBucket {
                bucket: bucket(BUCKET)
            }
        ),
        "keeps_files"
    );
    intent.want = Want::Down {
        delete_database: true,
        delete_files: true,
    };
    assert_eq!(
        rule(&intent, contents(BUCKET)),
        "keeps_files",
        "nodes are there"
    );
    assert_eq!(rule(&intent, contents("theirs")), "not_our_bucket");
    intent.spec.files.bucket = Some(BUCKET.to_owned());
    assert_eq!(
        rule(&intent, contents(BUCKET)),
        "not_our_bucket",
        "the file names it"
    );
}
