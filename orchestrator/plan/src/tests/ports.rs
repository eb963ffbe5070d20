//! Ports of the nodes that the specification opens.

use std::collections::BTreeSet;

use crate::Action;
use crate::fixtures::{ready, spec, turn, until};
use crate::intent::Phase;
use crate::observed::Rule;
use crate::spec::Spec;

/// Calls' port by UDP to everybody, in the form in which EC2 does not keep it, and metrics to a network.
fn calls() -> Spec {
    spec(&[
        ("# [[fleet.ports]]\n", "[[fleet.ports]]\n"),
        ("# protocol = \"udp\"\n", "protocol = \"udp\"\n"),
        ("# port = 8443\n", "port = 8443\n"),
        (
            "# from = [\"0.0.0.0/0\"]\n",
            "from = [\"0.0.0.0/0\", \"0::0/0\"]\n[[fleet.ports]]\nprotocol = \"tcp\"\nport = 8067\nfrom = [\"10.0.0.0/8\"]\n",
        ),
    ])
}

fn words(rules: &BTreeSet<Rule>) -> Vec<String> {
    let rule = |rule: &Rule| format!("{}/{} {}", rule.from_port, rule.protocol, rule.source);
    rules.iter().map(rule).collect()
}

#[test]
fn named_ports_are_open_to_whom_they_are_named_for_and_stay_so() {
    let (mut world, mut intent) = ready(&calls());
    let rules =
        |world: &crate::world::World| world.observed.security_groups["fleet"].ingress.clone();
    let wanted = rules(&world);
    let shown = words(&wanted);
    for rule in ["8443/udp 0.0.0.0/0", "8443/udp ::/0", "8067/tcp 10.0.0.0/8"] {
        assert!(shown.iter().any(|one| one == rule), "{shown:?}");
    }
    // Taken away or added by hand: mended.
    for change in [
        (|rules: &mut BTreeSet<Rule>| rules.retain(|rule| rule.from_port != 8443))
            as fn(&mut BTreeSet<Rule>),
        |rules| {
            let open = rules.iter().find(|rule| rule.from_port == 8443).cloned();
            rules.extend(open.map(|rule| Rule {
                protocol: "tcp".to_owned(),
                ..rule
            }));
        },
    ] {
        change(
            &mut world
                .observed
                .security_groups
                .get_mut("fleet")
                .unwrap()
                .ingress,
        );
        let decision = turn(&mut world, &mut intent);
        let mends = |action: &Action| action.key() == "ensure_security_group/fleet";
        assert!(decision.actions.iter().any(mends), "{:?}", decision.reasons);
        until(&mut world, &mut intent, 20, |phase| *phase == Phase::Ready);
        assert_eq!(rules(&world), wanted);
    }
    // Named no more: closed again, without a rollout.
    intent.spec.fleet.ports.clear();
    until(&mut world, &mut intent, 20, |phase| *phase == Phase::Ready);
    assert!(
        !words(&rules(&world))
            .iter()
            .any(|rule| rule.starts_with("8443"))
    );
}
