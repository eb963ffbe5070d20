//! What the orchestrator's and the nodes' policies have room for: IAM refuses a managed policy of more than
//! 6,144 characters, white space not counted, and inline policies of a role of more than 10,240 together.
//!
//! Almost everything in them has a length of its own. What has none is counted here, so that no valid file
//! has policies that IAM refuses; tests of the crate that writes them hold the longest valid files to IAM's
//! limits.

use crate::spec::Spec;
use crate::spec::structure::Document;

/// Characters that the ARNs of named secrets may have together in the policy `data`.
const SECRETS: usize = 2_400;
/// Of an ARN around a secret's name and its region, in the longest partition; quotes and comma are counted.
const AROUND_NAME: usize = "\"arn:aws-us-gov:secretsmanager::123456789012:secret:-??????\",".len();
/// Of the statement that lets the orchestrator look at the key of `files.kms_key`, around the key's ARN.
const AROUND_KEY: usize =
    r#"{"Action":["kms:DescribeKey"],"Effect":"Allow","Resource":"","Sid":"LookAtKeyOfFiles"},"#
        .len();
/// Regions that reads may be allowed in.
const REGIONS: usize = 16;
/// IAM's limit for a role's name, which the instance profile shares.
const ROLE_NAME: usize = 64;

pub(super) fn policies(spec: &Spec, document: &mut Document) {
    let regions = spec.regions().len();
    if regions > REGIONS {
        document.refuse(
            "zones",
            format!("lie in {regions} regions: at most {REGIONS}, which the orchestrator's policy names one by one"),
        );
    }
    if spec.fleet.instance_profile.len() > ROLE_NAME {
        document.refuse(
            "fleet.instance_profile",
            format!("is longer than {ROLE_NAME} letters: its role has the same name, and IAM takes no more for a role"),
        );
    }
    let length = secrets(spec);
    let room = SECRETS.saturating_sub(key(spec));
    if length > room {
        document.refuse(
            place_of_secrets(spec),
            format!(
                "names secrets that take {length} characters of the orchestrator's policy, which has room for {room}: keep values in one JSON secret and name its members (`chat/secrets#smtp`, `chat/secrets#ldap`), or give the secrets shorter names"
            ),
        );
    }
}

/// What the statement for the bucket's key takes of the same room.
fn key(spec: &Spec) -> usize {
    let key = spec.files.kms_key.as_ref();
    key.map_or(0, |arn| arn.len() + AROUND_KEY)
}

/// What the statements for named secrets grow by.
fn secrets(spec: &Spec) -> usize {
    let named = AROUND_NAME + spec.home_region().len();
    let read = spec.named_secrets().into_iter().map(|id| {
        let whole = id.starts_with("arn:");
        id.len() + if whole { "\"\",".len() } else { named }
    });
    // A version that no server took gives way to the one before, by a statement of its own.
    let licence = spec.mattermost.licence_secret.as_ref();
    let restored = licence.map_or(0, |name| name.len() + named);
    read.sum::<usize>() + restored
}

/// The key that stands for them all in a message.
fn place_of_secrets(spec: &Spec) -> &'static str {
    if !spec.mattermost.secrets.is_empty() {
        "mattermost.secrets"
    } else if spec.mattermost.licence_secret.is_some() {
        "mattermost.licence_secret"
    } else {
        "files.access_key"
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::spec::{Answers, template};

    fn problems(text: &str) -> String {
        match Spec::parse(text, "m.toml") {
            Ok(_) => "none".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    fn with(from: &str, to: &str) -> String {
        let text = template(&Answers::default());
        assert!(text.contains(from), "the template has no `{from}`");
        text.replacen(from, to, 1)
    }

    /// A file with these secrets, each with a setting of its own.
    fn naming(references: impl Iterator<Item = String>) -> String {
        let mut section = "[mattermost.secrets]\n".to_owned();
        for (number, reference) in references.enumerate() {
            let _ = writeln!(section, "MM_PLUGIN_KEY{number} = \"{reference}\"");
        }
        with("[mattermost.secrets]\n", &section)
    }

    #[test]
    fn secrets_are_refused_when_their_names_outgrow_the_policy() {
        let names = |count: usize, letters: usize| {
            naming((0..count).map(move |it| format!("{it:0>letters$}#key")))
        };
        assert_eq!(problems(&names(12, 40)), "none");
        let text = problems(&names(20, 100));
        assert!(
            text.contains("`mattermost.secrets`")
                && text.contains("has room for 2400")
                && text.contains("chat/secrets#smtp"),
            "{text}"
        );
    }

    #[test]
    fn the_buckets_key_takes_of_their_room() {
        let secrets = naming((0..21).map(|it| format!("{it:0>40}#key")));
        assert_eq!(problems(&secrets), "none");
        let arn = format!("arn:aws:kms:us-east-1:123456789012:key/{}", "1".repeat(36));
        let key = secrets.replacen("[files]\n", &format!("[files]\nkms_key = \"{arn}\"\n"), 1);
        let text = problems(&key);
        assert!(text.contains("`mattermost.secrets`"), "{text}");
    }

    #[test]
    fn members_of_one_secret_count_once() {
        let text = naming((0..100).map(|it| format!("chat/secrets#k{it}")));
        assert_eq!(problems(&text), "none");
    }

    #[test]
    fn more_regions_and_longer_names_than_iam_takes_are_refused() {
        let from = "zones = [\"us-east-1a\", \"us-east-1b\"]";
        let more = |count: usize| {
            let zones: Vec<String> = (1..=count).map(|it| format!("\"eu-west-{it}a\"")).collect();
            let zones = format!(
                "zones = [\"us-east-1a\", \"us-east-1b\", {}]",
                zones.join(", ")
            );
            problems(&with(from, &zones))
        };
        assert_eq!(more(15), "none");
        assert!(more(16).contains("17 regions: at most 16"), "{}", more(16));
        let long = "zones = [\"xx-abcdefghijklmnopqr-1a\", \"xx-abcdefghijklmnopqr-1b\"]";
        let text = problems(&with(from, long));
        assert!(text.contains("is not an availability zone"), "{text}");
        let profile = |letters: usize| {
            let name = format!("instance_profile = \"{}\"", "p".repeat(letters));
            problems(&with("instance_profile = \"mattermost-node\"", &name))
        };
        assert_eq!(profile(64), "none");
        assert!(profile(65).contains("longer than 64"), "{}", profile(65));
    }
}
