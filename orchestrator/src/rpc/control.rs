//! What operators ask. Reads come from the newest look and the store; everything else is intent.

mod rollouts;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use fleet_proto::v1;
use plan::intent::Phase;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use self::rollouts::rollout_message;
use crate::authority::Step;
use crate::core::{Core, Look};
use crate::reconcile::rotation;
use crate::status;
use crate::store::{KNOWN_WITHIN, Snapshot, Steer, Store, StoreError, phase_name};

/// The service.
#[derive(Debug)]
pub struct ControlService {
    core: Arc<Core>,
    /// So long an operator waits for what is not known yet.
    pub(super) known: Duration,
}

impl ControlService {
    /// For this orchestrator.
    pub fn new(core: Arc<Core>) -> Self {
        Self {
            core,
            known: KNOWN_WITHIN,
        }
    }

    /// The store, once it knows what was: before, an absence in it is none.
    async fn store(&self) -> Result<&Store, Status> {
        let known = self.core.store.known(self.known).await;
        known.map_err(|error| refused(&error))
    }

    /// What the store knows now.
    async fn snapshot(&self) -> Result<Snapshot, Status> {
        let snapshot = self.store().await?.snapshot().await;
        snapshot.map_err(|error| refused(&error))
    }

    /// The newest look, once there is one: what nobody looked for yet is not absent.
    async fn look(&self) -> Result<Arc<Look>, Status> {
        let mut looks = self.core.looks.subscribe();
        let first = looks.wait_for(|look| look.number > 0);
        match tokio::time::timeout(self.known, first).await {
            Ok(Ok(look)) => Ok(Arc::clone(&look)),
            Ok(Err(_)) | Err(_) => Err(Status::unavailable(
                "the first look at the stack is not done: ask again",
            )),
        }
    }

    fn nodes_now(&self, look: &Look, snapshot: &Snapshot) -> Vec<v1::NodeState> {
        status::nodes(&look.observed, snapshot, &self.core.fleet)
    }

    /// Where the rotation of the CA is.
    fn ca(&self, snapshot: &Snapshot) -> Result<v1::CaState, Status> {
        let look = self.core.looks.borrow().clone();
        let (step, waits) =
            rotation::waits(&self.core, &look.observed, snapshot).ok_or_else(no_ca)?;
        let sha256 = self
            .core
            .authority
            .borrow()
            .as_ref()
            .map(|authority| authority.sha256())
            .unwrap_or_default();
        Ok(v1::CaState {
            step: step.name().to_owned(),
            sha256,
            other_sha256: match step {
                Step::Steady => String::new(),
                Step::Announced { next: other, .. }
                | Step::Signing {
                    previous: other, ..
                } => other,
            },
            waits,
        })
    }
}

fn refused(error: &StoreError) -> Status {
    let text = crate::chain(error);
    match error {
        StoreError::RolloutIsLive(_) | StoreError::NotLive(_) => Status::failed_precondition(text),
        StoreError::NoSuchRollout(_) | StoreError::NoRollout | StoreError::NoSuchRequest(_) => {
            Status::not_found(text)
        }
        _ => Status::unavailable(text),
    }
}

fn no_ca() -> Status {
    Status::unavailable("the fleet's CA does not exist yet")
}

#[tonic::async_trait]
impl v1::control_server::Control for ControlService {
    type EventsStream = Pin<Box<dyn Stream<Item = Result<v1::Event, Status>> + Send>>;

    async fn status(
        &self,
        _: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusReply>, Status> {
        // Whoever asks this wants to know what is waited for: it waits for nothing itself.
        let store = &self.core.store;
        let look = self.core.looks.borrow().clone();
        let (snapshot, silent) = match store.snapshot().await {
            Ok(snapshot) => (snapshot, None),
            Err(error) => (Snapshot::default(), Some(crate::chain(&error))),
        };
        let rollout = store
            .rollout(None)
            .await
            .ok()
            .map(|row| rollout_message(&row));
        let leader = store
            .holder()
            .await
            .map(|holder| holder.map_or_else(|| self.core.holder.clone(), |holder| holder.name))
            .unwrap_or_default();
        let mut reply = status::summary(&self.core.spec, &look);
        if let Some(why) = silent {
            let text = format!(
                "the store does not answer, so of nodes and rollouts nothing is said: {why}"
            );
            reply.reasons.insert(0, text);
        }
        if let Some(why) = store.doubt() {
            let text = format!("rollouts and nodes' reports are not known yet: {why}");
            reply.reasons.insert(0, text);
        }
        reply.nodes = self.nodes_now(&look, &snapshot);
        reply.rollout = rollout;
        reply.leader = leader;
        if let Ok(ca) = self.ca(&snapshot) {
            reply.resources.push(v1::ResourceState {
                kind: "fleet CA".to_owned(),
                name: ca.step,
                id: format!("{:.16}…", ca.sha256),
                state: ca.waits.first().cloned().unwrap_or_default(),
            });
        }
        Ok(Response::new(reply))
    }

    async fn nodes(
        &self,
        _: Request<v1::NodesRequest>,
    ) -> Result<Response<v1::NodesReply>, Status> {
        let snapshot = self.snapshot().await?;
        let look = self.core.looks.borrow().clone();
        Ok(Response::new(v1::NodesReply {
            nodes: self.nodes_now(&look, &snapshot),
        }))
    }

    async fn plan_rollout(
        &self,
        request: Request<v1::StartRolloutRequest>,
    ) -> Result<Response<v1::RolloutPlan>, Status> {
        let asked = request.into_inner();
        let checked = self.asked_for(&asked, crate::files::TOLD).await?;
        let (intent, rollout) = (&checked.intent, &checked.rollout);
        let now = self.core.now();
        let mut forecast = plan::forecast_rollout(intent, rollout, &checked.observed, now);
        if let Some(text) = checked.counted {
            let files = forecast.facts.iter().position(|(what, _)| what == "files");
            let after = files.map_or(forecast.facts.len(), |at| at + 1);
            let fact = ("files there".to_owned(), text);
            forecast.facts.insert(after, fact);
        }
        let json = serde_json::to_string(&forecast)
            .map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(v1::RolloutPlan {
            text: forecast.to_string(),
            json,
        }))
    }

    async fn start_rollout(
        &self,
        request: Request<v1::StartRolloutRequest>,
    ) -> Result<Response<v1::Rollout>, Status> {
        let asked = request.into_inner();
        if asked.request_key.is_empty() || asked.request_key.len() > 100 {
            return Err(Status::invalid_argument(
                "a request key of 1 to 100 characters is needed",
            ));
        }
        if let Some(row) = self.same_request(&asked).await? {
            return Ok(Response::new(rollout_message(&row)));
        }
        let intent = self.asked_for(&asked, crate::files::ANY).await?.rollout;
        let row = self
            .store()
            .await?
            .request_rollout(&intent, &asked.request_key, &asked.operator)
            .await
            .map_err(|error| refused(&error))?;
        self.core
            .event(
                &row.intent.id,
                "requested",
                &format!(
                    "{} -> {} by {}",
                    row.intent.from.version, row.intent.to.version, asked.operator
                ),
            )
            .await;
        Ok(Response::new(rollout_message(&row)))
    }

    async fn get_rollout(
        &self,
        request: Request<v1::GetRolloutRequest>,
    ) -> Result<Response<v1::Rollout>, Status> {
        let asked = request.into_inner();
        let store = self.store().await?;
        let row = match (asked.id.as_str(), asked.request_key.as_str()) {
            ("", "") => store.rollout(None).await,
            (id, "") => store.rollout(Some(id)).await,
            (_, key) => {
                let row = store.rollout_of_request(key).await;
                row.and_then(|row| row.ok_or_else(|| StoreError::NoSuchRequest(key.to_owned())))
            }
        };
        let row = row.map_err(|error| refused(&error))?;
        Ok(Response::new(rollout_message(&row)))
    }

    async fn steer_rollout(
        &self,
        request: Request<v1::SteerRolloutRequest>,
    ) -> Result<Response<v1::Rollout>, Status> {
        let asked = request.into_inner();
        let steer = match asked.steer() {
            v1::Steer::Pause => Steer::Pause,
            v1::Steer::Resume => Steer::Resume,
            v1::Steer::Promote => Steer::Promote,
            v1::Steer::Abort => Steer::Abort,
            v1::Steer::Unspecified => {
                return Err(Status::invalid_argument("pause, resume, promote or abort"));
            }
        };
        let id = match asked.id.as_str() {
            "" => {
                self.store()
                    .await?
                    .rollout(None)
                    .await
                    .map_err(|error| refused(&error))?
                    .intent
                    .id
            }
            id => id.to_owned(),
        };
        if steer == Steer::Promote {
            let row = self.store().await?.rollout(Some(&id)).await;
            let phase = row.map_err(|error| refused(&error))?.intent.phase;
            if phase != Phase::Baking {
                return Err(Status::failed_precondition(format!(
                    "rollout `{id}` is not baking but {}: promoting ends the bake, nothing else",
                    phase_name(&phase)
                )));
            }
        }
        let row = self
            .store()
            .await?
            .steer(&id, steer)
            .await
            .map_err(|error| refused(&error))?;
        self.core
            .event(
                &id,
                &format!("{steer:?}").to_lowercase(),
                &format!("by {}", asked.operator),
            )
            .await;
        Ok(Response::new(rollout_message(&row)))
    }

    async fn get_ca(&self, _: Request<v1::GetCaRequest>) -> Result<Response<v1::CaState>, Status> {
        Ok(Response::new(self.ca(&self.snapshot().await?)?))
    }

    async fn rotate_ca(
        &self,
        request: Request<v1::RotateCaRequest>,
    ) -> Result<Response<v1::CaState>, Status> {
        let asked = request.into_inner();
        let step = self
            .core
            .authority
            .borrow()
            .as_ref()
            .map(|authority| authority.step().clone())
            .ok_or_else(no_ca)?;
        if step != Step::Steady && !asked.force {
            return Err(Status::failed_precondition(format!(
                "a rotation is under way, at step `{}`; it goes on by itself, `orchestrator ca` says what it waits for",
                step.name()
            )));
        }
        rotation::advance(&self.core, &step, &asked.operator)
            .await
            .map_err(|error| Status::unavailable(format!("{error:#}")))?;
        Ok(Response::new(self.ca(&self.snapshot().await?)?))
    }

    async fn events(
        &self,
        request: Request<v1::EventsRequest>,
    ) -> Result<Response<Self::EventsStream>, Status> {
        let mut after = request.into_inner().after;
        let core = Arc::clone(&self.core);
        if after == i64::MAX {
            let newest = core.store.recent_events(1).await;
            let newest = newest.map_err(|error| refused(&error))?;
            after = newest.last().map_or(0, |event| event.id);
        }
        let (sender, receiver) = tokio::sync::mpsc::channel(64);
        self.core.tasks.spawn(async move {
            let mut looks = core.looks.subscribe();
            loop {
                match core.store.events(after).await {
                    Ok(events) => {
                        for event in events {
                            after = event.id;
                            let message = v1::Event {
                                id: event.id,
                                at: event.at.as_millisecond(),
                                subject: event.subject,
                                what: event.what,
                                cause: event.cause,
                            };
                            if sender.send(Ok(message)).await.is_err() {
                                return;
                            }
                        }
                    }
                    Err(error) => log::debug!("events: {}", crate::chain(&error)),
                }
                tokio::select! {
                    changed = looks.changed() => if changed.is_err() { return },
                    () = sender.closed() => return,
                    () = core.shutdown.cancelled() => return,
                }
            }
        });
        Ok(Response::new(Box::pin(
            tokio_stream::wrappers::ReceiverStream::new(receiver),
        )))
    }
}
