//! Registering and deregistering targets, their health, and the delay between the two.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::health::{Health, Unused};
use super::probe;
use super::state::{RegionState, Target, TargetGroup, TargetType};
use crate::Lab;
use crate::api::{ApiError, Call, Params, Reply, Xml};

/// A target as a call names it.
#[derive(Debug)]
struct Named {
    id: String,
    port: Option<u16>,
    zone: Option<String>,
}

fn parse(params: &Params) -> Result<Vec<Named>, ApiError> {
    params
        .structs("Targets")
        .iter()
        .map(|target| {
            let port = match target.opt_int("Port")? {
                None => None,
                Some(port) => Some(
                    u16::try_from(port)
                        .ok()
                        .filter(|port| *port > 0)
                        .ok_or_else(|| {
                            validation(format!("Port '{port}' must be in the range 1-65535"))
                        })?,
                ),
            };
            Ok(Named {
                id: target.str("Id")?,
                port,
                zone: target.opt("AvailabilityZone"),
            })
        })
        .collect()
}

fn validation(message: String) -> ApiError {
    ApiError::new("ValidationError", message)
}

fn required(params: &Params) -> Result<Vec<Named>, ApiError> {
    let targets = parse(params)?;
    if targets.is_empty() {
        return Err(ApiError::missing("Targets"));
    }
    Ok(targets)
}

/// Where a target is; its zone when that is known.
struct Located {
    address: Ipv4Addr,
    zone: Option<String>,
}

/// Looks a target up; instances in EC2, addresses in themselves.
fn locate(
    lab: &Lab,
    region: &str,
    kind: TargetType,
    named: &Named,
    states: &[&str],
) -> Result<Located, ApiError> {
    match kind {
        TargetType::Instance => {
            let instance = crate::ec2::instance(lab, region, &named.id)
                .filter(|instance| states.contains(&instance.state.as_str()))
                .ok_or_else(|| {
                    ApiError::new(
                        "InvalidTarget",
                        format!(
                            "The following targets are not in a running state and cannot be registered: '{}'",
                            named.id
                        ),
                    )
                })?;
            Ok(Located {
                address: instance.private_ip,
                zone: Some(instance.zone),
            })
        }
        TargetType::Ip => {
            let address = named.id.parse().map_err(|_| {
                validation(format!(
                    "The IP address '{}' is not a valid IPv4 address",
                    named.id
                ))
            })?;
            Ok(Located {
                address,
                zone: named.zone.clone().filter(|zone| zone != "all"),
            })
        }
    }
}

/// `RegisterTargets`
pub(super) fn register_call(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let arn = call.params.str("TargetGroupArn")?;
    let named = required(&call.params)?;
    call.params.finish()?;
    add(lab, &call.region, &arn, &named, &["running"])?;
    Ok(Xml::new().into())
}

/// Registers what is named; all or none.
fn add(
    lab: &Arc<Lab>,
    region: &str,
    arn: &str,
    named: &[Named],
    states: &[&str],
) -> Result<(), ApiError> {
    let kind = lab.elbv2.with(region, |state| {
        Ok::<_, ApiError>(state.target_group(arn)?.target_type)
    })?;
    let located: Vec<Located> = named
        .iter()
        .map(|named| locate(lab, region, kind, named, states))
        .collect::<Result<_, _>>()?;
    lab.elbv2.with(region, |state| {
        for (named, located) in named.iter().zip(located) {
            let number = state.registrations + 1;
            let group = state.target_group(arn)?;
            let port = named.port.unwrap_or(group.port);
            let old = group
                .targets
                .iter()
                .position(|target| target.id == named.id && target.port == port);
            match old {
                // Registered already: nothing changes.
                Some(index) if !group.targets[index].is_draining() => continue,
                // Registered again before its delay was over: what is under way on the old
                // registration has until then, the new one begins at the beginning.
                Some(index) => drop(group.targets.remove(index)),
                None => {}
            }
            group.targets.push(Target {
                id: named.id.clone(),
                port,
                zone: located.zone,
                registration: number,
                healthy_since: None,
                health: Health::Unused(Unused::NotInUse),
                probed: false,
                backend: Arc::new(super::proxy::Backend::new(SocketAddr::from((
                    located.address,
                    port,
                )))),
            });
            state.registrations = number;
        }
        Ok::<_, ApiError>(())
    })?;
    settle(lab, region);
    Ok(())
}

/// Brings targets in line with the listeners, and starts the probes that are then missing.
pub(super) fn settle(lab: &Arc<Lab>, region: &str) {
    let to_probe = lab.elbv2.with(region, RegionState::settle);
    for (group, registration) in to_probe {
        let probe = probe::run(Arc::clone(lab), region.to_owned(), group, registration);
        lab.spawn(probe);
    }
}

/// `DeregisterTargets`; targets that are not there are deregistered already.
pub(super) fn deregister_call(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let arn = call.params.str("TargetGroupArn")?;
    let named = required(&call.params)?;
    call.params.finish()?;
    remove(lab, &call.region, &arn, &named)?;
    Ok(Xml::new().into())
}

fn remove(lab: &Arc<Lab>, region: &str, arn: &str, named: &[Named]) -> Result<(), ApiError> {
    let (draining, delay) = lab.elbv2.with(region, |state| {
        let group = state.target_group(arn)?;
        let delay = group
            .attributes
            .seconds("deregistration_delay.timeout_seconds");
        let mut draining = Vec::new();
        for named in named {
            let port = named.port.unwrap_or(group.port);
            group.targets.retain_mut(|target| {
                if target.id != named.id || target.port != port || target.is_draining() {
                    return true;
                }
                target.backend.close_idle();
                draining.push((target.registration, Arc::clone(&target.backend)));
                // One without use is gone at once; a request that a former use left behind still has
                // the delay.
                let used = !matches!(target.health, Health::Unused(_));
                target.health = Health::Draining;
                used
            });
        }
        Ok::<_, ApiError>((draining, delay))
    })?;
    for (registration, backend) in draining {
        let (owned, region, arn) = (Arc::clone(lab), region.to_owned(), arn.to_owned());
        lab.spawn(async move {
            owned.clock.sleep(delay).await;
            // Only now: "the status of the target is displayed as draining until the deregistration
            // delay timeout expires", even when nothing was in flight.
            backend.close_idle();
            backend.cut.cancel();
            owned.elbv2.with(&region, |state| {
                if let Some(group) = state.target_groups.get_mut(&arn) {
                    group
                        .targets
                        .retain(|target| target.registration != registration);
                }
            });
        });
    }
    Ok(())
}

/// `DescribeTargetHealth`
pub(super) fn describe_health(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let arn = call.params.str("TargetGroupArn")?;
    let named = parse(&call.params)?;
    call.params.accept(&["Include"]);
    call.params.finish()?;
    lab.elbv2.with(&call.region, |state| {
        let group = state.target_group(&arn)?;
        let descriptions: Vec<Xml> = if named.is_empty() {
            group.targets.iter().map(|it| describe(group, it)).collect()
        } else {
            named
                .iter()
                .map(|named| {
                    let port = named.port.unwrap_or(group.port);
                    group
                        .targets
                        .iter()
                        .find(|target| target.id == named.id && target.port == port)
                        .map_or_else(
                            || not_registered(group, &named.id, port),
                            |target| describe(group, target),
                        )
                })
                .collect()
        };
        Ok(Xml::new()
            .list("TargetHealthDescriptions", "member", descriptions)
            .into())
    })
}

fn describe(group: &TargetGroup, target: &Target) -> Xml {
    let (state, reason, description) = target.health.words();
    let zone = target
        .zone
        .as_ref()
        .filter(|_| group.target_type == TargetType::Ip);
    Xml::new()
        .child(
            "Target",
            Xml::new()
                .text("Id", &target.id)
                .text("Port", target.port)
                .opt("AvailabilityZone", zone),
        )
        .text("HealthCheckPort", group.check.port.unwrap_or(target.port))
        .child(
            "TargetHealth",
            Xml::new()
                .text("State", state)
                .opt("Reason", reason)
                .opt("Description", description),
        )
}

fn not_registered(group: &TargetGroup, id: &str, port: u16) -> Xml {
    Xml::new()
        .child("Target", Xml::new().text("Id", id).text("Port", port))
        .text("HealthCheckPort", group.check.port.unwrap_or(port))
        .child(
            "TargetHealth",
            Xml::new()
                .text("State", "unused")
                .text("Reason", "Target.NotRegistered")
                .text(
                    "Description",
                    "Target is not registered to the target group",
                ),
        )
}

/// Whether a load balancer uses a security group: then EC2 keeps it.
pub fn uses_security_group(lab: &Lab, region: &str, id: &str) -> bool {
    lab.elbv2.with(region, |state| {
        let mut balancers = state.load_balancers.values();
        balancers.any(|balancer| balancer.security_groups.iter().any(|group| group == id))
    })
}

/// Whether a target group exists.
pub fn target_group_exists(lab: &Lab, region: &str, arn: &str) -> bool {
    lab.elbv2
        .with(region, |state| state.target_groups.contains_key(arn))
}

/// Registers an instance or address for another service (Auto Scaling); a failure is logged, as
/// Auto Scaling's own eventual registration would be retried and not answered.
pub async fn register(
    lab: &Arc<Lab>,
    region: &str,
    target_group: &str,
    instance_or_ip: &str,
    port: Option<u16>,
) {
    let named = Named {
        id: instance_or_ip.to_owned(),
        port,
        zone: None,
    };
    if let Err(error) = add(lab, region, target_group, &[named], &["pending", "running"]) {
        log::warn!("cannot register {instance_or_ip} with {target_group}: {error}");
    }
}

/// Deregisters, on every port, an instance or address for another service.
pub async fn deregister(lab: &Arc<Lab>, region: &str, target_group: &str, id: &str) {
    let named: Vec<Named> = lab.elbv2.with(region, |state| {
        let targets = state
            .target_groups
            .get(target_group)
            .map(|group| group.targets.as_slice())
            .unwrap_or_default();
        targets
            .iter()
            .filter(|target| target.id == id)
            .map(|target| Named {
                id: id.to_owned(),
                port: Some(target.port),
                zone: None,
            })
            .collect()
    });
    if let Err(error) = remove(lab, region, target_group, &named) {
        log::warn!("cannot deregister {id} from {target_group}: {error}");
    }
}

/// AWS's word for a registered target's state; none when it is not registered (any more). With several
/// ports the first registered counts.
pub fn target_state(lab: &Lab, region: &str, target_group: &str, id: &str) -> Option<String> {
    lab.elbv2.with(region, |state| {
        let target = state
            .target_groups
            .get(target_group)?
            .targets
            .iter()
            .find(|target| target.id == id)?;
        Some(target.health.words().0.to_owned())
    })
}
