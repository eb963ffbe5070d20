//! Short ways to write what actions hold.

use std::collections::{BTreeMap, BTreeSet};

use plan::observed::Rule;

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
