use crate::spec::{Answers, Spec, template};

/// What is wrong with the template and these lines in a table of it, one problem a line.
fn problems(table: &str, lines: &str) -> String {
    let answers = Answers {
        stack: "chat".to_owned(),
        ..Answers::default()
    };
    let mut text = template(&answers);
    let head = format!("[{table}]\n");
    if text.contains(&head) {
        text = text.replace(&head, &format!("{head}{lines}\n"));
    } else {
        text = format!("{text}\n{head}{lines}\n");
    }
    Spec::parse(&text, "f").map_or_else(|error| error.to_string(), |_| "none".to_owned())
}

#[test]
fn secrets_give_no_setting_that_another_part_of_the_file_decides() {
    for (name, says) in [
        ("MM_FILESETTINGS_DRIVERNAME", "decided by `[files]`"),
        ("MM_FILESETTINGS_AMAZONS3BUCKET", "decided by `[files]`"),
        ("MM_FILESETTINGS_AMAZONS3SECRETACCESSKEY", "secret_key ="),
        ("MM_FILESETTINGS_EXPORTDRIVERNAME", "exports live beside"),
        ("MM_SQLSETTINGS_REPLICALAGSETTINGS", "data sources"),
        (
            "MM_SQLSETTINGS_MAXOPENCONNS",
            "Give it in `[mattermost.settings]`",
        ),
        (
            "MM_METRICSSETTINGS_LISTENADDRESS",
            "Give it in `[mattermost.settings]`",
        ),
        (
            "MM_FILESETTINGS_DIRECTORY",
            "Give it in `[mattermost.settings]`",
        ),
        ("MM_EMAILSETTINGS_SMTPPASSWORD", "none"),
    ] {
        let told = problems("mattermost.secrets", &format!("{name} = \"chat/own#a\""));
        assert!(told.contains(says), "{name}: {told}");
    }
}

#[test]
fn metrics_have_a_port_of_their_own() {
    for (value, says) in [
        (":8067", "none"),
        ("127.0.0.1:9100", "none"),
        ("[::1]:9100", "none"),
        (":8065", "is port 8065, which is Mattermost's own"),
        ("0.0.0.0:8074", "between the nodes of a cluster"),
        ("8067", "a port behind a colon"),
        (":0", "a port behind a colon"),
        (":metrics", "a port behind a colon"),
    ] {
        let line = format!("MM_METRICSSETTINGS_LISTENADDRESS = \"{value}\"");
        let told = problems("mattermost.settings", &line);
        assert!(told.contains(says), "{value}: {told}");
    }
}

#[test]
fn a_reference_is_of_the_home_regions_partition() {
    let arn = "arn:aws-cn:secretsmanager:us-east-1:123456789012:secret:chat/smtp-AbCdEf";
    let line = format!("MM_EMAILSETTINGS_SMTPPASSWORD = \"{arn}\"");
    let told = problems("mattermost.secrets", &line);
    assert!(told.contains("is of partition `aws-cn`"), "{told}");
    assert!(told.contains("`arn:aws:secretsmanager:…`"), "{told}");
}

#[test]
fn a_secret_of_the_stack_itself_is_told_to_no_server() {
    let arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret";
    for own in [
        "chat/database/master".to_owned(),
        "chat/database/mattermost#password".to_owned(),
        "chat/database/orchestrator".to_owned(),
        "chat/orchestrator-ca#key".to_owned(),
        format!("{arn}:chat/orchestrator-ca-AbCdEf"),
    ] {
        let setting = format!("MM_EMAILSETTINGS_SMTPPASSWORD = \"{own}\"");
        let keys = format!(
            "endpoint = \"https://minio.example\"\nbucket = \"chat-users\"\naccess_key = \"{own}\"\nsecret_key = \"chat/s3#key\""
        );
        for told in [
            problems("mattermost.secrets", &setting),
            problems("files", &keys),
        ] {
            assert!(told.contains("of the stack itself"), "{own}: {told}");
        }
    }
    let told = problems("mattermost", "licence_secret = \"chat/orchestrator-ca\"");
    assert!(told.contains("of the stack itself"), "{told}");
    for fine in ["chat/database/masters", "other/database/master"] {
        let setting = format!("MM_EMAILSETTINGS_SMTPPASSWORD = \"{fine}\"");
        assert_eq!(problems("mattermost.secrets", &setting), "none", "{fine}");
    }
}

#[test]
fn a_setting_whose_value_holds_a_secret_is_refused_unseen() {
    let plugins = "MM_PLUGINSETTINGS_PLUGINS";
    let states = "MM_PLUGINSETTINGS_PLUGINSTATES";
    for (key, value) in [
        (plugins, r#"{"jira": {"Secret": "hunter2"}}"#),
        (
            plugins,
            r#"{"github": {"githuboauthclientsecret": "hunter2"}}"#,
        ),
        (plugins, r#"{"a": {"list": [{"api_key": "hunter2"}]}}"#),
        (
            plugins,
            r#"{"a": {"url": "https://bot:hunter2@a.example"}}"#,
        ),
        (
            "MM_ELASTICSEARCHSETTINGS_CONNECTIONURL",
            "https://elastic:hunter2@es.example:9200",
        ),
    ] {
        let told = problems("mattermost.settings", &format!("{key} = '{value}'"));
        assert!(
            told.contains("[mattermost.secrets]") && !told.contains("hunter2"),
            "{value}: {told}"
        );
    }
    for (key, value) in [
        (
            plugins,
            r#"{"jira": {"Secret": "", "EnableSecret": true, "RotateToken": null}}"#,
        ),
        (states, r#"{"com.mattermost.calls": {"Enable": true}}"#),
        (
            "MM_SUPPORTSETTINGS_HELPLINK",
            "https://help.example/@me?to=a@b.example",
        ),
    ] {
        let told = problems("mattermost.settings", &format!("{key} = '{value}'"));
        assert_eq!(told, "none", "{value}");
    }
    let whole = format!("{plugins} = \"chat/plugins\"");
    assert_eq!(problems("mattermost.secrets", &whole), "none");
}

#[test]
fn what_would_be_written_on_a_nodes_disk_is_refused() {
    let line = "MM_COMPLIANCESETTINGS_DIRECTORY = \"./data/\"";
    let told = problems("mattermost.settings", line);
    assert!(told.contains("go with the node"), "{told}");
    let line = "MM_COMPLIANCESETTINGS_ENABLEDAILY = \"false\"";
    assert_eq!(problems("mattermost.settings", line), "none");
}

#[test]
fn a_setting_is_one_line_of_text() {
    for letter in [
        "\\n", "\\r", "\\u0000", "\\u001b", "\\u0085", "\\u2028", "\\u2029",
    ] {
        let line = format!("MM_TEAMSETTINGS_SITENAME = \"a{letter}MM_LICENSE=b\"");
        let told = problems("mattermost.settings", &line);
        assert!(told.contains("takes one line of text"), "{line}: {told}");
    }
    let line = "MM_TEAMSETTINGS_SITENAME = \"a\\tb ü \\\\ $HOME #c\"";
    assert_eq!(problems("mattermost.settings", line), "none");
}

#[test]
fn keys_of_a_store_lie_in_the_home_region() {
    let arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:chat/s3-AbCdEf";
    let keys = format!(
        "endpoint = \"https://minio.example\"\nbucket = \"chat-users\"\naccess_key = \"{arn}#id\"\nsecret_key = \"{arn}#key\""
    );
    let told = problems("files", &keys);
    assert_eq!(told.matches("lies in `eu-west-1`").count(), 2, "{told}");
}

#[test]
fn what_may_be_a_secret_is_not_shown() {
    for (table, line) in [
        (
            "mattermost.secrets",
            "MM_EMAILSETTINGS_SMTPSERVER = [\"hunter2\"]",
        ),
        (
            "mattermost.secrets",
            "mm_emailsettings_smtppassword = \"hunter2\"",
        ),
        ("files", "secret_keys = \"hunter2\""),
        ("files", "secret_key = [\"hunter2\"]"),
        ("mattermost", "smtp_password = \"hunter2\""),
        ("mattermost", "licence_secret = \"{hunter2}\""),
        ("files", "endpoint = \"https://user:hunter2@minio.example\""),
        (
            "load_balancer",
            "site_url = \"https://user:hunter2@chat.example\"",
        ),
        // The host is behind what is shown of a line.
        (
            "load_balancer",
            "site_url = \"https://a-user-with-a-long-name:hunter2-and-a-long-password@chat.example\"",
        ),
    ] {
        let told = problems(table, line);
        assert!(
            told.contains("(not shown)") && !told.contains("hunter2"),
            "{line}: {told}"
        );
    }
}
