//! Who a certificate speaks for: the names that this product puts into certificates and reads back.

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::id::InstanceId;

const DOMAIN: &str = "mattermost.internal";

/// The name that a client verifies: `orchestrator.<stack>.mattermost.internal`.
pub fn server_name(stack: &str) -> String {
    format!("orchestrator.{stack}.{DOMAIN}")
}

/// The URI in a node's certificate.
pub fn node_uri(stack: &str, instance: &InstanceId) -> String {
    format!("spiffe://{stack}.{DOMAIN}/node/{instance}")
}

/// The URI in an operator's certificate.
pub fn operator_uri(stack: &str, name: &str) -> String {
    format!("spiffe://{stack}.{DOMAIN}/operator/{name}")
}

/// Who holds a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// An instance of the fleet.
    Node(InstanceId),
    /// A person or program that may command the orchestrator.
    Operator(String),
}

/// What the one URI of a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerName {
    /// The stack that the certificate belongs to.
    pub stack: String,
    /// Within it.
    pub holder: Holder,
}

impl PeerName {
    /// Reads `spiffe://<stack>.mattermost.internal/(node|operator)/<name>`; nothing else is a name.
    pub fn parse(uri: &str) -> Option<Self> {
        let (host, path) = uri.strip_prefix("spiffe://")?.split_once('/')?;
        let stack = host.strip_suffix(DOMAIN)?.strip_suffix('.')?;
        let (kind, name) = path.split_once('/')?;
        let plain = |text: &str| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte))
        };
        if !plain(stack) || !plain(name) {
            return None;
        }
        let holder = match kind {
            "node" => Holder::Node(name.parse().ok()?),
            "operator" => Holder::Operator(name.to_owned()),
            _ => return None,
        };
        Some(Self {
            stack: stack.to_owned(),
            holder,
        })
    }
}

/// Whom a certificate (DER) names. `None` when it has no URI, several, or one that is not ours.
///
/// Says nothing about trust: the TLS configuration verified the chain before.
pub fn peer_name(der: &[u8]) -> Option<PeerName> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let mut uris = names
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
    let uri = uris.next()?;
    if uris.next().is_some() {
        return None;
    }
    PeerName::parse(uri)
}

/// The instance that a node's certificate (DER) names, of whatever stack.
pub fn peer_instance_id(der: &[u8]) -> Option<InstanceId> {
    match peer_name(der)?.holder {
        Holder::Node(instance) => Some(instance),
        Holder::Operator(_) => None,
    }
}
