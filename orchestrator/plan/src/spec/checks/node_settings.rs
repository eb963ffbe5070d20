//! Settings that would take the server out of reach, and settings whose values are secrets by reference.

use crate::spec::Spec;
use crate::spec::secret_ref::SecretRef;
use crate::spec::structure::Document;

/// Where the load balancer ends TLS.
const TLS: &str =
    "the load balancer ends TLS and speaks HTTP to port 8065: give `load_balancer.certificate_arn`";
/// How members of a cluster find each other.
const CLUSTER: &str = "members of the cluster find each other at the instance's address on port 8074, which the security group opens and the orchestrator looks for";

/// Settings with which the server is not where load balancer, agent and siblings look for it, or keeps
/// its own settings where they die with the node; and what would be right.
const UNREACHABLE: [(&str, &str); 13] = [
    (
        "MM_CONFIG",
        "the settings of the System Console live in the stack's database, and the node makes the address from its own login",
    ),
    (
        "MM_CUSTOM_DEFAULTS_PATH",
        "it names a file that no node has: give each of its settings in `[mattermost.settings]`",
    ),
    ("MM_SERVICESETTINGS_CONNECTIONSECURITY", TLS),
    ("MM_SERVICESETTINGS_TLSCERTFILE", TLS),
    ("MM_SERVICESETTINGS_TLSKEYFILE", TLS),
    ("MM_SERVICESETTINGS_USELETSENCRYPT", TLS),
    ("MM_SERVICESETTINGS_LETSENCRYPTCERTIFICATECACHEFILE", TLS),
    (
        "MM_SERVICESETTINGS_FORWARD80TO443",
        "the load balancer redirects 80 to 443 by itself: give `load_balancer.certificate_arn`",
    ),
    ("MM_CLUSTERSETTINGS_OVERRIDEHOSTNAME", CLUSTER),
    ("MM_CLUSTERSETTINGS_USEIPADDRESS", CLUSTER),
    ("MM_CLUSTERSETTINGS_BINDADDRESS", CLUSTER),
    ("MM_CLUSTERSETTINGS_ADVERTISEADDRESS", CLUSTER),
    ("MM_CLUSTERSETTINGS_GOSSIPPORT", CLUSTER),
];

/// Settings that the orchestrator decides.
const OURS: [(&str, &str); 9] = [
    (
        "MM_CLUSTERSETTINGS_ENABLE",
        "`mattermost.cluster` decides it",
    ),
    ("MM_CLUSTERSETTINGS_CLUSTERNAME", "the rollout decides it"),
    ("MM_JOBSETTINGS_RUNSCHEDULER", "the rollout decides it"),
    (
        "MM_SQLSETTINGS_DRIVERNAME",
        "the database is always PostgreSQL",
    ),
    (
        "MM_SQLSETTINGS_DATASOURCE",
        "it holds a password and comes from `database`",
    ),
    (
        "MM_SQLSETTINGS_REPLICALAGSETTINGS",
        "it holds data sources with passwords; the orchestrator watches the replica's lag",
    ),
    (
        "MM_SERVICESETTINGS_LISTENADDRESS",
        "the load balancer expects :8065",
    ),
    (
        "MM_SERVICESETTINGS_SITEURL",
        "give `load_balancer.site_url`",
    ),
    (
        "MM_LICENSE",
        "it is a secret: name it in `mattermost.licence_secret`",
    ),
];

/// Folders of a node's disk, where what is kept goes with the node.
const ON_DISK: [(&str, &str); 1] = [(
    "MM_COMPLIANCESETTINGS_DIRECTORY",
    "compliance reports are written into that folder of the node that makes them, and go with the node. Exports (`MM_MESSAGEEXPORTSETTINGS_…`) lie in the store of `[files]`",
)];

/// Settings whose values are looked at, and by whom: a secret's value is not.
const READ: [(&str, &str); 3] = [
    (
        "MM_SQLSETTINGS_MAXOPENCONNS",
        "before a rollout it is counted what both colours may open of the database's connections",
    ),
    (
        "MM_METRICSSETTINGS_LISTENADDRESS",
        "its port must be none that the node uses otherwise",
    ),
    (
        "MM_FILESETTINGS_DIRECTORY",
        "`orchestrator move` copies files from there",
    ),
];

/// Ports on which something else listens on every node, and what.
const IN_USE: [(u16, &str); 2] = [
    (8065, "Mattermost's own"),
    (8074, "that of messages between the nodes of a cluster"),
];

/// Why metrics cannot be served at this address, `[host]:port`; none: they can.
pub(super) fn metrics_elsewhere(key: &str, value: &str) -> Option<String> {
    if key != "MM_METRICSSETTINGS_LISTENADDRESS" {
        return None;
    }
    let port = value.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    let Some(Ok(port @ 1..)) = port else {
        return Some(
            "is not an address such as `:8067`: a host, or none, and a port behind a colon"
                .to_owned(),
        );
    };
    let (_, whose) = IN_USE.iter().find(|(used, _)| *used == port)?;
    Some(format!(
        "is port {port}, which is {whose}: give another, such as `:8067`"
    ))
}

/// Settings of the server for which `[files]` stands, and what to write there.
const DECIDED: [(&str, &str); 9] = [
    ("DRIVERNAME", "store = \"s3\" (or \"local\")"),
    ("AMAZONS3BUCKET", "bucket = \"…\""),
    ("AMAZONS3PATHPREFIX", "prefix = \"…\""),
    ("AMAZONS3REGION", "region = \"…\""),
    ("AMAZONS3ENDPOINT", "endpoint = \"https://…\""),
    (
        "AMAZONS3SSL",
        "endpoint = \"https://…\", whose scheme decides it",
    ),
    (
        "AMAZONS3ACCESSKEYID",
        "access_key = \"<secret>#<key>\", a reference to Secrets Manager; on AWS nothing: the nodes' role signs",
    ),
    (
        "AMAZONS3SECRETACCESSKEY",
        "secret_key = \"<secret>#<key>\", a reference to Secrets Manager; on AWS nothing: the nodes' role signs",
    ),
    (
        "AMAZONS3SSE",
        "nothing, or kms_key = \"…\": the bucket encrypts by default",
    ),
];

/// What to write in `[files]` instead of this setting; none when it is nothing of `[files]`.
fn instead(key: &str) -> Option<String> {
    let name = key.strip_prefix("MM_FILESETTINGS_")?;
    if name == "AMAZONS3SIGNV2" {
        return Some("is not possible: S3 takes version 4 of its signature only".to_owned());
    }
    if name == "DEDICATEDEXPORTSTORE" || name.starts_with("EXPORT") {
        return Some(
            "is not possible: exports live beside the other files, in the store that `[files]` names"
                .to_owned(),
        );
    }
    let (_, line) = DECIDED.iter().find(|(decided, _)| *decided == name)?;
    Some(format!(
        "is decided by `[files]`: remove it, and write there {line}"
    ))
}

/// Why a setting is not the file's to give, whether its value or a secret stands for it: `[files]` or the
/// orchestrator decides it. Every data source is the orchestrator's, replicas' too.
pub(super) fn decided_elsewhere(key: &str) -> Option<String> {
    let source = "MM_SQLSETTINGS_DATASOURCE";
    let ours = || {
        OURS.iter()
            .chain(&UNREACHABLE)
            .find(|(name, _)| key == *name || (*name == source && key.starts_with(source)))
            .map(|(_, why)| format!("is set by the orchestrator: {why}"))
    };
    let on_disk = || {
        let (_, why) = ON_DISK.iter().find(|(name, _)| key == *name)?;
        Some(format!("is not possible: {why}"))
    };
    instead(key).or_else(ours).or_else(on_disk)
}

/// `MM_SECTION_KEY`, in capitals.
pub(super) fn is_setting(key: &str) -> bool {
    key.strip_prefix("MM_").is_some_and(|rest| {
        !rest.is_empty()
            && rest
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    })
}

/// `[mattermost.secrets]`: the form of a reference was judged by its type, the names are judged here.
pub(super) fn secrets(spec: &Spec, document: &mut Document) {
    let ours = &spec.mattermost;
    for (key, reference) in &ours.secrets {
        let path = format!("mattermost.secrets.{key}");
        if !is_setting(key) {
            document.refuse(&path, "is not a setting: `MM_SECTION_KEY` in capitals");
        } else if let Some(why) = decided_elsewhere(key) {
            document.refuse(&path, why);
        } else if let Some((_, why)) = READ.iter().find(|(name, _)| key == name) {
            document.refuse(
                &path,
                format!("is no secret: {why}. Give it in `[mattermost.settings]`"),
            );
        } else if ours.settings.contains_key(key) {
            document.refuse(
                &path,
                "stands in `[mattermost.settings]`, too: leave one of them out",
            );
        } else if let Some(why) = reference_elsewhere(spec, reference) {
            document.refuse(&path, why);
        }
    }
}

/// Why a reference cannot be followed by a node: it lies in another region, or is the stack's own.
pub(super) fn reference_elsewhere(spec: &Spec, reference: &SecretRef) -> Option<String> {
    let home = spec.home_region();
    let partition = reference.arn().and_then(|arn| arn.split(':').nth(1));
    if let Some(found) = partition.filter(|it| *it != super::partition(&home)) {
        return Some(format!(
            "is of partition `{found}`, and the home region `{home}` lies in `{}`: name a secret there, by its name or as `arn:{}:secretsmanager:…`",
            super::partition(&home),
            super::partition(&home)
        ));
    }
    let elsewhere = reference.region().filter(|region| *region != home);
    if let Some(region) = elsewhere {
        return Some(format!(
            "lies in `{region}`: secrets are read in the home region, `{home}`; replicate it there"
        ));
    }
    is_ours(spec, reference.name()).then(|| OWN.to_owned())
}

/// Why no node may be told one of the stack's own secrets.
pub(super) const OWN: &str = "names a secret of the stack itself: its nodes may not read it. Name one that you made, for example `chat/smtp#password`";

/// Whether this is the name of a secret that the stack makes for itself.
pub(super) fn is_ours(spec: &Spec, name: &str) -> bool {
    spec.names().secrets().iter().any(|own| own == name)
}

#[cfg(test)]
mod tests {
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
}
