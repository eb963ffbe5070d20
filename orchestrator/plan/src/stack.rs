//! The stack as specified: every resource with the observations that it needs first.
//!
//! ```text
//!   network ─ security groups ─┬─ load balancer ─ target groups ─ listeners ──────────────┐
//!                              ├─ parameter group ┐                                       │
//!   bucket of files ─────────────────────────────────────────────────────────────────────── group
//!   secrets ───────────────────┼──────────────────┴─ primary ─┬─ replicas ────────────────┤
//!                              │   subnet group ──┘           └─ databases, roles ─┐      ├─ group ─ policies, alarms
//!   node CA, image ────────────┴──────────────── template version ─────────────────┴──────┘
//! ```
//!
//! An arrow is a value that the next step takes: a step that has not been observed has none to give,
//! and what needs it is not planned. That is why nobody has to run `up` twice.

mod alarms;
mod database;
mod db_reboots;
mod db_storage;
mod engine_support;
mod files;
mod fleet;
mod health_check;
mod image;
mod leftovers;
mod load_balancer;
mod network;
mod nodes;
mod offers;
mod replicas;
mod restarts;
mod secrets;
mod snapshots;
mod template;

pub(crate) use alarms::ensure_alarms;
pub(crate) use files::{Place, own_bucket, place};
#[cfg(test)]
pub(crate) use fleet::first_target;
pub(crate) use fleet::group_wanted;
pub(crate) use image::{copies, copy_of, home_image};
pub(crate) use load_balancer::{Balancer, make_listener, observed as observed_balancer};
pub use network::network_problem;
pub use offers::{class_problem, launch_problems};
pub(crate) use template::{
    content, ensure_version, launch_differences, proven_version, version_of,
};

use crate::configuration;
use crate::draft::Draft;
use crate::intent::Phase;
use crate::licence;
use crate::observed::Tags;
use crate::view::View;

/// What everything else stands on, observed.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    pub groups: network::Groups,
    pub balancer: Option<load_balancer::Balancer>,
    pub databases_made: bool,
    pub replicas_ready: bool,
    pub files_ready: bool,
}

/// The parts that no rollout touches. None: the network is not known yet.
pub(crate) fn base(view: &View<'_>, draft: &mut Draft) -> Option<Base> {
    secrets::named(view, draft);
    licence::unread(view, draft);
    let secrets = secrets::secrets(view, draft);
    let files_ready = files::files(view, draft);
    let network = network::network(view, draft)?;
    if !offers::can_be_made(view, draft, &network) {
        return None;
    }
    let groups = network::security_groups(view, draft, &network);
    let primary = match (&groups.database, secrets) {
        (Some(group), true) => database::primary(view, draft, &network, group),
        _ => None,
    };
    let mut databases_made = false;
    let mut replicas_ready = false;
    if let (Some(primary), Some(group)) = (&primary, &groups.database) {
        replicas_ready = replicas::replicas(view, draft, primary, group);
        databases_made = replicas::databases(view, draft, primary);
        db_reboots::reboots(view, draft, primary);
    }
    // A primary whose disk is full cannot be asked, and grows.
    if let Some(primary) = view.primary() {
        db_storage::grow(view, draft, primary);
    }
    let balancer = groups
        .load_balancer
        .as_ref()
        .and_then(|group| load_balancer::balancer(view, draft, &network, group));
    Some(Base {
        groups,
        balancer,
        databases_made,
        replicas_ready,
        files_ready,
    })
}

/// Everything, without a rollout under way.
pub(crate) fn converge(view: &View<'_>, draft: &mut Draft) -> Phase {
    let base = base(view, draft);
    let image = image::resolve(view, draft);
    let copied = image
        .as_deref()
        .is_some_and(|image| image::copies(view, draft, image));
    let mut served = false;
    if view.record_is_missing() {
        draft.wait(
            "record_missing",
            "what serves is not known until the store answers: groups and weights are left as they are",
        );
    } else if let Some(base) = &base {
        if let Some(balancer) = &base.balancer {
            load_balancer::listeners(view, draft, balancer);
        }
        served = fleet::fleet(view, draft, base, image.as_deref());
    }
    leftovers::janitor(view, draft);
    snapshots::janitor(view, draft);
    image::janitor(view, draft);
    licence::decide(view, draft);
    configuration::lost(view, draft);
    if let Some(reason) = draft.stuck.clone() {
        return Phase::Stuck { reason };
    }
    if served && copied && draft.actions.is_empty() && draft.reasons.iter().all(is_notice) {
        Phase::Ready
    } else {
        Phase::Converging
    }
}

/// A reason that nothing waits for: something for people to know.
fn is_notice(reason: &crate::decision::Reason) -> bool {
    reason.gate == NOTICE
}

/// Gate of a reason that is only a notice.
pub(crate) const NOTICE: &str = "notice";

/// Ours by its tags, or a name that somebody else has taken: a person must decide.
pub(crate) fn is_ours(view: &View<'_>, draft: &mut Draft, what: &str, tags: &Tags) -> bool {
    if view.is_ours(tags) {
        return true;
    }
    draft.stick(
        "name_taken",
        format!(
            "{what} exists and is not ours: it does not carry the tag `{}={}`. Remove or rename it, or choose another stack name; nothing of it is touched",
            crate::observed::STACK_TAG,
            view.names.stack()
        ),
    );
    false
}
