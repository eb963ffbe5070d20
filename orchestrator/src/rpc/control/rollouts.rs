//! Requests for rollouts, and how rollouts are told.

use fleet_proto::v1;
use plan::intent::{Intent, Mode, Phase, RestorePoint, RolloutIntent, RolloutProbe};
use plan::observed::Image;
use plan::rollout::Ask;
use plan::{FilesHome, Observed};
use tonic::Status;

use super::{ControlService, refused};
use crate::store::{RolloutRow, phase_name};

/// A request that may be made.
pub(super) struct Checked {
    pub intent: Intent,
    pub rollout: RolloutIntent,
    /// What it was checked against.
    pub observed: Observed,
    /// How much lies in the old and in the new place of files, where they are said to have moved.
    pub counted: Option<String>,
}

impl ControlService {
    /// The rollout that a repeated request became. Its key is not for another request.
    pub(super) async fn same_request(
        &self,
        asked: &v1::StartRolloutRequest,
    ) -> Result<Option<RolloutRow>, Status> {
        let row = self
            .store()
            .await?
            .rollout_of_request(&asked.request_key)
            .await
            .map_err(|error| refused(&error))?;
        if let Some(row) = &row {
            let to = &row.intent.to;
            let is = |wanted: &str, has: &str| wanted.is_empty() || wanted == has;
            if !is(&asked.mattermost_version, &to.version) || !is(&asked.image_id, &to.image_id) {
                return Err(Status::failed_precondition(format!(
                    "request key `{}` made rollout {} (Mattermost {}, image {}): another request needs another key",
                    asked.request_key, row.intent.id, to.version, to.image_id
                )));
            }
        }
        Ok(row)
    }

    /// The rollout that a request would make, with the observation that it was checked against; or why it is
    /// refused. Where files are said to have moved, at most about `most` objects are counted in each place.
    pub(super) async fn asked_for(
        &self,
        asked: &v1::StartRolloutRequest,
        most: u64,
    ) -> Result<Checked, Status> {
        let snapshot = self.snapshot().await?;
        let intent = crate::reconcile::intent(&self.core, &snapshot);
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let ask = Ask {
            version: given(&asked.mattermost_version),
            sha256: given(&asked.sha256),
            url: given(&asked.url),
            image_id: given(&asked.image_id),
            files_moved: asked.files_moved,
            lose_files: asked.lose_files,
            moves: asked.moves,
        };
        // A first look is waited for as ever; what a rollout begins with is read now.
        self.look().await?;
        let look = Box::pin(self.core.look_anew())
            .await
            .ok_or_else(|| Status::unavailable("AWS was not read to the end in time: ask again"))?;
        let mut observed = look.observed.clone();
        if let Some(id) = &ask.image_id {
            let image = self.image(id).await?;
            let home = self.core.spec.home_region();
            let images = observed.images.entry(home).or_default();
            images.insert(image.id.clone(), image);
        }
        let rollout = plan::rollout::request(&intent, &observed, &ask, self.core.now());
        let mut rollout = rollout.map_err(|refusal| match refusal.code.as_str() {
            "version" | "digest" | "url" => Status::invalid_argument(refusal.text),
            _ => Status::failed_precondition(refusal.text),
        })?;
        if rollout.mode != Mode::Move {
            let mut token = [0; 32];
            rand::fill(&mut token);
            rollout.probe = Some(RolloutProbe::new(hex::encode(token)));
        }
        // Names of groups come from the generation: one that was rolled back is not used again.
        let count = self
            .store()
            .await?
            .rollout_count()
            .await
            .map_err(|error| refused(&error))?;
        rollout.generation = rollout
            .generation
            .max(u64::try_from(count).unwrap_or(0) + 2);
        rollout.id = format!("r-{}", rollout.generation);
        let counted = self.counted(&ask, &rollout, most).await?;
        Ok(Checked {
            intent,
            rollout,
            observed,
            counted,
        })
    }

    /// What lies in both places of files that are said to have moved; refused when nothing lies in the new one.
    async fn counted(
        &self,
        ask: &Ask,
        rollout: &RolloutIntent,
        most: u64,
    ) -> Result<Option<String>, Status> {
        let (from, to) = (FilesHome::of(&rollout.from), FilesHome::of(&rollout.to));
        if !ask.files_moved || from.is_same_place(&to) {
            return Ok(None);
        }
        // Boxed, for the SDK's futures are large.
        let counted = Box::pin(crate::files::count(&self.core, &from, &to, most)).await;
        match counted.refusal(&from, &to, ask.lose_files) {
            Some(why) => Err(Status::failed_precondition(why)),
            None => Ok(Some(counted.words(&from, &to))),
        }
    }

    /// The image that an operator names: looks leave out what neither serves nor is ours by its tags.
    async fn image(&self, id: &str) -> Result<Image, Status> {
        if !id.starts_with("ami-") {
            return Err(Status::invalid_argument(format!(
                "`{id}` is not the id of an image, such as `ami-0123456789abcdef0`"
            )));
        }
        let found = self.core.cloud.resolve_image(id).await;
        found.map_err(|error| match error {
            cloud::ReadError::NotFound { .. } => Status::failed_precondition(format!(
                "image `{id}` is not in `{}`: build it there, or name another one",
                self.core.spec.home_region()
            )),
            error => Status::unavailable(format!("image `{id}` could not be looked at: {error}")),
        })
    }
}

/// A rollout as operators see it.
pub fn rollout_message(row: &RolloutRow) -> v1::Rollout {
    let intent = &row.intent;
    v1::Rollout {
        id: intent.id.clone(),
        phase: match &intent.phase {
            Phase::Stuck { reason } => format!("Stuck: {reason}"),
            phase => phase_name(phase),
        },
        outcome: row.outcome.clone(),
        reasons: row.reasons.clone(),
        from_version: intent.from.version.clone(),
        to_version: intent.to.version.clone(),
        from_image: intent.from.image_id.clone(),
        to_image: intent.to.image_id.clone(),
        phases: row
            .history
            .iter()
            .map(|phase| v1::PhaseTime {
                phase: phase.phase.clone(),
                entered: phase.entered.as_millisecond(),
                left: phase.left.map_or(0, jiff::Timestamp::as_millisecond),
                waited_for: phase.waited_for.clone(),
            })
            .collect(),
        failure: intent.failure.clone(),
        paused: intent.paused,
        deadline: 0,
        operator: row.operator.clone(),
        restore_point: match intent.restore {
            RestorePoint::Log {
                second: Some(second),
            } => second.to_string(),
            RestorePoint::Log { second: None } | RestorePoint::Snapshot => String::new(),
        },
    }
}
