//! What people are told of the licence.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::decision::NodeGoal;
use crate::intent::{LicenceRecord, RefusedLicence};
use crate::observed::{Node, ServerLicence, Term};
use crate::view::View;

use super::is_refused;

/// People are told this long before its end.
const WARN: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Mattermost lets an ended licence run so much longer (`LicenseGracePeriod`).
const GRACE: SignedDuration = SignedDuration::from_hours(10 * 24);

/// Why a node that serves is not verified for its licence; `Ok` when its server took it, or when its
/// agent is older than the question.
pub(crate) fn taken(
    view: &View<'_>,
    instance: &str,
    node: &Node,
    goal: &NodeGoal,
) -> Result<(), String> {
    let Some(version) = goal.licence() else {
        return Ok(());
    };
    let secret = view.spec().mattermost.licence_secret.as_deref();
    let secret = secret.unwrap_or_default();
    match super::says(node) {
        Some(says) if says.is_taken(view.spec().mattermost.cluster) => Ok(()),
        // It was taken once and has ended since: better a server without it than none.
        Some(_)
            if !view.spec().mattermost.cluster
                && view.record().licence.proven.as_deref() == Some(version) =>
        {
            Ok(())
        }
        Some(says) => Err(format!(
            "{instance} {}: its server did not take the licence (version {version} of secret `{secret}`)",
            runs(says)
        )),
        None if super::cannot_say(node) => Ok(()),
        None => Err(format!(
            "{instance} has not said whether its server took the licence"
        )),
    }
}

/// What a server that did not take the licence does.
fn runs(says: ServerLicence) -> &'static str {
    if says.licensed {
        "runs on a licence that allows no cluster"
    } else {
        "runs unlicensed"
    }
}

/// The standing notice of a version that was not taken. `failure`: why the proven one could not be put
/// in force again.
pub(super) fn refused(
    view: &View<'_>,
    secret: &str,
    record: &LicenceRecord,
    refused: &RefusedLicence,
    failure: Option<String>,
) -> String {
    let current = view.observed.licence.as_ref().map(|seen| &seen.current);
    let then = match (&record.proven, failure) {
        (Some(proven), Some(error)) => {
            format!("version {proven}, which was taken, could not be put in force again: {error}")
        }
        (Some(proven), None) if current == Some(proven) => {
            format!("the proven version {proven} is in force again")
        }
        (Some(proven), None) if current == Some(&refused.version) => {
            format!("the proven version {proven} is being put in force again")
        }
        (Some(_), None) => "another version is in force since".to_owned(),
        (None, _) => "no earlier version is known that was taken".to_owned(),
    };
    format!(
        "licence version {} was not taken by {} (it {}); {then}; put a right licence into secret `{secret}`",
        refused.version,
        refused.instance,
        runs(refused.says),
    )
}

/// What the licence's own term asks of people.
pub(super) fn term(
    view: &View<'_>,
    secret: &str,
    term: Option<&Term>,
    is_proven: bool,
) -> Vec<String> {
    let Some(term) = term else {
        // A text that a server took and that we cannot read is the server's affair.
        let unread = format!(
            "the licence in secret `{secret}` is not readable as a licence of Mattermost: its end is not known"
        );
        return if is_proven { Vec::new() } else { vec![unread] };
    };
    let mut texts = Vec::new();
    if view.spec().mattermost.cluster && !term.cluster {
        texts.push(format!(
            "the licence in secret `{secret}` ({}) says that it allows no cluster",
            named(term)
        ));
    }
    if view.now < term.starts {
        texts.push(format!(
            "the licence in secret `{secret}` ({}) is valid from {} on only",
            named(term),
            day(term.starts)
        ));
    }
    let left = term.expires.duration_since(view.now);
    if left > WARN {
        return texts;
    }
    let end = day(term.expires);
    let what = format!("the licence in secret `{secret}` ({})", named(term));
    let grace = term.expires.checked_add(GRACE).unwrap_or(Timestamp::MAX);
    texts.push(if left.is_positive() {
        let days = left.as_hours() / 24;
        format!("{what} ends on {end}, in {days} day(s): put the next one into that secret")
    } else if view.now < grace {
        format!(
            "{what} ended on {end}: servers run on it until {} at the latest, then unlicensed; put the next one into that secret",
            day(grace)
        )
    } else {
        format!(
            "{what} ended on {end}, and its grace period of 10 days on {}: servers run unlicensed; put the next one into that secret",
            day(grace)
        )
    });
    texts
}

fn named(term: &Term) -> String {
    [&term.id, &term.sku, &term.customer]
        .into_iter()
        .filter(|part| !part.is_empty())
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}

fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

/// That a version is on its way to the nodes, or cannot be judged.
pub(super) fn tried(
    view: &View<'_>,
    secret: &str,
    record: &LicenceRecord,
    current: &str,
) -> Option<String> {
    if is_refused(record, current) {
        return None;
    }
    let mut with = BTreeSet::new();
    let mut all = 0;
    let mut silent = BTreeSet::new();
    for (id, node) in &view.observed.nodes {
        let Some(goal @ NodeGoal::Serve { .. }) = &node.goal else {
            continue;
        };
        all += 1;
        if goal.licence() == Some(current) {
            with.insert(id.as_str());
            if super::cannot_say(node) {
                silent.insert(id.as_str());
            }
        }
    }
    if !silent.is_empty() {
        let names: Vec<&str> = silent.into_iter().collect();
        return Some(format!(
            "whether the licence was taken is not known of {}: the agent there is older than the question; a rollout to a newer image brings one",
            names.join(", ")
        ));
    }
    if with.is_empty() || with.len() == all {
        return None;
    }
    let names: Vec<&str> = with.iter().copied().collect();
    Some(if record.proven.as_deref() == Some(current) {
        format!(
            "licence version {current} of secret `{secret}` is with {} of {all} nodes: the others get it one by one",
            names.len()
        )
    } else {
        format!(
            "licence version {current} of secret `{secret}` is tried by {}: the other nodes get it when its server took it",
            names.join(", ")
        )
    })
}
