//! Where users' files live: is it there, is it ours, does it keep what is deleted, does it answer.

use cloud::FilesSeen;
use plan::observed::{FilesBucket, KmsAnswer};
use plan::spec::FileStore;
use plan::{FilesHome, KeyVerdict, Observed, Spec};

use super::{Check, Outcome};
use crate::core::Core;

fn check(name: &str, result: Outcome, detail: impl Into<String>) -> Check {
    Check {
        name: name.to_owned(),
        result,
        detail: detail.into(),
    }
}

/// All checks of `[files]`.
pub(super) async fn files(core: &Core, observed: &Observed) -> Vec<Check> {
    let files = &core.spec.files;
    if files.store == FileStore::Local {
        return vec![check(
            "files",
            Outcome::Warn,
            "on the node's disk: every rollout and every replaced node loses them",
        )];
    }
    let mut checks = Vec::new();
    if files.is_own_bucket() {
        checks.push(own(&core.spec, observed));
    } else if let (Some(bucket), false) = (&files.bucket, files.own_keys()) {
        let region = core.spec.files_region();
        let seen = core.cloud.look_at_bucket(bucket, &region).await;
        checks.extend(named(bucket, &region, &seen));
        if let (Some(account), Some(true)) = (
            &observed.account,
            seen.bucket.as_ref().map(|seen| !seen.denied),
        ) {
            checks.push(owner(core, bucket, &region, account).await);
        }
    }
    let own_is_made = !files.is_own_bucket() || observed.files_bucket.is_some();
    if files.endpoint.is_some() && own_is_made {
        checks.push(endpoint(core, observed).await);
    }
    checks.extend(not_looked_at(&core.spec, own_is_made));
    if let Some(arn) = core
        .spec
        .files
        .kms_key
        .as_deref()
        .filter(|_| !files.own_keys())
    {
        checks.push(kms_key(&core.spec, arn, &observed.files_key));
    }
    checks.extend(former_keys(&core.spec, observed));
    checks
}

/// The key: without a usable one every upload fails.
fn kms_key(spec: &Spec, arn: &str, answer: &KmsAnswer) -> Check {
    let name = "files KMS key";
    match plan::judge_kms_key(arn, answer) {
        KeyVerdict::Usable => check(
            name,
            Outcome::Ok,
            format!(
                "`{arn}` is enabled and encrypts; whether its policy lets role `{}` in is not looked at: a node tries it before it serves, and every five minutes",
                spec.fleet.instance_profile
            ),
        ),
        KeyVerdict::Unusable(why) | KeyVerdict::Unread(why) => check(name, Outcome::Fail, why),
    }
}

/// Keys under which older files lie: the one that the bucket has, and those that the file names as former ones.
fn former_keys(spec: &Spec, observed: &Observed) -> Option<Check> {
    let name = "files former KMS keys";
    let files = &spec.files;
    if let Some(seen) = observed
        .files_bucket
        .as_ref()
        .filter(|_| files.is_own_bucket())
        && let Some(key) = plan::files::unnamed_key(files, seen)
    {
        let why = plan::files::unnamed_key_stays(&seen.name, key);
        return Some(check(name, Outcome::Fail, why));
    }
    let role = &spec.fleet.instance_profile;
    (!files.former_kms_keys.is_empty()).then(|| {
        check(
            name,
            Outcome::Skip,
            format!(
                "not looked at: whether the {} key(s) are enabled and let role `{role}` decrypt, and whether files still lie under them; leave one out when none does",
                files.former_kms_keys.len()
            ),
        )
    })
}

/// What no line above is about, and what shows it instead.
fn not_looked_at(spec: &Spec, is_made: bool) -> Vec<Check> {
    let files = &spec.files;
    let skip =
        |name: &str, what: String| check(name, Outcome::Skip, format!("not looked at: {what}"));
    let mut checks = Vec::new();
    if files.own_keys() {
        checks.push(skip(
            "files rights",
            "whether these keys may write and delete below the prefix; each node tries it before it serves".to_owned(),
        ));
    } else {
        checks.push(skip(
            "files rights",
            format!(
                "whether role `{}` has the policy `node` that `orchestrator iam-policy` prints, and the bucket's policy lets it in; each node tries to write, read and delete before it serves",
                spec.fleet.instance_profile
            ),
        ));
    }
    match &files.endpoint {
        None => checks.push(skip(
            "files network",
            "whether the node subnets are private: where they are, a gateway endpoint for S3 in their route tables spares what a NAT gateway charges for each gigabyte of users' files (docs/install.md, \"Network\")".to_owned(),
        )),
        Some(endpoint) if !is_made => checks.push(skip(
            "files endpoint",
            format!("whether `{endpoint}` answers, until the bucket is made; `doctor` tries it then, and each node before it serves"),
        )),
        Some(_) => {}
    }
    checks
}

/// The stack's own bucket.
fn own(spec: &Spec, observed: &Observed) -> Check {
    let name = "files bucket";
    if let Some(why) = observed.unknown.get("files_bucket") {
        return check(name, Outcome::Fail, why);
    }
    let bucket = observed
        .account
        .as_deref()
        .and_then(|account| spec.files_bucket(account))
        .unwrap_or_default();
    let stack = Some(&spec.stack);
    let nodes = observed.groups.values();
    let nodes_run = nodes.map(|group| group.members.len()).sum::<usize>() > 0;
    match &observed.files_bucket {
        None if nodes_run => check(
            name,
            Outcome::Warn,
            format!(
                "`{bucket}` is not there, and nodes run: if they serve from it, somebody deleted it, and what users uploaded is lost unless you have a copy; `serve` and `orchestrator up` make it, empty"
            ),
        ),
        None => check(name, Outcome::Ok, format!("`{bucket}` will be made")),
        Some(seen) if seen.denied => check(
            name,
            Outcome::Fail,
            format!(
                "`{bucket}` answers 403: another account has taken the name, or this role may not look (`orchestrator iam-policy`)"
            ),
        ),
        Some(seen)
            if seen.tags.get(plan::observed::STACK_TAG) != stack && seen.empty != Some(true) =>
        {
            check(
                name,
                Outcome::Fail,
                format!(
                    "`{bucket}` exists without the stack's tag: name it in `files.bucket` to use it as it is, or empty and delete it"
                ),
            )
        }
        Some(seen) => match observed
            .unknown
            .iter()
            .find(|(read, _)| read.starts_with("files_bucket/"))
        {
            Some((read, why)) => check(name, Outcome::Fail, format!("{read}: {why}")),
            None => match plan::files::made_anew(&bucket, &seen.tags) {
                Some(gone) => check(name, Outcome::Warn, gone),
                None => check(name, Outcome::Ok, format!("`{bucket}` in {}", seen.region)),
            },
        },
    }
}

/// A bucket that the specification names.
fn named(bucket: &str, region: &str, seen: &FilesSeen) -> Vec<Check> {
    let name = "files bucket";
    if let Some(why) = seen.unknown.get("files_bucket") {
        return vec![check(name, Outcome::Fail, why)];
    }
    let found: &FilesBucket = match &seen.bucket {
        None => {
            return vec![check(
                name,
                Outcome::Fail,
                format!("`{bucket}` does not exist: make it, or leave `files.bucket` out"),
            )];
        }
        Some(found) if found.denied => {
            return vec![check(
                name,
                Outcome::Fail,
                format!(
                    "`{bucket}` answers 403: its policy or this role's lacks `s3:ListBucket` (`orchestrator iam-policy`)"
                ),
            )];
        }
        Some(found) if found.region != region => {
            return vec![check(
                name,
                Outcome::Fail,
                format!(
                    "`{bucket}` lies in {}, not in {region}: write `region = \"{}\"` into `[files]`, or name another",
                    found.region, found.region
                ),
            )];
        }
        Some(found) => found,
    };
    let mut checks = vec![check(name, Outcome::Ok, format!("`{bucket}` in {region}"))];
    let judged = [
        (
            "public_access_blocked",
            "files public access",
            found.public_access_blocked,
            "blocked",
            "not blocked: `aws s3api put-public-access-block` closes the bucket whatever its policy says",
        ),
        (
            "versioning",
            "files versioning",
            found.versioning.as_deref() == Some("Enabled"),
            "on",
            "off: a deleted or overwritten file does not come back, and a restored database misses files",
        ),
    ];
    for (setting, name, fine, good, bad) in judged {
        checks.push(match seen.unknown.get(&format!("files_bucket/{setting}")) {
            Some(why) => check(name, Outcome::Warn, why),
            None if fine => check(name, Outcome::Ok, good),
            None => check(name, Outcome::Warn, bad),
        });
    }
    checks
}

async fn owner(core: &Core, bucket: &str, region: &str, account: &str) -> Check {
    let name = "files owner";
    match core.cloud.bucket_is_owned_by(bucket, region, account).await {
        Ok(true) => check(name, Outcome::Ok, format!("account {account}")),
        Ok(false) => check(
            name,
            Outcome::Warn,
            format!(
                "`{bucket}` belongs to another account than {account}: its policy must let the nodes' role in, and its owner can take the files away"
            ),
        ),
        Err(error) => check(name, Outcome::Warn, crate::chain(&error)),
    }
}

/// The endpoint, tried with the keys that servers will have, or with our own.
async fn endpoint(core: &Core, observed: &Observed) -> Check {
    let name = "files endpoint";
    let account = observed.account.as_deref();
    let Some(FilesHome::S3(home)) = FilesHome::wanted(&core.spec, account) else {
        return check(name, Outcome::Warn, "the bucket's name is not known");
    };
    let keys = match crate::files::keys(core).await {
        Ok(keys) => keys,
        Err(why) => return check(name, Outcome::Fail, why),
    };
    match core.cloud.probe_store(&home, keys.as_ref()).await {
        Ok(probe) => check(name, Outcome::Ok, format!("{} answers", probe.place)),
        Err(error) => check(
            name,
            Outcome::Fail,
            format!(
                "{} for bucket `{}`: {}",
                home.endpoint.unwrap_or_default(),
                home.bucket,
                crate::chain(&error)
            ),
        ),
    }
}

#[cfg(test)]
mod tests;
