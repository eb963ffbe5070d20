//! Whether this host gets through the load balancer what users get.

use plan::Observed;
use plan::observed::ProbeOutcome;

use super::{Check, Outcome};
use crate::core::Core;
use crate::store::Snapshot;
use crate::{prober, reconcile};

/// One check. Rollouts do without such answers where this host gets none, and say so.
pub(super) async fn asked(core: &Core, observed: &Observed) -> Check {
    let intent = reconcile::intent(core, &Snapshot::default());
    let order = plan::probe_order(&intent, observed, core.now());
    let Some(order) = order.filter(|order| order.users.is_some()) else {
        return Check::new(NAME, Outcome::Skip, "it does not forward to servers now");
    };
    let place = format!("{}:{}", order.place.name, order.place.port);
    judge(&place, &prober::once(core, &order).await)
}

const NAME: &str = "load balancer";

fn judge(place: &str, outcome: &ProbeOutcome) -> Check {
    let (result, detail) = match outcome {
        ProbeOutcome::Passed { version } => (
            Outcome::Ok,
            format!("asked at {place} as users ask, a server of {version} answers"),
        ),
        ProbeOutcome::Failed { what, text, .. } => (
            Outcome::Warn,
            format!(
                "asked at {place} as users ask, {} fails: {text}",
                what.words()
            ),
        ),
        ProbeOutcome::Unreachable { text } => (
            Outcome::Warn,
            format!(
                "{text}: a rollout does not probe green through it, and a quiet night is no evidence\nhint: `load_balancer.allow` and the subnets decide who reaches it"
            ),
        ),
    };
    Check::new(NAME, result, detail)
}

#[cfg(test)]
mod tests {
    use plan::observed::ProbePart;

    use super::*;

    #[test]
    fn only_what_passes_is_well() {
        let failed = ProbeOutcome::Failed {
            what: ProbePart::Certificate,
            text: "it has expired".to_owned(),
            status: None,
        };
        let unreachable = ProbeOutcome::Unreachable {
            text: "no connection to `demo.elb:443` within 3 s".to_owned(),
        };
        let passed = ProbeOutcome::Passed {
            version: "11.10.0.1.x.true".to_owned(),
        };
        for (outcome, result, word) in [
            (passed, Outcome::Ok, "11.10.0"),
            (
                failed,
                Outcome::Warn,
                "the certificate fails: it has expired",
            ),
            (unreachable, Outcome::Warn, "`load_balancer.allow`"),
        ] {
            let check = judge("demo.elb:443", &outcome);
            assert_eq!(check.result, result);
            assert!(check.detail.contains(word), "{}", check.detail);
        }
    }
}
