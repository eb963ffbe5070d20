//! What AWS does by itself while time passes.

use super::World;
use crate::action::{LAUNCH_HOOK, TERMINATE_HOOK};
use crate::nodes::serves_without_files;
use crate::observed::{Activity, Instance, ListenerAction, Member};
use crate::view::is_leaving;

impl World {
    pub(super) fn advance_resources(&mut self) {
        if self
            .observed
            .load_balancer
            .as_ref()
            .is_some_and(|seen| seen.state == "provisioning")
            && self.age("load-balancer".to_owned()) >= 2
            && let Some(seen) = &mut self.observed.load_balancer
        {
            seen.state = "active".to_owned();
        }
        let pending: Vec<(String, String)> = self
            .observed
            .images
            .iter()
            .flat_map(|(region, images)| images.values().map(move |image| (region, image)))
            .filter(|(_, image)| image.state == "pending")
            .map(|(region, image)| (region.clone(), image.id.clone()))
            .collect();
        for (region, id) in pending {
            if self.age(format!("image/{id}")) >= 3
                && let Some(image) = self
                    .observed
                    .images
                    .get_mut(&region)
                    .and_then(|images| images.get_mut(&id))
            {
                image.state = "available".to_owned();
            }
        }
    }

    /// Auto Scaling's own loop: sizes, hooks, health.
    pub(super) fn advance_groups(&mut self) {
        let names: Vec<String> = self.observed.groups.keys().cloned().collect();
        for name in names {
            self.expire_hooks(&name);
            self.replace_unhealthy(&name);
            self.resize(&name);
            let Some(group) = self.observed.groups.get_mut(&name) else {
                continue;
            };
            let mut gone = Vec::new();
            for (id, member) in &mut group.members {
                match member.lifecycle.as_str() {
                    "Pending" => member.lifecycle = "Pending:Wait".to_owned(),
                    "Terminating" => member.lifecycle = "Terminating:Wait".to_owned(),
                    "Terminating:Proceed" => gone.push(id.clone()),
                    _ => {}
                }
                let dead = self
                    .observed
                    .instances
                    .get(id)
                    .is_some_and(|seen| seen.state == "terminated");
                if dead && is_leaving(&member.lifecycle) {
                    gone.push(id.clone());
                }
            }
            for id in gone {
                group.members.remove(&id);
                for targets in self.observed.target_groups.values_mut() {
                    targets.targets.remove(&id);
                }
                if let Some(instance) = self.observed.instances.get_mut(&id) {
                    instance.state = "terminated".to_owned();
                }
                if let Some(node) = self.observed.nodes.get_mut(&id) {
                    node.connected = false;
                    node.disconnected_since.get_or_insert(self.now);
                }
            }
            if group.status.is_some() && group.members.is_empty() {
                self.observed.groups.remove(&name);
                self.observed.policies.remove(&name);
            }
        }
    }

    fn resize(&mut self, name: &str) {
        let Some(group) = self.observed.groups.get(name) else {
            return;
        };
        let deleting = group.status.is_some();
        let wanted = if deleting { 0 } else { group.desired as usize };
        let live: Vec<String> = group
            .members
            .iter()
            .filter(|(_, member)| !is_leaving(&member.lifecycle))
            .map(|(id, _)| id.clone())
            .collect();
        let (version, zones) = (group.template_version, self.spec.zones.clone());
        let suspended = |process: &str| group.suspended.contains(process);
        let (launches, ends) = (!suspended("Launch"), !suspended("Terminate"));
        if live.len() < wanted && !launches {
            return;
        }
        let free: Vec<String> = live
            .iter()
            .filter(|id| deleting || ends && !group.members[*id].protected)
            .cloned()
            .collect();
        if live.len() < wanted && !self.can_launch(version) {
            let failed = Activity {
                status: "Failed".to_owned(),
                description: "Launching a new EC2 instance".to_owned(),
                message: Some(
                    "The image id does not exist.  Launching EC2 instance failed.".to_owned(),
                ),
                at: Some(self.now),
            };
            if let Some(group) = self.observed.groups.get_mut(name) {
                group.activities.insert(0, failed);
            }
            return;
        }
        for _ in live.len()..wanted {
            let mut number = self.next();
            while self.observed.instances.contains_key(&instance_id(number)) {
                number = self.next();
            }
            let id = instance_id(number);
            let zone = zones[number as usize % zones.len()].clone();
            let instance = Instance {
                id: id.clone(),
                state: "running".to_owned(),
                zone: zone.clone(),
                image_id: self.image_of(version),
                group: Some(name.to_owned()),
                template: self
                    .observed
                    .template
                    .as_ref()
                    .map(|template| (template.id.clone(), version)),
                launched: Some(self.now),
                ..Instance::default()
            };
            self.observed.instances.insert(id.clone(), instance);
            let member = Member {
                lifecycle: "Pending".to_owned(),
                health: "Healthy".to_owned(),
                zone,
                template_version: version,
                protected: false,
            };
            if let Some(group) = self.observed.groups.get_mut(name) {
                group.members.insert(id, member);
            }
        }
        let surplus = live.len().saturating_sub(wanted);
        for id in free.iter().rev().take(surplus) {
            self.end(name, id);
            if deleting && let Some(group) = self.observed.groups.get_mut(name) {
                group.members.remove(id);
            }
        }
    }

    /// The version's image is there still.
    fn can_launch(&self, version: u64) -> bool {
        let image = self.image_of(version);
        let mut images = self.observed.images.values();
        images.any(|images| images.contains_key(&image))
    }

    fn image_of(&self, version: u64) -> String {
        self.observed
            .template
            .as_ref()
            .and_then(|seen| seen.versions.get(&version))
            .map(|version| version.image_id.clone())
            .unwrap_or_default()
    }

    /// A member is on its way out: first out of the target groups, then its hook.
    pub fn end(&mut self, group: &str, id: &str) {
        for targets in self.observed.target_groups.values_mut() {
            targets.targets.remove(id);
        }
        if let Some(member) = self
            .observed
            .groups
            .get_mut(group)
            .and_then(|group| group.members.get_mut(id))
        {
            member.lifecycle = "Terminating".to_owned();
        }
    }

    fn replace_unhealthy(&mut self, name: &str) {
        let Some(group) = self.observed.groups.get(name) else {
            return;
        };
        if ["HealthCheck", "ReplaceUnhealthy"]
            .iter()
            .any(|process| group.suspended.contains(*process))
        {
            return;
        }
        let unhealthy: Vec<String> = group
            .members
            .iter()
            .filter(|(id, member)| {
                let dead = self
                    .observed
                    .instances
                    .get(*id)
                    .is_none_or(|seen| seen.state != "running");
                let failing = self.observed.target_groups.values().any(|group| {
                    group
                        .targets
                        .get(*id)
                        .is_some_and(|state| state == "unhealthy")
                });
                !is_leaving(&member.lifecycle)
                    && (dead || (failing && member.lifecycle == "InService"))
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in unhealthy {
            self.end(name, &id);
        }
    }

    fn expire_hooks(&mut self, name: &str) {
        let Some(group) = self.observed.groups.get(name) else {
            return;
        };
        let limit = |hook: &str| group.hooks.get(hook).map_or(3600, |(_, seconds)| *seconds);
        let limits = [
            ("Pending:Wait", limit(LAUNCH_HOOK)),
            ("Terminating:Wait", limit(TERMINATE_HOOK)),
        ];
        let waiting: Vec<(String, String)> = group
            .members
            .iter()
            .map(|(id, member)| (id.clone(), member.lifecycle.clone()))
            .collect();
        for (id, lifecycle) in waiting {
            let Some((_, seconds)) = limits.iter().find(|(state, _)| *state == lifecycle) else {
                continue;
            };
            if i64::from(self.age(format!("hook/{id}/{lifecycle}"))) * super::TICK_SECONDS
                < i64::from(*seconds)
            {
                continue;
            }
            if lifecycle == "Pending:Wait" {
                self.end(name, &id);
            } else if let Some(member) = self
                .observed
                .groups
                .get_mut(name)
                .and_then(|group| group.members.get_mut(&id))
            {
                member.lifecycle = "Terminating:Proceed".to_owned();
            }
        }
    }

    /// The hook's time begins anew.
    pub(super) fn heartbeat(&mut self, instance: &str) {
        self.ages.remove(&format!("hook/{instance}/Pending:Wait"));
    }

    pub(super) fn complete(
        &mut self,
        group: &str,
        hook: &str,
        instance: &str,
        result: &str,
    ) -> Result<(), String> {
        let state = if hook == LAUNCH_HOOK {
            "Pending:Wait"
        } else {
            "Terminating:Wait"
        };
        let member = self
            .observed
            .groups
            .get_mut(group)
            .and_then(|group| group.members.get_mut(instance));
        let Some(member) = member.filter(|member| member.lifecycle == state) else {
            return Err("ValidationError: no active lifecycle action".to_owned());
        };
        match (hook == LAUNCH_HOOK, result) {
            (true, "CONTINUE") => member.lifecycle = "InService".to_owned(),
            (true, _) => self.end(group, instance),
            _ => member.lifecycle = "Terminating:Proceed".to_owned(),
        }
        Ok(())
    }

    /// Members in service are registered; those that a listener names are probed.
    pub(super) fn advance_targets(&mut self) {
        let named: Vec<String> = self
            .observed
            .listeners
            .values()
            .filter_map(|listener| match &listener.action {
                ListenerAction::Forward(forward) => Some(forward.weights.keys().cloned()),
                _ => None,
            })
            .flatten()
            .chain(self.named_by_rules())
            .collect();
        let groups: Vec<_> = self
            .observed
            .groups
            .values()
            .map(|group| (group.target_groups.clone(), group.members.clone()))
            .collect();
        for target_group in self.observed.target_groups.values_mut() {
            for (arns, members) in &groups {
                if !arns.contains(&target_group.arn) {
                    continue;
                }
                for id in members
                    .iter()
                    .filter(|(_, member)| member.lifecycle == "InService")
                    .map(|(id, _)| id)
                {
                    let running = self
                        .observed
                        .instances
                        .get(id)
                        .is_some_and(|seen| seen.state == "running");
                    let serving = running
                        && self.observed.nodes.get(id).is_some_and(|node| {
                            node.phase == "serving" || serves_without_files(node)
                        });
                    let before = target_group.targets.get(id).map(String::as_str);
                    let state = match (named.contains(&target_group.arn), serving, before) {
                        (false, ..) => "unused",
                        (true, _, None | Some("unused")) => "initial",
                        (true, true, _) => "healthy",
                        (true, false, _) => "unhealthy",
                    };
                    target_group.targets.insert(id.clone(), state.to_owned());
                }
            }
        }
    }
}

fn instance_id(number: u64) -> String {
    format!("i-{number:017x}")
}
