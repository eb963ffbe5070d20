//! Section `[files]`, and settings of the server that it stands for.

mod endpoint;
mod kms_keys;

use super::node_settings::reference_elsewhere;
use crate::spec::structure::Document;
use crate::spec::{FileStore, Spec, partition_of};

/// S3's limit for a key is 1024 bytes; the server's own part of it takes less than half.
const PREFIX_LENGTH: usize = 512;
/// Beginnings and ends that S3 keeps for itself.
const RESERVED: ([&str; 3], [&str; 5]) = (
    ["xn--", "sthree-", "amzn-s3-demo-"],
    ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"],
);

pub(super) fn files(spec: &Spec, document: &mut Document) {
    match spec.files.store {
        FileStore::Local => local(spec, document),
        FileStore::S3 => bucket(spec, document),
    }
}

/// Only where nothing better is wanted, and only one node: two would each have their own files.
fn local(spec: &Spec, document: &mut Document) {
    let ours = &spec.files;
    if !ours.accept_losing_files {
        document.refuse(
            "files.store",
            "loses users' files with every rollout and every replaced node: leave it out (the stack makes a bucket), or set `files.accept_losing_files = true`",
        );
    }
    if spec.fleet.max > 1 {
        document.refuse(
            "files.store",
            format!(
                "needs `fleet.max = 1`, not {}: each node would have other files",
                spec.fleet.max
            ),
        );
    }
    let given = [
        ("bucket", ours.bucket.is_some()),
        ("prefix", ours.prefix.is_some()),
        ("region", ours.region.is_some()),
        ("endpoint", ours.endpoint.is_some()),
        ("kms_key", ours.kms_key.is_some()),
        ("former_kms_keys", !ours.former_kms_keys.is_empty()),
        ("access_key", ours.access_key.is_some()),
        ("secret_key", ours.secret_key.is_some()),
    ];
    for (key, _) in given.into_iter().filter(|(_, given)| *given) {
        document.refuse(
            &format!("files.{key}"),
            "has no meaning with `store = \"local\"`: leave one of the two out",
        );
    }
}

fn bucket(spec: &Spec, document: &mut Document) {
    let ours = &spec.files;
    if ours.accept_losing_files {
        document.refuse(
            "files.accept_losing_files",
            "belongs to `store = \"local\"`: files in a bucket are not lost",
        );
    }
    if let Some(bucket) = &ours.bucket
        && let Err(why) = bucket_name(bucket)
    {
        document.refuse("files.bucket", why);
    }
    if let Some(prefix) = &ours.prefix
        && !is_prefix(prefix)
    {
        document.refuse(
            "files.prefix",
            "is not a folder such as `chat` or `teams/chat`: letters, digits and `-_.` between single slashes, no slash at the beginning, no `.` or `..`, at most 512 characters",
        );
    }
    if let Some(region) = &ours.region {
        if ours.bucket.is_none() {
            document.refuse(
                "files.region",
                "needs `files.bucket`: the stack's own bucket lies in the home region",
            );
        } else if !is_region(region) {
            document.refuse("files.region", "is not a region, such as `us-east-1`");
        } else if partition_of(region) != partition_of(&spec.home_region()) {
            document.refuse(
                "files.region",
                format!(
                    "lies in another partition of AWS (`{}`) than the home region `{}` (`{}`): the nodes' role means nothing there. Name a bucket of the home region's partition",
                    partition_of(region),
                    spec.home_region(),
                    partition_of(&spec.home_region())
                ),
            );
        }
    }
    keys(spec, document);
    kms_keys::kms_keys(spec, document);
}

/// The endpoint and the keys for it.
fn keys(spec: &Spec, document: &mut Document) {
    let ours = &spec.files;
    let endpoint = ours.endpoint.as_deref();
    if let Some(why) = endpoint.and_then(|text| endpoint::problem(spec, text)) {
        document.refuse("files.endpoint", why);
    }
    for (key, reference) in [
        ("access_key", &ours.access_key),
        ("secret_key", &ours.secret_key),
    ] {
        let reference = reference.as_ref();
        if let Some(why) = reference.and_then(|it| reference_elsewhere(spec, it)) {
            document.refuse(&format!("files.{key}"), why);
        }
    }
    let given = [
        ("access_key", ours.access_key.is_some()),
        ("secret_key", ours.secret_key.is_some()),
    ];
    match given {
        [(_, false), (_, false)] => return,
        [(_, true), (_, true)] if ours.access_key == ours.secret_key => document.refuse(
            "files.secret_key",
            "is the same reference as `files.access_key`: an access key id and its secret half are two values, for example `chat/s3#access_key` and `chat/s3#secret_key`",
        ),
        [(_, true), (_, true)] => {}
        [(key, one), (other, _)] => {
            let (given, missing) = if one { (key, other) } else { (other, key) };
            document.refuse(
                &format!("files.{given}"),
                format!("needs `files.{missing}`: give both, or none (then the nodes' role signs)"),
            );
        }
    }
    for (key, missing) in [
        ("endpoint", ours.endpoint.is_none()),
        ("bucket", ours.bucket.is_none()),
    ] {
        if missing {
            document.refuse(
                "files.access_key",
                format!(
                    "needs `files.{key}`: keys of its own are for an S3-compatible store; on AWS the nodes' role signs"
                ),
            );
        }
    }
}

/// `us-east-1`, `us-gov-west-1`.
fn is_region(text: &str) -> bool {
    super::is_zone(&format!("{text}a"))
}

/// S3's rules for names of general purpose buckets.
fn bucket_name(name: &str) -> Result<(), &'static str> {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    if !(3..=63).contains(&name.len())
        || !name.bytes().all(letters)
        || !name.starts_with(edge)
        || !name.ends_with(edge)
        || ["..", ".-", "-."].iter().any(|pair| name.contains(pair))
        || name.parse::<std::net::Ipv4Addr>().is_ok()
    {
        return Err(
            "is not the name of a bucket (its name, not its ARN): 3 to 63 lower-case letters, digits, hyphens and single dots, beginning and ending with a letter or digit, not an IP address",
        );
    }
    if is_reserved(name) {
        return Err(
            "is a name that S3 keeps for itself (an access point, a table bucket, a directory bucket): name a general purpose bucket",
        );
    }
    Ok(())
}

/// Whether S3 keeps such names for itself, by their beginning or end.
pub(super) fn is_reserved(name: &str) -> bool {
    let (beginnings, ends) = RESERVED;
    beginnings.iter().any(|part| name.starts_with(part))
        || ends.iter().any(|part| name.ends_with(part))
}

/// No character that a policy would read as a wildcard or a variable.
fn is_prefix(prefix: &str) -> bool {
    let letters = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    prefix.len() <= PREFIX_LENGTH
        && prefix.split('/').all(|part| {
            !part.is_empty() && part != "." && part != ".." && part.bytes().all(letters)
        })
}

#[cfg(test)]
pub(super) mod tests {
    use crate::spec::{Answers, Spec, template};

    /// The problems of the template with `[files]` as given, one per line.
    pub(in crate::spec::checks) fn problems(files: &str, more: &[(&str, &str)]) -> String {
        let mut text = template(&Answers::default());
        text = text.replace("store = \"s3\"\n", "");
        text = text.replace("accept_losing_files = false\n", files);
        for (from, to) in more {
            assert!(text.contains(from), "the template has no `{from}`");
            text = text.replace(from, to);
        }
        Spec::parse(&text, "f").map_or_else(|error| error.to_string(), |_| "none".to_owned())
    }

    #[test]
    fn each_mistake_says_what_would_be_right() {
        let keys = "access_key = \"s#a\"\nsecret_key = \"s#b\"\n";
        for (files, says) in [
            ("bucket = \"Chat\"", "3 to 63 lower-case"),
            ("bucket = \"ab\"", "3 to 63 lower-case"),
            ("bucket = \"a..b\"", "3 to 63 lower-case"),
            ("bucket = \"a.-b\"", "3 to 63 lower-case"),
            ("bucket = \"10.0.0.1\"", "not an IP address"),
            ("bucket = \"chat-s3alias\"", "keeps for itself"),
            ("prefix = \"/chat\"", "no slash at the beginning"),
            ("prefix = \"a/../b\"", "no slash at the beginning"),
            ("prefix = \"a//b\"", "no slash at the beginning"),
            ("prefix = \"a*\"", "no slash at the beginning"),
            ("region = \"us-east-1\"", "needs `files.bucket`"),
            (
                "bucket = \"chat\"\nregion = \"cn-north-1\"",
                "another partition of AWS (`aws-cn`)",
            ),
            (
                "bucket = \"chat\"\nregion = \"us-gov-west-1\"",
                "another partition of AWS (`aws-us-gov`)",
            ),
            ("endpoint = \"minio.example\"", "is not `https://host`"),
            (
                "endpoint = \"https://minio.example/path\"",
                "is not `https://host`",
            ),
            (
                "endpoint = \"https://user@minio.example\"",
                "is not `https://host`",
            ),
            (
                "endpoint = \"http://minio.example\"",
                "users' files would cross it readable",
            ),
            (
                "endpoint = \"http://52.1.2.3:9000\"",
                "users' files would cross it readable",
            ),
            ("access_key = \"s#a\"", "needs `files.secret_key`"),
            (
                "bucket = \"chat\"\nendpoint = \"https://minio.example\"\naccess_key = \"s#a\"\nsecret_key = \"s#a\"",
                "is the same reference as `files.access_key`",
            ),
            (keys, "needs `files.bucket`"),
            ("access_key = \"p a s s\"", "is not a reference to a secret"),
            ("store = \"local\"", "accept_losing_files = true"),
            (
                "accept_losing_files = true",
                "belongs to `store = \"local\"`",
            ),
            (
                "store = \"local\"\naccept_losing_files = true\nprefix = \"a\"",
                "has no meaning with `store = \"local\"`",
            ),
        ] {
            let text = problems(&format!("{files}\n"), &[]);
            assert!(text.contains(says), "{files}: {text}");
            assert!(!text.contains("p a s s"), "{text}");
        }
        let two = [
            (
                "cluster = false",
                "cluster = false\naccept_unlicensed_nodes = true",
            ),
            ("accept_unlicensed_nodes = false\n", ""),
            ("\nmax = 1", "\nmax = 2"),
        ];
        let text = problems("store = \"local\"\naccept_losing_files = true\n", &two);
        assert!(text.contains("needs `fleet.max = 1`"), "{text}");
    }

    #[test]
    fn what_is_right_is_taken() {
        for files in [
            "",
            "prefix = \"chat/\"\n",
            "bucket = \"theirs.example\"\nregion = \"eu-west-1\"\nprefix = \"a/b\"\n",
            "endpoint = \"http://127.40.0.1:4566\"\n",
            "endpoint = \"http://10.40.0.2:4566\"\n",
            "endpoint = \"https://[fd00::1]:9000\"\n",
            "bucket = \"chat\"\nendpoint = \"https://minio.example:9000\"\naccess_key = \"s#a\"\nsecret_key = \"s#b\"\n",
            "store = \"local\"\naccept_losing_files = true\n",
        ] {
            assert_eq!(problems(files, &[]), "none", "{files}");
        }
    }

    #[test]
    fn settings_that_files_stands_for_are_refused_with_the_line_to_write() {
        for (key, says) in [
            ("DRIVERNAME", "store = "),
            ("AMAZONS3BUCKET", "bucket = "),
            ("AMAZONS3PATHPREFIX", "prefix = "),
            ("AMAZONS3ENDPOINT", "endpoint = "),
            ("AMAZONS3SSL", "endpoint = "),
            ("AMAZONS3REGION", "region = "),
            ("AMAZONS3ACCESSKEYID", "access_key = "),
            ("AMAZONS3SECRETACCESSKEY", "secret_key = "),
            ("AMAZONS3SSE", "kms_key = "),
            ("AMAZONS3SIGNV2", "version 4"),
            ("EXPORTDRIVERNAME", "exports live beside"),
            ("MAXFILESIZE", "none"),
            ("ENABLEPUBLICLINK", "none"),
            ("ENABLEMOBILEUPLOAD", "none"),
        ] {
            let setting = format!("MM_FILESETTINGS_{key}");
            let text = problems("", &[("MM_TEAMSETTINGS_ENABLEOPENSERVER", &setting)]);
            assert!(text.contains(says), "{key}: {text}");
            assert!(text.lines().count() == 1, "{key}: {text}");
        }
    }

    #[test]
    fn the_bucket_of_a_stack_has_a_name_of_its_own() {
        let spec = Spec::parse(&template(&Answers::default()), "f").unwrap();
        assert_eq!(
            spec.files_bucket("123456789012").as_deref(),
            Some("mattermost-files-123456789012-us-east-1")
        );
        let long = spec
            .names()
            .files_bucket("123456789012", &"far-away-".repeat(5));
        assert_eq!(long.len(), 63, "{long}");
        let other = spec
            .names()
            .files_bucket("123456789012", &"far-away-".repeat(6));
        assert_ne!(long, other);
    }
}
