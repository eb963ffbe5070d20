//! What an action does to the model.

use std::collections::BTreeMap;

use super::World;
use crate::action::{Action, SecretKind};
use crate::observed::{
    DbStatus, Image, Listener, ListenerAction, LoadBalancer, PART_TAG, STACK_TAG, Secret,
    SecurityGroup, Tags, TargetGroup, Template, TemplateVersion,
};

/// Placeholder in ids that AWS will give.
pub(crate) const NEW: &str = "new";

impl World {
    pub(super) fn tags(&self, part: &str) -> Tags {
        Tags::from([
            (STACK_TAG.to_owned(), self.spec.stack.clone()),
            (PART_TAG.to_owned(), part.to_owned()),
        ])
    }

    /// Makes an effect, or says why AWS refuses it.
    pub fn apply(&mut self, action: &Action) -> Result<(), String> {
        match action {
            Action::EnsureSecurityGroup {
                part,
                name,
                ingress,
                ..
            } => {
                let tags = self.tags(part);
                let group = self
                    .observed
                    .security_groups
                    .entry(part.clone())
                    .or_insert_with(|| SecurityGroup {
                        id: format!("sg-{NEW}-{part}"),
                        name: name.clone(),
                        tags,
                        ..SecurityGroup::default()
                    });
                group.ingress = ingress.clone();
            }
            Action::EnsureSecret { name, kind } => {
                let part = match kind {
                    SecretKind::Password => "password",
                    SecretKind::CertificateAuthority => "node-ca",
                };
                let tags = self.tags(part);
                let secret = Secret {
                    arn: format!("arn:{name}"),
                    version_id: NEW.to_owned(),
                    deleting: false,
                    tags,
                };
                self.observed.secrets.insert(name.clone(), secret);
            }
            Action::RestoreSecretVersion { from, to, .. } => {
                if let Some(why) = &self.refuses_versions {
                    return Err(why.clone());
                }
                if let Some(licence) = &mut self.observed.licence
                    && licence.current == *from
                {
                    licence.current.clone_from(to);
                }
            }
            Action::CompleteLifecycle {
                group,
                hook,
                instance,
                result,
            } => {
                return self.complete(group, hook, instance, result);
            }
            Action::HeartbeatLifecycle { instance, .. } => self.heartbeat(instance),
            Action::TerminateInstance { group, instance } => self.end(group, instance),
            Action::ProbeChat { from, to } => {
                let serves = |id: &String| {
                    self.observed
                        .nodes
                        .get(id)
                        .is_some_and(|node| node.phase == "serving")
                };
                let arrived = serves(from) && serves(to);
                self.observed.chat.insert(format!("{from}>{to}"), arrived);
            }
            Action::SetWeights { listener, weights } => {
                self.listener(listener)?.action = ListenerAction::Forward(weights.clone());
            }
            Action::SetFixedResponse {
                listener,
                status,
                body,
            } => {
                self.listener(listener)?.action = ListenerAction::Fixed(*status, body.clone());
            }
            Action::EnsureImageCopy {
                region,
                source_region,
                source_image,
                name,
            } => {
                let image = Image {
                    id: format!("ami-{NEW}-{region}-{}", self.next()),
                    name: name.clone(),
                    state: "pending".to_owned(),
                    source: Some((source_region.clone(), source_image.clone())),
                    tags: self.tags("image"),
                    ..Image::default()
                };
                self.observed
                    .images
                    .entry(region.clone())
                    .or_default()
                    .insert(image.id.clone(), image);
            }
            _ => {
                return self
                    .apply_database(action)
                    .or_else(|()| self.apply_bucket(action))
                    .or_else(|()| self.apply_balancer(action))
                    .or_else(|()| self.apply_group(action))
                    .unwrap_or_else(|()| self.delete(action));
            }
        }
        Ok(())
    }

    fn listener(&mut self, arn: &str) -> Result<&mut Listener, String> {
        self.observed
            .listeners
            .values_mut()
            .find(|seen| seen.arn == arn)
            .ok_or_else(|| "ListenerNotFound".to_owned())
    }

    fn apply_balancer(&mut self, action: &Action) -> Result<Result<(), String>, ()> {
        match action {
            Action::EnsureLoadBalancer {
                name,
                subnets,
                security_groups,
                attributes,
                ..
            } => {
                let tags = self.tags("load-balancer");
                let seen = self
                    .observed
                    .load_balancer
                    .get_or_insert_with(|| LoadBalancer {
                        arn: format!("arn:lb/{name}"),
                        name: name.clone(),
                        state: "provisioning".to_owned(),
                        dns_name: format!("{name}.elb"),
                        tags,
                        ..LoadBalancer::default()
                    });
                seen.subnets = subnets.clone();
                seen.security_groups = security_groups.clone();
                seen.attributes.extend(attributes.clone());
            }
            Action::EnsureTargetGroup {
                name,
                attributes,
                health,
                ..
            } => {
                let tags = self.tags("target-group");
                let seen = self
                    .observed
                    .target_groups
                    .entry(name.clone())
                    .or_insert_with(|| TargetGroup {
                        arn: format!("arn:tg/{name}"),
                        name: name.clone(),
                        port: 8065,
                        tags,
                        ..TargetGroup::default()
                    });
                seen.health = health.clone();
                seen.attributes.extend(attributes.clone());
            }
            Action::EnsureListener {
                port,
                protocol,
                certificate,
                action,
                ..
            } => {
                let listener = Listener {
                    arn: format!("arn:listener/{port}"),
                    port: *port,
                    protocol: protocol.clone(),
                    certificate: certificate.clone(),
                    action: action.clone(),
                };
                self.observed.listeners.insert(*port, listener);
            }
            Action::EnsureProbeRule {
                listener,
                token,
                target_group,
            } => self.ensure_rule(listener, token, target_group),
            Action::EnsureTemplateVersion {
                name,
                digest,
                content,
            } => {
                let tags = self.tags("template");
                let seen = self.observed.template.get_or_insert_with(|| Template {
                    id: format!("lt-{NEW}"),
                    name: name.clone(),
                    versions: BTreeMap::new(),
                    tags,
                });
                if seen
                    .versions
                    .values()
                    .any(|version| version.description == *digest)
                {
                    return Ok(Ok(()));
                }
                let number = seen.versions.keys().last().copied().unwrap_or(0) + 1;
                let version = TemplateVersion {
                    key_pair: content.key_pair.clone(),
                    image_id: content.image_id.clone(),
                    instance_type: content.instance_type.clone(),
                    security_groups: content.security_groups.clone(),
                    instance_profile: content.instance_profile.clone(),
                    monitoring: true,
                    imdsv2: true,
                    user_data: content.user_data.clone(),
                    description: digest.clone(),
                };
                seen.versions.insert(number, version);
            }
            _ => return Err(()),
        }
        Ok(Ok(()))
    }

    fn delete(&mut self, action: &Action) -> Result<(), String> {
        let seen = &mut self.observed;
        match action {
            Action::DeleteAlarm { name } => drop(seen.alarms.remove(name)),
            Action::DeleteGroup { group, force } => {
                if let Some(group) = seen.groups.get_mut(group) {
                    if !force && !group.members.is_empty() {
                        return Err("ResourceInUse".to_owned());
                    }
                    group.status = Some("Delete in progress".to_owned());
                }
            }
            Action::DeleteTemplateVersions { versions, .. } => {
                if let Some(template) = &mut seen.template {
                    template
                        .versions
                        .retain(|number, _| !versions.contains(number));
                }
            }
            Action::DeleteTemplate { .. } => seen.template = None,
            Action::DeleteProbeRule { arn } => drop(seen.rules.remove(arn)),
            Action::DeleteListener { arn } => {
                seen.listeners.retain(|_, listener| listener.arn != *arn);
                seen.rules.retain(|_, rule| rule.listener != *arn);
            }
            Action::DeleteLoadBalancer { .. } => seen.load_balancer = None,
            Action::DeleteTargetGroup { arn } => {
                seen.target_groups.retain(|_, group| group.arn != *arn);
            }
            Action::DeleteImage { region, image } => {
                if let Some(images) = seen.images.get_mut(region) {
                    images.remove(image);
                }
            }
            Action::DeleteDbInstance { id, final_snapshot } => {
                let Some(instance) = seen.db_instances.get_mut(id) else {
                    return Ok(());
                };
                if instance.deletion_protection {
                    return Err("InvalidParameterCombination: deletion protection".to_owned());
                }
                instance.status = DbStatus::Deleting;
                if let Some(id) = final_snapshot {
                    let action = Action::EnsureDbSnapshot {
                        id: id.clone(),
                        instance: instance.id.clone(),
                    };
                    return self.apply(&action);
                }
            }
            Action::DeleteDbSnapshot { id } => drop(seen.db_snapshots.remove(id)),
            Action::DeleteDbSubnetGroup { .. } => seen.db_subnet_group = None,
            Action::DeleteDbParameterGroup { .. } => seen.db_parameter_group = None,
            Action::DeleteSecret { name } => drop(seen.secrets.remove(name)),
            Action::DeleteSecurityGroup { part, id } => {
                let named = seen.security_groups.iter().any(|(other, group)| {
                    other != part && group.ingress.iter().any(|rule| rule.source == *id)
                });
                if named {
                    return Err("DependencyViolation".to_owned());
                }
                seen.security_groups.remove(part);
            }
            other => return Err(format!("the model has no effect for `{}`", other.key())),
        }
        Ok(())
    }
}
