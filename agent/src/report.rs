//! What the node says of itself: one value, the latest wins, sent when it changes.

use std::sync::Arc;

use fleet_proto::v1::{Failure, Health, NodeReport, Phase, Schema, ServerLicence};
use tokio::sync::watch;

use crate::coded::{Coded, chain};
use crate::logging;
use crate::notify;
use crate::verify::Ping;

/// Journal lines in a failure: enough for a stack trace, small enough for every message limit.
const JOURNAL_LINES: usize = 40;
/// Of one line, in bytes.
const JOURNAL_LINE: usize = 1000;

/// Writes the report; clones write the same one.
#[derive(Clone, Debug)]
pub struct Reporter {
    sender: Arc<watch::Sender<NodeReport>>,
}

impl Default for Reporter {
    fn default() -> Self {
        Self::new()
    }
}

impl Reporter {
    /// A report that only says which agent this is.
    pub fn new() -> Self {
        let report = NodeReport {
            agent_version: crate::VERSION.to_owned(),
            can_move: true,
            ..NodeReport::default()
        };
        Self {
            sender: Arc::new(watch::Sender::new(report)),
        }
    }

    /// For the session, which sends each change.
    pub fn subscribe(&self) -> watch::Receiver<NodeReport> {
        self.sender.subscribe()
    }

    /// As it is now.
    pub fn current(&self) -> NodeReport {
        self.sender.borrow().clone()
    }

    /// Changes the report; nobody is woken when nothing changed.
    pub fn update(&self, change: impl FnOnce(&mut NodeReport)) {
        self.sender.send_if_modified(|report| {
            let before = report.clone();
            change(report);
            *report != before
        });
    }

    /// A new desired state is being worked on. What an older one failed with is history.
    pub fn begin(&self, generation: u64) {
        self.update(|report| {
            if report.generation != generation {
                report.generation = generation;
                report.failure = None;
                report.moved = None;
                report.note.clear();
                if report.phase() == Phase::Failed {
                    report.set_phase(Phase::Configured);
                }
            }
        });
    }

    /// The phase is reached. While a failure is being retried it stays the news until the phase it
    /// happened in is passed; who serves has nothing left to retry.
    pub fn reach(&self, phase: Phase) {
        self.update(|report| {
            if let Some(failure) = &report.failure {
                if phase as i32 <= failure.phase && phase != Phase::Serving {
                    return;
                }
                report.failure = None;
            }
            if report.phase() != phase {
                log::info!("{}", describe(phase));
                report.note.clear();
            }
            report.set_phase(phase);
        });
        self.publish();
    }

    /// Why it is waiting, or how far it got.
    pub fn note(&self, note: impl Into<String>) {
        let note = note.into();
        self.update(|report| report.note = note);
    }

    /// The step failed in `phase`.
    pub fn fail(&self, phase: Phase, error: &(dyn Coded + 'static), journal: Vec<String>) {
        let failure = Failure {
            phase: phase.into(),
            code: error.code().to_owned(),
            error: error_chain(error),
            hint: error.hint(),
            journal: bounded(journal),
        };
        log::error!("{}: {}", describe(phase), failure.error);
        self.update(|report| {
            report.set_phase(Phase::Failed);
            report.failure = Some(failure);
        });
        self.publish();
    }

    /// The schema as read.
    pub fn schema(&self, schema: Schema) {
        self.update(|report| report.schema = Some(schema));
    }

    /// The server's health, and which version answered; who does not answer keeps its last one.
    pub fn health(&self, health: Health, answered: &Ping) {
        self.update(|report| {
            report.health = Some(health);
            if !answered.version_id.is_empty() {
                report.mattermost_version = answered.version();
                report.version_id.clone_from(&answered.version_id);
            }
        });
    }

    /// What the server says of its licence.
    pub fn licence(&self, licence: ServerLicence) {
        self.update(|report| report.licence = Some(licence));
    }

    /// A server is started that was not asked anything yet.
    pub fn another_process(&self) {
        self.update(|report| {
            report.licence = None;
            report.version_id.clear();
        });
    }

    fn publish(&self) {
        let report = self.sender.borrow();
        logging::set_phase(report.phase());
        let status = match &report.failure {
            Some(failure) => format!("Failed: {}", failure.error),
            None => describe(report.phase()).to_owned(),
        };
        notify::status(&status);
    }
}

fn error_chain(error: &(dyn Coded + 'static)) -> String {
    let mut text = error.to_string();
    if let Some(source) = error.source() {
        let rest = chain(source);
        if !text.ends_with(&rest) {
            text = format!("{text}: {rest}");
        }
    }
    text
}

fn bounded(journal: Vec<String>) -> Vec<String> {
    let skip = journal.len().saturating_sub(JOURNAL_LINES);
    journal
        .into_iter()
        .skip(skip)
        .map(|mut line| {
            if line.len() > JOURNAL_LINE {
                let end = (0..=JOURNAL_LINE)
                    .rev()
                    .find(|&at| line.is_char_boundary(at))
                    .unwrap_or(0);
                line.truncate(end);
            }
            line
        })
        .collect()
}

/// The phase in words.
pub fn describe(phase: Phase) -> &'static str {
    match phase {
        Phase::Unspecified => "starting",
        Phase::Enrolled => "enrolled",
        Phase::Configured => "configured",
        Phase::Fetched => "fetched",
        Phase::Verified => "verified",
        Phase::Installed => "installed",
        Phase::Migrating => "migrating",
        Phase::Starting => "starting Mattermost",
        Phase::Serving => "serving",
        Phase::Draining => "draining",
        Phase::Drained => "drained",
        Phase::Failed => "failed",
        Phase::Moving => "moving files and settings",
        Phase::Moved => "files and settings are moved",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wanted::Wanted;

    #[test]
    fn a_failure_stays_the_news_until_its_phase_is_passed() {
        let reporter = Reporter::new();
        reporter.begin(1);
        reporter.reach(Phase::Installed);
        let error = Wanted::parse(&fleet_proto::v1::Desired::default()).unwrap_err();
        reporter.fail(Phase::Starting, &error, vec!["x".repeat(5000)]);
        reporter.reach(Phase::Fetched);
        assert_eq!(reporter.current().phase(), Phase::Failed);
        assert_eq!(reporter.current().failure.unwrap().journal[0].len(), 1000);
        reporter.reach(Phase::Serving);
        assert_eq!(reporter.current().phase(), Phase::Serving);
        assert!(reporter.current().failure.is_none());
    }

    #[test]
    fn nobody_is_woken_for_nothing() {
        let reporter = Reporter::new();
        let mut watcher = reporter.subscribe();
        reporter.reach(Phase::Serving);
        assert!(watcher.has_changed().unwrap());
        watcher.borrow_and_update();
        reporter.reach(Phase::Serving);
        reporter.note("");
        assert!(!watcher.has_changed().unwrap());
    }
}
