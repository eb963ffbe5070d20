//! `doctor`'s look at free addresses, subnet by subnet: one that is full keeps a load balancer or a node out.

use plan::Spec;
use plan::observed::{LoadBalancer, Network, Subnet};

use super::{Check, Outcome};

/// Free addresses that Elastic Load Balancing wants in each of its subnets (guide for Application Load Balancers,
/// "Subnets for your load balancer").
const OF_A_LOAD_BALANCER: u32 = 8;

/// Of the load balancer's subnets, and of the nodes'.
pub(super) fn room(spec: &Spec, network: &Network, made: Option<&LoadBalancer>) -> Vec<Check> {
    vec![
        of_the_load_balancer(&network.public_subnets, made.is_some()),
        of_the_nodes(spec, &network.subnets),
    ]
}

fn of_the_load_balancer(subnets: &[Subnet], is_made: bool) -> Check {
    let name = "load balancer's subnets";
    let full: Vec<String> = subnets
        .iter()
        .filter(|subnet| subnet.free_addresses < OF_A_LOAD_BALANCER)
        .map(|subnet| format!("{} has {}", subnet.id, subnet.free_addresses))
        .collect();
    if full.is_empty() {
        let detail = format!("{OF_A_LOAD_BALANCER} or more free addresses in each");
        return Check::new(name, Outcome::Ok, detail);
    }
    let (outcome, meaning) = if is_made {
        (Outcome::Warn, "it cannot grow there")
    } else {
        (Outcome::Fail, "it cannot be made")
    };
    Check::new(
        name,
        outcome,
        format!(
            "{} free addresses, and a load balancer wants {OF_A_LOAD_BALANCER} in each: {meaning}. Free some, or name other subnets in `network.public_subnets`",
            full.join(", ")
        ),
    )
}

/// A rollout has both groups at their full size.
fn of_the_nodes(spec: &Spec, subnets: &[Subnet]) -> Check {
    let name = "nodes' subnets";
    let free: u32 = subnets.iter().map(|subnet| subnet.free_addresses).sum();
    let both = spec.fleet.max.saturating_mul(2);
    if free >= both {
        let detail = format!("{free} free addresses, both groups of a rollout take {both} at most");
        return Check::new(name, Outcome::Ok, detail);
    }
    let outcome = if free < spec.fleet.min {
        Outcome::Fail
    } else {
        Outcome::Warn
    };
    Check::new(
        name,
        outcome,
        format!(
            "{free} free addresses in {} subnet(s), and both groups of a rollout take {both} (twice `fleet.max`): free some, or name larger subnets in `network.subnets`",
            subnets.len()
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnets(free: &[u32]) -> Vec<Subnet> {
        let subnet = |(index, free): (usize, &u32)| Subnet {
            id: format!("subnet-{index}"),
            free_addresses: *free,
            ..Subnet::default()
        };
        free.iter().enumerate().map(subnet).collect()
    }

    #[test]
    fn a_full_subnet_keeps_a_load_balancer_from_being_made() {
        assert_eq!(
            of_the_load_balancer(&subnets(&[8, 200]), false).result,
            Outcome::Ok
        );
        let made = of_the_load_balancer(&subnets(&[7, 200]), true);
        assert_eq!(made.result, Outcome::Warn);
        let unmade = of_the_load_balancer(&subnets(&[7, 200]), false);
        assert_eq!(unmade.result, Outcome::Fail);
        assert!(
            unmade.detail.starts_with("subnet-0 has 7 free addresses"),
            "{}",
            unmade.detail
        );
    }

    #[test]
    fn both_groups_of_a_rollout_want_addresses() {
        let mut spec = super::super::spec();
        (spec.fleet.min, spec.fleet.max) = (2, 3);
        for (free, outcome) in [
            (&[3, 3][..], Outcome::Ok),
            (&[3, 2], Outcome::Warn),
            (&[1, 0], Outcome::Fail),
        ] {
            assert_eq!(
                of_the_nodes(&spec, &subnets(free)).result,
                outcome,
                "{free:?}"
            );
        }
    }
}
