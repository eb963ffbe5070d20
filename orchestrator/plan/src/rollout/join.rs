//! Green nodes become, one after the other, members of blue's cluster; then a message must cross.

use crate::action::Action;
use crate::draft::Draft;
use crate::intent::Phase;
use crate::rollout::green::{alike, ready_nodes, wait_for_nodes};
use crate::rollout::scene::Scene;
use crate::rollout::{Step, pin, probe};
use crate::view::later;

/// Seconds before a chat probe that did not arrive is made again.
const PROBE_AGAIN_SECONDS: u32 = 10;

/// Every green node is in the stack's cluster, verified again, and chat crosses both ways.
pub(super) fn joined(draft: &mut Draft, scene: &Scene<'_>) -> Step {
    let view = scene.view;
    if !draft.knows(view, "groups") {
        return Step::Stay;
    }
    let Some(green) = scene.green else {
        return Step::Back(vec![format!(
            "green's group `{}` is gone",
            scene.green_name
        )]);
    };
    let ready = ready_nodes(scene);
    let waiting: Vec<&String> = scene
        .green_members
        .live
        .iter()
        .filter(|id| !scene.rollout.joined.contains(*id))
        .collect();
    let all_ready = ready.len() as u32 >= scene.size();
    if !waiting.is_empty() || !all_ready {
        // A restart on purpose is no reason to replace a node.
        if !pin::suspend(view, draft, green, &[&["AZRebalance"], &pin::UNPROBED]) {
            return Step::Stay;
        }
        match waiting.first() {
            Some(next) if all_ready => {
                if let Some(rollout) = &mut draft.rollout {
                    rollout.joined.insert((*next).clone());
                }
                draft.wait(
                    "join",
                    format!("{next} joins the cluster `{}`", view.names.cluster()),
                );
            }
            _ => wait_for_nodes(draft, scene, ready.len(), scene.size()),
        }
        return Step::Stay;
    }
    let alike = alike(draft, scene);
    let lost = scene.blue_is_lost();
    let heard = lost || !view.spec().mattermost.cluster || chat_crosses(draft, scene);
    let probed = pin::suspend(view, draft, green, &[&["AZRebalance"]]);
    let answers = probe::green_answers(draft, scene);
    if alike && heard && probed && answers {
        let first = view.spec().rollout.weights.first().copied();
        let weight = first.filter(|_| !lost).unwrap_or(100);
        Step::Go(Phase::Shifting { weight })
    } else {
        Step::Stay
    }
}

/// Blue and green are in one cluster, as either side records it: a message crosses both ways
/// (docs/adr/0002-cluster-membership-by-sql.md).
fn chat_crosses(draft: &mut Draft, scene: &Scene<'_>) -> bool {
    let (Some(blue), Some(green)) = (
        scene.blue_members.serving.first(),
        scene.green_members.serving.first(),
    ) else {
        draft.wait(
            "chat",
            "no pair of verified nodes to send a message between",
        );
        return false;
    };
    let mut both = true;
    for (from, to) in [(blue, green), (green, blue)] {
        if scene.view.observed.chat.get(&format!("{from}>{to}")) == Some(&true) {
            continue;
        }
        both = false;
        let action = Action::ProbeChat {
            from: from.clone(),
            to: to.clone(),
        };
        let tried = scene.view.intent.journal.get(&action.key()).map(|entry| {
            later(
                entry
                    .done
                    .unwrap_or(entry.intended)
                    .max(entry.attempted.unwrap_or(entry.intended)),
                PROBE_AGAIN_SECONDS,
            )
        });
        let text = format!(
            "{from} and {to} are not yet members of one cluster: a message from the first would not reach the second"
        );
        match tried {
            Some(again) if scene.view.now < again => draft.wait("chat", text),
            _ => draft.set(scene.view, "chat", &text, action),
        }
    }
    both
}
