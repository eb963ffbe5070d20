//! KMS keys of the bucket: the one that encrypts, and those under which older files still lie.

use crate::spec::structure::Document;
use crate::spec::{Spec, partition_of};

/// So many former keys the nodes' policy has room for beside the rest, as tests of the crate that writes it prove.
const MOST_FORMER: usize = 10;

pub(super) fn kms_keys(spec: &Spec, document: &mut Document) {
    let ours = &spec.files;
    let former = &ours.former_kms_keys;
    if ours.own_keys() {
        for (key, given) in [
            ("kms_key", ours.kms_key.is_some()),
            ("former_kms_keys", !former.is_empty()),
        ] {
            if given {
                document.refuse(
                    &format!("files.{key}"),
                    "is AWS's: leave it out with keys of an S3-compatible store",
                );
            }
        }
        return;
    }
    if let Some(arn) = &ours.kms_key
        && let Err(why) = key(spec, arn)
    {
        document.refuse("files.kms_key", why);
    }
    if former.len() > MOST_FORMER {
        document.refuse(
            "files.former_kms_keys",
            format!(
                "names {} keys: at most {MOST_FORMER} fit into the nodes' policy. Copy what lies under the oldest onto itself (`aws s3 cp`), and leave them out",
                former.len()
            ),
        );
    }
    for (place, arn) in former.iter().enumerate() {
        let why = if let Err(why) = key(spec, arn) {
            why
        } else if ours.kms_key.as_ref() == Some(arn) {
            "is `files.kms_key`, which encrypts and reads: name only keys that it had before"
                .to_owned()
        } else if former[..place].contains(arn) {
            "is named twice: once is enough".to_owned()
        } else {
            continue;
        };
        document.refuse(&format!("files.former_kms_keys[{place}]"), why);
    }
}

/// Why this is not the ARN of a key that the bucket can use.
fn key(spec: &Spec, arn: &str) -> Result<(), String> {
    let region = spec.files_region();
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    match parts.as_slice() {
        ["arn", partition, "kms", there, account, resource]
            if super::super::is_partition(partition)
                && account.len() == 12
                && account.bytes().all(|b| b.is_ascii_digit())
                && resource
                    .strip_prefix("key/")
                    .is_some_and(super::super::is_key_id) =>
        {
            if *partition != partition_of(there) {
                return Err(format!(
                    "is of partition `{partition}`, and `{there}` lies in `{}`: write `arn:{}:kms:…`",
                    partition_of(there),
                    partition_of(there)
                ));
            }
            if *there != region {
                return Err(format!(
                    "lies in `{there}`: a bucket encrypts with a key of its own region, `{region}`, only"
                ));
            }
            Ok(())
        }
        _ => Err("is not the ARN of a key (`arn:aws:kms:<region>:<account>:key/<id>`): an alias may point elsewhere tomorrow, and the nodes' policy names the key".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::problems;

    const KEY: &str = "arn:aws:kms:us-east-1:123456789012:key/1-2";
    const STORE: &str = "bucket = \"chat\"\nendpoint = \"https://minio.example\"\naccess_key = \"s#a\"\nsecret_key = \"s#b\"";

    #[test]
    fn each_mistake_says_what_would_be_right() {
        let elsewhere = KEY.replace("us-east-1", "eu-west-1");
        let many: Vec<String> = (0..11).map(|it| format!("\"{KEY}{it}\"")).collect();
        for (files, says) in [
            (
                "kms_key = \"alias/chat\"".to_owned(),
                "`files.kms_key = \"alias/chat\"` is not the ARN of a key",
            ),
            (
                format!("kms_key = \"{elsewhere}\""),
                "a key of its own region, `us-east-1`",
            ),
            (
                format!("kms_key = \"{}\"", KEY.replace(":aws:", ":aws-cn:")),
                "is of partition `aws-cn`, and `us-east-1` lies in `aws`: write `arn:aws:kms:…`",
            ),
            (
                "former_kms_keys = [\"alias/chat\"]".to_owned(),
                "former_kms_keys[0] = \"alias/chat\"` is not the ARN of a key",
            ),
            (
                format!("former_kms_keys = [\"{elsewhere}\"]"),
                "a key of its own region, `us-east-1`",
            ),
            (
                format!("kms_key = \"{KEY}\"\nformer_kms_keys = [\"{KEY}\"]"),
                "is `files.kms_key`, which encrypts and reads",
            ),
            (
                format!("former_kms_keys = [\"{KEY}\", \"{KEY}\"]"),
                "is named twice",
            ),
            (
                format!("former_kms_keys = [{}]", many.join(", ")),
                "names 11 keys: at most 10",
            ),
            (
                format!("{STORE}\nformer_kms_keys = [\"{KEY}\"]"),
                "` is AWS's: leave it out with keys",
            ),
            (
                format!(
                    "store = \"local\"\naccept_losing_files = true\nformer_kms_keys = [\"{KEY}\"]"
                ),
                "has no meaning with `store = \"local\"`",
            ),
        ] {
            let text = problems(&format!("{files}\n"), &[]);
            assert!(text.contains(says), "{files}: {text}");
        }
    }

    #[test]
    fn what_is_right_is_taken() {
        for files in [
            format!("kms_key = \"{KEY}\"\n"),
            format!("former_kms_keys = [\"{KEY}\"]\n"),
            format!("kms_key = \"{KEY}\"\nformer_kms_keys = [\"{KEY}3\", \"{KEY}4\"]\n"),
        ] {
            assert_eq!(problems(&files, &[]), "none", "{files}");
        }
    }
}
