//! The node's session: reports up, desired state down; secrets and renewal beside it.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use fleet_proto::tls::{Holder, Peer, PeerName};
use fleet_proto::v1;
use plan::NodeGoal;
use secrecy::ExposeSecret;
use tokio::time::Instant;
use tokio_stream::{Stream, StreamExt};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::authority;
use crate::core::Core;
use crate::desired;
use crate::report;
use crate::store::NodeRow;

use super::bounds::Bounds;
use super::denied::Denied;
use super::limit::Limit;
use super::place::{self, Place};
use super::sessions;

/// The service. Every call begins with [`NodeService::caller`]; every refusal goes through
/// [`NodeService::deny`], which counts it and tells the caller nothing.
#[derive(Debug)]
pub struct NodeService {
    core: Arc<Core>,
    bounds: Bounds,
    budgets: Arc<Budgets>,
}

/// What one node may ask for and tell, over all of its sessions.
#[derive(Debug)]
struct Budgets {
    reports: Limit<String>,
    calls: Limit<String>,
}

impl NodeService {
    /// For this orchestrator.
    pub fn new(core: Arc<Core>, bounds: Bounds) -> Self {
        let budgets = Budgets {
            reports: Limit::new(bounds.reports, bounds.report_refill),
            calls: Limit::new(bounds.calls, bounds.call_refill),
        };
        Self {
            core,
            bounds,
            budgets: Arc::new(budgets),
        }
    }

    /// The same service, for a session's task.
    fn share(&self) -> Self {
        Self {
            core: Arc::clone(&self.core),
            bounds: self.bounds,
            budgets: Arc::clone(&self.budgets),
        }
    }

    /// Counts and logs a refusal; gives what the caller hears.
    fn deny(&self, who: &str, check: Denied) -> Status {
        log::warn!("call of {who} refused by check `{check}`");
        self.core.metrics.denied(check);
        check.status()
    }

    /// The instance that the client certificate names, if it is ours, valid and not revoked.
    async fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let peer = request.extensions().get::<Peer>();
        let from = peer.map_or_else(String::new, |peer| peer.address.to_string());
        let leaf = peer.and_then(|peer| peer.certificates.first());
        let (peer, leaf) = peer
            .zip(leaf)
            .ok_or_else(|| self.deny(&from, Denied::CertificateMissing))?;
        let instance = match peer.name() {
            Some(name) if name.stack != self.core.spec.stack => {
                return Err(self.deny(&from, Denied::CertificateStack));
            }
            Some(PeerName {
                holder: Holder::Node(instance),
                ..
            }) => instance.as_str().to_owned(),
            Some(_) | None => return Err(self.deny(&from, Denied::CertificateHolder)),
        };
        let certificate =
            authority::Leaf::read(leaf).map_err(|_| self.deny(&from, Denied::CertificateHolder))?;
        let caller = Caller {
            instance,
            source: peer.address.ip(),
            ends: certificate.not_after,
            key_sha256: certificate.key_sha256,
        };
        self.still(&caller).await?;
        Ok(caller)
    }

    /// The caller of something that is worth having: within its budget, and proven to be where it says.
    async fn proven<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let caller = self.caller(request).await?;
        let instance = &caller.instance;
        if !self.budgets.calls.admit(instance, Instant::now()) {
            return Err(self.deny(instance, Denied::CallRate));
        }
        match self.place(&caller) {
            Place::Ours => Ok(caller),
            Place::Unread => Err(self.deny(instance, Denied::Unavailable)),
            Place::NotOurs(check) => Err(self.deny(instance, check)),
        }
    }

    fn place(&self, caller: &Caller) -> Place {
        place::of(&self.core.looks.borrow(), &caller.instance, caller.source)
    }

    /// The caller's row, while its certificate is good and its instance is not seen elsewhere or gone; asked
    /// again at every step of a long call. A session goes on while AWS cannot be read.
    async fn still(&self, caller: &Caller) -> Result<NodeRow, Status> {
        let instance = &caller.instance;
        if self.core.now().as_second() > caller.ends {
            return Err(self.deny(instance, Denied::CertificateExpired));
        }
        let row = async {
            self.core
                .store
                .known(self.bounds.known)
                .await?
                .node(instance)
                .await
        };
        let row = row
            .await
            .map_err(|error| self.unavailable(instance, &error))?;
        match row {
            None => Err(self.deny(instance, Denied::NotEnrolled)),
            Some(row) if row.revoked => Err(self.deny(instance, Denied::Revoked)),
            Some(row) if row.key_sha256 != caller.key_sha256 => {
                Err(self.deny(instance, Denied::CertificateKey))
            }
            Some(row) => match self.place(caller) {
                Place::Ours | Place::Unread => Ok(row),
                Place::NotOurs(check) => Err(self.deny(instance, check)),
            },
        }
    }

    /// Whether the session ends because its certificate is no longer good; the node is told.
    async fn ends(
        &self,
        caller: &Caller,
        sender: &tokio::sync::mpsc::Sender<Result<v1::Desired, Status>>,
    ) -> bool {
        match self.still(caller).await {
            Err(refused) if refused.code() == Code::Unauthenticated => {
                let _ = sender.send(Err(refused)).await;
                true
            }
            Ok(_) | Err(_) => false,
        }
    }

    fn unavailable(&self, who: &str, error: &dyn std::error::Error) -> Status {
        log::warn!("{}", crate::chain(error));
        self.deny(who, Denied::Unavailable)
    }

    /// The node's next report. One that reports too fast waits: what it sends meanwhile is held back on its
    /// side, and its goals reach it all the same.
    async fn next(
        &self,
        instance: &String,
        admitted: &mut bool,
        reports: &mut Streaming<v1::NodeReport>,
    ) -> Option<Result<v1::NodeReport, Status>> {
        while !*admitted {
            match self.budgets.reports.take(instance, Instant::now()) {
                Ok(()) => *admitted = true,
                Err(wait) => tokio::time::sleep(wait).await,
            }
        }
        let report = reports.next().await;
        *admitted = false;
        report
    }

    /// What the node should do now, if everything for it is known and it is newer than `sent`.
    async fn desired(&self, instance: &str, sent: u64) -> Option<v1::Desired> {
        let node = self.core.store.node(instance).await.ok()??;
        let goal = node.goal?;
        if node.generation <= sent {
            return None;
        }
        desired::message(
            &self.core.spec,
            self.core.release(),
            self.core.fleet.facts().as_deref(),
            &goal,
            node.generation,
        )
    }
}

/// Who calls, as its certificate says.
#[derive(Clone, Debug)]
struct Caller {
    instance: String,
    source: IpAddr,
    /// Seconds since 1970.
    ends: i64,
    key_sha256: String,
}

#[tonic::async_trait]
impl v1::node_server::Node for NodeService {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<v1::Desired, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::NodeReport>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let caller = self.caller(&request).await?;
        let instance = caller.instance.clone();
        let mut reports = request.into_inner();
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        let core = Arc::clone(&self.core);
        let this = self.share();
        let number = core.fleet.join(&instance);
        core.tasks.clone().spawn(async move {
            let mut goals = core.fleet.goals.subscribe();
            goals.mark_changed();
            let mut sent = 0;
            let mut admitted = false;
            let still = this.bounds.still;
            let mut looks = tokio::time::interval_at(Instant::now() + still, still);
            let left = caller.ends.saturating_add(1) - core.now().as_second();
            let end = tokio::time::sleep(Duration::from_secs(left.max(0).unsigned_abs()));
            tokio::pin!(end);
            log::info!(NODE = instance.as_str(); "session of {instance} begins");
            // Before its first report wakes whoever decides.
            sessions::renew(&core, std::slice::from_ref(&instance)).await;
            loop {
                tokio::select! {
                    report = this.next(&instance, &mut admitted, &mut reports) => {
                        let Some(Ok(report)) = report else { break };
                        let mut node = report::from_wire(&report, core.now());
                        if let Some(text) = report::announce(&instance, &node) {
                            log::info!(NODE = instance.as_str(), PHASE = node.phase.as_str(); "{text}");
                        }
                        core.note_report(&instance, &mut node).await;
                        if let Err(error) = core.store.report(&instance, &node).await {
                            log::warn!(NODE = instance.as_str(); "report of {instance} not kept: {}", crate::chain(&error));
                        }
                    }
                    changed = goals.changed() => {
                        if changed.is_err() {
                            break;
                        }
                        if let Some(desired) = this.desired(&instance, sent).await {
                            sent = desired.generation;
                            if sender.send(Ok(desired)).await.is_err() {
                                break;
                            }
                        }
                    }
                    // The instance may be terminated while the session lasts …
                    _ = looks.tick() => {
                        if this.ends(&caller, &sender).await {
                            break;
                        }
                    }
                    // … and the certificate expires: a node renews long before, and connects anew.
                    () = &mut end => {
                        let _ = this.ends(&caller, &sender).await;
                        break;
                    }
                    () = sender.closed() => break,
                    () = core.shutdown.cancelled() => break,
                }
            }
            if core.fleet.leave(&instance, number) {
                log::info!(NODE = instance.as_str(); "session of {instance} ended");
                sessions::end(&core, &instance).await;
                if !core.shutdown.is_cancelled()
                    && let Err(error) = core.store.disconnected(&instance, core.now()).await
                {
                    log::debug!("end of session not kept: {}", crate::chain(&error));
                }
            }
        });
        Ok(Response::new(Box::pin(
            tokio_stream::wrappers::ReceiverStream::new(receiver),
        )))
    }

    async fn secrets(
        &self,
        request: Request<v1::SecretsRequest>,
    ) -> Result<Response<v1::SecretsReply>, Status> {
        let caller = self.proven(&request).await?;
        let instance = caller.instance.as_str();
        let asked = request.into_inner();
        let until = Instant::now() + self.bounds.report;
        let mut changes = self.core.store.changed.subscribe();
        let goal = loop {
            changes.mark_unchanged();
            let node = self.still(&caller).await?;
            let Some(
                goal @ (NodeGoal::Serve { sha256, .. }
                | NodeGoal::Prepare { sha256, .. }
                | NodeGoal::Move { sha256, .. }),
            ) = &node.goal
            else {
                return Err(self.deny(instance, Denied::SecretsGoal));
            };
            if node.generation != asked.generation || *sha256 != asked.artefact_sha256 {
                return Err(self.deny(instance, Denied::SecretsGeneration));
            }
            let verified = node.report.is_some_and(|report| {
                report.generation == asked.generation && report::artefact_is_verified(&report.phase)
            });
            if verified {
                break goal.clone();
            }
            if tokio::time::timeout_at(until, changes.changed())
                .await
                .is_err()
            {
                return Err(self.deny(instance, Denied::SecretsUnverified));
            }
        };
        let facts = self.core.fleet.facts();
        let facts = facts
            .filter(|facts| !desired::lacks_licence(&self.core.spec, facts, &goal))
            .ok_or_else(|| self.deny(instance, Denied::Unavailable))?;
        let secrets = desired::secrets(&self.core.spec, &facts, &goal);
        log::info!(NODE = instance; "secrets of generation {} given to {instance}", asked.generation);
        Ok(Response::new(v1::SecretsReply {
            settings: secrets
                .into_iter()
                .map(|(key, value)| (key, value.expose_secret().to_owned()))
                .collect(),
            database_password: facts.database.password.expose_secret().to_owned(),
        }))
    }

    async fn renew(
        &self,
        request: Request<v1::RenewRequest>,
    ) -> Result<Response<v1::Certificate>, Status> {
        let caller = self.proven(&request).await?;
        let instance = caller.instance.as_str();
        let csr = authority::Request::parse(&request.into_inner().csr)
            .map_err(|_| self.deny(instance, Denied::RenewalCsr))?;
        if caller.key_sha256 != csr.key_sha256() {
            return Err(self.deny(instance, Denied::RenewalKey));
        }
        let certificate = self
            .core
            .certificate(&csr, instance)
            .map_err(|error| self.unavailable(instance, &error))?;
        Ok(Response::new(certificate))
    }
}
