//! Stacks from before: what people made lies on their nodes, and has to be brought to where it lasts before
//! any node is given up.
//!
//! ```text
//!   settings: config.json of a node ----> table `configurations` of the stack's database
//!   files:    `data` of every node  ----> the bucket that `[files]` names
//! ```
//!
//! Invariant: while something lies on the nodes alone, nothing of ours ends a node that served: no rollout,
//! no scale-in, no replacement. The way out is one verb, `orchestrator move`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::configuration::ConfigurationHome;
use crate::files::{BucketHome, FilesHome};
use crate::intent::{Intent, Record, Target};
use crate::observed::{Group, Node, Observed, STACK_TAG};
use crate::spec::{FileStore, Spec};
use crate::view::unknown;

/// What a node is told to bring to where it lasts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveOrder {
    /// Where its files go. None: they stay where they are.
    pub files: Option<BucketHome>,
    /// This node's server brings its `config.json` into the database.
    pub configuration: bool,
    /// No other node copies into that bucket.
    pub alone: bool,
}

/// What lies on a stack's nodes alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unmoved {
    /// Users' files, although `[files]` names a bucket.
    pub files: bool,
    /// The servers' own settings.
    pub configuration: bool,
}

/// What has to be moved yet; none in a stack that needs no move, or serves nothing.
pub(crate) fn unmoved(record: &Record, spec: &Spec) -> Option<Unmoved> {
    let proven = record.proven.as_ref()?;
    let unmoved = Unmoved {
        // With `store = "local"` their loss is accepted by the file, and asked for by a flag of its own.
        files: spec.files.store == FileStore::S3 && FilesHome::of(proven) == FilesHome::Local,
        configuration: record.configuration() == ConfigurationHome::File,
    };
    (unmoved.files || unmoved.configuration).then_some(unmoved)
}

impl Unmoved {
    /// What is where.
    fn what(self) -> &'static str {
        match (self.configuration, self.files) {
            (true, true) => {
                "settings made in the System Console lie in each node's config.json, users' files and uploaded plugins on its disk, and both are lost with the node"
            }
            (true, false) => {
                "settings made in the System Console lie in each node's config.json and are lost with the node"
            }
            (false, _) => {
                "users' files and uploaded plugins lie on the nodes' disks and are lost with the node"
            }
        }
    }

    /// What is where, and the command.
    pub fn words(self) -> String {
        format!(
            "{}: `orchestrator move` brings them to where they last; until then no rollout, scale-in or replacement of a node is made",
            self.what()
        )
    }
}

/// What lies on nodes alone and goes with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostWithNodes {
    /// In a sentence without an end.
    pub what: &'static str,
    /// Users' files are among it.
    pub files: bool,
    /// They lie where the specification wants them (`store = "local"`), so a move leaves them there.
    pub as_specified: bool,
}

/// What the end of all nodes would take with it; none where nothing lies on them alone, or none is there.
/// Groups that could not be read may have nodes. `store = "local"` accepts the loss of files at a rollout
/// and with a node that is replaced, not at the end of the stack.
pub fn lost_with_nodes(intent: &Intent, observed: &Observed) -> Option<LostWithNodes> {
    let proven = intent.record.proven.as_ref()?;
    let live = intent.live_rollout().map(|rollout| &rollout.to);
    let mut serving = std::iter::once(proven).chain(live);
    let lost = Unmoved {
        files: serving.any(|target| FilesHome::of(target) == FilesHome::Local),
        configuration: intent.record.configuration() == ConfigurationHome::File,
    };
    let any = lost.files || lost.configuration;
    (any && has_nodes(intent, observed)).then(|| LostWithNodes {
        what: lost.what(),
        files: lost.files,
        as_specified: lost.files && intent.spec.files.store == FileStore::Local,
    })
}

/// Whether the stack has nodes, or may have.
pub fn has_nodes(intent: &Intent, observed: &Observed) -> bool {
    let stack = intent.spec.names().stack().to_owned();
    let ours = |group: &&Group| group.tags.get(STACK_TAG) == Some(&stack);
    unknown(observed, "groups").is_some()
        || observed
            .groups
            .values()
            .filter(ours)
            .any(|group| !group.members.is_empty())
}

/// Agents that would leave the order out in silence, of the nodes in a group.
pub(crate) fn too_old<'a>(intent: &Intent, observed: &'a Observed) -> Vec<&'a str> {
    let group = intent.record.group.as_ref();
    let group = group.and_then(|name| observed.groups.get(name));
    group.map_or_else(Vec::new, |group| {
        let members = group.members.keys();
        members
            .filter(|id| !observed.nodes.get(*id).is_some_and(|node| node.can_move))
            .map(String::as_str)
            .collect()
    })
}

/// The target after a move: as it serves, with its files where the specification says.
pub(crate) fn target(from: &Target, wanted: FilesHome) -> Target {
    Target {
        files: Some(wanted),
        ..from.clone()
    }
}

/// Where a node of this target copies its files; none where they are already.
pub(crate) fn destination(from: &Target, to: &Target) -> Option<BucketHome> {
    match (FilesHome::of(from), FilesHome::of(to)) {
        (FilesHome::Local, FilesHome::S3(home)) => Some(home),
        _ => None,
    }
}

/// Names of values that a move of `config.json` must bring into the database as they are.
const NEEDED: [&str; 3] = [
    "FileSettings.PublicLinkSalt",
    "SqlSettings.AtRestEncryptKey",
    "TeamSettings.SiteName",
];

/// Why the active row of `configurations` is not the node's file, by digests of both; `Ok`: it is. What
/// the node says of its own success counts for nothing.
pub(crate) fn proves(file: &BTreeMap<String, String>, observed: &Observed) -> Result<(), String> {
    if let Some(name) = NEEDED.iter().find(|name| !file.contains_key(**name)) {
        return Err(format!("the node's config.json has no `{name}`"));
    }
    let row = observed
        .databases
        .as_ref()
        .and_then(|seen| seen.configuration.as_ref())
        .ok_or("SQL shows no active row in `configurations`")?;
    for (name, digest) in file {
        let there = if name == "TeamSettings.SiteName" {
            row.site_name.as_ref()
        } else {
            row.salts.get(name)
        };
        if there != Some(digest) {
            return Err(format!(
                "`{name}` of the active row `{}` is not that of the node's config.json (SHA-256 {} there, {} here)",
                row.id,
                there.map_or("none", |text| short(text)),
                short(digest)
            ));
        }
    }
    Ok(())
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// What differs between the files of several nodes, for the plan: one of them wins.
pub(crate) fn differing(
    chosen: &str,
    nodes: &BTreeMap<String, Node>,
    members: &[&str],
) -> Vec<String> {
    let Some(file) = nodes.get(chosen).map(|node| &node.configuration_file) else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    for id in members.iter().filter(|id| **id != chosen) {
        let Some(node) = nodes.get(*id) else { continue };
        let names: Vec<&str> = file
            .iter()
            .filter(|(name, digest)| node.configuration_file.get(*name) != Some(digest))
            .map(|(name, _)| name.as_str())
            .collect();
        if !names.is_empty() {
            lines.push(format!(
                "config.json of {id} differs from that of {chosen} in {}: that of {chosen}, the oldest in service, is moved, and links made with the other become invalid",
                names.join(", ")
            ));
        }
    }
    lines
}

#[cfg(test)]
mod tests;
