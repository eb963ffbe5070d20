//! Settings that would take the server out of reach, and settings whose values are secrets by reference.

use super::mattermost::{decided_by_us, is_setting};
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

/// Why a setting would take the server out of reach, if it would.
pub(super) fn unreachable(key: &str) -> Option<&'static str> {
    UNREACHABLE
        .iter()
        .find(|(name, _)| key == *name)
        .map(|(_, why)| *why)
}

/// `[mattermost.secrets]`: the form of a reference was judged by its type, the names are judged here.
pub(super) fn secrets(spec: &Spec, document: &mut Document) {
    let ours = &spec.mattermost;
    for (key, reference) in &ours.secrets {
        let path = format!("mattermost.secrets.{key}");
        if !is_setting(key) {
            document.refuse(&path, "is not a setting: `MM_SECTION_KEY` in capitals");
        } else if let Some(why) = super::files::instead(key) {
            document.refuse(&path, why);
        } else if let Some(why) = decided_by_us(key) {
            document.refuse(&path, format!("is set by the orchestrator: {why}"));
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
    let names = spec.names();
    [
        names.master_secret(),
        names.mattermost_secret(),
        names.orchestrator_secret(),
        names.ca_secret(),
    ]
    .iter()
    .any(|own| own == name)
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
            ("MM_EMAILSETTINGS_SMTPPASSWORD", "none"),
        ] {
            let told = problems("mattermost.secrets", &format!("{name} = \"chat/own#a\""));
            assert!(told.contains(says), "{name}: {told}");
        }
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
        ] {
            let told = problems(table, line);
            assert!(
                told.contains("(not shown)") && !told.contains("hunter2"),
                "{line}: {told}"
            );
        }
    }
}
