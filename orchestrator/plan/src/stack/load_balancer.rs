//! The load balancer, both slots' target groups, and the listeners in front of them.

use std::collections::{BTreeMap, BTreeSet};

use crate::action::Action;
use crate::draft::Draft;
use crate::intent::Slot;
use crate::moving::lost_with_nodes;
use crate::observed::{Forward, ListenerAction, Network, TargetGroup};
use crate::stack::{health_check, is_ours};
use crate::view::{View, is_leaving};

/// Attribute of a target group.
const DELAY: &str = "deregistration_delay.timeout_seconds";
/// Elastic Load Balancing's limit for it.
const LONGEST_DELAY: u32 = 3600;
/// From a target's deregistration until its node is told to close connections: a few looks.
const LOOK_SECONDS: u32 = 15;

/// ARNs, observed.
#[derive(Clone, Debug)]
pub(crate) struct Balancer {
    pub arn: String,
    pub slot_a: String,
    pub slot_b: String,
}

impl Balancer {
    pub fn target_group(&self, slot: Slot) -> &str {
        match slot {
            Slot::A => &self.slot_a,
            Slot::B => &self.slot_b,
        }
    }

    /// All traffic to one slot; the other is named, because targets that no listener names are not probed.
    pub fn all_to(&self, slot: Slot) -> Forward {
        self.split(slot, 100, 0)
    }

    /// `percent` of the traffic to one slot, the rest to the other. While both have a share a client stays with
    /// the one that it was given for so many seconds: a page of one release asks for its own scripts. Never
    /// otherwise: it would be sent to the group that is to get nothing.
    pub fn split(&self, slot: Slot, percent: u8, sticky_seconds: u32) -> Forward {
        let percent = u32::from(percent.min(100));
        let is_shared = (1..100).contains(&percent);
        Forward {
            weights: BTreeMap::from([
                (self.target_group(slot).to_owned(), percent),
                (self.target_group(slot.other()).to_owned(), 100 - percent),
            ]),
            sticky_seconds: is_shared.then_some(sticky_seconds),
        }
    }
}

/// Load balancer and target groups as observed, without making anything.
pub(crate) fn observed(view: &View<'_>) -> Option<Balancer> {
    Some(Balancer {
        arn: view.observed.load_balancer.as_ref()?.arn.clone(),
        slot_a: view.target_group(Slot::A)?.arn.clone(),
        slot_b: view.target_group(Slot::B)?.arn.clone(),
    })
}

/// Whether every wanted attribute has its value; others are AWS's own.
fn has(seen: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    wanted
        .iter()
        .all(|(key, value)| seen.get(key) == Some(value))
}

/// Load balancer and target groups, once all are there.
pub(super) fn balancer(
    view: &View<'_>,
    draft: &mut Draft,
    network: &Network,
    security_group: &str,
) -> Option<Balancer> {
    let ensured = ensure_load_balancer(view, draft, network, security_group);
    let slots = [Slot::A, Slot::B].map(|slot| ensure_target_group(view, draft, network, slot));
    if !ensured || !slots.iter().all(|made| *made) {
        return None;
    }
    let found = observed(view)?;
    let state = view
        .observed
        .load_balancer
        .as_ref()
        .map(|seen| seen.state.as_str());
    match state {
        Some("active" | "active_impaired") => {}
        Some("failed") => {
            // `down` refuses without it where something lies on the nodes alone.
            let lost = lost_with_nodes(view.intent, view.observed);
            let flag = lost.map_or("", |_| " --lose-files");
            draft.stick("load_balancer", format!("the load balancer is `failed`: look at its subnets in the console; `orchestrator down{flag}` removes it"));
        }
        state => draft.wait(
            "load_balancer_not_active",
            format!(
                "the load balancer is `{}`, not `active` yet",
                state.unwrap_or("unknown")
            ),
        ),
    }
    Some(found)
}

fn ensure_load_balancer(
    view: &View<'_>,
    draft: &mut Draft,
    network: &Network,
    security_group: &str,
) -> bool {
    if !draft.knows(view, "load_balancer") {
        return false;
    }
    let spec = &view.spec().load_balancer;
    let name = view.names.load_balancer();
    let what = format!("load balancer `{name}`");
    let attributes = BTreeMap::from([
        (
            "idle_timeout.timeout_seconds".to_owned(),
            spec.idle_timeout_seconds.to_string(),
        ),
        (
            "routing.http.drop_invalid_header_fields.enabled".to_owned(),
            "true".to_owned(),
        ),
    ]);
    let subnets: BTreeSet<String> = network
        .public_subnets
        .iter()
        .map(|subnet| subnet.id.clone())
        .collect();
    let security_groups = BTreeSet::from([security_group.to_owned()]);
    let seen = view.observed.load_balancer.as_ref();
    let differs = seen.is_some_and(|seen| {
        seen.subnets != subnets
            || seen.security_groups != security_groups
            || !has(&seen.attributes, &attributes)
    });
    let action = Action::EnsureLoadBalancer {
        name,
        scheme: spec.scheme.clone(),
        subnets,
        security_groups,
        attributes,
    };
    match seen {
        None => {
            draft.create(view, "load_balancer", &what, action);
            false
        }
        Some(seen) if !is_ours(view, draft, &what, &seen.tags) => false,
        Some(_) => {
            if differs {
                draft.set(
                    view,
                    "drift",
                    &format!("{what} differs from the specification"),
                    action,
                );
            }
            true
        }
    }
}

fn ensure_target_group(view: &View<'_>, draft: &mut Draft, network: &Network, slot: Slot) -> bool {
    if !draft.knows(view, "target_groups") {
        return false;
    }
    let name = view.names.target_group(slot);
    let what = format!("target group `{name}`");
    let seen = view.target_group(slot);
    let attributes = BTreeMap::from([(
        DELAY.to_owned(),
        deregistration_delay(view, seen).to_string(),
    )]);
    let health = health_check::wanted(view, seen);
    let differs =
        seen.is_some_and(|seen| !has(&seen.attributes, &attributes) || seen.health != health);
    let action = Action::EnsureTargetGroup {
        name,
        vpc_id: network.vpc_id.clone(),
        health,
        attributes,
    };
    match seen {
        None => {
            draft.create(view, "target_group", &what, action);
            false
        }
        Some(seen) if !is_ours(view, draft, &what, &seen.tags) => false,
        Some(_) => {
            if differs {
                draft.set(
                    view,
                    "drift",
                    &format!("{what} differs from the specification"),
                    action,
                );
            }
            true
        }
    }
}

/// The specification's, or as many whole minutes more as the node with the most connections needs to close
/// them at the pace that is allowed. While somebody leaves it is not made shorter.
fn deregistration_delay(view: &View<'_>, group: Option<&TargetGroup>) -> u32 {
    let specified = view.spec().load_balancer.deregistration_delay_seconds;
    let most = view
        .observed
        .nodes
        .values()
        .map(|node| node.connections)
        .max();
    // The count is old when it is used: a fifth more, as far as a node lets it drift, and one look.
    let most = most.unwrap_or(0).saturating_mul(6) / 5;
    let seconds = most / view.spec().fleet.closed_per_second();
    let needed = seconds + LOOK_SECONDS;
    let seen = group.and_then(|group| group.attributes.get(DELAY)?.parse().ok());
    let members = view.observed.groups.values();
    let leaving = members
        .flat_map(|group| group.members.values())
        .any(|member| is_leaving(&member.lifecycle));
    let kept = seen.filter(|_| leaving).unwrap_or(0).max(specified);
    // What goes in a second may as well be cut together.
    if seconds == 0 || needed <= kept {
        return kept;
    }
    needed.next_multiple_of(60).min(LONGEST_DELAY)
}

/// Port, protocol and certificate of the listener that users come to.
fn main(view: &View<'_>) -> (u16, &'static str, Option<String>) {
    let certificate = view.spec().load_balancer.certificate_arn.clone();
    let protocol = if certificate.is_some() {
        "HTTPS"
    } else {
        "HTTP"
    };
    (view.main_port(), protocol, certificate)
}

/// The listener that users come to is made, with this action.
pub(crate) fn make_listener(
    view: &View<'_>,
    draft: &mut Draft,
    balancer: &Balancer,
    action: ListenerAction,
) {
    ensure(view, draft, balancer, main(view), action);
}

/// The listeners, without a rollout under way: then the recorded slot owns all traffic.
pub(super) fn listeners(view: &View<'_>, draft: &mut Draft, balancer: &Balancer) {
    if !draft.knows(view, "listeners") {
        return;
    }
    let (port, protocol, certificate) = main(view);
    let Some(seen) = view.listener() else {
        let action = ListenerAction::Forward(balancer.all_to(view.record().slot));
        make_listener(view, draft, balancer, action);
        return;
    };
    if seen.certificate != certificate || seen.protocol != protocol {
        // As it forwards now: weights have an action and a gate of their own.
        ensure(
            view,
            draft,
            balancer,
            (port, protocol, certificate),
            seen.action.clone(),
        );
    } else if certificate.is_some() {
        redirect(view, draft, balancer);
    }
    own_traffic(view, draft, balancer);
}

/// HTTP sends users to HTTPS. Only once that answers: a certificate that AWS refuses must not lock out users
/// who have HTTP.
fn redirect(view: &View<'_>, draft: &mut Draft, balancer: &Balancer) {
    let redirect = ListenerAction::Redirect(443);
    let seen = view.observed.listeners.get(&80);
    if seen.is_none_or(|seen| seen.action != redirect) {
        ensure(view, draft, balancer, (80, "HTTP", None), redirect);
    }
}

fn ensure(
    view: &View<'_>,
    draft: &mut Draft,
    balancer: &Balancer,
    (port, protocol, certificate): (u16, &str, Option<String>),
    action: ListenerAction,
) {
    let what = format!("listener on port {port}");
    let visible = view.observed.listeners.contains_key(&port);
    let action = Action::EnsureListener {
        port,
        protocol: protocol.to_owned(),
        certificate,
        load_balancer: balancer.arn.clone(),
        action,
    };
    if visible {
        draft.set(
            view,
            "drift",
            &format!("{what} differs from the specification"),
            action,
        );
    } else {
        draft.create(view, "listener", &what, action);
    }
}

/// Brings back weights that somebody changed, onto a group that can carry them.
fn own_traffic(view: &View<'_>, draft: &mut Draft, balancer: &Balancer) {
    let Some(seen) = view.listener() else { return };
    let slot = view.record().slot;
    let weights = balancer.all_to(slot);
    if seen.action == ListenerAction::Forward(weights.clone()) {
        return;
    }
    let (healthy, floor) = (view.able_count(slot), view.spec().fleet.min);
    if healthy < floor {
        draft.wait(
            "weights",
            format!(
                "the listener's weights are not ours; `{}` has {healthy} of {floor} healthy targets, so nothing is moved onto it yet",
                view.names.target_group(slot)
            ),
        );
        return;
    }
    let action = Action::SetWeights {
        listener: seen.arn.clone(),
        weights,
    };
    draft.set(
        view,
        "drift",
        "the listener's weights differ from the record",
        action,
    );
}
