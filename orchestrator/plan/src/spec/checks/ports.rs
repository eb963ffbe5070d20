//! Ports of the nodes that the specification opens, beside those that the stack opens itself.

use std::collections::BTreeSet;

use super::{is_cidr, is_id};
use crate::observed;
use crate::spec::structure::Document;
use crate::spec::{Protocol, Spec};

/// Rules that may be named. EC2 allows a security group 60 of a direction (VPC user guide, "Amazon VPC quotas");
/// the stack has three of its own, and the rest is room for what it may need later.
const MOST_RULES: usize = 50;

/// Ports that the stack opens itself, and to whom.
fn ours(protocol: Protocol, port: u16) -> Option<&'static str> {
    match (protocol, port) {
        (Protocol::Tcp, 8065) => Some("Mattermost's own, which the load balancer alone reaches"),
        (_, 8074) => {
            Some("that of messages between the nodes of a cluster, which nobody else may send")
        }
        _ => None,
    }
}

pub(super) fn ports(spec: &Spec, document: &mut Document) {
    let mut seen = BTreeSet::new();
    let mut rules = 0;
    for (index, port) in spec.fleet.ports.iter().enumerate() {
        let path = format!("fleet.ports[{index}]");
        let words = format!("{}/{}", port.port, port.protocol.as_str());
        if port.port == 0 {
            document.refuse(
                &format!("{path}.port"),
                "is out of range: give a number from 1 to 65535",
            );
        } else if let Some(whose) = ours(port.protocol, port.port) {
            document.refuse(
                &format!("{path}.port"),
                format!("{words} is {whose}: leave it out"),
            );
        } else if !seen.insert((port.protocol, port.port)) {
            document.refuse(
                &format!("{path}.port"),
                format!("{words} stands here twice: name all of its networks in one `from`"),
            );
        }
        if port.from.is_empty() {
            document.refuse(
                &format!("{path}.from"),
                "lets nobody in: name at least one network",
            );
        }
        let mut networks = BTreeSet::new();
        for (index, from) in port.from.iter().enumerate() {
            let path = format!("{path}.from[{index}]");
            if !is_cidr(from) && !is_id(from, "sg-") {
                document.refuse(
                    &path,
                    "is neither a network such as `10.0.0.0/8` (address and mask must agree) nor a security group (`sg-…`)",
                );
            } else if !networks.insert(observed::network(from)) {
                document.refuse(&path, "stands here twice: name each network once");
            }
        }
        rules += networks.len();
    }
    if rules > MOST_RULES {
        document.refuse(
            "fleet.ports",
            format!("make {rules} rules of a security group, {MOST_RULES} are allowed: name wider networks"),
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::spec::{Answers, Spec, template};

    fn problems(ports: &str) -> String {
        let text = template(&Answers::default());
        let text = text.replace("[network]\n", &format!("{ports}\n[network]\n"));
        match Spec::parse(&text, "mattermost.toml") {
            Ok(spec) => format!("{} port(s)", spec.fleet.ports.len()),
            Err(error) => error.to_string(),
        }
    }

    fn port(protocol: &str, port: u32, from: &[&str]) -> String {
        format!("[[fleet.ports]]\nprotocol = \"{protocol}\"\nport = {port}\nfrom = {from:?}\n")
    }

    #[test]
    fn ports_are_named_once_with_who_may_reach_them() {
        let anybody = &["0.0.0.0/0"][..];
        let calls = port("udp", 8443, anybody) + &port("tcp", 8443, &["0.0.0.0/0", "::/0"]);
        let metrics = port("tcp", 8067, &["10.0.0.0/8", "sg-0123456789abcdef0"]);
        assert_eq!(problems(&(calls + &metrics)), "3 port(s)");
        let many: Vec<String> = (0..51)
            .map(|number| format!("10.{number}.0.0/16"))
            .collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for (ports, words) in [
            (port("icmp", 8443, anybody), "none of \"tcp\", \"udp\""),
            (port("tcp", 0, anybody), "1 to 65535"),
            (port("tcp", 65_536, anybody), "0 to 65535"),
            (
                port("tcp", 8065, anybody),
                "which the load balancer alone reaches",
            ),
            (port("tcp", 8074, anybody), "between the nodes of a cluster"),
            (port("udp", 8074, anybody), "between the nodes of a cluster"),
            (
                port("udp", 8443, anybody).repeat(2),
                "8443/udp stands here twice",
            ),
            (port("udp", 8443, &[]), "lets nobody in"),
            (port("udp", 8443, &["10.0.0.1/8"]), "mask must agree"),
            (port("udp", 8443, &["everybody"]), "nor a security group"),
            (port("udp", 8443, &["::/0", "0::0/0"]), "each network once"),
            (port("udp", 8443, &many), "make 51 rules"),
        ] {
            let found = problems(&ports);
            assert!(found.contains(words), "{ports}: {found}");
        }
    }
}
