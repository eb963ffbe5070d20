//! Leads a rotation of the fleet's CA through its steps; the steps themselves are `authority`'s.

use std::sync::Arc;

use plan::Observed;

use crate::authority::{self, Authority, Fleet, Next, Step};
use crate::core::Core;
use crate::store::Snapshot;

/// What the fleet holds against the next step, from what was seen and what nodes said.
pub fn fleet(core: &Core, observed: &Observed, snapshot: &Snapshot) -> Fleet {
    let runs = |id: &str| {
        observed
            .instances
            .get(id)
            .is_some_and(|instance| matches!(instance.state.as_str(), "pending" | "running"))
    };
    let away = snapshot
        .nodes
        .iter()
        .filter(|(id, row)| {
            // As the look judged it: what a row says of a session may be older than this process.
            let connected = observed.nodes.get(*id).is_some_and(|node| node.connected);
            !row.revoked && runs(id) && !core.fleet.is_connected(id) && !connected
        })
        .map(|(id, _)| id.clone())
        .collect();
    let signs = core
        .authority
        .borrow()
        .as_ref()
        .map(|authority| authority.sha256())
        .unwrap_or_default();
    let versions = observed
        .template
        .as_ref()
        .map(|template| &template.versions);
    let old_pins = observed
        .groups
        .values()
        .filter(|group| {
            versions
                .and_then(|versions| versions.get(&group.template_version))
                .is_none_or(|version| !version.user_data.contains(&signs))
        })
        .map(|group| group.name.clone())
        .collect();
    Fleet { away, old_pins }
}

/// Where the rotation is, and what it waits for.
pub fn waits(core: &Core, observed: &Observed, snapshot: &Snapshot) -> Option<(Step, Vec<String>)> {
    let step = core.authority.borrow().as_ref()?.step().clone();
    let fleet = fleet(core, observed, snapshot);
    let waits = match authority::next(&step, core.now(), &fleet) {
        Next::Rest | Next::Advance => Vec::new(),
        Next::Wait(reasons) => reasons,
    };
    Some((step, waits))
}

/// Takes the next step when it is due. Only what was seen completely counts.
pub async fn go_on(core: &Arc<Core>, observed: &Observed, snapshot: &Snapshot) {
    let known = ["instances", "groups", "template"];
    if known
        .iter()
        .any(|what| observed.unknown.contains_key(*what))
    {
        return;
    }
    let Some(step) = core
        .authority
        .borrow()
        .as_ref()
        .map(|authority| authority.step().clone())
    else {
        return;
    };
    let fleet = fleet(core, observed, snapshot);
    if authority::next(&step, core.now(), &fleet) == Next::Advance
        && let Err(error) = advance(core, &step, "the orchestrator").await
    {
        log::warn!("the rotation of the fleet's CA: {error:#}");
    }
}

/// Takes the step that follows `step`, if the secret is still there.
pub async fn advance(core: &Arc<Core>, step: &Step, by: &str) -> anyhow::Result<Arc<Authority>> {
    let name = core.spec.names().ca_secret();
    let stack = &core.spec.stack;
    let secret = core.cloud.read_secret(&name).await?;
    let before = Authority::load(stack, &secret)?;
    anyhow::ensure!(
        before.step() == step,
        "it is at step `{}` by now; look again",
        before.step().name()
    );
    let (value, word) = Authority::advance(stack, &secret, core.now())?;
    let after = Arc::new(Authority::load(stack, &value)?);
    core.cloud.replace_secret(&name, &value, &word).await?;
    // The loop reads it anew as every other orchestrator does; this one need not wait.
    core.authority.send_replace(Some(Arc::clone(&after)));
    let what = format!("CA {}", after.step().name());
    log::info!("{what}: {} signs", after.sha256());
    core.event(stack, &what, &format!("by {by}")).await;
    core.store.wake();
    Ok(after)
}
