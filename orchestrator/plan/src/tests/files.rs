//! The bucket of users' files: made first, mended, refused, and gone only when its name was said.

use crate::files::FilesHome;
use crate::fixtures::{
    clustered, empty_account, epoch, local, ready, spec, turn, unlicensed, until, wanting,
};
use crate::intent::{Intent, Phase};
use crate::observed::{FilesBucket, Tags};
use crate::rollout::{Ask, request};
use crate::spec::Spec;
use crate::world::World;
use crate::{Action, Decision, lint, plan};

mod anew;
mod end;
mod key;
mod place;

const BUCKET: &str = "demo-files-123456789012-us-east-1";

fn first_look(spec: &Spec, change: impl FnOnce(&mut crate::Observed)) -> (Decision, Intent) {
    let mut observed = empty_account();
    change(&mut observed);
    let intent = wanting(spec);
    let decision = plan(&intent, &observed, epoch());
    assert_eq!(lint(&decision, &observed, &intent), Ok(()));
    (decision, intent)
}

/// Keys of what is asked for of the bucket.
fn of_bucket(decision: &Decision) -> Vec<String> {
    let keys = decision.actions.iter().map(Action::key);
    keys.filter(|key| key.contains("bucket")).collect()
}

fn text(decision: &Decision) -> String {
    let texts: Vec<&str> = decision
        .reasons
        .iter()
        .map(|reason| &*reason.text)
        .collect();
    texts.join("\n")
}

fn bare(tags: Tags, empty: Option<bool>) -> FilesBucket {
    FilesBucket {
        name: BUCKET.to_owned(),
        region: "us-east-1".to_owned(),
        tags,
        empty,
        ..FilesBucket::default()
    }
}

#[test]
fn a_new_bucket_is_closed_before_anything_lies_in_it_and_no_node_comes_earlier() {
    let spec = clustered(2);
    let mut world = World::new(&spec, &empty_account(), epoch());
    let mut intent = wanting(&spec);
    assert_eq!(
        of_bucket(&turn(&mut world, &mut intent)),
        [format!("ensure_bucket/{BUCKET}")]
    );
    let words = [
        "public_access_blocked",
        "ownership",
        "encryption",
        "versioning",
        "lifecycle",
        "policy",
    ];
    assert_eq!(
        of_bucket(&turn(&mut world, &mut intent)),
        words.map(|word| format!("set_bucket/{BUCKET}/{word}"))
    );
    // While one setting cannot be read nothing is said to be ready, and no group is made.
    for _ in 0..60 {
        let mut blind = world.observed.clone();
        let unread = "files_bucket/versioning".to_owned();
        blind.unknown.insert(unread, "AccessDenied".to_owned());
        let decision = plan(&intent, &blind, world.now);
        let group = decision
            .actions
            .iter()
            .any(|action| matches!(action, Action::EnsureGroup(_)));
        assert!(!group && decision.next == Phase::Converging, "{decision:?}");
        world.commit(&mut intent, &decision);
        world.perform(&mut intent, &decision);
        world.tick();
        world.look();
    }
    assert!(world.observed.groups.is_empty());
    until(&mut world, &mut intent, 100, |phase| *phase == Phase::Ready);
    let proven = intent.record.proven.expect("proven");
    assert_eq!(proven.files, FilesHome::wanted(&spec, Some("123456789012")));
}

#[test]
fn whose_a_bucket_is_decides_what_is_done_with_it() {
    let ours = Tags::from([("mattermost:stack".to_owned(), "demo".to_owned())]);
    let theirs = Tags::from([("team".to_owned(), "other".to_owned())]);
    let denied = FilesBucket {
        denied: true,
        ..bare(Tags::new(), None)
    };
    for (seen, asked, stuck) in [
        (bare(ours, None), 6, None),
        (bare(Tags::new(), Some(true)), 1, None),
        (
            bare(Tags::new(), Some(false)),
            0,
            Some("does not carry the tag"),
        ),
        (bare(theirs, Some(true)), 0, Some("does not carry the tag")),
        (denied, 0, Some("another account has taken the name")),
    ] {
        let shown = format!("{seen:?}");
        let (decision, _) = first_look(&unlicensed(), |observed| {
            observed.files_bucket = Some(seen);
        });
        assert_eq!(of_bucket(&decision).len(), asked, "{shown}");
        match (&decision.next, stuck) {
            (Phase::Stuck { reason }, Some(says)) => assert!(reason.contains(says), "{reason}"),
            (Phase::Converging, None) => {}
            other => panic!("{other:?}: {shown}"),
        }
    }
}

/// Something that a person changed in the bucket.
type Change = fn(&mut FilesBucket);

#[test]
fn each_drift_is_mended_alone_and_what_others_added_stays() {
    let (world, intent) = ready(&clustered(2));
    let changes: [(&str, Change); 7] = [
        ("public_access_blocked", |seen| {
            seen.public_access_blocked = false;
        }),
        ("ownership", |seen| {
            seen.ownership = Some("ObjectWriter".to_owned());
        }),
        ("encryption", |seen| seen.encryption = None),
        ("encryption", |seen| {
            let encryption = seen.encryption.as_mut().expect("encryption");
            encryption.client_keys_blocked = false;
        }),
        ("versioning", |seen| {
            seen.versioning = Some("Suspended".to_owned());
        }),
        ("lifecycle", |seen| seen.lifecycle = None),
        ("policy", |seen| seen.policy = None),
    ];
    for (word, change) in changes {
        let mut world = world.clone();
        let mut intent = intent.clone();
        change(world.observed.files_bucket.as_mut().expect("a bucket"));
        let decision = turn(&mut world, &mut intent);
        assert_eq!(
            of_bucket(&decision),
            [format!("set_bucket/{BUCKET}/{word}")]
        );
        assert_eq!(of_bucket(&turn(&mut world, &mut intent)), [""; 0], "{word}");
    }
    // A statement of the operator's stays beside ours; AWS may hold a single one without a list.
    let mut world = world;
    let mut intent = intent;
    let theirs = r#"{"Version":"2012-10-17","Statement":{"Sid":"Backup","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::1:root"},"Action":"s3:GetObject","Resource":"*"}}"#;
    let seen = world.observed.files_bucket.as_mut().expect("a bucket");
    seen.policy = Some(theirs.to_owned());
    assert_eq!(of_bucket(&turn(&mut world, &mut intent)).len(), 1);
    let policy = world
        .observed
        .files_bucket
        .as_ref()
        .and_then(|seen| seen.policy.clone());
    let policy = policy.expect("a policy");
    assert!(
        policy.contains("Backup") && policy.contains("aws:SecureTransport"),
        "{policy}"
    );
    assert_eq!(of_bucket(&turn(&mut world, &mut intent)), [""; 0]);
}

#[test]
fn a_bucket_in_service_that_lost_its_tags_is_given_them_back_and_never_deleted() {
    let (mut world, mut intent) = ready(&clustered(2));
    let seen = world.observed.files_bucket.as_mut().expect("a bucket");
    seen.tags = Tags::from([("team".to_owned(), "chat".to_owned())]);
    seen.empty = Some(false);
    let decision = turn(&mut world, &mut intent);
    let Phase::Stuck { reason } = &decision.next else {
        panic!("{decision:?}");
    };
    assert_eq!(of_bucket(&decision), [""; 0]);
    for says in [
        "`mattermost:stack=demo`",
        "`mattermost:part=files`",
        &format!("aws s3api put-bucket-tagging --bucket {BUCKET} "),
        r#"{"Key":"mattermost:stack","Value":"demo"}"#,
        r#"{"Key":"team","Value":"chat"}"#,
    ] {
        assert!(reason.contains(says), "{says}: {reason}");
    }
    assert!(!reason.contains("delete"), "{reason}");
    // Of one that nothing serves from, it is not known whose it is.
    intent.record.proven = None;
    let text = text(&plan(&intent, &world.observed, world.now));
    assert!(text.contains("empty and delete it"), "{text}");
}

#[test]
fn a_named_bucket_is_looked_at_and_never_changed() {
    let named = spec(&[("# bucket = \"example-chat-files\"", "bucket = \"theirs\"")]);
    let there = |region: &str, denied| FilesBucket {
        name: "theirs".to_owned(),
        region: region.to_owned(),
        denied,
        ..FilesBucket::default()
    };
    for (seen, says) in [
        (None, Some("does not exist")),
        (Some(there("us-east-1", true)), Some("answers 403")),
        (
            Some(there("eu-west-1", false)),
            Some("region = \"eu-west-1\""),
        ),
        (Some(there("us-east-1", false)), None),
    ] {
        let (decision, _) = first_look(&named, |observed| observed.files_bucket = seen);
        assert_eq!(of_bucket(&decision), [""; 0]);
        let stuck = matches!(decision.next, Phase::Stuck { .. });
        assert_eq!(stuck, says.is_some(), "{decision:?}");
        assert!(
            text(&decision).contains(says.unwrap_or("")),
            "{}",
            text(&decision)
        );
    }
}

#[test]
fn a_move_is_refused_until_it_is_said_to_be_made() {
    let (world, mut intent) = ready(&unlicensed());
    let ask = |files_moved, lose_files| Ask {
        files_moved,
        lose_files,
        ..Ask::default()
    };
    intent.spec.files.prefix = Some("chat".to_owned());
    let refused = request(&intent, &world.observed, &ask(false, false), world.now).unwrap_err();
    assert_eq!(refused.code, "files_would_be_left");
    assert!(
        refused.text.contains("--files-moved") && refused.text.contains("`chat/`"),
        "{}",
        refused.text
    );
    let decision = plan(&intent, &world.observed, world.now);
    assert!(
        text(&decision).contains("orchestrator rollout --files-moved"),
        "{}",
        text(&decision)
    );
    let moved = request(&intent, &world.observed, &ask(true, false), world.now).unwrap();
    assert_ne!(FilesHome::of(&moved.from), FilesHome::of(&moved.to));
    // A row from before says nothing of files: they are on the nodes' disks.
    intent.spec.files.prefix = None;
    if let Some(proven) = &mut intent.record.proven {
        proven.files = None;
    }
    let refused = request(&intent, &world.observed, &ask(false, false), world.now).unwrap_err();
    assert!(
        refused.text.contains("the nodes' disks"),
        "{}",
        refused.text
    );
}

#[test]
fn another_way_to_the_same_place_waits_for_a_rollout_without_a_flag() {
    let named = [
        ("# bucket = \"example-chat-files\"", "bucket = \"theirs\""),
        ("store = \"s3\"", "endpoint = \"https://minio.example\""),
    ];
    let mut spec = spec(&named);
    let mut observed = empty_account();
    observed.files_bucket = Some(FilesBucket {
        name: "theirs".to_owned(),
        region: "us-east-1".to_owned(),
        ..FilesBucket::default()
    });
    let mut world = World::new(&spec, &observed, epoch());
    let mut intent = wanting(&spec);
    until(&mut world, &mut intent, 300, |phase| *phase == Phase::Ready);
    let secret = |text| crate::spec::SecretRef::parse(text).ok();
    (spec.files.access_key, spec.files.secret_key) = (secret("s#a"), secret("s#b"));
    intent.spec = spec;
    let told = text(&plan(&intent, &world.observed, world.now));
    assert!(
        told.contains(
            "(keys of its own for the store of users' files): `orchestrator rollout` brings it"
        ),
        "{told}"
    );
    let rollout = request(&intent, &world.observed, &Ask::default(), world.now).unwrap();
    assert!(matches!(&rollout.to.files, Some(FilesHome::S3(home)) if home.own_keys));
}

#[test]
fn files_on_the_disk_are_lost_only_when_that_was_said() {
    let (world, intent) = ready(&local());
    assert!(world.observed.files_bucket.is_none());
    let ask = |lose_files| Ask {
        version: Some("11.11.0".to_owned()),
        sha256: Some("b".repeat(64)),
        lose_files,
        ..Ask::default()
    };
    let refused = request(&intent, &world.observed, &ask(false), world.now).unwrap_err();
    assert_eq!(refused.code, "files_would_be_lost");
    let rollout = request(&intent, &world.observed, &ask(true), world.now).unwrap();
    let told = crate::forecast_rollout(&intent, &rollout, &world.observed, world.now).to_string();
    let line = told.lines().find(|line| line.contains("FILES LOST"));
    assert!(
        line.is_some_and(|line| line.contains("--lose-files")),
        "{told}"
    );
    let told = crate::forecast(&wanting(&local()), &empty_account(), epoch()).to_string();
    assert!(
        told.contains("note: `[files] store = \"local\"`: users' uploads"),
        "{told}"
    );
    let mut observed = empty_account();
    observed.images.clear();
    let told = crate::forecast(&wanting(&local()), &observed, epoch()).to_string();
    assert_eq!(
        told.matches("`[files] store = \"local\"`").count(),
        1,
        "{told}"
    );
}

#[test]
fn whoever_is_sent_to_down_gets_every_flag_that_it_wants() {
    for (spec, says) in [
        (local(), "`orchestrator down --lose-files` removes it"),
        (unlicensed(), "`orchestrator down` removes it"),
    ] {
        let (mut world, intent) = ready(&spec);
        let balancer = world.observed.load_balancer.as_mut();
        balancer.expect("a load balancer").state = "failed".to_owned();
        let told = text(&plan(&intent, &world.observed, world.now));
        assert!(told.contains(says), "{told}");
    }
}
