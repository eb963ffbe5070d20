//! An action as a line for people. Lifecycle hooks and probes are work, not changes: they have none.

use std::collections::BTreeSet;

use super::{Change, Sign, database};
use crate::action::{Action, BucketSetting};
use crate::files::{encryption_words, wanted_words};
use crate::observed::{ListenerAction, Observed, PROBE_HEADER, Rule};

/// The line, or none.
pub(super) fn change(action: &Action, before: &Observed) -> Option<Change> {
    let (kind, name, detail) = words(action, before)?;
    let sign = match action {
        Action::DeleteAlarm { .. }
        | Action::DeleteGroup { .. }
        | Action::DeleteTemplateVersions { .. }
        | Action::DeleteTemplate { .. }
        | Action::DeleteListener { .. }
        | Action::DeleteProbeRule { .. }
        | Action::DeleteLoadBalancer { .. }
        | Action::DeleteTargetGroup { .. }
        | Action::DeleteImage { .. }
        | Action::DeleteDbInstance { .. }
        | Action::DeleteDbSnapshot { .. }
        | Action::DeleteDbSubnetGroup { .. }
        | Action::DeleteDbParameterGroup { .. }
        | Action::DeleteSecret { .. }
        | Action::DeleteBucketContents { .. }
        | Action::DeleteBucket { .. }
        | Action::DeleteSecurityGroup { .. } => Sign::Delete,
        _ if exists(action, before) => Sign::Change,
        _ => Sign::Add,
    };
    Some(Change {
        sign,
        kind: kind.to_owned(),
        name,
        detail,
    })
}

fn exists(action: &Action, before: &Observed) -> bool {
    match action {
        Action::EnsureSecurityGroup { part, .. } => before.security_groups.contains_key(part),
        Action::EnsureSecret { name, .. } => before.secrets.contains_key(name),
        Action::EnsureBucket { .. } | Action::SetBucket { .. } => before.files_bucket.is_some(),
        Action::EnsureDbSubnetGroup { .. } => before.db_subnet_group.is_some(),
        Action::EnsureDbParameterGroup { name, .. } => before
            .db_parameter_group
            .as_ref()
            .is_some_and(|seen| seen.name == *name),
        Action::EnsureDbPrimary(primary) => before.db_instances.contains_key(&primary.id),
        Action::EnsureDbReplica { id, .. } => before.db_instances.contains_key(id),
        Action::EnsureDatabases { .. } => before.databases.is_some(),
        Action::EnsureLoadBalancer { .. } => before.load_balancer.is_some(),
        Action::EnsureTargetGroup { name, .. } => before.target_groups.contains_key(name),
        Action::EnsureListener { port, .. } => before.listeners.contains_key(port),
        Action::EnsureGroup(group) => before.groups.contains_key(&group.name),
        Action::EnsureScalingPolicy { group, name, .. } => before
            .policies
            .get(group)
            .is_some_and(|policies| policies.contains_key(name)),
        Action::EnsureAlarm { name, .. } => before.alarms.contains_key(name),
        Action::EnsureTemplateVersion { .. }
        | Action::EnsureProbeRule { .. }
        | Action::EnsureDbSnapshot { .. }
        | Action::EnsureImageCopy { .. } => false,
        _ => true,
    }
}

/// Kind, name, detail.
fn words(action: &Action, before: &Observed) -> Option<(&'static str, String, String)> {
    let nothing = String::new();
    Some(match action {
        Action::EnsureSecurityGroup { name, ingress, .. } => {
            ("security group", name.clone(), rules(ingress))
        }
        Action::EnsureSecret { name, .. } => ("secret", name.clone(), "generated".to_owned()),
        Action::EnsureBucket { bucket, .. } => (
            "bucket",
            bucket.name.clone(),
            "private, encrypted, versioned, TLS only".to_owned(),
        ),
        Action::SetBucket { bucket, setting } => (
            "bucket",
            if exists(action, before) {
                format!("{} {}", bucket.name, setting.word())
            } else {
                bucket.name.clone()
            },
            match (setting, &before.files_bucket) {
                (BucketSetting::Encryption { kms_key }, Some(seen)) => {
                    let (from, to) = (
                        encryption_words(seen.encryption.as_ref()),
                        wanted_words(kms_key.as_deref()),
                    );
                    format!("{from} → {to}")
                }
                _ => nothing,
            },
        ),
        Action::DeleteBucketContents { bucket } => (
            "bucket",
            bucket.name.clone(),
            "every version of every file in it".to_owned(),
        ),
        Action::EnsureDbSubnetGroup { name, subnets } => (
            "DB subnet group",
            name.clone(),
            count(subnets.len(), "subnet"),
        ),
        Action::EnsureDbParameterGroup {
            name, parameters, ..
        } => {
            let list: Vec<String> = parameters
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            ("DB parameter group", name.clone(), list.join(", "))
        }
        Action::EnsureDbPrimary(primary) => (
            "DB instance",
            primary.id.clone(),
            format!(
                "PostgreSQL {}, {}, {} GiB{}, TLS forced, {}",
                primary.engine_version,
                primary.class,
                primary.storage_gib,
                if primary.multi_az { ", Multi-AZ" } else { "" },
                count(primary.backup_days as usize, "day") + " of backups"
            ),
        ),
        Action::EnsureDbReplica {
            id, source, class, ..
        } => (
            "DB instance",
            id.clone(),
            format!("read replica of {source}, {class}"),
        ),
        Action::SetDbInstance { id, change } => ("DB instance", id.clone(), database::change(change)),
        Action::GrowDbStorage { id, gib, .. } => ("DB instance", id.clone(), format!("{gib} GiB")),
        Action::SetDbMasterPassword { id, secret } => (
            "DB instance",
            id.clone(),
            format!("master's password from {secret}"),
        ),
        Action::RebootDbInstance { id } => ("DB instance", id.clone(), "reboot".to_owned()),
        Action::EnsureDatabases { databases } => {
            let names: Vec<&str> = databases.iter().map(|one| one.name.as_str()).collect();
            (
                "databases",
                names.join(", "),
                "each with a role of its own".to_owned(),
            )
        }
        Action::EnsureDbSnapshot { id, instance } => {
            ("DB snapshot", id.clone(), format!("of {instance}"))
        }
        Action::EnsureLoadBalancer { name, scheme, .. } => {
            ("load balancer", name.clone(), scheme.clone())
        }
        Action::EnsureTargetGroup { name, .. } => {
            ("target group", name.clone(), "port 8065".to_owned())
        }
        Action::EnsureListener {
            port,
            protocol,
            action,
            ..
        } => {
            let does = match action {
                ListenerAction::Redirect(to) => format!("redirects to {to}"),
                ListenerAction::Forward(_) => "forwards to the target groups".to_owned(),
                _ => nothing,
            };
            ("listener", format!("{protocol} {port}"), does)
        }
        Action::SetWeights { listener, weights } => (
            "listener",
            port_of(before, listener),
            weights_text(&weights.weights, before),
        ),
        Action::SetFixedResponse { listener, .. } => (
            "listener",
            port_of(before, listener),
            "maintenance page for the pause".to_owned(),
        ),
        Action::EnsureTemplateVersion {
            name,
            digest,
            content,
        } => (
            "template version",
            format!("{name} {}", &digest[..8.min(digest.len())]),
            format!("{}, {}", content.image_id, content.instance_type),
        ),
        Action::EnsureImageCopy {
            region,
            source_image,
            ..
        } => ("image copy", format!("{source_image} in {region}"), nothing),
        Action::EnsureGroup(group) => (
            "Auto Scaling group",
            group.name.clone(),
            format!(
                "{} to {} nodes, {} subnets",
                group.min,
                group.max,
                group.subnets.len()
            ),
        ),
        Action::SetGroupSize {
            group,
            min,
            max,
            desired,
        } => (
            "Auto Scaling group",
            group.clone(),
            format!("min {min}, max {max}, desired {desired}"),
        ),
        Action::SetGroupTemplate { group, version, .. } => (
            "Auto Scaling group",
            group.clone(),
            format!("template version {version}"),
        ),
        Action::SetSuspended { group, processes } => {
            let list: Vec<&str> = processes.iter().map(String::as_str).collect();
            let text = if list.is_empty() {
                "nothing suspended".to_owned()
            } else {
                format!("suspended: {}", list.join(", "))
            };
            ("Auto Scaling group", group.clone(), text)
        }
        Action::LiftScaleInProtection { group, instances } => {
            let nodes = count(instances.len(), "node");
            let text = format!("protection from scale-in of {nodes} lifted");
            ("Auto Scaling group", group.clone(), text)
        }
        Action::EnsureScalingPolicy {
            name, adjustment, ..
        } => (
            "scaling policy",
            name.clone(),
            format!("{adjustment:+} node"),
        ),
        Action::EnsureAlarm {
            name,
            threshold,
            comparison,
            periods,
            ..
        } => {
            let sign = if comparison.starts_with("Greater") {
                '>'
            } else {
                '<'
            };
            (
                "alarm",
                name.clone(),
                format!("CPU {sign} {threshold} % for {periods} min"),
            )
        }
        Action::DeleteAlarm { name } => ("alarm", name.clone(), nothing),
        Action::DeleteGroup { group, .. } => (
            "Auto Scaling group",
            group.clone(),
            "its nodes drain first".to_owned(),
        ),
        Action::DeleteTemplateVersions { name, versions } => {
            let list: Vec<String> = versions.iter().map(u64::to_string).collect();
            (
                "template version",
                format!("{name} {}", list.join(", ")),
                nothing,
            )
        }
        Action::DeleteTemplate { name } => ("launch template", name.clone(), nothing),
        Action::EnsureProbeRule { .. } => (
            "listener rule",
            PROBE_HEADER.to_owned(),
            "leads the orchestrator's own probes to green, and goes with the rollout".to_owned(),
        ),
        // Gone with the rollout that it was made for; else a leftover.
        Action::DeleteProbeRule { arn } if !before.rules.contains_key(arn) => return None,
        Action::DeleteProbeRule { .. } => ("listener rule", PROBE_HEADER.to_owned(), nothing),
        Action::DeleteListener { arn } => ("listener", port_of(before, arn), nothing),
        Action::DeleteLoadBalancer { arn } | Action::DeleteTargetGroup { arn } => {
            let kind = if matches!(action, Action::DeleteLoadBalancer { .. }) {
                "load balancer"
            } else {
                "target group"
            };
            let balancer = before
                .load_balancer
                .iter()
                .filter(|seen| seen.arn == *arn)
                .map(|seen| seen.name.clone());
            let group = before
                .target_groups
                .values()
                .filter(|seen| seen.arn == *arn)
                .map(|seen| seen.name.clone());
            (
                kind,
                balancer.chain(group).next().unwrap_or_else(|| arn.clone()),
                nothing,
            )
        }
        Action::DeleteImage { region, image } => {
            ("image copy", format!("{image} in {region}"), nothing)
        }
        Action::DeleteDbInstance { id, final_snapshot } => (
            "DB instance",
            id.clone(),
            final_snapshot
                .as_ref()
                .map_or(nothing, |name| format!("final snapshot {name}")),
        ),
        Action::DeleteDbSnapshot { id } => ("DB snapshot", id.clone(), nothing),
        Action::DeleteDbSubnetGroup { name } => ("DB subnet group", name.clone(), nothing),
        Action::DeleteDbParameterGroup { name } => ("DB parameter group", name.clone(), nothing),
        Action::RestoreSecretVersion { secret, to, .. } => (
            "secret",
            secret.clone(),
            format!("version {to} in force again"),
        ),
        Action::DeleteSecret { name } => {
            ("secret", name.clone(), "with a recovery window".to_owned())
        }
        Action::DeleteSecurityGroup { part, id } => {
            let name = before
                .security_groups
                .get(part)
                .map_or_else(|| id.clone(), |seen| seen.name.clone());
            ("security group", name, nothing)
        }
        Action::SetGroupTags { .. }
        // Its contents are what is told.
        | Action::DeleteBucket { .. }
        | Action::CompleteLifecycle { .. }
        | Action::HeartbeatLifecycle { .. }
        | Action::TerminateInstance { .. }
        | Action::ProbeChat { .. } => return None,
    })
}

pub(super) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// `5432 from sg-…; 8074/udp from …`.
fn rules(ingress: &BTreeSet<Rule>) -> String {
    let list: Vec<String> = ingress
        .iter()
        .map(|rule| {
            let protocol = if rule.protocol == "tcp" {
                String::new()
            } else {
                format!("/{}", rule.protocol)
            };
            format!(
                "{}{protocol} from {}",
                rule.from_port,
                rule.source.replace("sg-new-", "the group of ")
            )
        })
        .collect();
    list.join("; ")
}

fn port_of(before: &Observed, arn: &str) -> String {
    let seen = before
        .listeners
        .values()
        .find(|listener| listener.arn == arn);
    seen.map_or_else(
        || arn.to_owned(),
        |listener| format!("{} {}", listener.protocol, listener.port),
    )
}

fn weights_text(weights: &std::collections::BTreeMap<String, u32>, before: &Observed) -> String {
    let name = |arn: &String| {
        before
            .target_groups
            .values()
            .find(|group| group.arn == *arn)
            .map_or_else(|| arn.clone(), |group| group.name.clone())
    };
    let list: Vec<String> = weights
        .iter()
        .map(|(arn, weight)| format!("{} {weight} %", name(arn)))
        .collect();
    list.join(", ")
}
