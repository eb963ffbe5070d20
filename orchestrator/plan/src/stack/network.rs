//! The VPC's subnets, and who may speak to whom: security groups with exactly our rules.

use std::collections::BTreeSet;

use crate::action::Action;
use crate::draft::Draft;
use crate::observed::{self, Network, Rule, Subnet};
use crate::spec::Spec;
use crate::stack::is_ours;
use crate::view::View;

/// Ids of the security groups, as far as they are observed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Groups {
    pub load_balancer: Option<String>,
    pub fleet: Option<String>,
    pub database: Option<String>,
}

/// The network, when it can carry a stack.
pub(super) fn network(view: &View<'_>, draft: &mut Draft) -> Option<Network> {
    if !draft.knows(view, "network") {
        return None;
    }
    let Some(network) = &view.observed.network else {
        let vpc = view.spec().network.vpc.as_deref();
        draft.stick(
            "network",
            match vpc {
                Some(vpc) => format!(
                    "`{vpc}` is not in region `{}`: name a VPC that is",
                    view.spec().home_region()
                ),
                None => format!(
                    "region `{}` has no default VPC: name one in `network.vpc`",
                    view.spec().home_region()
                ),
            },
        );
        return None;
    };
    if let Some(problem) = network_problem(view.spec(), network) {
        draft.stick("network", problem);
        return None;
    }
    Some(network.clone())
}

/// Why nothing can be made in these subnets, if so, with what would be right.
pub fn network_problem(spec: &Spec, network: &Network) -> Option<String> {
    for (which, subnets) in [
        ("nodes and database", &network.subnets),
        ("the load balancer", &network.public_subnets),
    ] {
        let zones: BTreeSet<&str> = subnets.iter().map(|subnet| subnet.zone.as_str()).collect();
        if zones.len() < 2 {
            return Some(format!(
                "subnets for {which} lie in {} zone(s) of VPC `{}`, at least 2 are needed: name them in `network.subnets`",
                zones.len(),
                network.vpc_id
            ));
        }
    }
    let (one, other) = in_one_zone(&network.public_subnets)?;
    let field = if spec.network.public_subnets.is_empty() {
        "subnets"
    } else {
        "public_subnets"
    };
    Some(format!(
        "subnets `{}` and `{}` both lie in `{}`, and a load balancer takes one subnet of a zone: name one of each zone in `network.public_subnets` (now it takes those of `network.{field}`)",
        one.id, other.id, one.zone
    ))
}

/// Two subnets of the same zone, if there are such: Elastic Load Balancing refuses them.
fn in_one_zone(subnets: &[Subnet]) -> Option<(&Subnet, &Subnet)> {
    subnets.iter().enumerate().find_map(|(index, one)| {
        let rest = &subnets[index + 1..];
        let other = rest.iter().find(|other| other.zone == one.zone)?;
        Some((one, other))
    })
}

fn tcp(port: u16, source: &str) -> Rule {
    Rule {
        protocol: "tcp".to_owned(),
        from_port: port,
        to_port: port,
        source: observed::network(source),
    }
}

/// Mattermost's gossip between cluster members, TCP and UDP.
const GOSSIP: u16 = 8074;

/// All three groups: 80/443 from outside, 8065 from the load balancer and whatever else the specification
/// opens of the nodes, 5432 from the fleet.
pub(super) fn security_groups(view: &View<'_>, draft: &mut Draft, network: &Network) -> Groups {
    let mut groups = Groups::default();
    if !draft.knows(view, "security_groups") {
        return groups;
    }
    let spec = view.spec();
    let mut outside = BTreeSet::new();
    for range in &spec.load_balancer.allow {
        outside.insert(tcp(80, range));
        if spec.load_balancer.certificate_arn.is_some() {
            outside.insert(tcp(443, range));
        }
    }
    groups.load_balancer = ensure(view, draft, network, "load-balancer", outside);
    let Some(load_balancer) = &groups.load_balancer else {
        return groups;
    };
    let mut inside = BTreeSet::from([tcp(8065, load_balancer)]);
    let own = view
        .observed
        .security_groups
        .get("fleet")
        .map(|group| group.id.as_str());
    if let (true, Some(own)) = (spec.mattermost.cluster, own) {
        let gossip = tcp(GOSSIP, own);
        inside.insert(Rule {
            protocol: "udp".to_owned(),
            ..gossip.clone()
        });
        inside.insert(gossip);
    }
    inside.extend(named_ports(spec));
    groups.fleet = ensure(view, draft, network, "fleet", inside);
    let Some(fleet) = &groups.fleet else {
        return groups;
    };
    let mut database = BTreeSet::from([tcp(5432, fleet)]);
    database.extend(
        spec.orchestrator
            .source
            .as_deref()
            .map(|source| tcp(5432, source)),
    );
    groups.database = ensure(view, draft, network, "database", database);
    groups
}

/// Ports of the nodes that the specification opens.
fn named_ports(spec: &Spec) -> impl Iterator<Item = Rule> {
    spec.fleet.ports.iter().flat_map(|port| {
        port.from.iter().map(|from| Rule {
            protocol: port.protocol.as_str().to_owned(),
            ..tcp(port.port, from)
        })
    })
}

/// The group's id, once it is there. A wrong rule is mended and holds nothing up.
fn ensure(
    view: &View<'_>,
    draft: &mut Draft,
    network: &Network,
    part: &str,
    ingress: BTreeSet<Rule>,
) -> Option<String> {
    let name = view.names.security_group(part);
    let what = format!("security group `{name}`");
    let seen = view.observed.security_groups.get(part);
    let differs = seen.is_some_and(|seen| seen.ingress != ingress);
    let action = Action::EnsureSecurityGroup {
        part: part.to_owned(),
        name,
        vpc_id: network.vpc_id.clone(),
        ingress,
    };
    match seen {
        None => {
            draft.create(view, "security_group", &what, action);
            None
        }
        Some(seen) if !is_ours(view, draft, &what, &seen.tags) => None,
        Some(seen) => {
            if differs {
                draft.set(view, "drift", &format!("{what}: rules differ"), action);
            }
            Some(seen.id.clone())
        }
    }
}
