//! The policies against the calls of this crate.

mod size;

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
         [mattermost]\nversion = \"11.0.0\"\nsha256 = \"{}\"\nlicence_secret = \"mattermost/licence\"\ncluster = true\n\
         [fleet]\nimage = \"base\"\n\
         [load_balancer]\ncertificate_arn = \"arn:aws:acm:us-east-1:123456789012:certificate/1\"\n\
         [orchestrator]\naddresses = [\"127.0.0.1:7443\"]\n",
        "0".repeat(64)
    );
    Spec::parse(&text, "mattermost.toml").expect("a valid specification")
}

/// Every statement of the orchestrator's policies.
fn orchestrators(spec: &Spec) -> Vec<Value> {
    let policies = iam_policies(spec, "123456789012").orchestrator;
    let statements = |policy: &Value| policy["Statement"].as_array().expect("statements").clone();
    policies.values().flat_map(statements).collect()
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
    let mut spec = spec();
    spec.files.kms_key = Some("arn:aws:kms:us-east-1:123456789012:key/1-2".to_owned());
    let policies = iam_policies(&spec, "123456789012");
    let mut allowed: BTreeSet<String> = policies.orchestrator.values().flat_map(actions).collect();
    // The deletion of files is a permission of its own.
    let deletion = actions(&policies.delete_files.expect("a bucket of the stack's own"));
    assert_eq!(
        allowed.intersection(&deletion).next(),
        None,
        "the daemon may not delete files"
    );
    allowed.extend(deletion);
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
        "iam:CreateServiceLinkedRole",
        "iam:PassRole",
        "rds:AddTagsToResource",
        "s3:TagResource",
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
        orchestrators(spec)
            .into_iter()
            .find(|statement| statement["Sid"] == "ReadNamedSecrets")
    };
    let mut spec = spec();
    spec.mattermost.licence_secret = None;
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
fn arns_lie_in_the_partition_of_the_home_region() {
    let arns = |home: &str| {
        let mut spec = spec();
        spec.zones = vec![format!("{home}a"), format!("{home}b")];
        spec.load_balancer.certificate_arn = None;
        let policies = iam_policies(&spec, "123456789012");
        let all = policies.orchestrator.values().chain([&policies.node]);
        let text: String = all.map(Value::to_string).collect();
        let arns = text.split('"').filter(|part| part.starts_with("arn:"));
        let partitions = arns.filter_map(|arn| arn.split(':').nth(1).map(str::to_owned));
        partitions.collect::<BTreeSet<String>>()
    };
    assert_eq!(arns("eu-central-1"), ["aws".to_owned()].into());
    assert_eq!(arns("us-gov-west-1"), ["aws-us-gov".to_owned()].into());
    assert_eq!(arns("cn-north-1"), ["aws-cn".to_owned()].into());
}

#[test]
fn services_make_their_own_roles_and_no_others() {
    let statement = orchestrators(&spec())
        .into_iter()
        .find(|statement| statement["Sid"] == "LetServicesMakeTheirRoles")
        .expect("a statement");
    let services = statement["Condition"]["StringEquals"]["iam:AWSServiceName"].clone();
    let resources = statement["Resource"].as_array().expect("resources");
    for (service, arn) in services.as_array().expect("services").iter().zip(resources) {
        let prefix = format!(
            "arn:aws:iam::123456789012:role/aws-service-role/{}/AWSServiceRoleFor",
            service.as_str().expect("a name")
        );
        assert!(
            arn.as_str().is_some_and(|arn| arn.starts_with(&prefix)),
            "{arn}"
        );
    }
    assert_eq!(resources.len(), 3);
}

#[test]
fn no_change_is_allowed_on_everything() {
    for statement in orchestrators(&spec()) {
        let bare = statement["Resource"] == "*" && statement.get("Condition").is_none();
        assert!(!bare, "{statement}");
    }
}

#[test]
fn only_the_licences_own_secret_may_get_an_earlier_version_back() {
    let mut spec = spec();
    let statements = |spec: &Spec| {
        let statements = orchestrators(spec);
        let moves = |statement: &Value| {
            let actions = statement["Action"].as_array().expect("actions");
            actions.contains(&"secretsmanager:UpdateSecretVersionStage".into())
        };
        statements.into_iter().filter(moves).collect::<Vec<_>>()
    };
    let named = statements(&spec);
    assert_eq!(named.len(), 1);
    assert_eq!(
        named[0]["Resource"],
        "arn:aws:secretsmanager:us-east-1:123456789012:secret:mattermost/licence-??????"
    );
    spec.mattermost.licence_secret = None;
    assert_eq!(statements(&spec), Vec::<Value>::new());
}

#[test]
fn the_nodes_may_use_that_bucket_below_that_prefix_and_nothing_else() {
    let mut spec = spec();
    spec.files.prefix = Some("chat".to_owned());
    let key = "arn:aws:kms:us-east-1:123456789012:key/12345678-1234-1234-1234-123456789012";
    spec.files.kms_key = Some(key.to_owned());
    let policies = iam_policies(&spec, "123456789012");
    let bucket = "arn:aws:s3:::demo-files-123456789012-us-east-1";
    let statements = policies.node["Statement"].as_array().expect("statements");
    let by_sid = |sid: &str| {
        statements
            .iter()
            .find(|statement| statement["Sid"] == sid)
            .unwrap_or_else(|| panic!("no {sid}"))
    };
    // The orchestrator looks at the key, and does nothing with it.
    let of_keys = policies.orchestrator["data"]["Statement"]
        .as_array()
        .expect("statements")
        .iter()
        .find(|statement| statement["Sid"] == "LookAtKeyOfFiles")
        .expect("a look at the key");
    assert_eq!(of_keys["Resource"], key);
    assert_eq!(of_keys["Action"], serde_json::json!(["kms:DescribeKey"]));
    let others = policies.orchestrator.values().flat_map(actions);
    let others: Vec<String> = others.filter(|it| it.starts_with("kms:")).collect();
    assert_eq!(others, ["kms:DescribeKey"]);
    assert_eq!(by_sid("UseFiles")["Resource"], format!("{bucket}/chat/*"));
    let listed = &by_sid("ListFiles")["Condition"]["StringLike"]["s3:prefix"];
    assert_eq!(*listed, serde_json::json!(["chat", "chat/", "chat/*"]));
    assert_eq!(by_sid("EncryptFiles")["Resource"], key);
    assert_eq!(
        by_sid("EncryptFiles")["Action"],
        serde_json::json!(["kms:Decrypt", "kms:GenerateDataKey"])
    );
    assert_eq!(
        by_sid("EncryptFiles")["Condition"]["StringEquals"]["kms:ViaService"],
        "s3.us-east-1.amazonaws.com"
    );
    // Every allowed action is one that the last statement does not deny, and the other way round.
    let mut allowed: BTreeSet<String> = statements
        .iter()
        .filter(|statement| statement["Effect"] == "Allow")
        .flat_map(|statement| statement["Action"].as_array().expect("actions"))
        .map(|action| action.as_str().expect("a name").to_owned())
        .collect();
    allowed.insert("sts:GetCallerIdentity".to_owned());
    let but: BTreeSet<String> = by_sid("NothingElseOfAws")["NotAction"]
        .as_array()
        .expect("actions")
        .iter()
        .map(|action| action.as_str().expect("a name").to_owned())
        .collect();
    assert_eq!(allowed, but);
    let text = policies.node.to_string();
    assert!(
        !text.contains("s3:*") && !text.contains("DeleteObjectVersion"),
        "{text}"
    );
}

/// Older files lie under keys that the bucket had before: nodes read with them, and encrypt nothing anew.
#[test]
fn nodes_read_what_lies_under_former_keys() {
    let arn = |id: &str| format!("arn:aws:kms:us-east-1:123456789012:key/{id}");
    for (key, not_denied) in [
        (None, vec!["kms:Decrypt"]),
        (Some(arn("3-4")), vec!["kms:Decrypt", "kms:GenerateDataKey"]),
    ] {
        let mut spec = spec();
        spec.files.kms_key = key;
        spec.files.former_kms_keys = vec![arn("1-2"), arn("5-6")];
        let policies = iam_policies(&spec, "123456789012");
        let statements = policies.node["Statement"].as_array().expect("statements");
        let reads = statements
            .iter()
            .find(|statement| statement["Sid"] == "ReadOlderFiles")
            .expect("the former keys");
        assert_eq!(
            reads["Resource"],
            serde_json::json!(spec.files.former_kms_keys)
        );
        assert_eq!(reads["Action"], serde_json::json!(["kms:Decrypt"]));
        assert_eq!(
            reads["Condition"]["StringEquals"]["kms:ViaService"],
            "s3.us-east-1.amazonaws.com"
        );
        let denies = statements.last().expect("a denial");
        let but = denies["NotAction"].as_array().expect("actions");
        let of_kms: Vec<&str> = but
            .iter()
            .filter_map(serde_json::Value::as_str)
            .filter(|action| action.starts_with("kms:"))
            .collect();
        assert_eq!(of_kms, not_denied);
    }
}

#[test]
fn a_named_buckets_key_is_used_through_s3_of_the_buckets_region() {
    let mut spec = spec();
    let key = "arn:aws:kms:us-west-2:123456789012:key/12345678-1234-1234-1234-123456789012";
    spec.files.bucket = Some("theirs".to_owned());
    spec.files.region = Some("us-west-2".to_owned());
    spec.files.kms_key = Some(key.to_owned());
    let policies = iam_policies(&spec, "123456789012");
    let statements = policies.node["Statement"].as_array().expect("statements");
    let encrypts = statements
        .iter()
        .find(|statement| statement["Sid"] == "EncryptFiles")
        .expect("the key");
    assert_eq!(encrypts["Resource"], key);
    assert_eq!(
        encrypts["Condition"]["StringEquals"]["kms:ViaService"],
        "s3.us-west-2.amazonaws.com"
    );
    // Keys of its own: the role has nothing to do with the bucket.
    let secret = |text| plan::spec::SecretRef::parse(text).ok();
    spec.files.kms_key = None;
    (spec.files.access_key, spec.files.secret_key) = (secret("s#a"), secret("s#b"));
    let text = iam_policies(&spec, "123456789012").node.to_string();
    assert!(!text.contains("s3:") && !text.contains("theirs"), "{text}");
}

#[test]
fn a_bucket_that_the_file_names_is_only_looked_at() {
    let mut spec = spec();
    spec.files.bucket = Some("theirs".to_owned());
    let policies = iam_policies(&spec, "123456789012");
    assert_eq!(policies.delete_files, None);
    let allowed = policies.orchestrator.values().flat_map(actions);
    let changes: Vec<String> = allowed
        .filter(|action| {
            action.starts_with("s3:")
                && !action.starts_with("s3:Get")
                && !action.starts_with("s3:List")
        })
        .collect();
    assert_eq!(changes, Vec::<String>::new());
    assert!(policies.node.to_string().contains("arn:aws:s3:::theirs/*"));
}
