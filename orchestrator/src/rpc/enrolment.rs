//! Enrolment: an instance proves which one it is, and gets a certificate for an hour.
//!
//! ```text
//!   node                      orchestrator               STS, EC2, Auto Scaling
//!    | ------ (stream) -------> | rate limit
//!    | <------ nonce ---------- |
//!    | -- signed identity, CSR->| request checks
//!    |                          | -- the signed request --> STS: account, role, instance
//!    |                          | <- the loop's next look - EC2: state, VPC, template; group
//!    | <---- certificate ------ | key remembered
//! ```

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use fleet_proto::id::InstanceId;
use fleet_proto::tls::Peer;
use fleet_proto::v1;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::checks::{self, Refused};
use super::limit::Limit;
use crate::authority;
use crate::core::Core;
use crate::store::StoreError;

/// The nonce is good for this long (node.proto).
const NONCE_LIFETIME: Duration = Duration::from_secs(60);
/// EC2 and Auto Scaling show a new instance within seconds; the loop looks again meanwhile.
const VISIBLE_WITHIN: Duration = Duration::from_secs(30);
/// STS calls at once; AWS throttles GetCallerIdentity far above this.
const IDENTITIES_AT_ONCE: usize = 32;

/// The service.
#[derive(Debug)]
pub struct EnrolmentService {
    core: Arc<Core>,
    limit: Limit,
    identities: Semaphore,
}

impl EnrolmentService {
    /// For this orchestrator.
    pub fn new(core: Arc<Core>) -> Self {
        Self {
            core,
            limit: Limit::default(),
            identities: Semaphore::new(IDENTITIES_AT_ONCE),
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
        self.visible(&instance, peer).await?;
        self.core
            .store
            .enrol(instance.as_str(), csr.key_sha256())
            .await
            .map_err(|error| match error {
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

    /// Waits for a look of the loop that shows the instance as ours.
    async fn visible(&self, instance: &InstanceId, peer: &Peer) -> Result<(), Refused> {
        let mut looks = self.core.looks.subscribe();
        let until = Instant::now() + VISIBLE_WITHIN;
        loop {
            let verdict = checks::instance(
                &looks.borrow_and_update().observed,
                instance,
                peer.address.ip(),
            );
            match verdict {
                Err(
                    Refused::InstanceUnknown | Refused::Group | Refused::Template | Refused::Vpc,
                ) if Instant::now() < until => {
                    self.core.store.wake();
                    if tokio::time::timeout_at(until, looks.changed())
                        .await
                        .is_err()
                    {
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
        if !self.limit.admit(peer.address.ip(), Instant::now()) {
            self.core.metrics.refused(Refused::RateLimit);
            return Err(Status::resource_exhausted("try again later"));
        }
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
            let answer = tokio::time::timeout(NONCE_LIFETIME, answers.next()).await;
            let verdict = match answer {
                Err(_) => Err(Refused::TooSlow),
                Ok(None | Some(Err(_))) => Err(Refused::Malformed),
                Ok(Some(Ok(answer))) => service.check(&peer, &nonce, answer).await,
            };
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
                    // The same words for every check: an attacker learns nothing from them.
                    Err(match check {
                        Refused::StsUnreachable | Refused::Store => {
                            Status::unavailable("try again later")
                        }
                        _ => Status::permission_denied("not accepted"),
                    })
                }
            };
            let _ = steps.send(step).await;
        });
        Ok(Response::new(Box::pin(
            tokio_stream::wrappers::ReceiverStream::new(receiver),
        )))
    }
}
