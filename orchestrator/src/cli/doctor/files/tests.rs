use super::super::spec;
use super::*;
use plan::observed::KmsKey;
use plan::spec::SecretRef;

fn results(seen: &FilesSeen) -> Vec<(String, Outcome)> {
    named("theirs", "us-east-1", seen)
        .into_iter()
        .map(|check| (check.name, check.result))
        .collect()
}

#[test]
fn what_nobody_looked_at_is_said() {
    let told = |change: fn(&mut Spec)| {
        let mut spec = spec();
        change(&mut spec);
        let checks = not_looked_at(&spec, false);
        assert!(checks.iter().all(|check| check.result == Outcome::Skip));
        let lines = checks
            .iter()
            .map(|check| format!("{}: {}", check.name, check.detail));
        lines.collect::<Vec<_>>()
    };
    let role = told(|_| ());
    assert_eq!(role.len(), 2, "{role:?}");
    assert!(
        role[0].starts_with("files rights: not looked at: whether role `mattermost-node`"),
        "{role:?}"
    );
    // How the bucket is reached is said before it is made, too.
    assert!(role[1].contains("a gateway endpoint for S3"), "{role:?}");
    let endpoint = told(|spec| spec.files.endpoint = Some("https://s3.example".to_owned()));
    assert!(
        endpoint[1]
            .starts_with("files endpoint: not looked at: whether `https://s3.example` answers"),
        "{endpoint:?}"
    );
    let keys = told(|spec| {
        let secret = |text| SecretRef::parse(text).ok();
        (spec.files.access_key, spec.files.secret_key) = (secret("s#a"), secret("s#b"));
    });
    assert!(keys[0].contains("whether these keys may write"), "{keys:?}");
}

#[test]
fn a_key_is_fine_only_when_kms_said_so() {
    let spec = spec();
    let arn = "arn:aws:kms:us-east-1:123456789012:key/1-2";
    let described = |state: &str| {
        KmsAnswer::Described(KmsKey {
            arn: arn.to_owned(),
            state: state.to_owned(),
            usage: "ENCRYPT_DECRYPT".to_owned(),
            spec: "SYMMETRIC_DEFAULT".to_owned(),
        })
    };
    for (answer, result, says) in [
        (described("Enabled"), Outcome::Ok, "role `mattermost-node`"),
        (described("Disabled"), Outcome::Fail, "aws kms enable-key"),
        (KmsAnswer::NotAsked, Outcome::Fail, "was not read"),
    ] {
        let check = kms_key(&spec, arn, &answer);
        assert_eq!(check.result, result, "{}", check.detail);
        assert!(check.detail.contains(says), "{}", check.detail);
    }
}

#[test]
fn a_key_that_the_bucket_was_given_and_the_file_names_no_more_is_a_failure() {
    let mut spec = spec();
    let key = "arn:aws:kms:us-east-1:123456789012:key/1-2";
    let encryption = plan::observed::BucketEncryption {
        algorithm: "aws:kms".to_owned(),
        kms_key: Some(key.to_owned()),
        ..Default::default()
    };
    let observed = Observed {
        files_bucket: Some(FilesBucket {
            name: "demo-files".to_owned(),
            encryption: Some(encryption),
            ..FilesBucket::default()
        }),
        ..Observed::default()
    };
    let unnamed = former_keys(&spec, &observed).unwrap();
    assert_eq!(unnamed.result, Outcome::Fail);
    assert!(
        unnamed.detail.contains(key) && unnamed.detail.contains("former_kms_keys"),
        "{}",
        unnamed.detail
    );
    spec.files.former_kms_keys = vec![key.to_owned()];
    assert_eq!(former_keys(&spec, &observed).unwrap().result, Outcome::Skip);
    (spec.files.former_kms_keys, spec.files.kms_key) = (Vec::new(), Some(key.to_owned()));
    assert!(former_keys(&spec, &observed).is_none());
}

#[test]
fn a_bucket_that_is_gone_is_told_from_one_that_is_to_come() {
    let spec = spec();
    let mut observed = Observed {
        account: Some("123456789012".to_owned()),
        ..Observed::default()
    };
    assert_eq!(own(&spec, &observed).result, Outcome::Ok);
    let mut group = plan::observed::Group::default();
    let member = plan::observed::Member::default();
    group.members.insert("i-1".to_owned(), member);
    observed.groups.insert("blue".to_owned(), group);
    let gone = own(&spec, &observed);
    assert_eq!(gone.result, Outcome::Warn);
    let name = spec.files_bucket("123456789012").unwrap();
    assert!(gone.detail.contains(&name), "{}", gone.detail);
}

#[test]
fn a_named_bucket_is_judged_by_what_was_read_of_it() {
    let name = |name: &str| name.to_owned();
    let mut seen = FilesSeen::default();
    assert_eq!(results(&seen), [(name("files bucket"), Outcome::Fail)]);
    seen.bucket = Some(FilesBucket {
        name: name("theirs"),
        region: name("us-east-1"),
        ..FilesBucket::default()
    });
    assert_eq!(
        results(&seen),
        [
            (name("files bucket"), Outcome::Ok),
            (name("files public access"), Outcome::Warn),
            (name("files versioning"), Outcome::Warn),
        ]
    );
    if let Some(bucket) = &mut seen.bucket {
        bucket.public_access_blocked = true;
        bucket.versioning = Some(name("Enabled"));
    }
    assert!(
        results(&seen)
            .iter()
            .all(|(_, result)| *result == Outcome::Ok)
    );
    seen.unknown
        .insert(name("files_bucket/versioning"), name("denied"));
    assert_eq!(results(&seen)[2], (name("files versioning"), Outcome::Warn));
    if let Some(bucket) = &mut seen.bucket {
        bucket.region = name("eu-west-1");
    }
    assert_eq!(results(&seen), [(name("files bucket"), Outcome::Fail)]);
}
