//! What a node should become, and whether it is that: verified means all of node.md's evidence at once.

use std::collections::BTreeMap;

use crate::configuration::ConfigurationHome;
use crate::decision::NodeGoal;
use crate::intent::{Record, Target};
use crate::licence;
use crate::moving::MoveOrder;
use crate::observed::{Failure, Node, Observed};
use crate::view::View;

/// How nodes of one colour serve.
#[derive(Clone, Debug)]
pub(crate) struct Colour<'a> {
    pub target: &'a Target,
    pub cluster: Option<String>,
    pub scheduler: bool,
    pub expected_migrations: u32,
    pub rollout: Option<String>,
    pub configuration: ConfigurationHome,
}

impl<'a> Colour<'a> {
    /// A colour that serves users: member of the stack's cluster when there is one.
    pub fn serving(view: &View<'_>, target: &'a Target, record: &Record) -> Self {
        Self {
            target,
            cluster: view.spec().mattermost.cluster.then(|| view.names.cluster()),
            scheduler: true,
            expected_migrations: record.migrations.unwrap_or(0),
            rollout: None,
            configuration: record.configuration(),
        }
    }

    pub fn serve(&self, migrate: bool) -> NodeGoal {
        NodeGoal::Serve {
            version: self.target.version.clone(),
            sha256: self.target.sha256.clone(),
            url: self.target.url.clone(),
            migrate,
            expected_migrations: if migrate { 0 } else { self.expected_migrations },
            cluster: self.cluster.clone(),
            scheduler: self.scheduler,
            rollout: self.rollout.clone(),
            settings: self.target.settings.clone(),
            files: self.target.files.clone(),
            configuration: self.configuration,
            licence: None,
            started_after: None,
            copy: None,
        }
    }

    /// The same server, and its files are copied beside it.
    pub fn copying(&self, order: MoveOrder) -> NodeGoal {
        let mut goal = self.serve(false);
        if let NodeGoal::Serve { copy, .. } = &mut goal {
            *copy = Some(order).filter(|order| order.files.is_some());
        }
        goal
    }

    /// Stopped, with what lives on the node on its way to where it lasts.
    pub fn moving(&self, order: MoveOrder) -> NodeGoal {
        NodeGoal::Move {
            version: self.target.version.clone(),
            sha256: self.target.sha256.clone(),
            url: self.target.url.clone(),
            rollout: self.rollout.clone(),
            settings: self.target.settings.clone(),
            files: self.target.files.clone(),
            order,
        }
    }

    pub fn prepare(&self) -> NodeGoal {
        NodeGoal::Prepare {
            version: self.target.version.clone(),
            sha256: self.target.sha256.clone(),
            url: self.target.url.clone(),
            rollout: self.rollout.clone(),
            settings: self.target.settings.clone(),
            files: self.target.files.clone(),
            configuration: self.configuration,
            licence: None,
        }
    }
}

/// The goal as it is given: what the node already has, when that asks for the same server. A goal that
/// differs in words only would make every node of a colour report anew for nothing.
pub(crate) fn settled_goal(wanted: NodeGoal, node: Option<&Node>) -> NodeGoal {
    match node.and_then(|node| node.goal.as_ref().map(|given| (node, given))) {
        Some((node, given)) if asks_the_same(&wanted, given, node) => given.clone(),
        _ => wanted,
    }
}

/// Whether a node with the goal `given` runs the server that `wanted` asks for.
fn asks_the_same(wanted: &NodeGoal, given: &NodeGoal, node: &Node) -> bool {
    match (wanted, given) {
        (
            NodeGoal::Serve {
                version,
                sha256,
                url,
                migrate,
                expected_migrations,
                cluster,
                scheduler,
                settings,
                files,
                configuration,
                licence,
                started_after,
                copy,
                ..
            },
            NodeGoal::Serve {
                version: given_version,
                sha256: given_sha256,
                url: given_url,
                migrate: given_migrate,
                expected_migrations: given_migrations,
                cluster: given_cluster,
                scheduler: given_scheduler,
                settings: given_settings,
                files: given_files,
                configuration: given_configuration,
                licence: given_licence,
                started_after: given_started_after,
                copy: given_copy,
                ..
            },
        ) => {
            let served = node.current && node.phase == "serving";
            (version, sha256, url) == (given_version, given_sha256, given_url)
                && (cluster, scheduler, settings, configuration)
                    == (
                        given_cluster,
                        given_scheduler,
                        given_settings,
                        given_configuration,
                    )
                && (files, copy) == (given_files, given_copy)
                && (licence, started_after) == (given_licence, given_started_after)
                && (migrate == given_migrate || (*given_migrate && served))
                // More than there are is waited for without end.
                && (*migrate || given_migrations <= expected_migrations)
        }
        (one, other) => one == other,
    }
}

/// Why a node is not verified yet; `Ok` when it is. `goal` is the one given to it now.
pub(crate) fn verified(view: &View<'_>, instance: &str, goal: &NodeGoal) -> Result<(), String> {
    let Some(node) = view.node(instance) else {
        return Err(format!("{instance} has not called yet"));
    };
    let is_taken_up = node.goal.as_ref() == Some(goal) && node.current;
    if !is_taken_up && let Some(why) = licence::awaited(view, goal) {
        return Err(format!("{instance} {why}"));
    }
    let NodeGoal::Serve {
        version,
        migrate,
        expected_migrations,
        ..
    } = goal
    else {
        return Err(format!("{instance} is not asked to serve"));
    };
    licence::not_refused(view, instance, node)?;
    if let Some(failure) = failure_of(node) {
        return Err(format!(
            "{instance} failed in `{}`: {}",
            failure.phase, failure.error
        ));
    }
    let in_database = matches!(
        goal,
        NodeGoal::Serve {
            configuration: ConfigurationHome::Database,
            ..
        }
    );
    if in_database && node.phase == "serving" && !node.can_move {
        return Err(format!(
            "the agent of {instance} is older than settings in the database: its server keeps them on the node; roll out an image with this version's agent"
        ));
    }
    if !is_taken_up {
        return Err(format!(
            "{instance} has not taken up its goal yet (`{}`)",
            node.phase
        ));
    }
    if node.phase != "serving" {
        let note = if node.note.is_empty() {
            String::new()
        } else {
            format!(": {}", node.note)
        };
        return Err(format!("{instance} is in `{}`{note}", node.phase));
    }
    if !node.connected {
        return Err(format!("{instance} has no session: its last word is old"));
    }
    if !is_version(&node.mattermost_version, version) {
        return Err(format!(
            "{instance} runs `{}`, not {version}",
            node.mattermost_version
        ));
    }
    let needed = view.reads_in_a_row();
    if node.consecutive_ok < needed {
        return Err(format!(
            "{instance} answered {} of {needed} full pings in a row",
            node.consecutive_ok
        ));
    }
    // The count is SQL's: what a node says of it is a claim.
    if let Some(applied) = view.observed.migrations_applied()
        && !migrate
        && applied < *expected_migrations
    {
        return Err(format!(
            "{instance} serves; SQL shows {applied} of {expected_migrations} migrations"
        ));
    }
    if *migrate && !node.migrated {
        return Err(format!(
            "{instance} has not said that the migration is done"
        ));
    }
    licence::taken(view, instance, node, goal)
}

/// `X-Version-Id` begins with the version: `11.10.0` or `11.10.0.<build>.…`.
fn is_version(answered: &str, wanted: &str) -> bool {
    answered
        .strip_prefix(wanted)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The node's failure, when its last word about its present goal is `failed`.
pub(crate) fn failure_of(node: &Node) -> Option<Failure> {
    (node.phase == "failed" && node.current).then(|| node.failure.clone().unwrap_or_default())
}

/// Whether its server answers users and only the place of their files is of no use to it: chat goes on there,
/// and another node would meet the same. The agent looks at that place after the server's health.
pub(crate) fn serves_without_files(node: &Node) -> bool {
    node.connected
        && failure_of(node).is_some_and(|failure| {
            failure.phase == "starting" && failure.code.starts_with("file_store")
        })
}

/// The agent is there and no server runs.
pub(crate) fn runs_no_server(node: &Node) -> bool {
    match node.phase.as_str() {
        "failed" => !serves_without_files(node),
        "drained" | "unknown" | "enrolled" | "configured" | "fetched" | "verified"
        | "installed" => true,
        _ => false,
    }
}

/// A failure as lines for people: phase, code, error, hint, last journal lines.
pub(crate) fn failure_lines(instance: &str, failure: &Failure) -> Vec<String> {
    let mut lines = vec![format!(
        "{instance} failed in `{}` ({}): {}",
        failure.phase, failure.code, failure.error
    )];
    if !failure.hint.is_empty() {
        lines.push(format!("hint: {}", failure.hint));
    }
    let skip = failure.journal.len().saturating_sub(20);
    lines.extend(
        failure
            .journal
            .iter()
            .skip(skip)
            .map(|line| format!("  {line}")),
    );
    lines
}

/// Failures that another node of the same colour would meet as well: no second try.
pub(crate) fn is_mismatch(failure: &Failure) -> bool {
    failure.phase == "migrating"
        || [
            "mismatch",
            "digest",
            "signature",
            "migration",
            "wrong_version",
            "licence_refused",
        ]
        .iter()
        .any(|word| failure.code.contains(word))
}

/// Which of the nodes in `stale`, whose goal stays and whose facts changed (a renewed licence, another
/// endpoint), is told of them now. New facts restart a server: one node at a time, and only while every
/// other one serves what it was told.
pub fn next_for_new_facts<'a>(
    goals: &BTreeMap<String, NodeGoal>,
    observed: &Observed,
    stale: &[&'a str],
) -> Option<&'a str> {
    let is_settled = |instance: &String| {
        observed
            .nodes
            .get(instance)
            .is_some_and(|node| node.current && node.connected && node.phase == "serving")
    };
    stale.iter().copied().find(|next| {
        goals
            .keys()
            .filter(|instance| instance.as_str() != *next)
            .all(is_settled)
    })
}

/// The goal of a node that is told of new facts: what it has migrated it is not told to migrate again.
/// How many migrations there are is SQL's count.
pub fn for_new_facts(goal: &NodeGoal, instance: &str, observed: &Observed) -> NodeGoal {
    let mut goal = goal.clone();
    if let NodeGoal::Serve {
        migrate,
        expected_migrations,
        ..
    } = &mut goal
        && *migrate
        && observed
            .nodes
            .get(instance)
            .is_some_and(|node| node.migrated)
    {
        *migrate = false;
        *expected_migrations = observed.migrations_applied().unwrap_or(0);
    }
    goal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::large_stack_arrays, reason = "a table of cases")]
    fn new_facts_go_to_one_node_while_the_others_serve() {
        let node = |phase: &str, current: bool, connected: bool| Node {
            phase: phase.to_owned(),
            current,
            connected,
            ..Node::default()
        };
        let serving = || node("serving", true, true);
        for (first, second, stale, expected) in [
            (serving(), serving(), vec!["a", "b"], Some("a")),
            (serving(), serving(), vec!["b"], Some("b")),
            (serving(), serving(), vec![], None),
            // The one that is not settled may be told: it serves nobody.
            (
                node("failed", true, true),
                serving(),
                vec!["a", "b"],
                Some("a"),
            ),
            (node("failed", true, true), serving(), vec!["b"], None),
            (serving(), node("starting", true, true), vec!["a"], None),
            (serving(), node("serving", false, true), vec!["a"], None),
            (serving(), node("serving", true, false), vec!["a"], None),
            (
                serving(),
                node("serving", true, false),
                vec!["a", "b"],
                Some("b"),
            ),
        ] {
            let shown = format!("{first:?} {second:?} {stale:?}");
            let mut observed = Observed::default();
            observed.nodes.insert("a".to_owned(), first);
            observed.nodes.insert("b".to_owned(), second);
            let goals = ["a", "b"].map(|name| (name.to_owned(), NodeGoal::Drain));
            let next = next_for_new_facts(&goals.into(), &observed, &stale);
            assert_eq!(next, expected, "{shown}");
        }
    }
}
