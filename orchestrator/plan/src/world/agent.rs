//! What an agent does with its goal, a phase per tick.

use super::World;
use crate::configuration::ConfigurationHome;
use crate::decision::NodeGoal;
use crate::files::FilesHome;
use crate::licence;
use crate::moving::MoveOrder;
use crate::observed::{Configuration, Failure, Moved, Node, ServerLicence};
use crate::view::is_leaving;

/// Migrations that a version brings with it: only that a newer minor has more matters.
pub(crate) fn migrations_of(version: &str) -> u32 {
    let mut parts = version
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or(0));
    let (major, minor) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    major * 100 + minor
}

impl World {
    pub(super) fn advance_nodes(&mut self) {
        let members: Vec<(String, String)> = self
            .observed
            .groups
            .values()
            .flat_map(|group| group.members.iter())
            .map(|(id, member)| (id.clone(), member.lifecycle.clone()))
            .collect();
        for (id, lifecycle) in members {
            if self
                .observed
                .instances
                .get(&id)
                .is_none_or(|seen| seen.state != "running")
            {
                if let Some(node) = self.observed.nodes.get_mut(&id) {
                    node.connected = false;
                    node.disconnected_since.get_or_insert(self.now);
                }
                continue;
            }
            if let Some(left) = self.silent.get_mut(&id).filter(|left| **left > 0) {
                *left -= 1;
                if let Some(node) = self.observed.nodes.get_mut(&id) {
                    node.connected = false;
                    node.disconnected_since.get_or_insert(self.now);
                }
                continue;
            }
            let Some(mut node) = self.observed.nodes.remove(&id) else {
                let node = Node {
                    phase: "enrolled".to_owned(),
                    connected: true,
                    at: Some(self.now),
                    can_move: true,
                    ..Node::default()
                };
                self.observed.nodes.insert(id, node);
                continue;
            };
            self.step(&id, &mut node, is_leaving(&lifecycle));
            node.connected = true;
            node.disconnected_since = None;
            node.at = Some(self.now);
            self.observed.nodes.insert(id, node);
        }
    }

    /// One phase further.
    fn step(&mut self, id: &str, node: &mut Node, leaving: bool) {
        let Some(goal) = node.goal.clone() else {
            return;
        };
        let anew = !node.current;
        let is_named = self.spec.mattermost.licence_secret.is_some();
        if anew && licence::lacks(is_named, &self.observed, &goal) {
            return;
        }
        node.current = true;
        match goal {
            NodeGoal::Drain => {
                node.phase = match node.phase.as_str() {
                    "serving" | "starting" => "draining",
                    _ => "drained",
                }
                .to_owned();
                node.consecutive_ok = 0;
            }
            _ if leaving => {}
            NodeGoal::Move { order, .. } => self.move_out(id, node, &order),
            NodeGoal::Prepare { ref files, .. } => {
                let next = forward(&node.phase, "installed");
                if next == "installed" && node.phase != next && self.is_unusable(files.as_ref()) {
                    fail_store(node, "verified");
                } else {
                    node.phase = next;
                }
            }
            NodeGoal::Serve {
                version,
                migrate,
                expected_migrations,
                ref cluster,
                configuration,
                ref files,
                ref copy,
                ref licence,
                started_after,
                ..
            } => {
                let digest = format!(
                    "{version}/{}/{configuration:?}/{files:?}/{licence:?}/{started_after:?}",
                    cluster.as_deref().unwrap_or("-")
                );
                // An order to copy, or none any more, restarts no server.
                let runs = node.phase == "serving" && node.configuration_digest == digest;
                if anew && runs {
                    node.moved = None;
                }
                if anew && !runs {
                    let installed = matches!(
                        node.phase.as_str(),
                        "installed"
                            | "migrating"
                            | "starting"
                            | "serving"
                            | "drained"
                            | "moved"
                            | "moving"
                    );
                    node.phase = if installed { "installed" } else { "enrolled" }.to_owned();
                    node.failure = None;
                    node.consecutive_ok = 0;
                    node.moved = None;
                    return;
                }
                if copy.is_some() && node.phase == "serving" {
                    node.moved = Some(copied(false));
                }
                self.serve(id, node, &version, migrate, expected_migrations);
                if node.phase == "serving"
                    && node.consecutive_ok == 0
                    && self.is_unusable(files.as_ref())
                {
                    fail_store(node, "starting");
                }
                if configuration == ConfigurationHome::Database && node.phase == "serving" {
                    self.write_configuration();
                }
                self.judge(node, licence.as_deref());
                node.configuration_digest = digest;
            }
        }
    }

    fn serve(&mut self, id: &str, node: &mut Node, version: &str, migrate: bool, expected: u32) {
        let needed = migrations_of(version);
        let applied = self.observed.migrations_applied().unwrap_or(0);
        match node.phase.as_str() {
            "installed" if migrate && applied < needed => node.phase = "migrating".to_owned(),
            "installed" if !migrate && applied < expected.max(1) => {}
            "installed" => node.phase = "starting".to_owned(),
            "migrating" => {
                self.run_migration(id, needed);
                node.phase = "starting".to_owned();
            }
            "starting" if self.bad.contains(version) => {
                node.phase = "failed".to_owned();
                node.failure = Some(Failure {
                    phase: "starting".to_owned(),
                    code: "start_failed".to_owned(),
                    error: "the server ended with status 1".to_owned(),
                    hint: "look at its last lines".to_owned(),
                    journal: vec!["panic: bad release".to_owned()],
                });
            }
            "starting" => {
                // Every start migrates what is missing, whether it was asked to or not.
                if applied < needed {
                    self.run_migration(id, needed);
                }
                node.phase = "serving".to_owned();
            }
            "serving" => {
                node.consecutive_ok += 1;
                node.mattermost_version = format!("{version}.{version}.abc.true");
                node.version_id.clone_from(&node.mattermost_version);
                node.migrations_applied = applied;
                node.migrated = true;
            }
            "failed" => {}
            other => node.phase = forward(other, "installed"),
        }
    }

    fn is_unusable(&self, files: Option<&FilesHome>) -> bool {
        matches!(files, Some(FilesHome::S3(home)) if self.unusable.contains(&home.bucket))
    }

    /// Stopped; the rest is copied, and one server's settings go into the database.
    fn move_out(&mut self, id: &str, node: &mut Node, order: &MoveOrder) {
        node.consecutive_ok = 0;
        match node.phase.as_str() {
            "serving" | "starting" => node.phase = "draining".to_owned(),
            "moving" if self.unmovable.contains(id) => {
                fail_store(node, "moving");
            }
            "moving" => {
                if order.configuration
                    && let Some(seen) = &mut self.observed.databases
                {
                    let mut salts = node.configuration_file.clone();
                    let site_name = salts.remove("TeamSettings.SiteName");
                    seen.configuration = Some(Configuration {
                        id: "row-2".to_owned(),
                        created_at_ms: self.now.as_millisecond(),
                        salts,
                        site_name,
                    });
                }
                node.moved = Some(copied(true));
                node.phase = "moved".to_owned();
            }
            "moved" | "failed" => {}
            _ => node.phase = "moving".to_owned(),
        }
    }

    /// A server that starts on a database without an active row makes one, with salts of its own.
    fn write_configuration(&mut self) {
        if let Some(seen) = &mut self.observed.databases {
            seen.configuration.get_or_insert_with(|| Configuration {
                id: "row-1".to_owned(),
                created_at_ms: self.now.as_millisecond(),
                salts: [("FileSettings.PublicLinkSalt".to_owned(), "5a".repeat(32))].into(),
                site_name: None,
            });
        }
    }

    /// What the server says of its licence; an agent fails when it did not take it.
    fn judge(&self, node: &mut Node, licence: Option<&str>) {
        let said = licence.map(|version| self.say(version));
        if node.phase == "serving" {
            node.licence = said;
        }
        let is_taken = said.is_none_or(|said| said.is_taken(self.spec.mattermost.cluster));
        if node.phase == "serving" && !is_taken && !self.lenient_agents {
            node.phase = "failed".to_owned();
            node.failure = Some(Failure {
                phase: "starting".to_owned(),
                code: "licence_refused".to_owned(),
                error: "Mattermost does not take the licence".to_owned(),
                ..Failure::default()
            });
        }
    }

    /// What a server says of this version of the licence.
    fn say(&self, version: &str) -> ServerLicence {
        let taken = ServerLicence {
            licensed: true,
            cluster: true,
        };
        self.licences.get(version).copied().unwrap_or(taken)
    }

    fn run_migration(&mut self, id: &str, needed: u32) {
        let snapshot = self
            .observed
            .db_snapshots
            .values()
            .any(|seen| seen.status == "available");
        self.migrations.push((id.to_owned(), snapshot));
        if let Some(seen) = &mut self.observed.databases {
            seen.migrations_applied = seen.migrations_applied.max(Some(needed));
        }
    }
}

fn copied(complete: bool) -> Moved {
    Moved {
        files: 3,
        bytes: 3000,
        digest: "c0".repeat(32),
        bucket_digest: "c0".repeat(32),
        complete,
        ..Moved::default()
    }
}

/// One phase towards `last`.
fn forward(phase: &str, last: &str) -> String {
    const PHASES: [&str; 5] = ["enrolled", "configured", "fetched", "verified", "installed"];
    let place = PHASES.iter().position(|known| *known == phase);
    match place {
        _ if phase == last => last,
        Some(place) => PHASES[(place + 2).min(PHASES.len() - 1)],
        None if phase == "drained" => "installed",
        None => phase,
    }
    .to_owned()
}

/// The bucket refuses the node.
fn fail_store(node: &mut Node, phase: &str) {
    node.phase = "failed".to_owned();
    node.failure = Some(Failure {
        phase: phase.to_owned(),
        code: "file_store_denied".to_owned(),
        error: "S3 answered 403".to_owned(),
        ..Failure::default()
    });
}
