//! What a file may not say.

use super::with;
use crate::spec::{Answers, Spec, template};

/// One wrong value each: line changed, and what the message must say.
const REFUSED: [(&str, &str, &str); 38] = [
    (
        "zones = [\"us-east-1a\"",
        "zones = [\"us-east-1\"",
        "availability zone",
    ),
    ("\"us-east-1b\"]", "\"us-east-1a\"]", "twice"),
    (
        "edition = \"enterprise\"",
        "edition = \"gold\"",
        "none of \"enterprise\", \"team\"",
    ),
    ("cluster = false", "cluster = true", "needs a licence"),
    ("# url = \"https:", "url = \"ftp:", "HTTPS"),
    ("storage_gib = 100", "storage_gib = 5", "20 to 65536"),
    ("replicas = 1", "replicas = 6", "0 to 5"),
    ("replicas = 1", "replicas = 600", "0 to 255"),
    ("replicas = 1", "replicas = -1", "0 to 255"),
    (
        "backup_days = 7",
        "backup_days = 0",
        "a replica needs at least 1",
    ),
    ("rollout_snapshots = 2", "rollout_snapshots = 0", "1 to 100"),
    (
        "rollout_snapshots = 2",
        "rollout_snapshots = 101",
        "1 to 100",
    ),
    (
        "# engine_version = \"16\"",
        "engine_version = \"13\"",
        "14 or newer",
    ),
    (
        "# engine_version = \"16\"",
        "engine_version = \"nine\"",
        "13 to 17",
    ),
    (
        "class = \"db.m7g.large\"",
        "class = \"m7g.large\"",
        "db.m7g.large",
    ),
    ("min = 1", "min = 0", "1 or more"),
    ("max = 1", "max = 3", "cluster licence"),
    (
        "scale_in_cpu_percent = 20",
        "scale_in_cpu_percent = 96",
        "swing",
    ),
    (
        "scale_out_minutes = 2",
        "scale_out_minutes = 0",
        "1 to 1440",
    ),
    ("boot_seconds = 1800", "boot_seconds = 10", "30 to 7200"),
    (
        "# key_pair = \"operators\"",
        "key_pair = \" \"",
        "EC2 key pair",
    ),
    (
        "# vpc = \"vpc-0123456789abcdef0\"",
        "vpc = \"default\"",
        "VPC id",
    ),
    (
        "idle_timeout_seconds = 300",
        "idle_timeout_seconds = 60",
        "every 60",
    ),
    (
        "allow = [\"0.0.0.0/0\"]",
        "allow = [\"10.0.0.1/8\"]",
        "mask",
    ),
    (
        "scheme = \"internet-facing\"",
        "scheme = \"public\"",
        "internal",
    ),
    (
        "# site_url = \"https://chat.example.com\"",
        "site_url = \"https://chat.example.com/mattermost/\"",
        "no slash at its end",
    ),
    (
        "# site_url = \"https://chat.example.com\"",
        "site_url = \"https://chat.example.com/mattermost?a=b\"",
        "no query",
    ),
    ("weights = [10, 50, 100]", "weights = [50, 10, 100]", "rise"),
    (
        "weights = [10, 50, 100]",
        "weights = [10, 50]",
        "end with 100",
    ),
    ("weights = [10, 50, 100]", "weights = []", "end with 100"),
    (
        "max_error_basis_points = 100",
        "max_error_basis_points = 10001",
        "0 to 10000",
    ),
    ("reads_in_a_row = 3", "reads_in_a_row = 0", "1 to 20"),
    ("event_days = 90", "event_days = 0", "1 to 3650"),
    (
        "state_age_seconds = 60",
        "state_age_seconds = 0",
        "1 to 300",
    ),
    (
        "settings_age_seconds = 900",
        "settings_age_seconds = 30",
        "60 to 3600",
    ),
    (
        "# listen = \"0.0.0.0:7443\"",
        "listen = \"everywhere\"",
        "0.0.0.0:7443",
    ),
    (
        "# source = \"10.0.0.0/16\"",
        "source = \"office\"",
        "security group",
    ),
    (
        "# certificate_arn = \"arn:aws:acm:us-east-1",
        "certificate_arn = \"arn:aws:acm:eu-west-1",
        "own region",
    ),
];

#[test]
fn each_wrong_value_is_refused_at_its_own_line() {
    for (from, to, says) in REFUSED {
        let text = with(from, to);
        let line = text[..text.find(to).unwrap()].lines().count();
        let error = Spec::parse(&text, "f").unwrap_err();
        assert_eq!(error.problems.len(), 1, "{to}: {error}");
        assert!(error.to_string().contains(says), "{to}: {error}");
        let found = error.problems[0].line;
        assert!(
            found == line || found == line + 1,
            "{to}: line {found}, not {line}"
        );
    }
}

#[test]
fn a_stack_is_not_named_as_what_aws_keeps_for_itself() {
    let named = |stack: &str| {
        let answers = Answers {
            stack: stack.to_owned(),
            ..Answers::default()
        };
        Spec::parse(&template(&answers), "f")
    };
    for stack in [
        "sg",
        "sg-1",
        "sthree",
        "sthree-x",
        "amzn-s3-demo",
        "internal-a",
    ] {
        let told = named(stack).unwrap_err().to_string();
        assert!(told.contains("is not a stack name"), "{stack}: {told}");
    }
    for stack in ["sgx", "sthreex", "internal", "amzn-s3"] {
        named(stack).unwrap();
    }
}
