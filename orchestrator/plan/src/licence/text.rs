//! The licence's text: whether it is at hand, and who waits for it. Without it no node is configured: it
//! would serve unlicensed, and messages between nodes would be lost in silence.

use std::collections::BTreeSet;

use crate::decision::NodeGoal;
use crate::draft::Draft;
use crate::observed::Observed;
use crate::stack::NOTICE;
use crate::view::{View, live_members};

/// Gate of what waits for the text.
const GATE: &str = "licence_missing";

/// Versions whose text is at hand; none: nobody looked yet.
fn readable(observed: &Observed) -> Option<&BTreeSet<String>> {
    let seen = observed.licence.as_ref().map(|seen| &seen.readable);
    let unread = observed.licence_unread.as_ref();
    seen.or(unread.map(|unread| &unread.readable))
}

/// Whether the text of this version, or of any when a node has none yet, is known not to be at hand.
fn is_absent(observed: &Observed, version: Option<&str>) -> bool {
    readable(observed).is_some_and(|texts| !version.is_some_and(|id| texts.contains(id)))
}

/// Whether a node with this goal cannot be told it, since the text of its version of the licence is not at
/// hand. A node that leaves, or is moved, needs none.
pub(crate) fn lacks(is_named: bool, observed: &Observed, goal: &NodeGoal) -> bool {
    let needs = matches!(goal, NodeGoal::Serve { .. } | NodeGoal::Prepare { .. });
    is_named && needs && is_absent(observed, goal.licence())
}

/// Why a node that has not taken up this goal cannot: it is not told it without the licence's text.
pub(crate) fn awaited(view: &View<'_>, goal: &NodeGoal) -> Option<String> {
    let secret = view.spec().mattermost.licence_secret.as_deref()?;
    lacks(true, view.observed, goal).then(|| {
        format!(
            "waits for the licence: {}",
            why(view, secret, goal.licence())
        )
    })
}

/// Why the text of this version is not at hand.
fn why(view: &View<'_>, secret: &str, version: Option<&str>) -> String {
    match (&view.observed.licence_unread, version) {
        (Some(unread), _) => unread.why.words(secret),
        (None, Some(version)) => {
            format!(
                "version {version} of secret `{secret}` is not at hand; it is asked for once a minute"
            )
        }
        (None, None) => format!("secret `{secret}` was not read yet"),
    }
}

/// Names the secret when it gives no text now: as a wait when a node waits for it or none serves yet, else
/// as something for people to know.
pub(crate) fn unread(view: &View<'_>, draft: &mut Draft) {
    let Some(secret) = view.spec().mattermost.licence_secret.as_deref() else {
        return;
    };
    if let Some((instance, version)) = waiting(view, draft) {
        let why = why(view, secret, version.as_deref());
        draft.wait(
            GATE,
            format!(
                "the licence has no text for {instance}, which is not configured without it: {why}"
            ),
        );
        return;
    }
    let Some(unread) = &view.observed.licence_unread else {
        return;
    };
    let why = unread.why.words(secret);
    let new = draft.turns.licences().of_new();
    match new.filter(|id| !is_absent(view.observed, Some(id))) {
        Some(version) => draft.wait(
            NOTICE,
            format!("the licence has no new text: {why}; nodes keep version {version}, which was read before, and new ones get it"),
        ),
        None if serves_somebody(view) => draft.wait(
            NOTICE,
            format!("the licence has no text: {why}; nodes that serve keep theirs, and no other one is configured without it"),
        ),
        None => draft.wait(
            GATE,
            format!("the licence has no text: {why}; no node is configured without it"),
        ),
    }
}

/// Why a rollout does not begin: its nodes could not be configured.
pub(crate) fn held_back(view: &View<'_>, draft: &mut Draft) {
    let Some(secret) = view.spec().mattermost.licence_secret.as_deref() else {
        return;
    };
    let new = draft.turns.licences().of_new();
    if is_absent(view.observed, new) {
        let why = why(view, secret, new);
        draft.wait(GATE, format!("the licence has no text: {why}"));
    }
}

/// The first node that waits for its configuration because of the text, with its version.
fn waiting(view: &View<'_>, draft: &Draft) -> Option<(String, Option<String>)> {
    let groups = view.observed.groups.values();
    let ours = groups.filter(|group| view.is_ours(&group.tags));
    let mut live = ours.flat_map(|group| live_members(view, group));
    live.find_map(|instance| {
        let node = view.node(instance)?;
        let needs_none = matches!(node.goal, Some(NodeGoal::Move { .. } | NodeGoal::Drain));
        let version = draft.turns.licences().of(instance);
        (!node.current && !needs_none && is_absent(view.observed, version.as_deref()))
            .then(|| (instance.to_owned(), version))
    })
}

fn serves_somebody(view: &View<'_>) -> bool {
    let mut nodes = view.observed.nodes.values();
    nodes.any(|node| node.current && node.phase == "serving")
}
