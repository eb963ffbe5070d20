//! The node's session: reports up, desired state down; secrets and renewal beside it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use fleet_proto::tls::{Holder, Peer};
use fleet_proto::v1;
use plan::NodeGoal;
use secrecy::ExposeSecret;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use crate::authority;
use crate::core::Core;
use crate::desired;
use crate::report;

/// A report that says `verified` may still be on its way when the node asks for its secrets.
const REPORT_WITHIN: Duration = Duration::from_secs(10);

/// The service.
#[derive(Debug)]
pub struct NodeService {
    core: Arc<Core>,
}

impl NodeService {
    /// For this orchestrator.
    pub fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// The instance that the client certificate names, if it is ours and not revoked.
    async fn caller<T>(&self, request: &Request<T>) -> Result<String, Status> {
        let denied = || Status::unauthenticated("a node certificate of this stack is needed");
        let peer = request.extensions().get::<Peer>().ok_or_else(denied)?;
        let name = peer.name().ok_or_else(denied)?;
        let Holder::Node(instance) = name.holder else {
            return Err(denied());
        };
        if name.stack != self.core.spec.stack {
            return Err(denied());
        }
        let node = self
            .core
            .store
            .node(instance.as_str())
            .await
            .map_err(|error| unavailable(&error))?;
        match node {
            Some(node) if !node.revoked => Ok(instance.as_str().to_owned()),
            Some(_) => Err(Status::unauthenticated("this certificate is revoked")),
            None => Err(Status::unauthenticated("this instance is not enrolled")),
        }
    }

    /// What the node should do now, if everything for it is known and it is newer than `sent`.
    async fn desired(&self, instance: &str, sent: u64) -> Option<v1::Desired> {
        let node = self.core.store.node(instance).await.ok()??;
        let goal = node.goal?;
        if node.generation <= sent {
            return None;
        }
        let trust = self.core.release_trust.as_str();
        desired::message(
            &self.core.spec,
            trust,
            &self.core.fleet.facts(),
            &goal,
            node.generation,
        )
    }
}

fn unavailable(error: &dyn std::error::Error) -> Status {
    log::warn!("{}", crate::chain(error));
    Status::unavailable("the store is not reachable; try again later")
}

#[tonic::async_trait]
impl v1::node_server::Node for NodeService {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<v1::Desired, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::NodeReport>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let instance = self.caller(&request).await?;
        let mut reports = request.into_inner();
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        let core = Arc::clone(&self.core);
        let this = Self::new(Arc::clone(&core));
        let number = core.fleet.join(&instance);
        core.tasks.clone().spawn(async move {
            let mut goals = core.fleet.goals.subscribe();
            goals.mark_changed();
            let mut sent = 0;
            log::info!(NODE = instance.as_str(); "session of {instance} begins");
            loop {
                tokio::select! {
                    report = reports.next() => {
                        let Some(Ok(report)) = report else { break };
                        let node = report::from_wire(&report, core.now());
                        if let Some(text) = report::announce(&instance, &node) {
                            log::info!(NODE = instance.as_str(), PHASE = node.phase.as_str(); "{text}");
                        }
                        core.note_report(&instance, &node).await;
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
                    () = sender.closed() => break,
                    () = core.shutdown.cancelled() => break,
                }
            }
            if core.fleet.leave(&instance, number) {
                log::info!(NODE = instance.as_str(); "session of {instance} ended");
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
        let instance = self.caller(&request).await?;
        let asked = request.into_inner();
        let until = tokio::time::Instant::now() + REPORT_WITHIN;
        let mut changes = self.core.store.changed.subscribe();
        loop {
            changes.mark_unchanged();
            let node = self
                .core
                .store
                .node(&instance)
                .await
                .map_err(|error| unavailable(&error))?;
            let node =
                node.ok_or_else(|| Status::unauthenticated("this instance is not enrolled"))?;
            let sha256 = match &node.goal {
                Some(NodeGoal::Serve { sha256, .. } | NodeGoal::Prepare { sha256, .. }) => {
                    sha256.clone()
                }
                _ => {
                    return Err(Status::failed_precondition(
                        "nothing is to be served by this node",
                    ));
                }
            };
            if node.generation != asked.generation || sha256 != asked.artefact_sha256 {
                return Err(Status::failed_precondition(
                    "that is not the generation and artefact that this node was given",
                ));
            }
            let verified = node.report.is_some_and(|report| {
                report.generation == asked.generation && report::artefact_is_verified(&report.phase)
            });
            if verified {
                break;
            }
            if tokio::time::timeout_at(until, changes.changed())
                .await
                .is_err()
            {
                return Err(Status::failed_precondition(
                    "secrets are for nodes that reported the artefact verified",
                ));
            }
        }
        let facts = self.core.fleet.facts();
        let secrets = desired::secrets(&self.core.spec, &facts)
            .ok_or_else(|| Status::unavailable("the database is not known yet"))?;
        let password = facts
            .database
            .as_ref()
            .map(|database| database.password.expose_secret().to_owned());
        log::info!(NODE = instance.as_str(); "secrets of generation {} given to {instance}", asked.generation);
        Ok(Response::new(v1::SecretsReply {
            settings: secrets
                .into_iter()
                .map(|(key, value)| (key, value.expose_secret().to_owned()))
                .collect(),
            database_password: password.unwrap_or_default(),
        }))
    }

    async fn renew(
        &self,
        request: Request<v1::RenewRequest>,
    ) -> Result<Response<v1::Certificate>, Status> {
        let instance = self.caller(&request).await?;
        let csr = authority::Request::parse(&request.into_inner().csr)
            .map_err(|_| Status::invalid_argument("the certificate request is not usable"))?;
        let node = self
            .core
            .store
            .node(&instance)
            .await
            .map_err(|error| unavailable(&error))?;
        if node.is_none_or(|node| node.key_sha256 != csr.key_sha256()) {
            return Err(Status::permission_denied("not accepted"));
        }
        let certificate = self
            .core
            .certificate(&csr, &instance)
            .map_err(|error| unavailable(&error))?;
        Ok(Response::new(certificate))
    }
}
