//! The policies against the calls of this crate.

use std::collections::BTreeSet;

use plan::Spec;
use plan::spec::SecretRef;
use serde_json::Value;

use super::iam_policies;

/// Every permission that a call of this crate names, read from its source.
fn permissions_in_source() -> BTreeSet<String> {
    let mut folders = vec![std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut found = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the crate's source") {
            let path = entry.expect("an entry").path();
            // What stands in these files is what is compared with.
            if path.ends_with("policy") || path.ends_with("policy.rs") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.ends_with("tests.rs") {
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("text");
            found.extend(text.split('"').filter_map(permission).map(str::to_owned));
        }
    }
    found
}

/// `service:Action`, and nothing else in it.
fn permission(text: &str) -> Option<&str> {
    let (service, action) = text.split_once(':')?;
    let plain = |part: &str| part.chars().all(|letter| letter.is_ascii_alphanumeric());
    (plain(service) && plain(action) && action.starts_with(|c: char| c.is_ascii_uppercase()))
        .then_some(text)
}

fn spec() -> Spec {
    let text = format!(
        "stack = \"demo\"\nzones = [\"us-east-1a\", \"us-east-1b\", \"us-west-2a\"]\n\
         [mattermost]\nversion = \"11.0.0\"\nsha256 = \"{}\"\naccept_unlicensed_nodes = true\n\
         [fleet]\nimage = \"base\"\n\
         [load_balancer]\ncertificate_arn = \"arn:aws:acm:us-east-1:123456789012:certificate/1\"\n\
         [orchestrator]\naddresses = [\"127.0.0.1:7443\"]\n",
        "0".repeat(64)
    );
    Spec::parse(&text, "mattermost.toml").expect("a valid specification")
}

fn actions(policy: &Value) -> BTreeSet<String> {
    policy["Statement"]
        .as_array()
        .expect("statements")
        .iter()
        .flat_map(|statement| statement["Action"].as_array().expect("actions"))
        .map(|action| action.as_str().expect("a name").to_owned())
        .collect()
}

#[test]
fn the_policy_allows_what_is_called_and_little_else() {
    let allowed = actions(&iam_policies(&spec(), "123456789012").orchestrator);
    let called = permissions_in_source();
    // Allowed to everybody.
    let free = "sts:GetCallerIdentity".to_owned();
    let missing: Vec<_> = called
        .iter()
        .filter(|call| !allowed.contains(*call) && **call != free)
        .collect();
    assert!(missing.is_empty(), "called and not allowed: {missing:?}");
    // What AWS wants besides the call itself.
    let implied: BTreeSet<String> = [
        "autoscaling:CreateOrUpdateTags",
        "cloudwatch:TagResource",
        "ec2:CreateTags",
        "ec2:DeleteSnapshot",
        "ec2:RunInstances",
        "elasticloadbalancing:AddTags",
        "iam:PassRole",
        "rds:AddTagsToResource",
        "secretsmanager:TagResource",
    ]
    .map(str::to_owned)
    .into();
    let surplus: Vec<_> = allowed
        .difference(&called)
        .filter(|call| !implied.contains(*call))
        .collect();
    assert!(surplus.is_empty(), "allowed and never called: {surplus:?}");
}

#[test]
fn exactly_the_secrets_that_the_specification_names_may_be_read() {
    let statement = |spec: &Spec| {
        let policy = iam_policies(spec, "123456789012").orchestrator;
        let statements = policy["Statement"].as_array().expect("statements").clone();
        statements
            .into_iter()
            .find(|statement| statement["Sid"] == "ReadNamedSecrets")
    };
    let mut spec = spec();
    assert_eq!(statement(&spec), None);
    let arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:chat/ldap-AbCdEf";
    spec.mattermost.licence_secret = Some("mattermost/licence".to_owned());
    for (setting, reference) in [
        ("MM_EMAILSETTINGS_SMTPPASSWORD", "chat/smtp#password"),
        ("MM_EMAILSETTINGS_SMTPUSERNAME", "chat/smtp#user"),
        ("MM_LDAPSETTINGS_BINDPASSWORD", arn),
    ] {
        let reference = SecretRef::parse(reference).expect("a reference");
        spec.mattermost
            .secrets
            .insert(setting.to_owned(), reference);
    }
    let statement = statement(&spec).expect("a statement");
    assert_eq!(
        statement["Action"],
        serde_json::json!(["secretsmanager:GetSecretValue"])
    );
    assert_eq!(
        statement["Resource"],
        serde_json::json!([
            arn,
            "arn:aws:secretsmanager:us-east-1:123456789012:secret:chat/smtp-??????",
            "arn:aws:secretsmanager:us-east-1:123456789012:secret:mattermost/licence-??????",
        ])
    );
}

#[test]
fn no_change_is_allowed_on_everything() {
    let policies = iam_policies(&spec(), "123456789012");
    for statement in policies.orchestrator["Statement"]
        .as_array()
        .expect("statements")
    {
        let bare = statement["Resource"] == "*" && statement.get("Condition").is_none();
        assert!(!bare, "{statement}");
    }
    let text = policies.orchestrator.to_string();
    // A role's inline policies may have this many characters together.
    assert!(text.len() <= 10_240, "{}", text.len());
}
