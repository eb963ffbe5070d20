//! Whether this host gets through the load balancer what users get.

use plan::Observed;
use plan::observed::ProbeOutcome;

use super::Check;
use crate::core::Core;
use crate::store::Snapshot;
use crate::{prober, reconcile};

/// One check. Rollouts do without such answers where this host gets none, and say so.
pub(super) async fn asked(core: &Core, observed: &Observed) -> Check {
    let intent = reconcile::intent(core, &Snapshot::default());
    let order = plan::probe_order(&intent, observed, core.now());
    let Some(order) = order.filter(|order| order.users.is_some()) else {
        return Check {
            name: NAME.to_owned(),
            result: "skip",
            detail: "it does not forward to servers now".to_owned(),
        };
    };
    let place = format!("{}:{}", order.place.name, order.place.port);
    judge(&place, &prober::once(core, &order).await)
}

const NAME: &str = "load balancer";

fn judge(place: &str, outcome: &ProbeOutcome) -> Check {
    let (result, detail) = match outcome {
        ProbeOutcome::Passed { version } => (
            "ok",
            format!("asked at {place} as users ask, a server of {version} answers"),
        ),
        ProbeOutcome::Failed { what, text, .. } => (
            "warn",
            format!(
                "asked at {place} as users ask, {} fails: {text}",
                what.words()
            ),
        ),
        ProbeOutcome::Unreachable { text } => (
            "warn",
            format!(
                "{text}: a rollout does not probe green through it, and a quiet night is no evidence\nhint: `load_balancer.allow` and the subnets decide who reaches it"
            ),
        ),
    };
    Check {
        name: NAME.to_owned(),
        result,
        detail,
    }
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
            (passed, "ok", "11.10.0"),
            (failed, "warn", "the certificate fails: it has expired"),
            (unreachable, "warn", "`load_balancer.allow`"),
        ] {
            let check = judge("demo.elb:443", &outcome);
            assert_eq!(check.result, result);
            assert!(check.detail.contains(word), "{}", check.detail);
        }
    }
}
