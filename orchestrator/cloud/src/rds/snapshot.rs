//! DB snapshots: what a rollout stands on.

use plan::observed::{DbSnapshot, PART_TAG};

use super::observe::seen_snapshot;
use super::{found, tag_list};
use crate::apply::Outcome;
use crate::connect::Cloud;
use crate::error::{Called, EffectError, Failure};

impl Cloud {
    async fn db_snapshot(&self, id: &str) -> Result<Option<DbSnapshot>, Failure> {
        let answer = self
            .look()
            .rds
            .describe_db_snapshots()
            .db_snapshot_identifier(id)
            .send()
            .await
            .called("rds:DescribeDBSnapshots");
        let snapshots = found(answer, "DBSnapshotNotFound")?;
        Ok(snapshots.and_then(|answer| answer.db_snapshots().first().map(seen_snapshot)))
    }

    /// A snapshot of that name; RDS refuses it while the instance is not `available`.
    pub(crate) async fn ensure_db_snapshot(
        &self,
        id: &str,
        instance: &str,
    ) -> Result<Outcome, EffectError> {
        const CALL: &str = "rds:CreateDBSnapshot";
        let there = if let Some(there) = self.db_snapshot(id).await? {
            there
        } else {
            let tags = self.our_tags([(PART_TAG, "snapshot"), ("Name", id)]);
            let answer = self
                .act()
                .rds
                .create_db_snapshot()
                .db_snapshot_identifier(id)
                .db_instance_identifier(instance)
                .set_tags(Some(tag_list(&tags)))
                .send()
                .await
                .called(CALL);
            match answer {
                Ok(_) => return Ok(Outcome::Changed),
                Err(failure) if failure.is("DBSnapshotAlreadyExists") => self
                    .db_snapshot(id)
                    .await?
                    .ok_or_else(|| EffectError::invisible(CALL, id))?,
                Err(failure) => return Err(failure.into()),
            }
        };
        self.check_ours(id, &there.tags)?;
        Ok(Outcome::Unchanged)
    }

    /// Deletes a snapshot of ours.
    pub(crate) async fn delete_db_snapshot(&self, id: &str) -> Result<Outcome, EffectError> {
        let Some(there) = self.db_snapshot(id).await? else {
            return Ok(Outcome::Unchanged);
        };
        self.check_ours(id, &there.tags)?;
        let answer = self
            .act()
            .rds
            .delete_db_snapshot()
            .db_snapshot_identifier(id)
            .send()
            .await
            .called("rds:DeleteDBSnapshot");
        Outcome::gone(answer.map(drop), &["DBSnapshotNotFound"])
    }
}
