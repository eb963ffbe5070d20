//! Short ways to write what actions hold.

use std::collections::{BTreeMap, BTreeSet};

use plan::observed::{HealthCheck, Rule};

pub fn set<const N: usize>(values: [&str; N]) -> BTreeSet<String> {
    values.map(str::to_owned).into()
}

pub fn map<const N: usize>(values: [(&str, &str); N]) -> BTreeMap<String, String> {
    values
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

pub fn tcp(port: u16, source: &str) -> Rule {
    Rule {
        protocol: "tcp".to_owned(),
        from_port: port,
        to_port: port,
        source: source.to_owned(),
    }
}

/// Asked at this path, well with these statuses.
pub fn health(path: &str, expected: &str) -> HealthCheck {
    HealthCheck {
        enabled: true,
        protocol: "HTTP".to_owned(),
        port: "traffic-port".to_owned(),
        path: path.to_owned(),
        expected: expected.to_owned(),
        interval_seconds: 10,
        timeout_seconds: 5,
        healthy: 2,
        unhealthy: 3,
    }
}
