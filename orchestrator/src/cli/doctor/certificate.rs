//! `doctor`'s look at the load balancer's certificate: issued, for the name that users type, and for how long.

use cloud::Certificate;
use jiff::{SignedDuration, Timestamp};
use plan::Spec;
use url::{Host, Url};

use super::{Check, Outcome};
use crate::core::Core;

/// ACM renews what it issued 60 days before its end (ACM user guide, "Managed certificate renewal"): half of
/// that left means that it could not, or that the certificate was imported.
const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The check.
pub(super) async fn certificate(core: &Core) -> Check {
    let Some(arn) = &core.spec.load_balancer.certificate_arn else {
        return Check::new(
            "certificate",
            Outcome::Warn,
            "none: users speak plain HTTP to the load balancer; `load_balancer.certificate_arn` names one",
        );
    };
    match core.cloud.certificate(arn).await {
        Ok(found) => judge(&core.spec, &found, core.now()),
        Err(error) => Check::new("certificate", Outcome::Fail, crate::chain(&error)),
    }
}

fn judge(spec: &Spec, found: &Certificate, now: Timestamp) -> Check {
    let what = format!("{} for {}", found.status, found.names.join(", "));
    let (outcome, detail) = if found.status != "ISSUED" {
        (
            Outcome::Fail,
            format!("{what}: a load balancer takes an issued one only"),
        )
    } else if let Some(host) = unnamed(spec, found) {
        (
            Outcome::Fail,
            format!(
                "{what}, and users type `{host}` (`load_balancer.site_url`): their clients refuse it. Request one with that name"
            ),
        )
    } else {
        match found.not_after {
            Some(end) if end <= now => (Outcome::Fail, format!("{what}: it ended {end}")),
            Some(end) if end.duration_since(now) < SOON => (
                Outcome::Warn,
                format!(
                    "{what}: it ends {end}. What was imported is imported anew; of ACM's own the validation records are to be checked"
                ),
            ),
            Some(end) => (Outcome::Ok, format!("{what}, until {end}")),
            None => (Outcome::Ok, what),
        }
    };
    Check::new("certificate", outcome, detail)
}

/// The name that users type, when the certificate is not for it.
fn unnamed(spec: &Spec, found: &Certificate) -> Option<String> {
    let url = Url::parse(spec.load_balancer.site_url.as_deref()?).ok()?;
    // No certificate of ACM is for an address.
    let Host::Domain(host) = url.host()? else {
        return url.host_str().map(str::to_owned);
    };
    let covered = found.names.iter().any(|name| covers(name, host));
    (!covered).then(|| host.to_owned())
}

/// Whether a name of a certificate is for a host: the same, or with `*` for the host's first label (RFC 9525, 6.3).
fn covers(name: &str, host: &str) -> bool {
    if name.eq_ignore_ascii_case(host) {
        return true;
    }
    match (name.strip_prefix("*."), host.split_once('.')) {
        (Some(rest), Some((_, parent))) => rest.eq_ignore_ascii_case(parent),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(site_url: Option<&str>) -> Spec {
        let mut spec = super::super::spec();
        spec.load_balancer.site_url = site_url.map(str::to_owned);
        spec
    }

    fn found(status: &str, names: &[&str], end: Option<&str>) -> Certificate {
        Certificate {
            arn: "arn:aws:acm:us-east-1:123456789012:certificate/1".to_owned(),
            status: status.to_owned(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            not_after: end.map(|end| end.parse().unwrap()),
        }
    }

    #[test]
    fn a_certificate_is_judged_by_status_name_and_term() {
        let now: Timestamp = "2026-06-01T00:00:00Z".parse().unwrap();
        let https = Some("https://chat.example.com/mattermost");
        for (site, status, names, end, outcome, says) in [
            (
                https,
                "ISSUED",
                &["chat.example.com"][..],
                None,
                Outcome::Ok,
                "ISSUED for chat.example.com",
            ),
            (
                https,
                "ISSUED",
                &["example.com", "*.EXAMPLE.com"],
                Some("2027-01-01T00:00:00Z"),
                Outcome::Ok,
                "until 2027",
            ),
            (
                None,
                "ISSUED",
                &["anything.example"],
                None,
                Outcome::Ok,
                "ISSUED",
            ),
            (
                https,
                "PENDING_VALIDATION",
                &["chat.example.com"],
                None,
                Outcome::Fail,
                "an issued one only",
            ),
            (
                https,
                "ISSUED",
                &["example.com", "*.chat.example.com"],
                None,
                Outcome::Fail,
                "users type `chat.example.com`",
            ),
            (
                https,
                "ISSUED",
                &["*.com"],
                None,
                Outcome::Fail,
                "users type",
            ),
            (
                Some("https://192.0.2.1"),
                "ISSUED",
                &["chat.example.com"],
                None,
                Outcome::Fail,
                "users type `192.0.2.1`",
            ),
            (
                https,
                "ISSUED",
                &["chat.example.com"],
                Some("2026-06-20T00:00:00Z"),
                Outcome::Warn,
                "it ends 2026-06-20",
            ),
            (
                https,
                "ISSUED",
                &["chat.example.com"],
                Some("2026-05-20T00:00:00Z"),
                Outcome::Fail,
                "it ended 2026-05-20",
            ),
        ] {
            let check = judge(&spec(site), &found(status, names, end), now);
            assert_eq!(check.result, outcome, "{names:?} {end:?}: {}", check.detail);
            assert!(check.detail.contains(says), "{}", check.detail);
        }
    }
}
