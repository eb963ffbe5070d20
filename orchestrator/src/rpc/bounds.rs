//! What the nodes' port takes of anybody: one place for every number that holds a flood back.

use std::time::Duration;

use fleet_proto::tls;

use crate::store::KNOWN_WITHIN;

/// The bounds of a node service.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections.
    pub connections: tls::Bounds,
    /// The nonce is good for this long (node.proto).
    pub nonce: Duration,
    /// EC2 and Auto Scaling show a new instance within seconds; the loop looks again meanwhile.
    pub visible: Duration,
    /// Attempts to enrol of one address at once; a node needs one, and a few after failures.
    pub burst: u32,
    /// And one more every so often.
    pub refill: Duration,
    /// Open attempts of all addresses together at which EC2 shows no instance of ours (yet).
    pub strangers: usize,
    /// STS calls at once; AWS throttles GetCallerIdentity far above this.
    pub identities: usize,
    /// A report that says `verified` may still be on its way when the node asks for its secrets.
    pub report: Duration,
    /// So long a call waits for an orchestrator that does not know yet who enrolled: it just started.
    pub known: Duration,
    /// A session asks this often whether its instance is still ours; each asks the store, and ten
    /// thousand do. It ends with its certificate in any case.
    pub still: Duration,
    /// Reports of one node at once; an install has a dozen.
    pub reports: u32,
    /// And one more every so often: what comes faster waits in the node.
    pub report_refill: Duration,
    /// Secrets and renewals of one node at once; it needs one of each for a goal and an hour.
    pub calls: u32,
    /// And one more every so often.
    pub call_refill: Duration,
    /// Enrolment makes the loop look again at most this often: each look costs AWS calls.
    pub wake: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: tls::Bounds::default(),
            nonce: Duration::from_secs(60),
            visible: Duration::from_secs(30),
            burst: 5,
            refill: Duration::from_secs(6),
            strangers: 256,
            identities: 32,
            report: Duration::from_secs(10),
            known: KNOWN_WITHIN,
            still: Duration::from_secs(300),
            reports: 60,
            report_refill: Duration::from_secs(2),
            calls: 30,
            call_refill: Duration::from_secs(10),
            wake: Duration::from_secs(2),
        }
    }
}
