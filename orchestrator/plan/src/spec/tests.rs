//! What is refused, where, and with which words.

use super::*;

mod refused;

fn valid() -> String {
    template(&Answers::default())
}

/// The problems of a file, one per line.
fn problems(text: &str) -> String {
    match Spec::parse(text, "mattermost.toml") {
        Ok(_) => "none".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// The template with one line changed.
fn with(from: &str, to: &str) -> String {
    let text = valid();
    assert!(text.contains(from), "the template has no `{from}`");
    text.replace(from, to)
}

#[test]
fn the_template_is_complete_and_valid() {
    let spec = Spec::parse(&valid(), "mattermost.toml").unwrap();
    assert_eq!(spec.home_region(), "us-east-1");
    assert_eq!(spec.database, Database::default());
    assert_eq!(spec.rollout, Rollout::default());
    assert_eq!(spec.load_balancer, LoadBalancer::default());
    // Every key of every section is in the template, in force or as a comment.
    let schema = Spec::json_schema();
    for (section, fields) in schema["$defs"].as_object().unwrap() {
        for key in fields["properties"]
            .as_object()
            .into_iter()
            .flat_map(|p| p.keys())
        {
            let named =
                valid().contains(&format!("{key} =")) || valid().contains(&format!(".{key}]"));
            assert!(named, "{section}.{key} is not in the template");
        }
    }
}

#[test]
fn all_problems_are_told_at_once_with_line_key_and_value() {
    let text = r#"stack = "Chat"
zones = ["us-east-1a"]
[mattermost]
version = "11.10"
sha256 = "abc"
colour = "blue"
[fleet]
image = "ami-1"
min = 3
max = 2
scale_out_cpu_percent = "95"
[orchestrator]
addresses = ["orchestrator"]
[rollout]
weigths = [10]
"#;
    insta::assert_snapshot!(problems(text), @r#"
    mattermost.toml:1: `stack = "Chat"` is not a stack name: 1 to 20 lower-case letters, digits and single hyphens, beginning with a letter, not ending with a hyphen, not beginning with `internal-`, `sg-`, `sthree-` or `amzn-s3-demo-`
    mattermost.toml:2: `zones = ["us-east-1a"]` names 1 zone(s) of the home region `us-east-1`: load balancer and DB subnet group need at least two, for example `us-east-1a` and `us-east-1b`
    mattermost.toml:4: `mattermost.version = "11.10"` is not a version of the form `11.10.0`
    mattermost.toml:5: `mattermost.sha256 = "abc"` is not a SHA-256: give 64 hexadecimal digits
    mattermost.toml:6: `mattermost.colour = "blue"` is not known here: known are version, sha256, url, edition, releases, versions, trust_file, signature, licence_secret, cluster, accept_unlicensed_nodes, settings, secrets
    mattermost.toml:8: `fleet.image = "ami-1"` is neither an AMI id (`ami-` and 17 hexadecimal digits) nor an AMI name (3 to 128 characters)
    mattermost.toml:10: `fleet.max = 2` is less than `min` (3): give 3 or more
    mattermost.toml:10: `fleet.max = 2` 2 nodes need a cluster licence: nodes without one silently lose messages between them. Give max = 1; or name the licence in `mattermost.licence_secret` and set `mattermost.cluster = true`; or set `mattermost.accept_unlicensed_nodes = true`
    mattermost.toml:11: `fleet.scale_out_cpu_percent = "95"` is a string: give a whole number
    mattermost.toml:13: `orchestrator.addresses[0] = "orchestrator"` is not `host:port`, such as `orchestrator.internal:7443`
    mattermost.toml:15: `rollout.weigths = [10]` is not known here: did you mean `weights`?
    "#);
}

#[test]
fn what_is_missing_is_named_with_an_example() {
    insta::assert_snapshot!(problems("stack = \"chat\"\n"), @r#"
    mattermost.toml:1: `fleet` is missing: add the table `[fleet]`
    mattermost.toml:1: `mattermost` is missing: add the table `[mattermost]`
    mattermost.toml:1: `orchestrator` is missing: add the table `[orchestrator]`
    mattermost.toml:1: `zones` is missing: give it, for example `zones = ["us-east-1a","us-east-1b"]`
    "#);
}

#[test]
fn syntax_errors_name_their_line() {
    let text = problems("stack = \"chat\"\nzones = [\n");
    assert!(
        text.starts_with("mattermost.toml:2: this is not TOML: ")
            || text.starts_with("mattermost.toml:3: this is not TOML: "),
        "{text}"
    );
}

#[test]
fn a_secret_in_the_settings_is_refused_and_not_shown() {
    for key in [
        "MM_SQLSETTINGS_DATASOURCE",
        "MM_SQLSETTINGS_DATASOURCEREPLICAS",
        "MM_EMAILSETTINGS_SMTPPASSWORD",
        "MM_FILESETTINGS_AMAZONS3SECRETACCESSKEY",
        "MM_FILESETTINGS_PUBLICLINKSALT",
        "MM_SQLSETTINGS_ATRESTENCRYPTKEY",
        "MM_GITLABSETTINGS_SECRET",
        "MM_LICENSE",
        "MM_CONFIG",
    ] {
        let text = problems(&with(
            "MM_TEAMSETTINGS_ENABLEOPENSERVER = \"false\"",
            &format!("{key} = \"hunter2\""),
        ));
        assert!(
            text.contains(key) && !text.contains("hunter2"),
            "{key}: {text}"
        );
    }
    for key in [
        "MM_PASSWORDSETTINGS_MINIMUMLENGTH",
        "MM_SERVICESETTINGS_ENABLEUSERACCESSTOKENS",
    ] {
        let text = problems(&with("MM_TEAMSETTINGS_ENABLEOPENSERVER", key));
        assert_eq!(text, "none", "{key}");
    }
}

#[test]
fn what_takes_the_server_out_of_reach_is_refused_with_what_would_be_right() {
    for (key, says) in [
        ("MM_CONFIG", "the stack's database"),
        ("MM_CUSTOM_DEFAULTS_PATH", "[mattermost.settings]"),
        ("MM_SERVICESETTINGS_LISTENADDRESS", ":8065"),
        ("MM_SERVICESETTINGS_CONNECTIONSECURITY", "certificate_arn"),
        ("MM_SERVICESETTINGS_TLSCERTFILE", "certificate_arn"),
        ("MM_SERVICESETTINGS_TLSKEYFILE", "certificate_arn"),
        ("MM_SERVICESETTINGS_USELETSENCRYPT", "certificate_arn"),
        ("MM_SERVICESETTINGS_FORWARD80TO443", "certificate_arn"),
        ("MM_CLUSTERSETTINGS_GOSSIPPORT", "8074"),
        ("MM_CLUSTERSETTINGS_OVERRIDEHOSTNAME", "address"),
        ("MM_EMAILSETTINGS_SMTPPASSWORD", "[mattermost.secrets]"),
    ] {
        let line = format!("{key} = \"hunter2\"");
        let setting = "MM_TEAMSETTINGS_ENABLEOPENSERVER = \"false\"";
        let text = problems(&with(setting, &line));
        assert!(text.contains(says) && !text.contains("hunter2"), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}

#[test]
fn a_secret_is_named_and_never_shown() {
    let named = |line: &str| {
        with(
            "# MM_EMAILSETTINGS_SMTPPASSWORD = \"chat/smtp#password\"",
            line,
        )
    };
    let spec = Spec::parse(
        &named("MM_EMAILSETTINGS_SMTPPASSWORD = \"chat/smtp#password\""),
        "f",
    );
    let spec = spec.unwrap();
    let settings = spec.secret_settings();
    let reference = settings["MM_EMAILSETTINGS_SMTPPASSWORD"];
    assert_eq!(reference.secret_id(), "chat/smtp");
    assert_eq!(reference.key(), Some("password"));
    let elsewhere = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:chat/smtp-AbCdEf";
    for (line, says) in [
        (
            "MM_EMAILSETTINGS_SMTPPASSWORD = \"hunter2!\"".to_owned(),
            "not shown",
        ),
        (
            "MM_EMAILSETTINGS_SMTPPASSWORD = \"hunter2-MyRealPassword\"".to_owned(),
            "has the form of a password",
        ),
        (
            "MM_SQLSETTINGS_DATASOURCE = \"chat/db\"".to_owned(),
            "comes from `database`",
        ),
        ("MM_LICENSE = \"chat/licence\"".to_owned(), "licence_secret"),
        ("MM_CONFIG = \"chat/db\"".to_owned(), "the stack's database"),
        ("SMTPPASSWORD = \"chat/smtp\"".to_owned(), "in capitals"),
        (
            "MM_TEAMSETTINGS_ENABLEOPENSERVER = \"chat/smtp\"".to_owned(),
            "[mattermost.settings]",
        ),
        (format!("MM_X_Y = \"{elsewhere}\""), "`eu-west-1`"),
    ] {
        let text = problems(&named(&line));
        assert!(
            text.contains(says) && !text.contains("hunter2"),
            "{line}: {text}"
        );
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}

#[test]
fn regions_and_addresses() {
    let text = with(
        "\"us-east-1b\"]",
        "\"us-east-1b\", \"us-west-2a\", \"eu-west-1c\"]",
    );
    let spec = Spec::parse(&text, "f").unwrap();
    assert_eq!(spec.regions(), ["us-east-1", "eu-west-1", "us-west-2"]);
    assert_eq!(spec.home_zones(), ["us-east-1a", "us-east-1b"]);
    assert_eq!(
        spec.artefact_url("11.11.0"),
        "https://releases.mattermost.com/11.11.0/mattermost-11.11.0-linux-amd64.tar.gz"
    );
    assert_eq!(spec.site_path(), "");
    let text = with(
        "# site_url = \"https://chat.example.com\"",
        "site_url = \"https://chat.example.com/mattermost\"",
    );
    assert_eq!(Spec::parse(&text, "f").unwrap().site_path(), "/mattermost");
    let names = spec.names();
    assert_eq!(names.group(0), "mattermost-g1");
    assert_eq!(names.target_group(crate::intent::Slot::B), "mattermost-b");
}

#[test]
fn a_digest_in_capitals_is_the_same_digest() {
    let lower = Answers::default().sha256;
    let spec = Spec::parse(&with(&lower, &lower.to_uppercase()), "f").unwrap();
    assert_eq!(spec.mattermost.sha256, lower);
}

#[test]
fn a_signature_is_checked_and_lies_beside_its_release() {
    let signed = |more: &str| {
        let table = format!("signature = {{ {more} }}\ncluster = false");
        Spec::parse(&with("cluster = false", &table), "f")
    };
    let print = format!("fingerprint = \"{}\"", "AB12 ".repeat(10));
    let spec = signed(&format!("{print}, key_file = \"k.asc\"")).unwrap();
    let url = |of| spec.signature_url("11.11.0", of).unwrap();
    assert_eq!(
        url("https://m.example/m?x=1"),
        "https://m.example/m.sig?x=1"
    );
    assert_eq!(url("https://m.example/m"), "https://m.example/m.sig");
    let elsewhere = format!("{print}, key_file = \"k\", url = \"https://s.example/{{version}}\"");
    let spec = signed(&elsewhere).unwrap();
    let url = spec
        .signature_url("11.11.0", "https://m.example/m")
        .unwrap();
    assert_eq!(url, "https://s.example/11.11.0");
    for (bad, key) in [
        (
            "fingerprint = \"F8F2C31744774B28\", key_file = \"k\"".to_owned(),
            "fingerprint",
        ),
        (format!("{print}, key_file = \"\""), "key_file"),
        (
            format!("{print}, key_file = \"k\", url = \"https://s.example/one.sig\""),
            "url",
        ),
        (
            format!("{print}, key_file = \"k\", url = \"http://s.example/{{version}}\""),
            "url",
        ),
    ] {
        let error = signed(&bad).unwrap_err();
        assert_eq!(error.problems.len(), 1, "{error}");
        assert_eq!(error.problems[0].key, format!("mattermost.signature.{key}"));
    }
}
