//! The demo's verdict: what must be zero, and is it.

use std::fmt::Write as _;

use load::Report;
use serde_json::Value;

/// What the demo promises (README): nothing failed, lost or doubled; one reconnect a client and rollout.
///
/// `paused` names the phases with a cutover in them: while the door is closed a request is answered with
/// the maintenance page, and clients try again until it opens.
#[must_use]
pub fn violations(report: &Report, rollouts: &[&str], paused: &[&str]) -> Vec<String> {
    let is_paused = |name: &str| paused.contains(&name);
    let refused: u64 = report
        .phases
        .iter()
        .filter(|phase| is_paused(&phase.name))
        .map(|phase| phase.requests.failed)
        .sum();
    let mut found = Vec::new();
    let mut zero = |what: &str, count: u64| {
        if count > 0 {
            found.push(format!("{what}: {count} instead of 0"));
        }
    };
    zero(
        "failed requests",
        report.requests.failed.saturating_sub(refused),
    );
    zero("lost messages", report.messages.lost);
    zero("duplicated messages", report.messages.duplicated);
    zero("abandoned messages", report.messages.abandoned);
    if let Some(database) = &report.database {
        zero("messages missing in the database", database.missing);
        zero("messages twice in the database", database.duplicated);
        if let Some(error) = &database.error {
            found.push(format!("the database was not compared: {error}"));
        }
    }
    found.extend(report.not_kept());
    if report.kept().is_none() {
        found.push("no file was uploaded and nothing was set: nothing was proven".to_owned());
    }
    if report.requests.total == 0 || report.messages.acknowledged == 0 {
        found.push("the load generator sent nothing: nothing was proven".to_owned());
    }
    for phase in report
        .phases
        .iter()
        .filter(|phase| rollouts.contains(&phase.name.as_str()) && !is_paused(&phase.name))
    {
        if phase.reconnects_per_client_max > 1 {
            found.push(format!(
                "reconnects of one client in `{}`: {} instead of at most 1",
                phase.name, phase.reconnects_per_client_max
            ));
        }
    }
    found
}

/// The phases of a rollout with their times, from its JSON.
#[must_use]
pub fn phases(rollout: &Value) -> String {
    let mut text = String::new();
    for phase in rollout["phases"].as_array().into_iter().flatten() {
        let (entered, left) = (
            phase["entered_ms"].as_i64().unwrap_or(0),
            phase["left_ms"].as_i64(),
        );
        let took = left.map_or("…".to_owned(), |left| {
            format!("{:.1} s", (left - entered) as f64 / 1000.0)
        });
        let waited: Vec<&str> = phase["waited_for"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let name = phase["phase"].as_str().unwrap_or("?");
        let _ = writeln!(
            text,
            "{name:<18} {took:>8}  {}",
            waited.first().copied().unwrap_or_default()
        );
    }
    text
}
