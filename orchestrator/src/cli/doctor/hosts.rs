//! `doctor`'s look at what the file says of control hosts: where nodes call, and who reaches the database.

use std::time::Duration;

use plan::Spec;
use plan::observed::Observed;

use super::{Check, Outcome};

/// The longest that a resolver may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The addresses of control hosts, and the place that they come from.
pub(super) async fn hosts(spec: &Spec, observed: &Observed) -> Vec<Check> {
    vec![addresses(spec).await, source(spec, observed)]
}

/// Nodes resolve these names in their VPC; what does not resolve here may do so there, and is worth a word: it is
/// what a file says that nobody changed after `init`.
async fn addresses(spec: &Spec) -> Check {
    let name = "control hosts";
    let mut unknown = Vec::new();
    for address in &spec.orchestrator.addresses {
        let lookup = tokio::time::timeout(PATIENCE, tokio::net::lookup_host(address));
        let known = lookup
            .await
            .is_ok_and(|found| found.is_ok_and(|mut found| found.next().is_some()));
        if !known {
            unknown.push(format!("`{address}`"));
        }
    }
    if unknown.is_empty() {
        let detail = format!("nodes call {}", spec.orchestrator.addresses.join(", "));
        return Check::new(name, Outcome::Ok, detail);
    }
    Check::new(
        name,
        Outcome::Warn,
        format!(
            "{} of `orchestrator.addresses` does not resolve from here. If it does not in the nodes' VPC either, no node ever enrols: write what this host is called there",
            unknown.join(", ")
        ),
    )
}

fn source(spec: &Spec, observed: &Observed) -> Check {
    let name = "control hosts' source";
    match &spec.orchestrator.source {
        Some(source) => Check::new(
            name,
            Outcome::Ok,
            format!("`{source}` reaches the database"),
        ),
        None if observed.db_instances.is_empty() => Check::new(
            name,
            Outcome::Warn,
            "`orchestrator.source` is not set: control hosts do not reach the database of this stack, and `up` waits for it. Name their security group or range",
        ),
        None => Check::new(
            name,
            Outcome::Warn,
            "`orchestrator.source` is not set: control hosts reach the database by rules that somebody else made, or not at all. Name their security group or range",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_nobody_changed_is_named() {
        let mut spec = super::super::spec();
        spec.orchestrator.addresses = vec!["127.0.0.1:7443".to_owned()];
        assert_eq!(addresses(&spec).await.result, Outcome::Ok);
        // Reserved: no resolver knows it (RFC 6761).
        let unknown = "orchestrator.invalid:7443".to_owned();
        spec.orchestrator.addresses.push(unknown);
        let check = addresses(&spec).await;
        assert_eq!(check.result, Outcome::Warn);
        assert!(
            check.detail.starts_with("`orchestrator.invalid:7443` of"),
            "{}",
            check.detail
        );
    }

    #[test]
    fn a_file_without_a_source_is_told_what_it_means() {
        let mut spec = super::super::spec();
        let observed = Observed::default();
        spec.orchestrator.source = None;
        assert_eq!(source(&spec, &observed).result, Outcome::Warn);
        spec.orchestrator.source = Some("10.0.0.0/16".to_owned());
        assert_eq!(source(&spec, &observed).result, Outcome::Ok);
    }
}
