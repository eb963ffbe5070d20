//! Where the load balancer asks whether a node is well.
//!
//! A server below a path answers outside of it with a redirect into it (302), and one that does not know
//! the path yet answers below it with a page of its own. While a new path goes from node to node, both kinds
//! are targets of one group; then the question that both answer is asked, and a redirect counts as well.
//! Otherwise the first look after the change would make every node unhealthy at once.

use crate::decision::NodeGoal;
use crate::observed::{HealthCheck, TargetGroup};
use crate::view::{View, live_members};

/// Answers 200 without a login and without the database (mattermost.md).
pub(crate) const PING: &str = "/api/v4/system/ping";
/// Two good probes ten seconds apart bring a node in, three bad ones take it out: half a minute, less
/// than a client's patience and more than one slow garbage collection.
const INTERVAL_SECONDS: u32 = 10;
const TIMEOUT_SECONDS: u32 = 5;
const HEALTHY: u32 = 2;
const UNHEALTHY: u32 = 3;

/// The check that a target group should have now.
pub(super) fn wanted(view: &View<'_>, seen: Option<&TargetGroup>) -> HealthCheck {
    let settled = check(&format!("{}{PING}", view.spec().site_path()), "200");
    let asks = |health: &HealthCheck| (health.path.clone(), health.expected.clone());
    let moves = seen.is_some_and(|seen| asks(&seen.health) != asks(&settled));
    if moves && !everywhere(view) {
        check(PING, "200,302")
    } else {
        settled
    }
}

fn check(path: &str, expected: &str) -> HealthCheck {
    HealthCheck {
        enabled: true,
        protocol: "HTTP".to_owned(),
        port: "traffic-port".to_owned(),
        path: path.to_owned(),
        expected: expected.to_owned(),
        interval_seconds: INTERVAL_SECONDS,
        timeout_seconds: TIMEOUT_SECONDS,
        healthy: HEALTHY,
        unhealthy: UNHEALTHY,
    }
}

/// Every node that is to serve was told of what is configured now, and serves it.
fn everywhere(view: &View<'_>) -> bool {
    let groups = view.observed.groups.values();
    groups
        .flat_map(|group| live_members(view, group))
        .filter_map(|id| view.node(id))
        .filter(|node| matches!(node.goal, Some(NodeGoal::Serve { .. })))
        .all(|node| !node.stale && node.current && node.phase == "serving")
}
