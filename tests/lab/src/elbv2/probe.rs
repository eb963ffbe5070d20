//! Health checks: one task per target, for as long as its group is in use.
//!
//! The checks are those of one load balancer node; AWS's nodes check each for itself.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{CONNECTION, HOST, USER_AGENT};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::health::{Failure, Health, HealthCheck, Unused};
use super::proxy::connect_from;
use super::state::TargetType;
use crate::Lab;

/// How long it takes until all nodes know a new target. AWS gives no number; a few seconds is what
/// `Elb.RegistrationInProgress` is seen for.
const REGISTRATION: Duration = Duration::from_secs(5);
/// However fast the lab's clock runs, a target has this much real time for its answer: the target is a
/// real process on a machine that may be busy.
const LEAST_TIMEOUT: Duration = Duration::from_secs(1);

/// What a check needs to know.
struct Task {
    id: String,
    kind: TargetType,
    check: HealthCheck,
    address: SocketAddr,
    node: IpAddr,
}

/// Checks one registration until it is gone, drains, or is not in use.
pub(super) async fn run(lab: Arc<Lab>, region: String, group: String, registration: u64) {
    lab.clock.sleep(REGISTRATION).await;
    while let Some(task) = next(&lab, &region, &group, registration) {
        let interval = task.check.interval();
        let state = match task.kind {
            TargetType::Ip => None,
            TargetType::Instance => Some(
                crate::ec2::instance(&lab, &region, &task.id)
                    .map_or_else(|| "terminated".to_owned(), |instance| instance.state),
            ),
        };
        match state.as_deref() {
            Some("terminated") => {
                forget(&lab, &region, &group, registration);
                return;
            }
            Some("stopping" | "stopped") => {
                apply(&lab, &region, &group, registration, |_| {
                    Health::Unused(Unused::Stopped)
                });
            }
            _ => {
                let allowed = lab.clock.real(task.check.timeout()).max(LEAST_TIMEOUT);
                let outcome = tokio::time::timeout(allowed, check(&task))
                    .await
                    .unwrap_or(Err(Failure::Timeout));
                apply(&lab, &region, &group, registration, |health| {
                    health.after(outcome, &task.check)
                });
            }
        }
        lab.clock.sleep(interval).await;
    }
}

/// The next check; none when the probe is to end.
fn next(lab: &Lab, region: &str, arn: &str, registration: u64) -> Option<Task> {
    lab.elbv2.with(region, |state| {
        let user = state.load_balancers_of(arn).into_iter().next();
        let node = user
            .and_then(|user| state.load_balancers.get(&user))
            .filter(|balancer| balancer.active)
            .and_then(|balancer| balancer.nodes.first())
            .map(|node| node.address);
        let group = state.target_groups.get_mut(arn)?;
        let (kind, check) = (group.target_type, group.check.clone());
        let target = group.registration(registration)?;
        let unused = matches!(
            target.health,
            Health::Unused(Unused::NotInUse | Unused::ZoneNotEnabled)
        );
        let (Some(node), false, false) = (node, target.is_draining(), unused) else {
            target.probed = false;
            return None;
        };
        if target.health == Health::Registering {
            target.health = Health::Checking { failures: 0 };
        }
        let mut address = target.backend.address;
        address.set_port(check.port.unwrap_or(target.port));
        Some(Task {
            id: target.id.clone(),
            kind,
            check,
            address,
            node: node.into(),
        })
    })
}

fn apply(
    lab: &Lab,
    region: &str,
    arn: &str,
    registration: u64,
    change: impl FnOnce(Health) -> Health,
) {
    let now = lab.clock.now();
    lab.elbv2.with(region, |state| {
        let Some(target) = state
            .target_groups
            .get_mut(arn)
            .and_then(|group| group.registration(registration))
        else {
            return;
        };
        // What happened to the target during the check counts for more than the check.
        if target.is_draining() || matches!(target.health, Health::Unused(Unused::NotInUse)) {
            return;
        }
        let before = target.health.clone();
        target.health = change(before.clone());
        if !before.is_healthy() && target.health.is_healthy() {
            target.healthy_since = Some(now);
        }
        if before.words() != target.health.words() {
            log::info!(
                "target {}:{} of {arn} is {:?}",
                target.id,
                target.port,
                target.health
            );
        }
    });
}

/// The instance is gone, and with it its registration.
fn forget(lab: &Lab, region: &str, arn: &str, registration: u64) {
    lab.elbv2.with(region, |state| {
        if let Some(group) = state.target_groups.get_mut(arn) {
            group.targets.retain(|target| {
                if target.registration == registration {
                    target.backend.close_idle();
                    target.backend.cut.cancel();
                }
                target.registration != registration
            });
        }
    });
}

async fn check(task: &Task) -> Result<(), Failure> {
    let broken = |error: &dyn std::fmt::Display| {
        log::debug!("check of {}: {error}", task.address);
        Failure::Broken
    };
    let stream = connect_from(task.node, task.address)
        .await
        .map_err(|error| broken(&error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    let request = Request::get(&task.check.path)
        .header(HOST, task.address.to_string())
        .header(USER_AGENT, "ELB-HealthChecker/2.0")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| broken(&error))?;
    let mut answer = pin!(sender.send_request(request));
    let mut connection = pin!(connection);
    let answer = tokio::select! {
        biased;
        answer = answer.as_mut() => answer,
        // Over already: the answer came with it, or never will.
        _ = connection.as_mut() => answer.await,
    };
    let code = answer.map_err(|error| broken(&error))?.status().as_u16();
    if task.check.matches(code) {
        Ok(())
    } else {
        Err(Failure::Code(code))
    }
}
