//! No check without an attack.

use std::collections::BTreeSet;

use fleet_proto::tls::Turned;

use super::corpus;
use crate::rpc::{Denied, Refused};

#[test]
fn every_check_has_at_least_one_attack_and_a_counter() {
    let attacked: BTreeSet<&str> = corpus()
        .iter()
        .flat_map(|(_, cases)| cases.iter().map(|case| case.check))
        .collect();
    let checks: BTreeSet<String> = [
        Refused::ALL.map(|check| check.to_string()).to_vec(),
        Denied::ALL.map(|check| check.to_string()).to_vec(),
        Turned::ALL.map(|check| check.to_string()).to_vec(),
    ]
    .concat()
    .into_iter()
    .collect();
    assert_eq!(
        checks.len(),
        Refused::ALL.len() + Denied::ALL.len() + Turned::ALL.len()
    );
    let without: Vec<&String> = checks
        .iter()
        .filter(|check| !attacked.contains(check.as_str()))
        .collect();
    assert!(without.is_empty(), "no attack meets {without:?}");
    let unknown: Vec<&&str> = attacked
        .iter()
        .filter(|check| !checks.contains(**check))
        .collect();
    assert!(unknown.is_empty(), "no check is called {unknown:?}");
    let text = crate::metrics::Metrics::default().text();
    for check in &checks {
        let label = format!("_refused_total{{check=\"{check}\"}} 0");
        assert!(text.contains(&label), "no counter for {check}");
    }
}
