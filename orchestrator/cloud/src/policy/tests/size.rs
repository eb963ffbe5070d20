//! The longest specifications that are valid, against IAM's limits.

use std::fmt::Write as _;

use plan::Spec;
use proptest::prelude::*;
use serde_json::Value;

use crate::policy::iam_policies;

/// Characters of a managed policy ("IAM and AWS STS quotas").
const MANAGED: usize = 6_144;
/// Characters of a role's inline policies together. The nodes' role has one, `install.md` says.
const INLINE: usize = 10_240;
/// A region with as many letters as a specification takes, in the partition with the longest name.
const HOME: &str = "us-gov-abcdefghijk-1";
const ACCOUNT: &str = "123456789012";

/// As IAM counts: without white space.
fn length(policy: &Value) -> usize {
    let text = policy.to_string();
    text.chars().filter(|it| !it.is_whitespace()).count()
}

/// Everything as long as it may be, but for what names secrets.
fn longest(licence: Option<&str>, secrets: &[String], bucket: bool) -> String {
    let others = (1..=15).map(|it| format!("\"xx-{}-{it}a\"", "a".repeat(15 - it / 10)));
    let zones: Vec<String> = others.collect();
    // As many as a specification takes.
    let former: Vec<String> = (20..30)
        .map(|it| {
            let id = format!("{it}{}", "1".repeat(62));
            format!("\"arn:aws-us-gov:kms:{HOME}:{ACCOUNT}:key/{id}\"")
        })
        .collect();
    let mut text = format!(
        "stack = \"{}\"\nzones = [\"{HOME}a\", \"{HOME}b\", {}]\n\
         [mattermost]\nversion = \"11.0.0\"\nsha256 = \"{}\"\naccept_unlicensed_nodes = true\n{}\
         [files]\nprefix = \"{}\"\nkms_key = \"arn:aws-us-gov:kms:{HOME}:{ACCOUNT}:key/{}\"\nformer_kms_keys = [{}]\n{}\
         [fleet]\nimage = \"base\"\ninstance_profile = \"{}\"\nkey_pair = \"{}\"\n\
         [network]\nvpc = \"vpc-{}\"\n\
         [load_balancer]\ncertificate_arn = \"arn:aws-abcdefghijkl:acm:{HOME}:{ACCOUNT}:certificate/{}\"\n\
         [orchestrator]\naddresses = [\"127.0.0.1:7443\"]\n[mattermost.secrets]\n",
        "stack".repeat(4),
        zones.join(", "),
        "0".repeat(64),
        licence.map_or_else(String::new, |name| format!("licence_secret = \"{name}\"\n")),
        "f".repeat(512),
        "1".repeat(64),
        former.join(", "),
        if bucket {
            format!("bucket = \"{}\"\nregion = \"{HOME}\"\n", "b".repeat(63))
        } else {
            String::new()
        },
        "p".repeat(64),
        "k".repeat(64),
        "0".repeat(17),
        "1".repeat(64),
    );
    for (number, secret) in secrets.iter().enumerate() {
        let _ = writeln!(text, "MM_SECTION_KEY{number} = \"{secret}#member\"");
    }
    text
}

/// Each policy by name, with the characters that it takes more than IAM takes: none.
fn too_long(spec: &Spec) -> Vec<String> {
    let policies = iam_policies(spec, ACCOUNT);
    let managed = policies.orchestrator.iter();
    let managed = managed.map(|(name, policy)| (*name, policy, MANAGED));
    let node = [("node", &policies.node, INLINE)];
    let deletion = policies.delete_files.iter();
    let deletion = deletion.map(|policy| ("delete-files", policy, MANAGED));
    managed
        .chain(node)
        .chain(deletion)
        .filter(|(_, policy, most)| length(policy) > *most)
        .map(|(name, policy, most)| format!("{name}: {} of {most} characters", length(policy)))
        .collect()
}

fn parse(text: &str) -> Result<Spec, plan::spec::SpecError> {
    Spec::parse(text, "longest.toml")
}

#[test]
fn every_policy_fits_with_as_many_secrets_as_a_specification_may_name() {
    for bucket in [false, true] {
        for letters in [1, 8, 30, 64, 128, 512] {
            for licence in [None, Some("l".repeat(letters))] {
                let mut secrets = Vec::new();
                let mut fits = None;
                // One more, until the specification is refused.
                let refused = loop {
                    match parse(&longest(licence.as_deref(), &secrets, bucket)) {
                        Ok(spec) => fits = Some(spec),
                        Err(error) => break error.to_string(),
                    }
                    secrets.push(format!("{:s>letters$}", secrets.len()));
                };
                assert!(
                    refused.contains("names secrets that take"),
                    "{letters} letters: {refused}"
                );
                let spec = fits.expect("valid without any secret");
                assert_eq!(
                    too_long(&spec),
                    Vec::<String>::new(),
                    "{} secrets of {letters} letters",
                    secrets.len() - 1
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Names and whole ARNs of any length, some of them too many: what is not refused fits.
    #[test]
    fn what_a_specification_may_say_fits(
        letters in prop::collection::vec((1_usize..200, any::<bool>()), 0..24),
        licence in prop::option::of(1_usize..200),
        bucket in any::<bool>(),
    ) {
        let mut secrets: Vec<String> = letters.iter().enumerate().map(|(number, (letters, whole))| {
            let name = format!("{number:s>letters$}");
            if *whole {
                format!("arn:aws-us-gov:secretsmanager:{HOME}:{ACCOUNT}:secret:{name}-AbCdEf")
            } else {
                name
            }
        }).collect();
        let licence = licence.map(|letters| "l".repeat(letters));
        loop {
            if let Ok(spec) = parse(&longest(licence.as_deref(), &secrets, bucket)) {
                prop_assert_eq!(too_long(&spec), Vec::<String>::new());
                break;
            }
            prop_assert!(secrets.pop().is_some(), "refused without any secret");
        }
    }
}
