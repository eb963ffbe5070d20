//! Settings that would take the server out of reach, and settings whose values are secrets by reference.

use crate::spec::secret_ref::SecretRef;
use crate::spec::structure::Document;
use crate::spec::{Spec, partition_of};

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
    if let Some(found) = partition.filter(|it| *it != partition_of(&home)) {
        return Some(format!(
            "is of partition `{found}`, and the home region `{home}` lies in `{}`: name a secret there, by its name or as `arn:{}:secretsmanager:…`",
            partition_of(&home),
            partition_of(&home)
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
mod tests;
