//! Settings that would take the server out of reach, and settings whose values are secrets by reference.

use super::mattermost::{decided_by_us, is_setting};
use crate::spec::Spec;
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
    let home = spec.home_region();
    for (key, reference) in &ours.secrets {
        let path = format!("mattermost.secrets.{key}");
        if !is_setting(key) {
            document.refuse(&path, "is not a setting: `MM_SECTION_KEY` in capitals");
        } else if let Some(why) = decided_by_us(key) {
            document.refuse(&path, format!("is set by the orchestrator: {why}"));
        } else if ours.settings.contains_key(key) {
            document.refuse(
                &path,
                "stands in `[mattermost.settings]`, too: leave one of them out",
            );
        } else if let Some(region) = reference.region().filter(|region| *region != home) {
            document.refuse(
                &path,
                format!("lies in `{region}`: secrets are read in the home region, `{home}`; replicate it there"),
            );
        }
    }
}
