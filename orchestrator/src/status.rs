//! What was seen, told to people: the summary of a stack and its nodes.

use fleet_proto::v1;
use plan::intent::Phase;
use plan::{Observed, Spec};

use crate::core::Look;
use crate::fleet::Fleet;
use crate::licence;
use crate::store::{Snapshot, phase_name};

/// The stack in one message, without nodes and rollout.
pub fn summary(spec: &Spec, look: &Look) -> v1::StatusReply {
    let mut reasons = look.trouble.clone();
    let phase = match &look.decision {
        None if look.number == 0 => "looking".to_owned(),
        None => "following".to_owned(),
        Some(decision) => {
            reasons.extend(decision.reasons.iter().map(reason_text));
            match &decision.next {
                Phase::Stuck { reason } => {
                    reasons.insert(0, reason.clone());
                    "stuck".to_owned()
                }
                phase => phase_name(phase).to_lowercase(),
            }
        }
    };
    let mut resources = resources(&look.observed);
    resources.extend(licence::row(spec, &look.observed));
    v1::StatusReply {
        stack: spec.stack.clone(),
        phase,
        reasons,
        url: url(spec, &look.observed).unwrap_or_default(),
        resources,
        ..v1::StatusReply::default()
    }
}

/// A reason with its deadline.
pub fn reason_text(reason: &plan::Reason) -> String {
    match reason.deadline {
        Some(deadline) => format!(
            "{}; deadline {}",
            reason.text,
            deadline.strftime("%H:%M:%S UTC")
        ),
        None => reason.text.clone(),
    }
}

/// Where users go.
pub fn url(spec: &Spec, observed: &Observed) -> Option<String> {
    if let Some(url) = &spec.load_balancer.site_url {
        return Some(url.clone());
    }
    let dns_name = &observed.load_balancer.as_ref()?.dns_name;
    let scheme = if spec.load_balancer.certificate_arn.is_some() {
        "https"
    } else {
        "http"
    };
    Some(format!("{scheme}://{dns_name}"))
}

fn resources(observed: &Observed) -> Vec<v1::ResourceState> {
    let row = |kind: &str, name: &str, id: &str, state: &str| v1::ResourceState {
        kind: kind.to_owned(),
        name: name.to_owned(),
        id: id.to_owned(),
        state: state.to_owned(),
    };
    let mut rows = Vec::new();
    for (id, db) in &observed.db_instances {
        let kind = if db.replica_of.is_some() {
            "DB replica"
        } else {
            "DB primary"
        };
        let endpoint = db.endpoint.as_ref().map_or(String::new(), |host| {
            format!("{host}:{}", db.port.unwrap_or(5432))
        });
        let lag = observed
            .replica_lag_seconds
            .get(id)
            .map_or(String::new(), |lag| format!(", {lag:.0} s behind"));
        rows.push(row(kind, id, &endpoint, &format!("{}{lag}", db.status)));
    }
    if let Some(bucket) = &observed.files_bucket {
        let state = if bucket.denied {
            "answers 403"
        } else {
            "there"
        };
        rows.push(row("bucket", &bucket.name, &bucket.region, state));
    }
    if let Some(balancer) = &observed.load_balancer {
        rows.push(row(
            "load balancer",
            &balancer.name,
            &balancer.dns_name,
            &balancer.state,
        ));
    }
    for (name, group) in &observed.target_groups {
        let healthy = group
            .targets
            .values()
            .filter(|state| *state == "healthy")
            .count();
        let weight = observed
            .listeners
            .values()
            .find_map(|listener| match &listener.action {
                plan::observed::ListenerAction::Forward(forward) => {
                    forward.weights.get(&group.arn).copied()
                }
                _ => None,
            });
        let weight = weight.map_or("no weight".to_owned(), |weight| format!("weight {weight}"));
        rows.push(row(
            "target group",
            name,
            "",
            &format!("{healthy} of {} healthy, {weight}", group.targets.len()),
        ));
    }
    for (name, group) in &observed.groups {
        let in_service = group
            .members
            .values()
            .filter(|member| member.lifecycle == "InService")
            .count();
        let state = format!(
            "{in_service} in service, desired {} ({}–{})",
            group.desired, group.min, group.max
        );
        rows.push(row(
            "Auto Scaling group",
            name,
            &format!("template version {}", group.template_version),
            &state,
        ));
    }
    for (region, images) in &observed.images {
        for image in images.values() {
            rows.push(row(
                "image",
                &image.name,
                &format!("{} in {region}", image.id),
                &image.state,
            ));
        }
    }
    for alarm in observed.alarms.values() {
        rows.push(row("alarm", &alarm.name, "", &alarm.state));
    }
    rows
}

/// Every node that a group holds.
pub fn nodes(observed: &Observed, snapshot: &Snapshot, fleet: &Fleet) -> Vec<v1::NodeState> {
    let mut rows = Vec::new();
    for group in observed.groups.values() {
        for (id, member) in &group.members {
            let health = observed
                .target_groups
                .values()
                .find_map(|targets| targets.targets.get(id))
                .cloned()
                .unwrap_or_default();
            let blue = snapshot
                .record
                .group
                .as_deref()
                .is_none_or(|name| name == group.name);
            let report = snapshot.nodes.get(id).and_then(|node| node.report.clone());
            rows.push(v1::NodeState {
                instance_id: id.clone(),
                group: group.name.clone(),
                colour: if blue { "blue" } else { "green" }.to_owned(),
                zone: member.zone.clone(),
                address: observed
                    .instances
                    .get(id)
                    .and_then(|instance| instance.private_ip.clone())
                    .unwrap_or_default(),
                lifecycle: member.lifecycle.clone(),
                target_health: health,
                connected: fleet.is_connected(id)
                    || observed.nodes.get(id).is_some_and(|node| node.connected),
                reported_at: report
                    .as_ref()
                    .and_then(|report| report.at)
                    .map_or(0, jiff::Timestamp::as_second),
                report: report.map(|report| to_wire(&report)),
            });
        }
    }
    rows
}

fn to_wire(node: &plan::observed::Node) -> v1::NodeReport {
    // Numbers have no gaps; the first that is no phase ends them.
    let phase = (0..)
        .map_while(|number| v1::Phase::try_from(number).ok())
        .find(|phase| crate::report::phase_name((*phase).into()) == node.phase)
        .unwrap_or_default()
        .into();
    v1::NodeReport {
        phase,
        generation: node.generation,
        mattermost_version: node.mattermost_version.clone(),
        configuration_digest: node.configuration_digest.clone(),
        health: Some(v1::Health {
            consecutive_ok: node.consecutive_ok,
            ..v1::Health::default()
        }),
        failure: node.failure.as_ref().map(|failure| v1::Failure {
            code: failure.code.clone(),
            error: failure.error.clone(),
            hint: failure.hint.clone(),
            journal: failure.journal.clone(),
            ..v1::Failure::default()
        }),
        note: node.note.clone(),
        connections: node.connections,
        version_id: node.version_id.clone(),
        licence: node.licence.map(|licence| v1::ServerLicence {
            licensed: licence.licensed,
            cluster: licence.cluster,
        }),
        ..v1::NodeReport::default()
    }
}
