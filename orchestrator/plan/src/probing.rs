//! What the orchestrator is to ask through the load balancer now, as a user would. Asking is done outside.

use jiff::Timestamp;

use crate::intent::{Intent, Phase, Want};
use crate::observed::Observed;
use crate::view::View;

/// While a gate or a window waits for answers.
const OFTEN_SECONDS: u32 = 1;
/// While nothing does, so that plan and `doctor` know whether this host reaches the load balancer.
const SELDOM_SECONDS: u32 = 30;

/// What to ask, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeOrder {
    /// Where.
    pub place: ProbePlace,
    /// For green alone.
    pub green: Option<GreenProbe>,
    /// As users ask: every so many seconds.
    pub users: Option<u32>,
}

/// The way to a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbePlace {
    /// The load balancer's DNS name.
    pub name: String,
    /// The listener's port.
    pub port: u16,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// Host, with the port where the site URL has one: what users' browsers send, and the certificate's name.
    pub host: String,
    /// Below what the server answers: empty, or `/…`.
    pub path: String,
}

/// The way to green.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GreenProbe {
    /// Value of the header.
    pub token: String,
    /// ARN of the rule that reads it: answers belong to it.
    pub rule: String,
}

/// The order of this moment. None: there is no listener that could be asked.
pub fn probe_order(intent: &Intent, observed: &Observed, now: Timestamp) -> Option<ProbeOrder> {
    let view = View::new(intent, observed, now);
    let balancer = observed.load_balancer.as_ref()?;
    if intent.want != Want::Up || !balancer.state.starts_with("active") {
        return None;
    }
    let listener = view.listener()?;
    let named = crate::spec::host_of_site(&intent.spec);
    let place = ProbePlace {
        name: balancer.dns_name.clone(),
        port: listener.port,
        tls: listener.protocol == "HTTPS",
        host: named.unwrap_or_else(|| balancer.dns_name.clone()),
        path: intent.spec.site_path().to_owned(),
    };
    let rollout = intent.live_rollout();
    let phase = rollout.map(|rollout| &rollout.phase);
    let green = rollout
        .and_then(|rollout| rollout.probe.as_ref())
        .filter(|_| matches!(phase, Some(Phase::Full | Phase::Joined)))
        .and_then(|probe| {
            Some(GreenProbe {
                token: probe.token.clone(),
                rule: probe.rule.clone()?,
            })
        });
    let often = matches!(
        phase,
        Some(
            Phase::Requested
                | Phase::Preflight
                | Phase::GreenCreated
                | Phase::Shifting { .. }
                | Phase::Baking
        )
    );
    // The maintenance page says nothing of a server.
    let users = (!view.is_closed()).then_some(if often { OFTEN_SECONDS } else { SELDOM_SECONDS });
    (green.is_some() || users.is_some()).then_some(ProbeOrder {
        place,
        green,
        users,
    })
}
