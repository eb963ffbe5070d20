//! What every part of a running orchestrator shares.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use cloud::Cloud;
use fleet_proto::v1;
use jiff::Timestamp;
use plan::{Decision, Observed, Spec, Want};
use tokio::sync::{OnceCell, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::authority::{self, Authority, AuthorityError};
use crate::desired::Release;
use crate::fleet::Fleet;
use crate::metrics::Metrics;
use crate::prober::Prober;
use crate::reconcile::Asks;
use crate::rpc::{Addresses, EnrolmentService, Granted, Quota};
use crate::store::{Holder, NewEvent, Store};

/// Events of one node at once: an install has a dozen, and a node may be told anew a few times in a row.
const NODE_EVENTS: u32 = 100;
/// And one more every so often. A node that was taken over writes no more than some 30 MB a day then, of
/// which [`crate::store::EVENTS`] rows are kept.
const NODE_EVENT_REFILL: Duration = Duration::from_secs(6);

/// A look at everything is waited for this long: the longest read has three attempts of 20 s, and mostly one.
const LOOK_ANEW: Duration = Duration::from_secs(45);

/// One look of the loop: what was seen, and what was decided from it.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Rises with every look; 0 before the first.
    pub number: u64,
    /// When it ended; none before the first.
    pub at: Option<Timestamp>,
    /// What was seen.
    pub observed: Observed,
    /// What was decided; none while another orchestrator holds the lease.
    pub decision: Option<Decision>,
    /// Who holds the lease, when it is another orchestrator.
    pub held_by: Option<Holder>,
    /// Age of the oldest answer in it about what changes by itself; none: all was asked for this look.
    pub state_age: Option<Duration>,
    /// As above, of the others.
    pub settings_age: Option<Duration>,
    /// Requests that this look answers.
    pub asks: Asks,
    /// What stands against going on, beyond the decision's reasons: refusals, lost lease, store.
    pub trouble: Vec<String>,
}

/// Shared by the loop, the services and the console.
pub struct Core {
    /// The specification.
    pub spec: Spec,
    /// What is wanted of the stack.
    pub want: Want,
    /// AWS.
    pub cloud: Cloud,
    /// Intent and history.
    pub store: Store,
    /// Sessions.
    pub fleet: Arc<Fleet>,
    /// The fleet's CA, once it exists.
    pub authority: watch::Sender<Option<Arc<Authority>>>,
    /// The newest look.
    pub looks: watch::Sender<Arc<Look>>,
    /// What is asked of the next look.
    pub asks: watch::Sender<Asks>,
    /// Numbers.
    pub metrics: Metrics,
    /// Roots of the database's certificate, PEM.
    pub database_trust: Arc<str>,
    /// Extra roots for the release server, PEM; empty: the system's.
    pub release_trust: String,
    /// The key that signs releases, armoured; empty: no signature is asked for.
    pub release_key: String,
    /// `host/pid`: who we are in the lease.
    pub holder: String,
    /// This process holds the host's lock: earlier processes of this host are gone.
    pub holds_host_lock: bool,
    /// Chat probes: `from>to`.
    pub chat: Mutex<BTreeMap<String, bool>>,
    /// What is asked through the load balancer.
    pub prober: Prober,
    /// Ends everything.
    pub shutdown: CancellationToken,
    /// Every task.
    pub tasks: TaskTracker,
    /// The enrolment service, which its own streams come back to.
    pub enrolment: OnceLock<Arc<EnrolmentService>>,
    addresses: Addresses,
    node_events: Quota,
    account: OnceCell<String>,
    clock: fn() -> Timestamp,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core")
            .field("stack", &self.spec.stack)
            .field("holder", &self.holder)
            .finish_non_exhaustive()
    }
}

/// What a core is made of.
pub struct Parts {
    /// The specification.
    pub spec: Spec,
    /// What is wanted.
    pub want: Want,
    /// AWS.
    pub cloud: Cloud,
    /// Roots of the database's certificate, PEM.
    pub database_trust: String,
    /// Extra roots for the release server, PEM.
    pub release_trust: String,
    /// The key that signs releases, armoured.
    pub release_key: String,
    /// `host/pid`.
    pub holder: String,
    /// Whether this process holds the host's lock for the stack.
    pub holds_host_lock: bool,
    /// The door for time: `reconcile::driver::now`.
    pub clock: fn() -> Timestamp,
}

impl Core {
    /// A core with an empty store in memory.
    pub fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            store: Store::in_memory(&parts.spec.stack),
            spec: parts.spec,
            want: parts.want,
            cloud: parts.cloud,
            fleet: Arc::new(Fleet::default()),
            authority: watch::Sender::new(None),
            looks: watch::Sender::new(Arc::default()),
            asks: watch::Sender::default(),
            metrics: Metrics::default(),
            database_trust: parts.database_trust.into(),
            release_trust: parts.release_trust,
            release_key: parts.release_key,
            holder: parts.holder,
            holds_host_lock: parts.holds_host_lock,
            chat: Mutex::default(),
            prober: Prober::default(),
            shutdown: CancellationToken::new(),
            tasks: TaskTracker::new(),
            enrolment: OnceLock::new(),
            addresses: Addresses::default(),
            node_events: Quota::new(NODE_EVENTS, NODE_EVENT_REFILL),
            account: OnceCell::new(),
            clock: parts.clock,
        })
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// A look in which everything was read after now; the newest one where no loop makes any. None: it takes too
    /// long, or the orchestrator ends.
    pub async fn look_anew(&self) -> Option<Arc<Look>> {
        let mut looks = self.looks.subscribe();
        if self.asks.receiver_count() == 0 {
            return Some(looks.borrow().clone());
        }
        let mut wanted = 0;
        self.asks.send_modify(|asks| {
            asks.anew += 1;
            wanted = asks.anew;
        });
        let answers = looks.wait_for(|look| look.asks.anew >= wanted);
        match tokio::time::timeout(LOOK_ANEW, answers).await {
            Ok(Ok(look)) => Some(Arc::clone(&look)),
            Ok(Err(_)) | Err(_) => None,
        }
    }

    /// Somebody came whom the newest look does not show.
    pub fn ask_for_members(&self) {
        self.asks.send_modify(|asks| asks.members += 1);
    }

    /// How old at most what is known of a quiet stack may be.
    pub fn ages(&self) -> cloud::Ages {
        let ours = &self.spec.orchestrator;
        cloud::Ages {
            state: Duration::from_secs(ours.state_age_seconds.into()),
            settings: Duration::from_secs(ours.settings_age_seconds.into()),
        }
    }

    /// Whether the newest look shows an instance of ours at this address.
    pub fn is_at(&self, address: std::net::IpAddr) -> bool {
        self.addresses.holds(&self.looks.borrow(), address)
    }

    /// Whom nodes trust for releases.
    pub fn release(&self) -> Release<'_> {
        Release {
            trust_pem: &self.release_trust,
            key: &self.release_key,
        }
    }

    /// Our own account, asked once.
    pub async fn account(&self) -> Result<String, cloud::ReadError> {
        self.account
            .get_or_try_init(|| async {
                self.cloud
                    .caller_identity()
                    .await
                    .map(|identity| identity.account)
            })
            .await
            .cloned()
    }

    /// A node certificate for a proven instance.
    pub fn certificate(
        &self,
        csr: &authority::Request,
        instance: &str,
    ) -> Result<v1::Certificate, AuthorityError> {
        let authority = self
            .authority
            .borrow()
            .clone()
            .ok_or_else(|| AuthorityError::Secret("it does not exist yet".to_owned()))?;
        let (chain_pem, not_after) = authority.node(csr, instance, self.now())?;
        Ok(v1::Certificate {
            chain_pem,
            trust_pem: authority.trust_pem(),
            not_after,
        })
    }

    /// Notes an event; a store that is gone loses it, and says so in the log.
    pub async fn event(&self, subject: &str, what: &str, cause: &str) {
        let event = NewEvent {
            subject: subject.to_owned(),
            what: what.to_owned(),
            cause: cause.to_owned(),
        };
        if let Err(error) = self.store.add_event(event, self.now()).await {
            log::warn!(
                "event `{what}` of {subject} not kept: {}",
                crate::chain(&error)
            );
        }
    }

    /// An event for each new phase of a node, so that the time line can be drawn from events alone; and
    /// since when its server serves, which the report before knows.
    pub async fn note_report(&self, instance: &str, node: &mut plan::observed::Node) {
        let before = self
            .store
            .node(instance)
            .await
            .ok()
            .flatten()
            .and_then(|row| row.report);
        node.server_since = crate::report::server_since(before.as_ref(), node, self.now());
        let news = before
            .is_none_or(|before| before.phase != node.phase || before.failure != node.failure);
        if news && node.phase != "unknown" {
            let cause = node.failure.as_ref().map_or_else(
                || node.note.clone(),
                |failure| format!("{}: {}", failure.code, failure.error),
            );
            match self.node_events.ask(instance, Instant::now()) {
                Granted::Yes => self.event(instance, &node.phase, &cause).await,
                Granted::NoMore => {
                    let why = "it tells of more than a node goes through; its newest report is in `nodes`";
                    self.event(instance, "events left out", why).await;
                }
                Granted::No => {}
            }
        }
    }

    /// When the licence in force ends, for whoever watches the numbers.
    pub fn note_licence(&self, observed: &Observed) {
        if let Some(secret) = &self.spec.mattermost.licence_secret {
            let seen = observed.licence.as_ref();
            let term = seen.and_then(|seen| seen.terms.get(&seen.current));
            let end = term.map(|term| term.expires.as_second());
            self.metrics.licence_ends(secret, end);
        }
    }

    /// What chat probes found so far.
    pub fn chat(&self) -> BTreeMap<String, bool> {
        self.chat
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Keeps what a chat probe found.
    pub fn set_chat(&self, from: &str, to: &str, arrived: bool) {
        let mut chat = self.chat.lock().unwrap_or_else(PoisonError::into_inner);
        chat.insert(format!("{from}>{to}"), arrived);
    }
}
