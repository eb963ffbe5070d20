//! Enrolment: an instance proves which one it is, and gets a certificate for an hour.
//!
//! ```text
//!   node                      orchestrator               STS, EC2, Auto Scaling
//!    | ------ (stream) -------> | rate limit; a place among the strangers
//!    | <------ nonce ---------- |
//!    | -- signed identity, CSR->| request checks
//!    |                          | <- the loop's next look - EC2: an instance of ours at that address?
//!    |                          | -- the signed request --> STS: account, role, instance
//!    |                          | <- the loop's next look - EC2: state, VPC, template; group
//!    | <---- certificate ------ | key remembered
//! ```
//!
//! Invariant: whoever is not at the address of an instance of ours causes no AWS call but the loop's
//! next look, and that at most every other second.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use fleet_proto::tls::Peer;
use fleet_proto::v1;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_stream::{Stream, StreamExt};
use tonic::{Code, Request, Response, Status, Streaming};

use super::bounds::Bounds;
use super::checks::{self, Refused};
use super::limit::{Limit, Pace};
use crate::authority;
use crate::core::Core;
use crate::store::StoreError;

/// The service.
#[derive(Debug)]
pub struct EnrolmentService {
    core: Arc<Core>,
    bounds: Bounds,
    limit: Limit<IpAddr>,
    strangers: Arc<Semaphore>,
    identities: Semaphore,
    wake: Pace,
}

impl EnrolmentService {
    /// For this orchestrator.
    pub fn new(core: Arc<Core>, bounds: Bounds) -> Self {
        Self {
            core,
            limit: Limit::new(bounds.burst, bounds.refill),
            strangers: Arc::new(Semaphore::new(bounds.strangers)),
            identities: Semaphore::new(bounds.identities),
            wake: Pace::new(bounds.wake),
            bounds,
        }
    }

    /// Before anything is read: the limits. Strangers get one of their places to hold.
    fn admit(&self, peer: &Peer) -> Result<Option<OwnedSemaphorePermit>, Refused> {
        let source = peer.address.ip();
        if !self.limit.admit(&source, Instant::now()) {
            return Err(Refused::RateLimit);
        }
        if self.core.is_at(source) {
            return Ok(None);
        }
        self.look_again();
        Arc::clone(&self.strangers)
            .try_acquire_owned()
            .map(Some)
            .map_err(|_| Refused::Busy)
    }

    /// Asks for a look of the loop, within the pace that strangers get.
    pub fn look_again(&self) {
        if self.wake.due(Instant::now()) {
            self.core.ask_for_members();
            self.core.store.wake();
        }
    }

    async fn check(
        &self,
        peer: &Peer,
        nonce: &[u8],
        answer: v1::EnrollAnswer,
    ) -> Result<v1::Certificate, Refused> {
        let csr = authority::Request::parse(&answer.csr).map_err(|_| Refused::Csr)?;
        let identity = answer.identity.ok_or(Refused::Malformed)?;
        let region = self.core.spec.home_region();
        checks::request(&identity, &region, nonce, csr.key_sha256())?;
        let source = peer.address.ip();
        self.seen(|observed| {
            if checks::addresses(observed).any(|address| address == source) {
                Ok(())
            } else {
                Err(Refused::SourceUnknown)
            }
        })
        .await?;
        let account = self
            .core
            .account()
            .await
            .map_err(|_| Refused::StsUnreachable)?;
        let told = {
            let _place = self
                .identities
                .acquire()
                .await
                .map_err(|_| Refused::StsUnreachable)?;
            self.core.metrics.identity_check();
            self.core
                .cloud
                .forward_identity(&crate::cloud_request(identity))
                .await
                .map_err(|error| {
                    log::warn!("identity could not be checked: {error}");
                    match error {
                        cloud::IdentityError::NoAnswer { .. } => Refused::StsUnreachable,
                        cloud::IdentityError::BadRequest { .. }
                        | cloud::IdentityError::Refused { .. } => Refused::StsRefused,
                    }
                })?
        };
        let instance = checks::identity(
            &told.account,
            &told.arn,
            &account,
            &self.core.spec.fleet.instance_profile,
        )?;
        self.seen(|observed| checks::instance(observed, &instance, source))
            .await?;
        // Not before it is known who enrolled: memory would take a second key for the first.
        let enrolled = async {
            let store = self.core.store.known(self.bounds.known).await?;
            store.enrol(instance.as_str(), csr.key_sha256()).await
        };
        enrolled.await.map_err(|error| match error {
            StoreError::OtherKey(_) => Refused::OtherKey,
            other => {
                log::error!("enrolment of {instance}: {}", crate::chain(&other));
                Refused::Store
            }
        })?;
        let certificate = self
            .core
            .certificate(&csr, instance.as_str())
            .map_err(|error| {
                log::error!("certificate for {instance}: {error}");
                Refused::Store
            })?;
        log::info!(NODE = instance.as_str(); "enrolled {instance} from {}", peer.address);
        self.core
            .event(
                instance.as_str(),
                "enrolled",
                &format!("agent {}", short(&answer.agent_version)),
            )
            .await;
        Ok(certificate)
    }

    /// What the loop's looks say; what a new instance may still lack is waited for.
    async fn seen(
        &self,
        verdict: impl Fn(&plan::Observed) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        let mut looks = self.core.looks.subscribe();
        let until = Instant::now() + self.bounds.visible;
        loop {
            let verdict = verdict(&looks.borrow_and_update().observed);
            match verdict {
                Err(
                    Refused::SourceUnknown
                    | Refused::InstanceUnknown
                    | Refused::Group
                    | Refused::Template
                    | Refused::Vpc,
                ) if Instant::now() < until => {
                    self.look_again();
                    // Woken for the next look, or to ask for one again.
                    let next = until.min(Instant::now() + self.bounds.wake);
                    let changed = tokio::select! {
                        changed = tokio::time::timeout_at(next, looks.changed()) => changed,
                        () = self.core.shutdown.cancelled() => return verdict,
                    };
                    if Instant::now() >= until || matches!(changed, Ok(Err(_))) {
                        return verdict;
                    }
                }
                verdict => return verdict,
            }
        }
    }
}

fn short(text: &str) -> String {
    text.chars()
        .filter(|letter| !letter.is_control())
        .take(40)
        .collect()
}

#[tonic::async_trait]
impl v1::enrolment_server::Enrolment for EnrolmentService {
    type EnrollStream = Pin<Box<dyn Stream<Item = Result<v1::EnrollStep, Status>> + Send>>;

    async fn enroll(
        &self,
        request: Request<Streaming<v1::EnrollAnswer>>,
    ) -> Result<Response<Self::EnrollStream>, Status> {
        let peer = request
            .extensions()
            .get::<Peer>()
            .cloned()
            .ok_or_else(|| Status::internal("no peer"))?;
        let place = match self.admit(&peer) {
            Ok(place) => place,
            Err(check) => {
                log::debug!("enrolment from {} refused by check `{check}`", peer.address);
                self.core.metrics.refused(check);
                return Err(check.status());
            }
        };
        let mut nonce = [0_u8; 32];
        rand::fill(&mut nonce);
        let mut answers = request.into_inner();
        let (steps, receiver) = tokio::sync::mpsc::channel(2);
        let challenge = v1::EnrollStep {
            step: Some(v1::enroll_step::Step::Challenge(v1::Challenge {
                nonce: nonce.to_vec(),
            })),
        };
        steps
            .send(Ok(challenge))
            .await
            .map_err(|_| Status::cancelled("gone"))?;
        let Some(service) = self.core.enrolment.get().cloned() else {
            return Err(Status::unavailable("starting"));
        };
        self.core.tasks.spawn(async move {
            let answer = tokio::select! {
                answer = tokio::time::timeout(service.bounds.nonce, answers.next()) => answer,
                // Who has not answered yet comes again, to whoever serves then.
                () = service.core.shutdown.cancelled() => return,
            };
            let verdict = match answer {
                Err(_) => Err(Refused::TooSlow),
                Ok(Some(Err(status))) if status.code() == Code::OutOfRange => {
                    Err(Refused::TooLarge)
                }
                // A caller that hangs up looks the same as one that ends without an answer.
                Ok(None | Some(Err(_))) => Err(Refused::Malformed),
                Ok(Some(Ok(answer))) => service.check(&peer, &nonce, answer).await,
            };
            drop(place);
            let step = match verdict {
                Ok(certificate) => {
                    service.core.metrics.enrolled();
                    Ok(v1::EnrollStep {
                        step: Some(v1::enroll_step::Step::Certificate(certificate)),
                    })
                }
                Err(check) => {
                    log::warn!("enrolment from {} refused by check `{check}`", peer.address);
                    service.core.metrics.refused(check);
                    Err(check.status())
                }
            };
            let _ = steps.send(step).await;
        });
        Ok(Response::new(Box::pin(
            tokio_stream::wrappers::ReceiverStream::new(receiver),
        )))
    }
}
