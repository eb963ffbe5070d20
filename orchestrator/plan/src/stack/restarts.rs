//! Restarts that we order. A server that starts answers no probe; where that takes longer than the load
//! balancer's three probes (30 s), Auto Scaling would end the node for it, and what lies on the node with it.
//!
//! ```text
//!   a restart is due ─ mark the group ─ suspend ─ read back ─ tell the node ─ it serves, its target is healthy ─ resume ─ unmark
//! ```
//!
//! The mark keeps what was suspended before us, so that the end is found again by whoever comes after. It holds
//! while a node is on its way, and no longer: one that failed, has no session, or is not healthy two minutes
//! after it said that it serves is Auto Scaling's again.

use std::collections::BTreeSet;

use crate::action::Action;
use crate::decision::NodeGoal;
use crate::draft::Draft;
use crate::nodes::failure_of;
use crate::observed::{Group, Tags};
use crate::rollout::pin::{UNPROBED, suspend_exactly};
use crate::view::{View, later};

/// Tag of a group whose nodes are not replaced while one of them restarts; its value: the processes that were
/// suspended before, joined by spaces.
const MARK: &str = "mattermost:restart-suspended";
/// A target is healthy within three probes of 10 s after its server answers, and Auto Scaling sees it within a
/// minute more.
const HEALTHY_SECONDS: u32 = 120;
/// How long a node may be without a session on its way.
const SILENT_SECONDS: u32 = 120;

/// Holds restarts back until nobody is replaced for them, and ends that afterwards. After the members' goals
/// are decided.
pub(super) fn guard(view: &View<'_>, draft: &mut Draft, group: &Group) {
    let due = due(view, draft, group);
    let marked = group.tags.get(MARK);
    if due.is_empty() && (marked.is_none() || on_its_way(view, group)) {
        return;
    }
    let Some(before) = marked else {
        hold_back(view, draft, &due);
        let before: Vec<&str> = group.suspended.iter().map(String::as_str).collect();
        set_tags(view, draft, group, Some(before.join(" ")));
        return;
    };
    let mut wanted: BTreeSet<String> = before.split_whitespace().map(str::to_owned).collect();
    if due.is_empty() {
        if suspend(view, draft, group, wanted) {
            set_tags(view, draft, group, None);
        }
        return;
    }
    wanted.extend(UNPROBED.map(str::to_owned));
    if !suspend(view, draft, group, wanted) {
        hold_back(view, draft, &due);
    }
}

/// Nodes in service whose server starts anew once they are told what is decided.
fn due(view: &View<'_>, draft: &Draft, group: &Group) -> Vec<String> {
    let is_due = |id: &String| {
        let Some(node) = view.node(id) else {
            return false;
        };
        let given = node.goal.as_ref();
        let told = draft.nodes.get(id);
        let another = matches!(
            (given, told),
            (Some(NodeGoal::Serve { .. }), Some(told @ NodeGoal::Serve { .. })) if given != Some(told)
        );
        another || (node.stale && node.current)
    };
    let members = group.members.iter();
    members
        .filter(|(id, member)| member.lifecycle == "InService" && is_due(id))
        .map(|(id, _)| id.clone())
        .collect()
}

/// Whether a node of the group still comes up after it was told.
fn on_its_way(view: &View<'_>, group: &Group) -> bool {
    let slot = view.record().slot;
    group.members.iter().any(|(id, member)| {
        let Some(node) = view.node(id).filter(|_| member.lifecycle == "InService") else {
            return false;
        };
        let heard = node.connected
            || node
                .disconnected_since
                .is_some_and(|since| view.now < later(since, SILENT_SECONDS));
        if !heard || failure_of(node).is_some() {
            return false;
        }
        if node.phase != "serving" || !node.current {
            return matches!(node.goal, Some(NodeGoal::Serve { .. }));
        }
        let young = node
            .server_since
            .is_some_and(|since| view.now < later(since, HEALTHY_SECONDS));
        young && !view.is_settled(slot, id)
    })
}

/// These keep what they were told, and no node is told new facts.
fn hold_back(view: &View<'_>, draft: &mut Draft, due: &[String]) {
    draft.restarts_held = true;
    for id in due {
        if let Some(goal) = view.node(id).and_then(|node| node.goal.clone()) {
            draft.nodes.insert(id.clone(), goal);
        }
    }
}

fn suspend(view: &View<'_>, draft: &mut Draft, group: &Group, wanted: BTreeSet<String>) -> bool {
    let what = format!(
        "`{}`: Auto Scaling's health checks are {} for a restart of a server",
        group.name,
        if wanted.contains(UNPROBED[0]) {
            "suspended"
        } else {
            "resumed"
        },
    );
    suspend_exactly(view, draft, group, wanted, ("restart", &what))
}

fn set_tags(view: &View<'_>, draft: &mut Draft, group: &Group, before: Option<String>) {
    let what = format!(
        "`{}`: {} a restart of a server",
        group.name,
        if before.is_some() { "before" } else { "after" },
    );
    let remove = if before.is_some() {
        BTreeSet::new()
    } else {
        BTreeSet::from([MARK.to_owned()])
    };
    let action = Action::SetGroupTags {
        group: group.name.clone(),
        tags: before
            .map(|before| Tags::from([(MARK.to_owned(), before)]))
            .unwrap_or_default(),
        remove,
    };
    draft.set(view, "restart", &what, action);
}
