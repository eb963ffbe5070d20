//! A node's report as the store keeps it and as people read it.

use fleet_proto::v1;
use jiff::Timestamp;
use plan::observed::{Failure, Moved, Node, ServerLicence};

/// Lines of a failed node's journal that are kept; more is for `journalctl` on the node.
const MAX_LINES: usize = 50;
/// And this long each.
const MAX_LINE: usize = 2000;

/// The phase's name as the planner knows it.
pub fn phase_name(phase: i32) -> &'static str {
    match v1::Phase::try_from(phase).unwrap_or_default() {
        v1::Phase::Unspecified => "unknown",
        v1::Phase::Enrolled => "enrolled",
        v1::Phase::Configured => "configured",
        v1::Phase::Fetched => "fetched",
        v1::Phase::Verified => "verified",
        v1::Phase::Installed => "installed",
        v1::Phase::Migrating => "migrating",
        v1::Phase::Starting => "starting",
        v1::Phase::Serving => "serving",
        v1::Phase::Draining => "draining",
        v1::Phase::Drained => "drained",
        v1::Phase::Failed => "failed",
        v1::Phase::Moving => "moving",
        v1::Phase::Moved => "moved",
    }
}

/// Phases that a node reaches only with a verified artefact.
pub fn artefact_is_verified(phase: &str) -> bool {
    matches!(
        phase,
        "verified" | "installed" | "migrating" | "starting" | "serving" | "moving" | "moved"
    )
}

/// From the wire. Nothing in it is trusted to be short or printable.
pub fn from_wire(report: &v1::NodeReport, now: Timestamp) -> Node {
    let health = report.health.clone().unwrap_or_default();
    let schema = report.schema.clone();
    let phase = phase_name(report.phase);
    Node {
        phase: phase.to_owned(),
        generation: report.generation,
        mattermost_version: clean(&report.mattermost_version),
        configuration_digest: clean(&report.configuration_digest),
        consecutive_ok: if health.active {
            health.consecutive_ok
        } else {
            0
        },
        migrations_applied: schema.as_ref().map_or(0, |schema| schema.applied),
        migrated: schema.is_some() && matches!(phase, "starting" | "serving"),
        connected: true,
        at: Some(now),
        failure: report.failure.as_ref().map(|failure| Failure {
            phase: phase_name(failure.phase).to_owned(),
            code: clean(&failure.code),
            error: clean(&failure.error),
            hint: clean(&failure.hint),
            journal: failure
                .journal
                .iter()
                .rev()
                .take(MAX_LINES)
                .rev()
                .map(|line| clean(line))
                .collect(),
        }),
        connections: report.connections,
        note: clean(&report.note),
        can_move: report.can_move,
        configuration_file: report
            .configuration_file
            .iter()
            .take(MAX_LINES)
            .map(|(name, digest)| (clean(name), clean(digest)))
            .collect(),
        moved: report.moved.as_ref().map(moved),
        version_id: clean(&report.version_id),
        licence: report.licence.map(|licence| ServerLicence {
            licensed: licence.licensed,
            cluster: licence.cluster,
        }),
        ..Node::default()
    }
}

/// Code of the failure of an agent whose server ended: the next one is another process.
const ENDED: &str = "server_crashed";

/// When it was first reported that the node's present server serves. A server that goes on with the same
/// configuration is the same one, unless its agent said that it ended; what was not known before stays
/// unknown while it does.
pub fn server_since(before: Option<&Node>, after: &Node, now: Timestamp) -> Option<Timestamp> {
    let same = |before: &&Node| before.configuration_digest == after.configuration_digest;
    let has_ended = |failure: &Failure| failure.code == ENDED;
    match before {
        _ if after.failure.as_ref().is_some_and(has_ended) => None,
        Some(before) if after.phase != "serving" => before.server_since,
        Some(before) if same(&before) && before.server_since.is_some() => before.server_since,
        Some(before) if same(&before) && before.phase == "serving" => None,
        _ => (after.phase == "serving").then_some(now),
    }
}

fn moved(wire: &v1::Moved) -> Moved {
    Moved {
        files: wire.files,
        bytes: wire.bytes,
        digest: clean(&wire.digest),
        bucket_digest: clean(&wire.bucket_digest),
        superseded: wire.superseded,
        complete: wire.complete,
    }
}

fn clean(text: &str) -> String {
    text.chars()
        .filter(|letter| !letter.is_control() || *letter == '\t')
        .take(MAX_LINE)
        .collect()
}

/// One line for the log.
pub fn announce(instance: &str, node: &Node) -> Option<String> {
    let note = if node.note.is_empty() {
        String::new()
    } else {
        format!(": {}", node.note)
    };
    match &node.failure {
        Some(failure) => Some(format!(
            "{instance} failed in {}: {} ({})",
            failure.phase, failure.error, failure.code
        )),
        None if node.phase == "unknown" => None,
        None => Some(format!("{instance} is {}{note}", node.phase)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("within the calendar")
    }

    fn node(phase: &str, digest: &str, since: Option<i64>) -> Node {
        Node {
            phase: phase.to_owned(),
            configuration_digest: digest.to_owned(),
            server_since: since.map(at),
            ..Node::default()
        }
    }

    #[test]
    fn what_a_server_says_of_its_licence_is_kept() {
        let mut report = v1::NodeReport {
            phase: v1::Phase::Serving.into(),
            version_id: "11.10.0.1.abc.true\n".to_owned(),
            licence: Some(v1::ServerLicence {
                licensed: true,
                cluster: false,
            }),
            ..v1::NodeReport::default()
        };
        let kept = from_wire(&report, at(1));
        assert_eq!(kept.version_id, "11.10.0.1.abc.true");
        let licence = kept.licence.expect("it says so");
        assert_eq!((licence.licensed, licence.cluster), (true, false));
        report.licence = None;
        assert_eq!(from_wire(&report, at(1)).licence, None);
    }

    #[test]
    #[expect(clippy::large_stack_arrays, reason = "a table of cases")]
    fn a_server_is_as_old_as_its_configuration_at_least() {
        let after = |phase: &str, digest: &str| node(phase, digest, None);
        let failed = |code: &str| Node {
            failure: Some(Failure {
                code: code.to_owned(),
                ..Failure::default()
            }),
            ..after("failed", "a")
        };
        let cases = [
            ("the first word", None, after("serving", "a"), Some(9)),
            ("not yet", None, after("starting", ""), None),
            (
                "it starts",
                Some(node("starting", "", None)),
                after("serving", "a"),
                Some(9),
            ),
            (
                "it goes on",
                Some(node("serving", "a", Some(5))),
                after("serving", "a"),
                Some(5),
            ),
            (
                "told anew",
                Some(node("serving", "a", Some(5))),
                after("starting", "a"),
                Some(5),
            ),
            (
                "restarted",
                Some(node("starting", "a", Some(5))),
                after("serving", "b"),
                Some(9),
            ),
            (
                "as it was",
                Some(node("starting", "a", Some(5))),
                after("serving", "a"),
                Some(5),
            ),
            (
                "a row of before",
                Some(node("serving", "a", None)),
                after("serving", "a"),
                None,
            ),
            (
                "it ended",
                Some(node("serving", "a", Some(5))),
                failed("server_crashed"),
                None,
            ),
            (
                "it did not",
                Some(node("serving", "a", Some(5))),
                failed("file_store_denied"),
                Some(5),
            ),
            (
                "another process, by the service manager",
                Some(failed("server_crashed")),
                after("serving", "a"),
                Some(9),
            ),
        ];
        for (what, before, after, expected) in cases {
            let since = server_since(before.as_ref(), &after, at(9));
            assert_eq!(since, expected.map(at), "{what}");
        }
    }
}
