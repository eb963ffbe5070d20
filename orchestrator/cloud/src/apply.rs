//! Which effect belongs to which action. No decisions: one arm, one effect.

use jiff::Timestamp;
use plan::Action;
use plan::action::SecretKind;

use crate::connect::Cloud;
use crate::error::{EffectError, Failure};

/// What an effect did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It made a difference: a call that changes something was accepted.
    Changed,
    /// All was as wanted; nothing was sent that changes anything.
    Unchanged,
    /// Not AWS's: SQL, nodes, or content that the caller makes. Nothing was done.
    NotMine,
}

impl Outcome {
    /// Of two steps of one effect.
    #[must_use]
    pub(crate) fn and(self, other: Self) -> Self {
        if self == Self::Unchanged { other } else { self }
    }

    /// Of a deletion: "not found" (any of these codes) is what was wanted.
    pub(crate) fn gone(
        answer: Result<(), Failure>,
        not_found: &[&str],
    ) -> Result<Self, EffectError> {
        match answer {
            Ok(()) => Ok(Self::Changed),
            Err(failure) if not_found.iter().any(|code| failure.is(code)) => Ok(Self::Unchanged),
            Err(failure) => Err(failure.into()),
        }
    }
}

impl Cloud {
    /// Makes one effect, once. `now` is in client tokens that must not live for ever, and
    /// nothing else.
    ///
    /// [`Outcome::NotMine`] comes back for `EnsureDatabases` (SQL), `ProbeChat` (nodes) and
    /// `EnsureSecret` of a certificate authority (see [`Cloud::create_secret`]).
    pub async fn apply(&self, action: &Action, now: Timestamp) -> Result<Outcome, EffectError> {
        // Boxed: the SDK's futures are large, and the largest of all effects decides this one's size.
        let outcome = Box::pin(self.effect(action, now)).await;
        match &outcome {
            Ok(outcome) => log::debug!(action:display = action.key(), outcome:debug; "effect"),
            Err(error) => {
                log::debug!(action:display = action.key(), error:display = error; "effect failed");
            }
        }
        outcome
    }

    async fn effect(&self, action: &Action, now: Timestamp) -> Result<Outcome, EffectError> {
        match action {
            Action::EnsureSecret {
                kind: SecretKind::CertificateAuthority,
                ..
            }
            | Action::EnsureDatabases { .. }
            | Action::ProbeChat { .. } => Ok(Outcome::NotMine),
            Action::EnsureSecurityGroup {
                part,
                name,
                vpc_id,
                ingress,
            } => {
                self.ensure_security_group(part, name, vpc_id, ingress)
                    .await
            }
            Action::EnsureSecret {
                name,
                kind: SecretKind::Password,
            } => self.ensure_password(name).await,
            Action::EnsureTemplateVersion {
                name,
                digest,
                content,
            } => self.ensure_template_version(name, digest, content).await,
            Action::EnsureImageCopy {
                region,
                source_region,
                source_image,
                name,
            } => {
                self.ensure_image_copy(region, source_region, source_image, name, now)
                    .await
            }
            Action::EnsureBucket { bucket, made_anew } => {
                self.ensure_bucket(bucket, *made_anew).await
            }
            Action::SetBucket { bucket, setting } => self.set_bucket(bucket, setting).await,
            Action::DeleteBucketContents { bucket } => self.delete_bucket_contents(bucket).await,
            Action::DeleteBucket { bucket } => self.delete_bucket(bucket).await,
            Action::EnsureDbSubnetGroup { name, subnets } => {
                self.ensure_db_subnet_group(name, subnets).await
            }
            Action::EnsureDbParameterGroup {
                name,
                family,
                parameters,
            } => {
                self.ensure_db_parameter_group(name, family, parameters)
                    .await
            }
            Action::EnsureDbPrimary(primary) => self.ensure_db_primary(primary).await,
            Action::EnsureDbReplica {
                id,
                source,
                class,
                security_groups,
            } => {
                self.ensure_db_replica(id, source, class, security_groups)
                    .await
            }
            Action::SetDbInstance { id, change } => self.set_db_instance(id, change).await,
            Action::GrowDbStorage { id, gib, iops } => self.grow_db_storage(id, *gib, *iops).await,
            Action::SetDbMasterPassword { id, secret } => {
                self.set_db_master_password(id, secret).await
            }
            Action::RebootDbInstance { id } => self.reboot_db_instance(id).await,
            Action::EnsureDbSnapshot { id, instance } => {
                self.ensure_db_snapshot(id, instance).await
            }
            Action::EnsureLoadBalancer {
                name,
                scheme,
                subnets,
                security_groups,
                attributes,
            } => {
                self.ensure_load_balancer(name, scheme, subnets, security_groups, attributes)
                    .await
            }
            Action::EnsureTargetGroup {
                name,
                vpc_id,
                health,
                attributes,
            } => {
                self.ensure_target_group(name, vpc_id, health, attributes)
                    .await
            }
            Action::EnsureListener {
                port,
                protocol,
                certificate,
                load_balancer,
                action,
            } => {
                self.ensure_listener(
                    *port,
                    protocol,
                    certificate.as_deref(),
                    load_balancer,
                    action,
                )
                .await
            }
            Action::SetWeights { listener, weights } => self.set_weights(listener, weights).await,
            Action::SetFixedResponse {
                listener,
                status,
                body,
            } => self.set_fixed_response(listener, *status, body).await,
            Action::EnsureProbeRule {
                listener,
                token,
                target_group,
            } => self.ensure_probe_rule(listener, token, target_group).await,
            Action::DeleteProbeRule { arn } => self.delete_probe_rule(arn).await,
            Action::EnsureGroup(group) => self.ensure_group(group).await,
            Action::SetGroupSize {
                group,
                min,
                max,
                desired,
            } => self.set_group_size(group, *min, *max, *desired).await,
            Action::SetGroupTemplate {
                group,
                template,
                version,
            } => self.set_group_template(group, template, *version).await,
            Action::SetSuspended { group, processes } => self.set_suspended(group, processes).await,
            Action::LiftScaleInProtection { group, instances } => {
                self.lift_scale_in_protection(group, instances).await
            }
            Action::SetGroupTags {
                group,
                tags,
                remove,
            } => self.set_group_tags(group, tags, remove).await,
            Action::EnsureScalingPolicy {
                group,
                name,
                adjustment,
                warmup_seconds,
            } => {
                self.ensure_scaling_policy(group, name, *adjustment, *warmup_seconds)
                    .await
            }
            Action::EnsureAlarm {
                name,
                group,
                threshold,
                comparison,
                periods,
                policy_arn,
            } => {
                self.ensure_alarm(name, group, *threshold, comparison, *periods, policy_arn)
                    .await
            }
            Action::CompleteLifecycle {
                group,
                hook,
                instance,
                result,
            } => {
                self.set_lifecycle_complete(group, hook, instance, result)
                    .await
            }
            Action::HeartbeatLifecycle {
                group,
                hook,
                instance,
            } => self.set_lifecycle_heartbeat(group, hook, instance).await,
            Action::TerminateInstance { group, instance } => {
                self.delete_instance(group, instance).await
            }
            Action::DeleteAlarm { name } => self.delete_alarm(name).await,
            Action::DeleteGroup { group, force } => self.delete_group(group, *force).await,
            Action::DeleteTemplateVersions { name, versions } => {
                self.delete_template_versions(name, versions).await
            }
            Action::DeleteTemplate { name } => self.delete_template(name).await,
            Action::DeleteListener { arn } => self.delete_listener(arn).await,
            Action::DeleteLoadBalancer { arn } => self.delete_load_balancer(arn).await,
            Action::DeleteTargetGroup { arn } => self.delete_target_group(arn).await,
            Action::DeleteImage { region, image } => self.delete_image(region, image).await,
            Action::DeleteDbInstance { id, final_snapshot } => {
                self.delete_db_instance(id, final_snapshot.as_deref()).await
            }
            Action::DeleteDbSnapshot { id } => self.delete_db_snapshot(id).await,
            Action::DeleteDbSubnetGroup { name } => self.delete_db_subnet_group(name).await,
            Action::DeleteDbParameterGroup { name } => self.delete_db_parameter_group(name).await,
            Action::RestoreSecretVersion { secret, from, to } => {
                self.restore_secret_version(secret, from, to).await
            }
            Action::DeleteSecret { name } => self.delete_secret(name).await,
            Action::DeleteSecurityGroup { id, .. } => self.delete_security_group(id).await,
        }
    }
}
