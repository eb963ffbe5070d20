//! A second opinion: refuses what must never be done, whatever a planner says. Knows nothing of how a
//! decision came about; it reads the decision against the observation alone.

mod files;
mod moving;
mod probe;
mod rollout;
mod traffic;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::decision::Decision;
use crate::intent::{Intent, Phase, Want};
use crate::observed::{Forward, Observed, STACK_TAG, Tags};

/// Why an action must not be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{action}: {text}")]
pub struct Refusal {
    /// Stable word: `last_serving_group`, `two_owners`, …
    pub rule: String,
    /// The action's key, or the node.
    pub action: String,
    /// The sentence.
    pub text: String,
}

/// Refuses a decision that breaks an invariant. All reasons at once.
pub fn lint(decision: &Decision, observed: &Observed, intent: &Intent) -> Result<(), Vec<Refusal>> {
    let judge = Judge {
        decision,
        observed,
        intent,
    };
    let mut refusals = Vec::new();
    for action in &decision.actions {
        if let Err((rule, text)) = judge.action(action) {
            refusals.push(Refusal {
                rule: rule.to_owned(),
                action: action.key(),
                text,
            });
        }
    }
    refusals.extend(judge.migrations());
    refusals.extend(judge.way_back());
    if refusals.is_empty() {
        Ok(())
    } else {
        Err(refusals)
    }
}

type Verdict = Result<(), (&'static str, String)>;

struct Judge<'a> {
    decision: &'a Decision,
    observed: &'a Observed,
    intent: &'a Intent,
}

impl Judge<'_> {
    fn action(&self, action: &Action) -> Verdict {
        match action {
            Action::SetWeights {
                weights:
                    Forward {
                        weights,
                        sticky_seconds,
                    },
                ..
            } => {
                let total: u32 = weights.values().sum();
                if total == 0 {
                    return Err(("no_owner", "nobody would get the traffic".to_owned()));
                }
                let sharers = weights.values().filter(|weight| **weight > 0).count();
                let shifting = matches!(self.decision.next, Phase::Shifting { .. });
                if sharers > 1 && !shifting {
                    return Err((
                        "two_owners",
                        "two colours would own the traffic outside of a shift".to_owned(),
                    ));
                }
                if sharers < 2 && sticky_seconds.is_some() {
                    return Err((
                        "sticky",
                        "users would stay with a colour that is to get no traffic".to_owned(),
                    ));
                }
                for (arn, weight) in weights {
                    if *weight > self.weight(arn) {
                        self.can_carry(arn)?;
                    }
                }
                Ok(())
            }
            Action::SetFixedResponse { .. } => {
                let phase = &self.decision.next;
                let announced = self.decision_is_announced();
                if announced && matches!(phase, Phase::Closed | Phase::ReturningTraffic) {
                    Ok(())
                } else {
                    Err((
                        "no_owner",
                        "users would be turned away outside of a cutover".to_owned(),
                    ))
                }
            }
            Action::SetGroupSize {
                group,
                min,
                desired,
                ..
            } => {
                self.keeps_what_is_not_moved(group, Some(*desired))?;
                self.size(group, *min, *desired)
            }
            Action::DeleteGroup { group, .. } => {
                let seen = self.observed.groups.get(group);
                self.tagged(seen.map(|seen| &seen.tags), group)?;
                self.keeps_what_is_not_moved(group, Some(0))?;
                self.not_serving(group)
            }
            Action::TerminateInstance { group, .. } => {
                self.keeps_what_is_not_moved(group, None)?;
                let seen = self.observed.groups.get(group);
                self.tagged(seen.map(|seen| &seen.tags), group)
            }
            Action::LiftScaleInProtection { group, .. } => {
                let seen = self.observed.groups.get(group);
                self.tagged(seen.map(|seen| &seen.tags), group)
            }
            Action::DeleteTargetGroup { arn } => {
                let seen = self
                    .observed
                    .target_groups
                    .values()
                    .find(|seen| seen.arn == *arn);
                self.tagged(seen.map(|seen| &seen.tags), arn)?;
                if self.weight(arn) > 0 && self.is_up() {
                    return Err((
                        "has_weight",
                        "the target group still gets traffic".to_owned(),
                    ));
                }
                Ok(())
            }
            Action::DeleteLoadBalancer { arn } => {
                self.only_down("the load balancer")?;
                let seen = self
                    .observed
                    .load_balancer
                    .as_ref()
                    .filter(|seen| seen.arn == *arn);
                self.tagged(seen.map(|seen| &seen.tags), arn)
            }
            Action::EnsureProbeRule {
                token,
                target_group,
                ..
            } => self.leads_to_green(token, target_group),
            Action::DeleteProbeRule { arn } => self.for_probes(arn),
            Action::DeleteListener { .. } => self.only_down("a listener"),
            Action::DeleteTemplate { name } => {
                self.only_down("the launch template")?;
                self.tagged(self.observed.template.as_ref().map(|seen| &seen.tags), name)
            }
            Action::DeleteTemplateVersions { name, versions } => {
                self.tagged(self.observed.template.as_ref().map(|seen| &seen.tags), name)?;
                self.unused_versions(versions)
            }
            Action::DeleteImage { region, image } => {
                let seen = self
                    .observed
                    .images
                    .get(region)
                    .and_then(|images| images.get(image));
                self.tagged(seen.map(|seen| &seen.tags), image)
            }
            Action::DeleteDbInstance { id, final_snapshot } => {
                self.database(id, final_snapshot.as_deref())
            }
            Action::DeleteDbSnapshot { id } => {
                let seen = self.observed.db_snapshots.get(id);
                self.tagged(seen.map(|seen| &seen.tags), id)?;
                self.not_the_way_back(id)
            }
            Action::DeleteDbSubnetGroup { .. } | Action::DeleteDbParameterGroup { .. } => {
                if self.deletes_database() {
                    Ok(())
                } else {
                    Err(("keeps_database", "the database is to be kept".to_owned()))
                }
            }
            Action::DeleteSecret { name } => {
                self.only_down("a secret")?;
                self.tagged(self.observed.secrets.get(name).map(|seen| &seen.tags), name)
            }
            Action::DeleteSecurityGroup { part, id } => {
                self.only_down("a security group")?;
                let seen = self
                    .observed
                    .security_groups
                    .get(part)
                    .filter(|seen| seen.id == *id);
                self.tagged(seen.map(|seen| &seen.tags), id)
            }
            Action::EnsureBucket { .. }
            | Action::SetBucket { .. }
            | Action::DeleteBucketContents { .. }
            | Action::DeleteBucket { .. } => self.bucket(action),
            Action::SetDbInstance { id, change } if change.deletion_protection == Some(false) => {
                if self.deletes_database() || !self.intent.spec.database.deletion_protection {
                    self.tagged(
                        self.observed.db_instances.get(id).map(|seen| &seen.tags),
                        id,
                    )
                } else {
                    Err((
                        "keeps_database",
                        "deletion protection is lifted by `down --delete-database` only".to_owned(),
                    ))
                }
            }
            _ => Ok(()),
        }
    }

    fn is_up(&self) -> bool {
        self.intent.want == Want::Up
    }

    fn deletes_database(&self) -> bool {
        matches!(
            self.intent.want,
            Want::Down {
                delete_database: true,
                ..
            }
        )
    }

    /// A cutover or a move: users are turned away for a while, as the plan says.
    fn decision_is_announced(&self) -> bool {
        let rollout = self
            .decision
            .rollout
            .as_ref()
            .or(self.intent.rollout.as_ref());
        rollout.is_some_and(|rollout| rollout.mode != crate::intent::Mode::Overlap)
    }

    fn only_down(&self, what: &str) -> Verdict {
        if self.is_up() {
            Err((
                "not_going_down",
                format!("{what} is deleted by `down` only"),
            ))
        } else {
            Ok(())
        }
    }

    fn tagged(&self, tags: Option<&Tags>, what: &str) -> Verdict {
        match tags.and_then(|tags| tags.get(STACK_TAG)) {
            Some(stack) if *stack == self.intent.spec.stack => Ok(()),
            _ => Err((
                "not_ours",
                format!(
                    "`{what}` does not carry the tag {STACK_TAG}={}",
                    self.intent.spec.stack
                ),
            )),
        }
    }

    fn unused_versions(&self, versions: &BTreeSet<u64>) -> Verdict {
        let record = self.decision.record.as_ref().unwrap_or(&self.intent.record);
        let proven = record
            .proven
            .as_ref()
            .and_then(|proven| proven.template_version);
        for version in versions {
            if proven == Some(*version) && self.is_up() {
                return Err((
                    "proven",
                    format!("version {version} is what one would come back to"),
                ));
            }
            let user = self
                .observed
                .groups
                .values()
                .find(|group| group.template_version == *version && !group.members.is_empty());
            if let Some(group) = user {
                return Err((
                    "in_use",
                    format!("`{}` launches from version {version}", group.name),
                ));
            }
        }
        Ok(())
    }

    fn database(&self, id: &str, final_snapshot: Option<&str>) -> Verdict {
        let Some(seen) = self.observed.db_instances.get(id) else {
            return Err(("not_ours", format!("DB instance `{id}` is not visible")));
        };
        self.tagged(Some(&seen.tags), id)?;
        if seen.replica_of.is_some() {
            return Ok(());
        }
        if !self.deletes_database() {
            return Err(("keeps_database", "the database is to be kept".to_owned()));
        }
        if final_snapshot.is_none() {
            return Err((
                "no_snapshot",
                "the primary goes with a final snapshot only".to_owned(),
            ));
        }
        Ok(())
    }
}
