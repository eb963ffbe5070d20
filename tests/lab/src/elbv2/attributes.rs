//! Attributes of load balancers and target groups: keys that AWS has for Application Load Balancers,
//! each with its default and its range. An unknown key, or a value that the lab could not act on, is refused.

use std::collections::BTreeMap;

use crate::api::{ApiError, Params, Xml};

/// What a value may be.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Bool,
    /// Inclusive.
    Number(u32, u32),
    /// 0, or a number in the range.
    ZeroOr(u32, u32),
    OneOf(&'static [&'static str]),
    /// `off`, or a number in the range.
    OffOr(u32, u32),
    Text,
}

/// A known key.
struct Known {
    key: &'static str,
    default: &'static str,
    kind: Kind,
}

const fn known(key: &'static str, default: &'static str, kind: Kind) -> Known {
    Known { key, default, kind }
}

/// The lab has no S3, so that logs can only be off.
const OFF: Kind = Kind::OneOf(&["false"]);

static LOAD_BALANCER: [Known; 22] = [
    known("access_logs.s3.enabled", "false", OFF),
    known("access_logs.s3.bucket", "", Kind::Text),
    known("access_logs.s3.prefix", "", Kind::Text),
    known("idle_timeout.timeout_seconds", "60", Kind::Number(1, 4000)),
    known("deletion_protection.enabled", "false", Kind::Bool),
    known("routing.http2.enabled", "true", Kind::Bool),
    known(
        "routing.http.drop_invalid_header_fields.enabled",
        "false",
        Kind::Bool,
    ),
    known("routing.http.xff_client_port.enabled", "false", Kind::Bool),
    known(
        "routing.http.preserve_host_header.enabled",
        "false",
        Kind::Bool,
    ),
    known(
        "routing.http.xff_header_processing.mode",
        "append",
        Kind::OneOf(&["append", "preserve", "remove"]),
    ),
    known(
        "load_balancing.cross_zone.enabled",
        "true",
        Kind::OneOf(&["true"]),
    ),
    known(
        "routing.http.desync_mitigation_mode",
        "defensive",
        Kind::OneOf(&["monitor", "defensive", "strictest"]),
    ),
    known(
        "client_keep_alive.seconds",
        "3600",
        Kind::Number(60, 604_800),
    ),
    known("waf.fail_open.enabled", "false", OFF),
    known(
        "routing.http.x_amzn_tls_version_and_cipher_suite.enabled",
        "false",
        OFF,
    ),
    known("connection_logs.s3.enabled", "false", OFF),
    known("connection_logs.s3.bucket", "", Kind::Text),
    known("connection_logs.s3.prefix", "", Kind::Text),
    known("health_check_logs.s3.enabled", "false", OFF),
    known("health_check_logs.s3.bucket", "", Kind::Text),
    known("health_check_logs.s3.prefix", "", Kind::Text),
    known("zonal_shift.config.enabled", "false", OFF),
];

static TARGET_GROUP: [Known; 13] = [
    known(
        "deregistration_delay.timeout_seconds",
        "300",
        Kind::Number(0, 3600),
    ),
    known("stickiness.enabled", "false", Kind::Bool),
    known("stickiness.type", "lb_cookie", Kind::OneOf(&["lb_cookie"])),
    known(
        "stickiness.lb_cookie.duration_seconds",
        "86400",
        Kind::Number(1, 604_800),
    ),
    known("slow_start.duration_seconds", "0", Kind::ZeroOr(30, 900)),
    known(
        "load_balancing.algorithm.type",
        "round_robin",
        Kind::OneOf(&["round_robin", "least_outstanding_requests"]),
    ),
    known(
        "load_balancing.algorithm.anomaly_mitigation",
        "off",
        Kind::OneOf(&["off"]),
    ),
    known(
        "load_balancing.cross_zone.enabled",
        "use_load_balancer_configuration",
        Kind::OneOf(&["use_load_balancer_configuration", "true"]),
    ),
    known(
        "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count",
        "1",
        Kind::Number(1, 1000),
    ),
    known(
        "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage",
        "off",
        Kind::OffOr(1, 100),
    ),
    known(
        "target_group_health.dns_failover.minimum_healthy_targets.count",
        "1",
        Kind::OffOr(1, 1000),
    ),
    known(
        "target_group_health.dns_failover.minimum_healthy_targets.percentage",
        "off",
        Kind::OffOr(1, 100),
    ),
    known("stickiness.app_cookie.cookie_name", "", Kind::OneOf(&[""])),
];

/// The attributes of a load balancer or a target group; every known key has a value.
#[derive(Clone, Debug)]
pub(super) struct Attributes {
    known: &'static [Known],
    values: BTreeMap<&'static str, String>,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.key)
    }
}

impl Attributes {
    /// The defaults of a load balancer.
    pub fn load_balancer() -> Self {
        Self::defaults(&LOAD_BALANCER)
    }

    /// The defaults of a target group.
    pub fn target_group() -> Self {
        Self::defaults(&TARGET_GROUP)
    }

    fn defaults(known: &'static [Known]) -> Self {
        Self {
            known,
            values: known
                .iter()
                .map(|it| (it.key, it.default.to_owned()))
                .collect(),
        }
    }

    /// Reads and checks the `Attributes` of a call; all or none are taken.
    pub fn parse(&self, params: &Params) -> Result<Vec<(&'static str, String)>, ApiError> {
        let given = params.structs("Attributes");
        if given.is_empty() {
            return Err(ApiError::missing("Attributes"));
        }
        given
            .iter()
            .map(|entry| {
                let (key, value) = (entry.str("Key")?, entry.opt("Value").unwrap_or_default());
                self.check(&key, &value).map(|key| (key, value))
            })
            .collect()
    }

    fn check(&self, key: &str, value: &str) -> Result<&'static str, ApiError> {
        let invalid = |message: String| ApiError::new("ValidationError", message);
        let Some(known) = self.known.iter().find(|known| known.key == key) else {
            log::error!("the lab does not implement attribute `{key}`");
            return Err(invalid(format!("Attribute key '{key}' is not recognized")));
        };
        let within = |low: u32, high: u32| {
            value
                .parse::<u32>()
                .is_ok_and(|number| (low..=high).contains(&number))
        };
        let (good, right) = match known.kind {
            Kind::Bool => (
                matches!(value, "true" | "false"),
                "'true' or 'false'".to_owned(),
            ),
            Kind::Number(low, high) => (within(low, high), format!("between {low} and {high}")),
            Kind::ZeroOr(low, high) => (
                value == "0" || within(low, high),
                format!("0 or between {low} and {high}"),
            ),
            Kind::OneOf(values) => (
                values.contains(&value),
                format!("one of [{}]", values.join(", ")),
            ),
            Kind::OffOr(low, high) => (
                value == "off" || within(low, high),
                format!("'off' or between {low} and {high}"),
            ),
            Kind::Text => (true, String::new()),
        };
        if good {
            Ok(known.key)
        } else {
            Err(invalid(format!(
                "The value '{value}' of attribute '{key}' is not valid; it must be {right}"
            )))
        }
    }

    /// Takes checked values.
    pub fn set(&mut self, changes: Vec<(&'static str, String)>) {
        self.values.extend(changes);
    }

    /// The value of a known key.
    pub fn text(&self, key: &str) -> &str {
        self.values.get(key).map_or("", String::as_str)
    }

    /// A known boolean.
    pub fn flag(&self, key: &str) -> bool {
        self.text(key) == "true"
    }

    /// A known number; `off` is none.
    pub fn number(&self, key: &str) -> Option<u32> {
        self.text(key).parse().ok()
    }

    /// A known number of seconds.
    pub fn seconds(&self, key: &str) -> std::time::Duration {
        std::time::Duration::from_secs(u64::from(self.number(key).unwrap_or_default()))
    }

    /// The `Attributes` member.
    pub fn xml(&self) -> Xml {
        Xml::new().list(
            "Attributes",
            "member",
            self.known.iter().map(|known| {
                Xml::new()
                    .text("Key", known.key)
                    .text("Value", self.text(known.key))
            }),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_passes_its_own_check() {
        for attributes in [Attributes::load_balancer(), Attributes::target_group()] {
            for known in attributes.known {
                attributes.check(known.key, known.default).unwrap();
            }
        }
    }

    #[test]
    fn bad_values_are_named() {
        let group = Attributes::target_group();
        for (key, value) in [
            ("deregistration_delay.timeout_seconds", "3601"),
            ("deregistration_delay.timeout_seconds", "soon"),
            ("slow_start.duration_seconds", "10"),
            ("stickiness.enabled", "yes"),
            ("stickiness.type", "app_cookie"),
            ("preserve_client_ip.enabled", "true"),
        ] {
            let error = group.check(key, value).unwrap_err();
            assert_eq!(error.code, "ValidationError");
            assert!(error.message.contains(key), "{error}");
        }
    }
}
